"""What a GPU is given and what it makes the host wait for, with the frameworks' own borders faked."""

from __future__ import annotations

import importlib
import warnings

import numpy as np
import pytest
from _opened import installed, opened

from backends.ops import Device

PROTOTYPE = "Synchronization debug mode is a prototype feature and does not yet detect all synchronizing operations"
SYNCHRONISING = "called a synchronizing CUDA operation (Triggered internally at somewhere.cpp:42.)"


@pytest.fixture
def synchronising(monkeypatch):
    """`torch_fallback.synchronising`, and the modes in which PyTorch was set: arming one warns, as it does on CUDA."""
    installed("torch")
    torch = importlib.import_module("torch")
    modes = []

    def set_mode(mode):
        modes.append(mode)
        if mode != "default":
            warnings.warn(PROTOTYPE, UserWarning, stacklevel=1)

    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", set_mode)
    return importlib.import_module("backends.torch_fallback").synchronising, modes


def test_arming_the_mode_is_no_synchronisation(synchronising):
    seen, modes = synchronising
    assert seen(lambda x: (x,), [1]) == []
    assert modes == ["warn", "default"]


def test_a_call_that_waits_is_reported_once_in_pytorchs_words(synchronising):
    seen, _ = synchronising

    def call(x):
        for _ in range(3):
            warnings.warn(SYNCHRONISING, UserWarning, stacklevel=1)
        warnings.warn("something else", UserWarning, stacklevel=1)
        return (x,)

    (found,) = seen(call, [1])
    assert (found.kind, found.what) == ("host", SYNCHRONISING)


def test_the_mode_is_off_again_where_the_call_raises(synchronising):
    seen, modes = synchronising
    with pytest.raises(ZeroDivisionError):
        seen(lambda x: (x / 0,), [1])
    assert modes == ["warn", "default"]


@pytest.fixture
def jax_puts(monkeypatch):
    """JAX's adapter, and the way by which it copies to its device: `jax.device_put` or `jnp.array`."""
    ops = opened("jax")
    jax = importlib.import_module("jax")
    ways = []

    def watched(name, way):
        def run(*args, **options):
            ways.append((name, options.get("device", args[-1])))
            return way(*args, **options)

        return run

    monkeypatch.setattr(jax, "device_put", watched("device_put", jax.device_put))
    monkeypatch.setattr(jax.numpy, "array", watched("array", jax.numpy.array))
    yield ops, ways
    ops.device = Device("cpu")


@pytest.mark.parametrize("kind", ["cuda", "tpu"])
def test_jax_copies_once_to_a_device_that_is_not_the_host(jax_puts, kind):
    """`jnp.array` would compile two programs and hold two copies."""
    ops, ways = jax_puts
    ops.device = Device(kind)
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert np.array_equal(ops.to_numpy(ops.asarray(x)), x)
    assert ways == [("device_put", ops._device)]


def test_jax_never_shares_the_hosts_array_on_the_cpu(jax_puts):
    """There `device_put` would: it takes an aligned buffer as it is."""
    ops, ways = jax_puts
    aligned = np.zeros(1 << 16, np.float32)
    array = ops.asarray(aligned)
    aligned[:] = 1
    assert ops.to_numpy(array).max() == 0
    assert ways == [("device_put", ops._device)]

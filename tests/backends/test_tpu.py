"""The paths to a TPU, of which there is none here: nothing found, words, environment, stand-ins for a platform."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from backends import tensorflow_device, torch_accelerator
from backends.discovery import backends
from backends.ops import Device, Unsupported
from harness.cli import doctor

TPU = Device.parse("tpu")
FRAMEWORKS = ("jax", "torch", "tensorflow")


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_where_there_is_no_tpu_none_is_seen(name):
    """Asking is not starting: the host is always there and no TPU is made up."""
    pytest.importorskip(backends()[0][name].module)
    assert [d.kind for d in backends()[0][name].devices()].count("tpu") == 0


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_opening_an_absent_tpu_is_refused_in_words_that_name_it(name):
    """Never a quiet fall back to the host."""
    pytest.importorskip(backends()[0][name].module)
    with pytest.raises(Unsupported, match=r"(?i)tpu"):
        backends()[0][name].open(TPU)


def test_jax_is_told_to_take_the_tpu_and_no_other_platform(tmp_path):
    """On a TPU machine the metadata server is asked; elsewhere it is not."""
    environ = backends()[0]["jax"].environ
    assert environ(TPU, 1, tmp_path)["JAX_PLATFORMS"] == "tpu"
    assert "TPU_SKIP_MDS_QUERY" not in environ(TPU, 1, tmp_path)
    assert environ(Device("cpu"), 1, tmp_path)["TPU_SKIP_MDS_QUERY"] == "1"


def test_jax_places_waits_and_reads_memory_on_what_its_platform_gives(monkeypatch):
    """The host stands in for the chip: operands go to the device found, its allocator's peak is read."""
    jax = pytest.importorskip("jax")
    host = jax.devices("cpu")[0]
    asked = []
    monkeypatch.setattr(jax, "local_devices", lambda backend=None: asked.append(backend) or [host])
    ops = backends()[0]["jax"].open(TPU)
    assert asked == ["tpu"]
    x = ops.asarray(np.ones((4, 4), np.float32))
    assert x.devices() == {host}
    y = ops.matmul(x, x)
    ops.wait([y])
    assert float(ops.to_numpy(y)[0, 0]) == 4
    peaks = [5]
    ops._device = SimpleNamespace(memory_stats=lambda: {"peak_bytes_in_use": peaks[-1]})
    ops.reset_peak_bytes()
    peaks.append(7)
    assert ops.device_peak_bytes() == 7
    ops._device = SimpleNamespace(memory_stats=lambda: None)
    assert ops.device_peak_bytes() is None


# -- PyTorch: a stand-in for torch and torch_tpu -----------------------------------------------------------------------


class Torch:
    """As much of torch as the path uses, on a machine with two TPUs that writes down what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []
        self.tpu = SimpleNamespace(device_count=lambda: 2)
        self.accelerator = SimpleNamespace(
            synchronize=lambda index: self.asked.append(("synchronize", index)),
            reset_peak_memory_stats=lambda index: self.asked.append(("reset", index)),
            max_memory_allocated=lambda index: 4096,
        )

    def device(self, kind, index):
        return SimpleNamespace(type=kind, index=index)

    def zeros(self, n, device):
        self.asked.append(("zeros", device.type, device.index))


@pytest.fixture
def torch_tpu(monkeypatch):
    """An importable torch_tpu whose own synchronisation writes down what it is asked."""
    torch = Torch()
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True if name == "torch_tpu" else found(name))
    for name in ("torch_tpu", "torch_tpu._internal", "torch_tpu._internal.sync"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sync = sys.modules["torch_tpu._internal.sync"]
    sync.synchronize = lambda tensors, wait: torch.asked.append(("materialise", tuple(tensors), wait))
    return torch


def test_pytorch_opens_the_tpu_by_a_tensor_and_counts_what_the_package_sees(torch_tpu):
    """A device that takes no tensor is not there."""
    assert torch_accelerator.count(torch_tpu) == 2
    target = torch_accelerator.opened(torch_tpu, Device("tpu", 1))
    assert (target.type, target.index) == ("tpu", 1)
    assert torch_tpu.asked == [("zeros", "tpu", 1), ("synchronize", 1)]


def test_pytorch_asks_for_deferred_outputs_before_it_waits_for_the_device(torch_tpu):
    """An eager tensor may not have been started: waiting for the device alone would time nothing."""
    target = torch_tpu.device("tpu", 0)
    torch_accelerator.wait(torch_tpu, target, ["y", "z"])
    assert torch_tpu.asked == [("materialise", ("y", "z"), True), ("synchronize", 0)]


def test_pytorch_reads_the_allocator_where_there_is_one_and_unknown_is_none(torch_tpu):
    """0 is what a package says that keeps no account."""
    target = torch_tpu.device("tpu", 0)
    torch_accelerator.reset_peak_bytes(torch_tpu, target)
    assert torch_tpu.asked == [("reset", 0)]
    assert torch_accelerator.peak_bytes(torch_tpu, target) == 4096
    torch_tpu.accelerator.max_memory_allocated = lambda index: 0
    assert torch_accelerator.peak_bytes(torch_tpu, target) is None
    del torch_tpu.accelerator.max_memory_allocated
    assert torch_accelerator.peak_bytes(torch_tpu, target) is None


def test_pytorch_gives_the_words_of_a_runtime_that_finds_no_chip(torch_tpu):
    """One line, and no traceback."""

    def refuse(n, device):
        raise RuntimeError("\nno TPU was found on this host\nat line 3")

    torch_tpu.zeros = refuse
    with pytest.raises(Unsupported, match=r"^PyTorch has no tpu here: no TPU was found on this host$"):
        torch_accelerator.opened(torch_tpu, TPU)


def test_pytorch_without_the_package_names_it_and_the_command(monkeypatch):
    """What is missing, and what fixes it."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Unsupported, match=r"torch_tpu.*pip install -e .*\[tpu\]"):
        torch_accelerator.opened(Torch(), TPU)
    assert torch_accelerator.count(Torch()) == 0


# -- TensorFlow --------------------------------------------------------------------------------------------------------


def tensorflow(starts):
    """As much of tf as choosing a TPU uses."""
    entered = []

    class Scope:
        def __init__(self, name):
            self.name = name

        def __enter__(self):
            entered.append(self.name)

        def __exit__(self, *_):
            return False

    visible = {"GPU": [], "TPU": []}
    return SimpleNamespace(
        entered=entered,
        visible=visible,
        device=Scope,
        config=SimpleNamespace(
            threading=SimpleNamespace(),
            list_physical_devices=lambda kind: ["t0", "t1"] if kind == "TPU" else [],
            get_visible_devices=lambda kind: visible[kind],
            set_visible_devices=lambda devices, kind: visible.update({kind: devices}),
        ),
        distribute=SimpleNamespace(cluster_resolver=SimpleNamespace(TPUClusterResolver=lambda tpu: f"resolver {tpu}")),
        tpu=SimpleNamespace(experimental=SimpleNamespace(initialize_tpu_system=starts)),
    )


def test_tensorflow_starts_the_hosts_tpu_system_and_stays_on_one_chip(monkeypatch):
    """Without starting it there is a physical device and no logical one."""
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        monkeypatch.delenv(name, raising=False)
    started = []
    tf = tensorflow(started.append)
    assert tensorflow_device.select(tf, Device("tpu", 1)) == "/TPU:0"
    assert started == ["resolver local"]
    assert tf.visible["TPU"] == ["t1"]
    assert tf.entered == ["/TPU:0"]


def test_tensorflow_gives_the_words_of_a_tpu_system_that_does_not_start(monkeypatch):
    """One line, and no traceback."""
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        monkeypatch.delenv(name, raising=False)

    def refuse(resolver):
        raise RuntimeError("TPU driver is busy\nin another process")

    with pytest.raises(Unsupported, match=r"could not start the TPU of this host: TPU driver is busy$"):
        tensorflow_device.select(tensorflow(refuse), TPU)


# -- what is said of it ------------------------------------------------------------------------------------------------


def test_doctor_says_that_none_was_ever_run_on():
    """A claim about a device that nobody here had would be one too many."""
    assert "never run on a TPU" in doctor._tpu().found
    ahead = doctor._ahead("tpu-aot")
    assert ahead.well == all(importlib.util.find_spec(m) is not None for m in ("libtpu", "jax", "torchax"))
    assert ahead.well or "[tpu-aot]" in ahead.fix

"""What only a GPU runs, with the frameworks' own borders faked: nothing here has met a GPU."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from backends.ops import FLUSH_BYTES, Device, Unsupported

CUDA = Device("cuda")
MIB = 1 << 20


def _backend(name):
    backend = importlib.import_module(f"backends.{name}_backend").BACKEND
    pytest.importorskip(backend.module, reason=backend.install)
    return backend


# -- what is the same for every framework -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["torch", "jax", "tensorflow"])
def test_a_gpu_that_is_not_there_is_refused_in_the_frameworks_words(name):
    with pytest.raises(Unsupported, match=r"(?i)cuda|GPU"):
        _backend(name).open(Device("cuda", 7))


def test_jax_asked_for_a_platform_that_it_has_not_still_lists_the_host():
    """It raises a bare AssertionError then, which says nothing to whoever asks what there is."""
    _backend("jax")
    code = "from backends.jax_backend import BACKEND; print([str(d) for d in BACKEND.devices()])"
    environ = os.environ | {"JAX_PLATFORMS": "cuda"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], env=environ, capture_output=True, text=True
    )
    assert "'cpu'" in done.stdout, done.stderr


@pytest.mark.parametrize("name", ["torch", "jax", "tensorflow"])
def test_no_framework_computes_float32_products_in_tf32_and_each_says_so(name):
    assert _backend(name).open(Device("cpu")).settings()["tf32"] is False


def test_no_framework_takes_the_memory_before_it_needs_it(tmp_path):
    environ = {name: _backend(name).environ(CUDA, 2, tmp_path) for name in ("jax", "tensorflow")}
    assert environ["jax"]["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"
    assert environ["jax"]["JAX_PLATFORMS"] == "cuda"
    assert environ["tensorflow"]["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"
    assert "CUDA_VISIBLE_DEVICES" not in environ["tensorflow"]
    assert _backend("tensorflow").environ(Device("cpu"), 2, tmp_path)["CUDA_VISIBLE_DEVICES"] == ""


@pytest.mark.parametrize("name", ["torch", "jax", "tensorflow", "numpy"])
def test_the_host_has_no_cache_to_flush_and_no_clock_of_a_device(name):
    ops = _backend(name).open(Device("cpu"))
    assert ops.flush_cache() is False
    assert ops.device_s(tuple, ()) is None


# -- PyTorch ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def torch_cuda(monkeypatch):
    """PyTorch's adapter as on CUDA: tensors on the host, and `torch.cuda` writes down what it is asked."""
    ops = _backend("torch").open(Device("cpu"))
    torch = importlib.import_module("torch")
    calls = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device=None: calls.append(("synchronize", str(device))))
    monkeypatch.setattr(torch._C, "_cuda_synchronize", lambda: calls.append("synchronize"), raising=False)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: calls.append(("reset", str(device))))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 300 * MIB)
    ops.device = CUDA
    ops._wait = importlib.import_module("backends.torch_device").waiting("cuda", ops._torch_device)
    return ops, calls


def test_pytorch_waits_for_its_device_and_reads_the_allocators_peak_of_the_window(torch_cuda):
    ops, calls = torch_cuda
    ops.wait([object()])
    ops.reset_peak_bytes()
    assert calls == ["synchronize", ("reset", "cpu")]
    assert ops.device_peak_bytes() == 300 * MIB


def test_what_pytorch_reads_to_empty_the_caches_is_waited_for_and_left_out_of_the_peak(torch_cuda):
    ops, calls = torch_cuda
    assert ops.flush_cache() is True
    assert calls == ["synchronize"]
    assert ops.device_peak_bytes() == 300 * MIB - FLUSH_BYTES


def test_the_devices_clock_of_pytorch_is_the_median_between_two_events_around_the_call(torch_cuda, monkeypatch):
    torch = importlib.import_module("torch")
    order, spans = [], iter([9.0] + [2.0] * 19)

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            order.append("event")

        def synchronize(self):
            order.append("wait")

        def elapsed_time(self, other):
            assert other is not self
            return next(spans)

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "_sleep", lambda cycles: order.append("sleep"), raising=False)
    seconds = torch_cuda[0].device_s(lambda: order.append("call"), ())
    assert seconds == pytest.approx(0.002)
    assert order[:6] == ["call", "sleep", "event", "call", "event", "wait"]


def test_the_device_is_made_to_wait_for_longer_than_launching_takes(torch_cuda, monkeypatch):
    """Else an eager call of many kernels is timed by the host that launches them."""
    torch = importlib.import_module("torch")
    event = SimpleNamespace(record=lambda: None, synchronize=lambda: None, elapsed_time=lambda other: 1.0)
    cycles = []
    monkeypatch.setattr(torch.cuda, "Event", lambda enable_timing: event)
    monkeypatch.setattr(torch.cuda, "_sleep", cycles.append, raising=False)
    events = importlib.import_module("backends.torch_events")
    torch_cuda[0].device_s(lambda: time.sleep(0.004), ())
    assert min(cycles) >= 0.008 * events.CYCLES_PER_S
    cycles.clear()
    torch_cuda[0].device_s(lambda: None, ())
    assert min(cycles) >= events.LEAST_HIDDEN_S * events.CYCLES_PER_S


def test_pytorch_on_a_gpu_is_watched_for_operators_that_run_on_the_host(torch_cuda):
    ops, _ = torch_cuda
    x = importlib.import_module("torch").ones(3, 3)
    (found,) = ops.compile(lambda x: (x @ x,), "eager", [x]).fallbacks([x])
    assert found.kind == "host"


def _card():
    return importlib.import_module("backends.torch_compile").Card(lambda: None, lambda: None, lambda: 7)


class _Variant:
    """A variant whose calls take as long as the test says, by the clock that `choosing` made."""

    def __init__(self, clock, seconds):
        self.clock, self.seconds, self.calls, self.first_s, self.later_s = clock, seconds, 0, 0.0, 0.0

    def __call__(self):
        self.calls += 1
        self.clock.now += self.seconds


class _Failing(_Variant):
    def __call__(self):
        super().__call__()
        if self.calls > 1:
            raise RuntimeError("operation not permitted when stream is capturing\nmore of it")


@pytest.fixture
def choosing(monkeypatch):
    """`torch_compile.choose` by a clock that only its variants move, and how they are made."""
    _backend("torch")
    module, clock = importlib.import_module("backends.torch_compile"), SimpleNamespace(now=0.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: clock.now))

    def choose(plain_s, captured_s, refused=False, keep=None, kind=_Variant):
        plain, captured = _Variant(clock, plain_s), kind(clock, captured_s)
        kept, words = module.choose(plain, captured, (), _card(), lambda: refused, keep)
        assert kept.later_s == pytest.approx(kept.seconds)
        return "captured" if kept is captured else "plain", words["graph_capture"], captured.calls

    return choose


def test_cuda_graphs_are_kept_where_they_are_clearly_faster_and_the_record_names_them(choosing):
    assert choosing(0.004, 0.001)[:2] == ("captured", "cuda graphs")
    assert choosing(0.001, 0.004)[:2] == ("plain", "none")


def test_cuda_graphs_are_not_tried_on_long_calls_nor_kept_where_inductor_skips_them(choosing):
    which, words, calls = choosing(0.006, 0.0)
    assert (which, calls) == ("plain", 0)
    assert "not tried" in words
    which, words, _ = choosing(0.001, 0.0, refused=True)
    assert which == "plain"
    assert "refused" in words


def test_a_capture_that_fails_leaves_the_plain_variant(choosing):
    """A synchronising operator raises at the second captured call; the case was lost though the plain one works."""
    for keep in (None, "cuda graphs"):
        which, words, _ = choosing(0.001, 0.001, keep=keep, kind=_Failing)
        assert which == "plain"
        assert words == "failed: RuntimeError: operation not permitted when stream is capturing"


def test_cusparse_saying_no_is_a_refusal():
    _backend("torch")
    refusal = importlib.import_module("backends.torch_sparse").refusal
    for words in ("CUSPARSE_STATUS_NOT_SUPPORTED when calling `cusparseSpMM`", "not yet supported", "not supported"):
        assert isinstance(refusal(RuntimeError(f"CUDA error: {words}")), Unsupported)
    internal = RuntimeError("CUDA error: CUSPARSE_STATUS_INTERNAL_ERROR")
    assert refusal(internal) is internal


def test_what_an_earlier_process_kept_is_not_tried_again(choosing):
    assert choosing(0.001, 0.004, keep="cuda graphs") == ("captured", "cuda graphs", 3)
    assert choosing(0.004, 0.001, keep="none") == ("plain", "none", 0)


# -- JAX --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def jax_cuda():
    ops = _backend("jax").open(Device("cpu"))
    host = ops._device
    device = SimpleNamespace(peak=100 * MIB, platform="cpu")
    device.memory_stats = lambda: {"peak_bytes_in_use": device.peak}
    yield ops, device, host
    ops._device = host


def test_jaxs_peak_counts_only_where_it_rose_in_the_window(jax_cuda):
    """Its allocator cannot forget: a peak from before the window says nothing about the window."""
    ops, device, _ = jax_cuda
    ops._device = device
    ops.reset_peak_bytes()
    assert ops.device_peak_bytes() is None
    device.peak = 140 * MIB
    assert ops.device_peak_bytes() == 140 * MIB


def test_jaxs_peak_may_be_of_the_first_call_of_what_was_compiled_ahead(jax_cuda):
    """That call is the same as those of the window; the compiler's own trials lie before it."""
    ops, device, _ = jax_cuda
    x = ops.asarray(np.ones(4, np.float32))
    ops._device = device
    ops.compile(lambda x: (x + 1,), "compiled", [x])
    device.peak = 120 * MIB
    ops.reset_peak_bytes()
    assert ops.device_peak_bytes() == 120 * MIB


def test_jax_leaves_what_it_reads_to_empty_the_caches_out_of_its_peak(jax_cuda):
    ops, device, host = jax_cuda
    ops.device = CUDA
    try:
        assert ops.flush_cache() is True
        ops._device = device
        ops.reset_peak_bytes()
        device.peak = 400 * MIB
        assert ops.device_peak_bytes() == 400 * MIB - FLUSH_BYTES
    finally:
        ops.device, ops._device = Device("cpu"), host


@pytest.mark.parametrize("execution", ["eager", "compiled"])
def test_jax_on_a_gpu_is_asked_where_its_results_are(jax_cuda, execution):
    ops, device, _ = jax_cuda
    x = ops.asarray(np.ones(4, np.float32))
    made = ops.compile(lambda x: (x + 1,), execution, [x])
    assert made.fallbacks([x]) == []
    device.platform, ops._device, ops.device = "gpu", device, CUDA
    try:
        (found,) = made.fallbacks([x])
    finally:
        ops.device = Device("cpu")
    assert found.kind == "host"


# -- TensorFlow -------------------------------------------------------------------------------------------------------


def test_tensorflow_resets_and_reads_the_peak_of_the_one_gpu_that_it_sees(monkeypatch):
    ops = _backend("tensorflow").open(Device("cpu"))
    asked = []
    experimental = SimpleNamespace(
        reset_memory_stats=lambda name: asked.append(("reset", name)),
        get_memory_info=lambda name: asked.append(("read", name)) or {"current": 1, "peak": 300 * MIB},
    )
    monkeypatch.setattr(ops, "device", CUDA)
    monkeypatch.setattr(ops, "_name", "/GPU:0")
    monkeypatch.setattr(ops, "_flush", ops.asarray(np.ones(1, np.float32)))
    monkeypatch.setattr(ops, "_tf", SimpleNamespace(config=SimpleNamespace(experimental=experimental)))
    ops.reset_peak_bytes()
    assert ops.device_peak_bytes() == 300 * MIB - FLUSH_BYTES
    assert asked == [("reset", "/GPU:0"), ("read", "/GPU:0")]

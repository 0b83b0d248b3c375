"""Memory, operands and kernels of CUDA as the records have them, with PyTorch's own borders faked."""

from __future__ import annotations

import importlib
import warnings
from collections import namedtuple
from types import SimpleNamespace

import pytest
from _opened import installed, opened

from backends.ops import FLUSH_BYTES, Compiled, Device
from harness.measuring.host_memory import HostPeak
from harness.measuring.settings import Sampling
from harness.measuring.turn import Alone
from harness.worker import case
from workloads.base import Work

CUDA = Device("cuda")
MIB = 1 << 20


@pytest.fixture
def torch():
    installed("torch")
    return importlib.import_module("torch")


@pytest.fixture
def compiler(torch):
    return importlib.import_module("backends.torch_compile")


# -- peaks ------------------------------------------------------------------------------------------------------------


def test_the_workspace_that_cublas_takes_for_good_is_in_no_peak(torch, monkeypatch):
    """It is 32 MiB on a Hopper: a product of 4 MiB looked ten times as large."""
    device = importlib.import_module("backends.torch_device")
    products = []
    matmul = torch.matmul
    monkeypatch.setattr(torch, "matmul", lambda a, b: products.append(0) or matmul(a, b))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device=None: products.append("waited"))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 32 * MIB * products.count(0))
    assert device.held_bytes("cpu", "cpu") == 0
    assert device.held_bytes("cuda", torch.device("cpu")) == 32 * MIB
    assert products == [0, "waited"]

    ops = installed("torch").open(Device("cpu"))
    ops.device, ops._held_bytes = CUDA, 32 * MIB
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 300 * MIB)
    assert ops.device_peak_bytes() == 268 * MIB
    ops._flush = object()
    assert ops.device_peak_bytes() == 268 * MIB - FLUSH_BYTES
    assert str(32 * MIB) in ops.settings()["library_workspace"]


def test_xlas_workspaces_are_temporaries_of_the_program_and_the_record_says_so():
    installed("jax")
    ops = installed("jax").open(Device("cpu"))
    assert "library_workspace" not in ops.settings()
    ops.device = CUDA
    assert "in the peak" in ops.settings()["library_workspace"]


class _Recorded:
    """A variant that allocates only in its first two calls, as a CUDA graph does."""

    def __init__(self, allocator, seconds=0.0):
        self.allocator, self.calls, self.first_s, self.later_s, self.peak_bytes = allocator, 0, 0.0, 0.0, None

    def __call__(self):
        self.calls += 1
        if self.calls <= 2:
            self.allocator["peak"] = max(self.allocator["peak"], (900, 500)[self.calls - 1])


def test_the_peak_of_a_recorded_graph_is_that_of_its_recording(compiler):
    """A replay goes through no allocator, and the first call is the compiler's, too."""
    allocator = {"peak": 0}
    card = compiler.Card(lambda: None, lambda: allocator.update(peak=0), lambda: allocator["peak"])
    captured = _Recorded(allocator)
    kept, _ = compiler.choose(_Recorded({"peak": 0}), captured, (), card, lambda: False, compiler.CAPTURED)
    assert kept is captured
    assert kept.peak_bytes == 500


def test_an_adapter_hands_on_the_peak_of_a_recording_without_what_was_held_before(compiler, monkeypatch):
    ops = installed("torch").open(Device("cpu"))
    monkeypatch.setattr(compiler, "compiled", lambda fn, *_: Compiled(call=fn, peak_bytes=100 * MIB))
    ops._held_bytes = 32 * MIB
    assert ops.compile(lambda x: (x,), "compiled", [1]).peak_bytes == 68 * MIB


class _Ops:
    device = CUDA

    def __init__(self, peak):
        self.peak = peak

    def wait(self, outputs):
        pass

    def flush_cache(self):
        return False

    def reset_peak_bytes(self):
        pass

    def device_peak_bytes(self):
        return self.peak


@pytest.mark.parametrize(("recorded", "peak", "words"), [(None, 10, "allocator of cuda;"), (70, 70, "was recorded")])
def test_a_window_of_replays_is_not_asked_for_the_peak(recorded, peak, words):
    ops, compiled = _Ops(10), Compiled(call=lambda: (), peak_bytes=recorded)
    ready = SimpleNamespace(ops=ops, compiled=compiled, operands=[])
    planned = SimpleNamespace(params={}, mode="forward", dtype="float32")
    job = SimpleNamespace(case=planned, metered=False, sampling=Sampling(window_s=0.0, min_samples=1))
    timed = case._timed(job, ready, SimpleNamespace(work=lambda *_: Work(1, 1, 1)), Alone())
    memory = case._memory(ops, compiled, [], HostPeak(), timed.allocator_peak)
    assert memory.device_peak_bytes == peak
    assert words in memory.source


def test_the_variant_that_lost_is_forgotten_and_the_one_that_won_is_not(compiler, torch, monkeypatch):
    """Its pool and copies would stand in the window of the other."""
    forgotten = []
    monkeypatch.setattr(compiler, "forget_recordings", lambda: forgotten.append(1))
    for number, name in enumerate((compiler.PLAIN, compiler.CAPTURED)):
        monkeypatch.setattr(
            compiler, "choose", lambda plain, captured, *_, number=number: ((plain, captured)[number], {})
        )
        assert compiler.compiled(lambda x: (x,), "cuda", [torch.ones(2)]).kept == name
    assert forgotten == [1]


def test_what_recorded_graphs_hold_is_given_back_by_pytorchs_own_function(compiler, monkeypatch):
    trees = importlib.import_module("torch._inductor.cudagraph_trees")
    calls = []
    monkeypatch.setattr(trees, "reset_cudagraph_trees", lambda: calls.append(1))
    compiler.forget_recordings()
    monkeypatch.delattr(trees, "reset_cudagraph_trees")
    compiler.forget_recordings()
    assert calls == [1]


# -- operands and kernels ---------------------------------------------------------------------------------------------


def test_operands_stay_where_they_are_so_that_no_replay_copies_them(compiler, torch):
    """XLA copies none; Inductor copies every operand that is not marked, in front of each replay."""
    bag = namedtuple("bag", "indptr values")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sparse = torch.eye(2).to_sparse_csr()
    operands = [torch.ones(2), bag(torch.ones(3), torch.ones(4)), sparse, 3]
    compiler.mark_static(operands)
    marked = [operands[0], *operands[1]]
    assert [x._dynamo_static_input_type for x in marked] == ["unguarded"] * 3
    assert not hasattr(sparse, "_dynamo_static_input_type")


def test_a_format_that_is_converted_in_every_call_is_no_quiet_product_of_its_own(torch):
    """PyTorch multiplies a CSC on CUDA by making a CSR of it."""
    seen = importlib.import_module("backends.torch_fallback")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        csc, csr = torch.eye(4).to_sparse_csc(), torch.eye(4).to_sparse_csr()
        b = torch.ones(4, 2)
        found = seen.of_call(lambda a, b: (a.to_sparse_csr() @ b,), [csc, b], "cpu")
        plain = seen.of_call(lambda a, b: (a @ b,), [csr, b], "cpu")
    assert [(f.kind, "CSR" in f.what) for f in found] == [("substituted", True)]
    assert plain == []


def test_kernels_are_named_by_pytorchs_profiler(torch, monkeypatch):
    """Only what ran on the device: the host's operators are in the same list."""
    where = torch.autograd.DeviceType
    ran = [("aten::mm", where.CPU), ("void cusparse::bsrmm_kernel<float, 16>(int)", where.CUDA)]
    events = [SimpleNamespace(name=name, device_type=kind) for name, kind in ran]

    class Profile:
        def __init__(self, activities):
            assert activities == [torch.profiler.ProfilerActivity.CUDA]

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return False

        def events(self):
            return events

    monkeypatch.setattr(torch.profiler, "profile", Profile)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    ops = installed("torch").open(Device("cpu"))
    assert ops.kernels(tuple, ()) == ()
    ops.device = CUDA
    names = ops.kernels(tuple, ())
    assert names == ["void cusparse::bsrmm_kernel<float, 16>(int)"]
    assert case._counted([*names, *names, "(anonymous namespace)::triton_poi_fused_0"]) == (
        "cusparse::bsrmm_kernel ×2; triton_poi_fused_0"
    )
    many = case._counted([f"k{n}" for n in range(case.MOST_KERNELS + 3)])
    assert many.endswith("; 3 more")


def test_library_calls_of_a_program_of_xlas_are_named():
    installed("jax")
    ops = opened("jax")
    text = """
    %c = (f32[8]) custom-call(%a, %b), custom_call_target="__cublas$gemm", api_version=1
    ROOT %f = f32[8]{0} fusion(%c), kind=kLoop, calls=%fused
    """
    program = SimpleNamespace(as_text=lambda: text)
    assert ops.kernels(program, ()) == ()
    ops.device = CUDA
    try:
        assert ops.kernels(program, ()) == ["__cublas$gemm", "fusion"]
        assert ops.kernels(tuple, ()) == (), "an eager call has no program"
    finally:
        ops.device = Device("cpu")


def test_what_ran_is_named_once_a_case_and_a_failing_profiler_costs_only_that():
    def broken(*_):
        raise RuntimeError("CUPTI is not there\nat line 3")

    ops = SimpleNamespace(device_s=broken, kernels=lambda *_: ["a", "a"])
    ready = SimpleNamespace(ops=ops, compiled=Compiled(call=tuple), operands=())
    first = case._watched(SimpleNamespace(watch=True, recheck=True), ready)
    assert first == (None, {"device_clock_unknown": "RuntimeError: CUPTI is not there", "kernels": "a ×2"})
    assert case._watched(SimpleNamespace(watch=True, recheck=False), ready)[1].keys() == {"device_clock_unknown"}


# -- precision --------------------------------------------------------------------------------------------------------


def test_narrow_products_are_summed_up_in_float32_as_xla_does(torch):
    installed("torch").open(Device("cpu"))
    found = importlib.import_module("backends.torch_device").settings("cuda", False)
    assert found["bf16_reduced_precision_reduction"] is False
    assert found["fp16_reduced_precision_reduction"] is False


def test_waiting_enters_no_device_in_python(torch, monkeypatch):
    """`torch.cuda.synchronize` does, in every sample; JAX's wait has nothing of the kind."""
    waited = []
    monkeypatch.setattr(torch._C, "_cuda_synchronize", lambda: waited.append(1), raising=False)
    monkeypatch.setattr(torch.cuda, "synchronize", pytest.fail)
    importlib.import_module("backends.torch_device").waiting("cuda", "cuda:0")([object()])
    assert waited == [1]

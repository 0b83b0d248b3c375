"""Each framework's own profiler: what is an operation in what it writes, and one real trace of each."""

from __future__ import annotations

import gzip
import importlib
import json

import numpy as np
import pytest
from _opened import opened

from backends import xplane
from backends.discovery import backends
from backends.profiling import CALL
from backends.xplane import Event
from harness.measuring.where_time_went import rows


def read(file):
    with gzip.open(file) as stream:
        return json.load(stream)["traceEvents"]


# -- one real trace of each --------------------------------------------------------------------------------------------

PATHS = [("torch", "eager"), ("jax", "eager"), ("jax", "compiled"), ("tensorflow", "eager"), ("tensorflow", "graph")]


def step(ops):
    """A product, a gather, a reduction and arithmetic."""
    ids = ops.asarray(np.arange(0, 64, 2, dtype=np.int32))
    return lambda x, w: (ops.sum(ops.exp(ops.take(ops.matmul(x, w), ids, 0)) * 2.0, axis=1),)


def traced(name, execution, tmp_path):
    ops = opened(name)
    profiler = importlib.import_module(backends()[0][name].profiler)
    operands = [ops.asarray(np.full((64, 64), 0.01, np.float32)) for _ in range(2)]
    compiled = ops.compile(step(ops), execution, operands)
    ops.wait(compiled.call(*operands))
    return profiler.profile(ops, compiled.call, operands, 3, tmp_path / "trace.json.gz")


@pytest.mark.parametrize(("name", "execution"), PATHS)
def test_a_trace_names_the_kernels_of_each_framework(name, execution, tmp_path):
    profile = traced(name, execution, tmp_path)
    found = rows(profile)
    assert len(profile.calls) == 3
    assert sum(row.share for row in found) == pytest.approx(1, abs=1e-12)
    kinds = {row.kind: row for row in found}
    assert "launch/idle" in kinds
    assert len(found) >= 3, found  # not one row of everything
    assert {"matmul", "gather/scatter"} <= kinds.keys(), found
    assert all(row.calls % 3 == 0 for row in found), found
    assert sum(e["name"] == CALL for e in read(tmp_path / "trace.json.gz") if e.get("ph") == "X") == 3


def test_a_program_of_xla_in_tensorflow_is_read_from_the_trace(tmp_path):
    found = {row.kind: row.op for row in rows(traced("tensorflow", "compiled", tmp_path))}
    assert found.keys() >= {"matmul", "launch/idle"}
    assert len(found) >= 3


def test_kernels_of_inductor_are_asked_to_be_named():
    pytest.importorskip("torch")
    config = importlib.import_module("torch._inductor.config").cpp
    before = config.enable_kernel_profile
    try:
        importlib.import_module("backends.torch_profiler").prepare()
        assert config.enable_kernel_profile
    finally:
        config.enable_kernel_profile = before


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
def test_a_product_of_a_sparse_operand_is_seen_in_pytorch(tmp_path):
    ops = opened("torch")
    torch = importlib.import_module("torch")
    a, b = torch.eye(32).to_sparse_csr(), torch.ones((32, 8))
    profiler = importlib.import_module("backends.torch_profiler")
    found = profiler.profile(ops, lambda x, y: (x @ y,), [a, b], 1, tmp_path / "trace.json.gz")
    assert "sparse" in {row.kind for row in rows(found)}


# -- planes of JAX and TensorFlow --------------------------------------------------------------------------------------


def event(name, start, end, line="t", plane="/host:CPU", **stats):
    return Event(plane, line, name, start, end, stats)


def test_a_kernel_that_goes_on_after_its_thread_ends_where_its_mark_says():
    events = [
        event(CALL, 0, 100, line="python"),
        event("conv", 10, 12, hlo_op="conv", hlo_module="m", _p=7),
        event("add", 12, 20, hlo_op="add", hlo_module="m", _p=8),
        event("end: add", 20, 21, _c=8),
        event("end: conv", 90, 91, line="pool", _c=7),
    ]
    found = xplane.operations(events, on_host=True)
    assert [(o.name, o.start_ns, o.end_ns) for o in found] == [("conv", 10, 90), ("add", 12, 20)]
    assert found[0].track != found[1].track
    assert xplane.calls(events) == [(0, 100)]


def test_nodes_and_eager_operations_of_tensorflow_are_told_from_what_calls_them():
    events = [
        event("EagerLocalExecute: MatMul", 0, 20),
        event("EagerKernelExecute", 2, 19),
        event("KernelAndDeviceFunc::Run", 3, 18),
        event("EagerLocalExecute: __inference_step_9", 30, 90),
        event("KernelAndDeviceFunc::Run", 31, 89),
        event("step/PartitionedCall:StatefulPartitionedCall", 32, 88),
        event("step/Relu_1:Relu", 40, 50),
        event("ThreadpoolListener::Record", 41, 42),
        event("KernelAndDeviceFunc::Run", 95, 97),
    ]
    found = xplane.operations(events, on_host=True)
    assert [(o.name, o.start_ns) for o in found] == [("MatMul", 3), ("Relu", 40)]


def test_of_a_device_its_streams_count_or_the_line_of_its_operations():
    events = [
        event("gemm", 0, 10, plane="/device:GPU:0", line="Stream #14", hlo_op="dot.1", hlo_module="m"),
        event("MemcpyD2D", 10, 12, plane="/device:GPU:0", line="Stream #14"),
        event("step 1", 0, 50, plane="/device:GPU:0", line="Steps"),
        event("%fusion.3 = f32[8] fusion(%a)", 0, 5, plane="/device:TPU:0", line="XLA Ops"),
        event("jit_step", 0, 50, plane="/device:TPU:0", line="XLA Modules"),
        event("Relu:Relu", 0, 50),
    ]
    assert [o.name for o in xplane.operations(events, on_host=False)] == ["dot.1", "MemcpyD2D", "fusion.3"]
    assert [o.name for o in xplane.operations(events, on_host=True)] == ["Relu"]


def test_a_file_for_chrome_has_every_event_under_its_plane_and_line(tmp_path):
    file = tmp_path / "t.json.gz"
    xplane.write_chrome([event("a", 1000, 3000, n=1), event("b", 0, 10, plane="/device:GPU:0", line="Stream #1")], file)
    found = read(file)
    assert {e["args"]["name"] for e in found if e["ph"] == "M"} == {"/host:CPU", "/device:GPU:0", "t", "Stream #1"}
    (a,) = (e for e in found if e["name"] == "a")
    assert (a["ph"], a["ts"], a["dur"], a["args"]) == ("X", 1.0, 2.0, {"n": "1"})

"""From spans to a table: every moment counts once, whatever overlaps, and the shares are of the whole."""

from __future__ import annotations

import gzip
import json
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends import xplane
from backends.profiling import CALL, Operation, Profile
from backends.xplane import Event
from harness.measuring.where_time_went import Label, labelled, rows, table, window_s


def seen(*spans, calls=((0, 100),)):
    """The table of (name, from, to, track): its seconds in nanoseconds by name."""
    operations = [(Label(name, "other"), Operation(name, a, b, track)) for name, a, b, track in spans]
    found = table(calls, operations)
    assert sum(row.share for row in found) == pytest.approx(1, abs=1e-12)
    return {row.op: (round(row.time_s * 1e9, 6), row.calls) for row in found}


def test_what_no_operation_covers_is_launching_and_waiting():
    assert seen(("mm", 10, 40, "a"), ("mm", 50, 60, "a")) == {"mm": (40, 2), "launch/idle": (60, 1)}
    assert seen() == {"launch/idle": (100, 1)}


def test_an_operation_inside_another_counts_once():
    found = seen(("matmul", 0, 50, "a"), ("mm", 10, 40, "a"), ("mm", 12, 20, "a"))
    assert found == {"matmul": (20, 1), "mm": (30, 2), "launch/idle": (50, 1)}


def test_operations_on_several_threads_share_the_time_that_they_ran_together():
    found = seen(("conv", 0, 60, "a"), ("add", 30, 60, "b"), ("relu", 30, 60, "c"))
    assert found == {"conv": (40, 1), "add": (10, 1), "relu": (10, 1), "launch/idle": (40, 1)}


def test_the_same_operation_on_two_threads_is_no_more_than_the_time_that_passed():
    assert seen(("conv", 0, 60, "a"), ("conv", 0, 60, "b")) == {"conv": (60, 2), "launch/idle": (40, 1)}


def test_what_lies_outside_the_calls_does_not_count():
    spans = (("warm", -50, -10, "a"), ("mm", -10, 10, "a"), ("mm", 110, 140, "a"), ("late", 300, 310, "a"))
    found = seen(*spans, calls=((0, 100), (120, 220)))
    assert found == {"mm": (30, 2), "launch/idle": (170, 2)}


def test_spans_that_cross_on_one_thread_give_the_moment_to_the_later():
    assert seen(("a", 0, 50, "t"), ("b", 30, 80, "t")) == {"a": (30, 1), "b": (50, 1), "launch/idle": (20, 1)}


def test_an_empty_span_takes_nothing():
    assert seen(("a", 5, 5, "t"), ("b", 0, 10, "t")) == {"b": (10, 1), "launch/idle": (90, 1)}


@pytest.mark.parametrize("calls", [(), ((5, 5),)])
def test_no_call_is_no_trace(calls):
    with pytest.raises(ValueError, match="takes time"):
        table(calls, [])


SPANS = st.lists(st.tuples(st.sampled_from("xyz"), st.integers(-20, 120), st.integers(0, 60), st.sampled_from("ab")))


@settings(max_examples=60, deadline=None)
@given(SPANS)
def test_every_nanosecond_of_the_calls_is_given_once(spans):
    """Held against a count of each nanosecond by itself."""
    calls = ((0, 40), (50, 100))
    operations = [(Label(n, "other"), Operation(n, a, a + length, t)) for n, a, length, t in spans]
    expected: dict[str, Fraction] = {}
    for start, end in calls:
        for at in range(start, end):
            last = {}
            for number, (_, o) in enumerate(operations):
                if o.start_ns <= at < o.end_ns:
                    last[o.track] = max(last.get(o.track, ()), ((o.start_ns, -o.end_ns, number), o.name))
            for _, name in last.values():
                expected[name] = expected.get(name, Fraction()) + Fraction(1, len(last))
    found = table(calls, operations)
    assert sum(row.share for row in found) == pytest.approx(1, abs=1e-12)
    assert sum(row.time_s for row in found) == pytest.approx(window_s(calls), rel=1e-12)
    known = {row.op: row.time_s for row in found if row.op != "launch/idle"}
    assert known == pytest.approx({name: float(ns) * 1e-9 for name, ns in expected.items()})


# -- names -------------------------------------------------------------------------------------------------------------

HLO = """HloModule jit_step

%fused (p: f32[8,8]) -> f32[8,8] {
  %p = f32[8,8]{1,0} parameter(0)
  ROOT %dot.1 = f32[8,8]{1,0} dot(%p, %p), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

ENTRY %main (a: f32[8,8]) -> f32[8,8] {
  %a = f32[8,8]{1,0} parameter(0)
  %ynn_fusion = f32[8,8]{1,0} fusion(%a), kind=kCustom, calls=%fused
  ROOT %while.2 = f32[8,8]{1,0} while(%ynn_fusion), condition=%cond, body=%fused
}
"""


def profile(*operations, programs=()):
    return Profile(profiler="p", calls=[(0, 100)], operations=operations, programs=programs)


def test_a_fusion_is_what_its_program_says_and_a_loop_is_none():
    of = [Operation(name, 0, 10, "t", program="jit_step") for name in ("ynn_fusion", "while.2", "gone")]
    named = [label for label, _ in labelled(profile(*of, programs=[("jit_step", HLO)]))]
    assert named == [("ynn_fusion", "matmul"), ("gone", "other")]


def test_programs_of_one_name_are_read_together_and_each_operation_names_its_program():
    of = [Operation("fusion", 0, 10, "t", program=name) for name in ("jit_exp", "jit__reduce_sum", "jit_sort")]
    programs = [("jit_exp", {"other": frozenset({"dot"})}), ("jit_exp", {"fusion": frozenset({"exponential"})})]
    named = [label for label, _ in labelled(profile(*of, programs=programs))]
    assert named == [
        ("fusion [exp]", "elementwise"),
        ("fusion [reduce_sum]", "reduction"),
        ("fusion [sort]", "other"),
    ]


def test_a_product_of_a_sparse_operand_is_sparse_and_a_kernel_is_named_with_what_launched_it():
    of = [
        Operation("aten::addmm", 0, 10, "t", about="sparse operand"),
        Operation("mystery<float>", 0, 10, "s", about="aten::mm"),
        Operation("graph_0_cpp_fused_add_0", 0, 10, "t"),
    ]
    assert [label for label, _ in labelled(profile(*of))] == [
        ("aten::addmm [sparse operand]", "sparse"),
        ("mystery [aten::mm]", "matmul"),
        ("cpp_fused_add_0", "elementwise"),
    ]
    found = {row.kind: row.share for row in rows(profile(*of))}
    assert found["launch/idle"] == pytest.approx(0.9)


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
    found = json.loads(gzip.open(file).read())["traceEvents"]
    assert {e["args"]["name"] for e in found if e["ph"] == "M"} == {"/host:CPU", "/device:GPU:0", "t", "Stream #1"}
    (a,) = (e for e in found if e["name"] == "a")
    assert (a["ph"], a["ts"], a["dur"], a["args"]) == ("X", 1.0, 2.0, {"n": "1"})

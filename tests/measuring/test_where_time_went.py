"""From spans to a table: every moment counts once, whatever overlaps, and the shares are of the whole."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.profiling import Profile, ProfiledOperation
from harness.measuring.where_time_went import Label, labelled, rows, table, window_s


def seen(*spans, calls=((0, 100),)):
    """The table of (name, from, to, track): its seconds in nanoseconds by name."""
    operations = [(Label(name, "other"), ProfiledOperation(name, a, b, track)) for name, a, b, track in spans]
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


@settings(max_examples=30, deadline=None)
@given(SPANS)
def test_every_nanosecond_of_the_calls_is_given_once(spans):
    """Held against a count of each nanosecond by itself."""
    calls = ((0, 40), (50, 100))
    operations = [(Label(n, "other"), ProfiledOperation(n, a, a + length, t)) for n, a, length, t in spans]
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
    of = [ProfiledOperation(name, 0, 10, "t", program="jit_step") for name in ("ynn_fusion", "while.2", "gone")]
    named = [label for label, _ in labelled(profile(*of, programs=[("jit_step", HLO)]))]
    assert named == [("ynn_fusion", "matmul"), ("gone", "other")]


def test_programs_of_one_name_are_read_together_and_each_operation_names_its_program():
    of = [ProfiledOperation("fusion", 0, 10, "t", program=name) for name in ("jit_exp", "jit__reduce_sum", "jit_sort")]
    programs = [("jit_exp", {"other": frozenset({"dot"})}), ("jit_exp", {"fusion": frozenset({"exponential"})})]
    named = [label for label, _ in labelled(profile(*of, programs=programs))]
    assert named == [
        ("fusion [exp]", "elementwise"),
        ("fusion [reduce_sum]", "reduction"),
        ("fusion [sort]", "other"),
    ]


def test_a_product_of_a_sparse_operand_is_sparse_and_a_kernel_is_named_with_what_launched_it():
    of = [
        ProfiledOperation("aten::addmm", 0, 10, "t", about="sparse operand"),
        ProfiledOperation("mystery<float>", 0, 10, "s", about="aten::mm"),
        ProfiledOperation("graph_0_cpp_fused_add_0", 0, 10, "t"),
    ]
    assert [label for label, _ in labelled(profile(*of))] == [
        ("aten::addmm [sparse operand]", "sparse"),
        ("mystery [aten::mm]", "matmul"),
        ("cpp_fused_add_0", "elementwise"),
    ]
    found = {row.kind: row.share for row in rows(profile(*of))}
    assert found["launch/idle"] == pytest.approx(0.9)

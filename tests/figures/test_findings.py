"""Break-even, amortisation, shifts and failures against values worked by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace

import msgspec
import pytest
from _records import SHAPE, dense, idea, record

from harness.figures.best_paths import best_paths
from harness.figures.findings import amortisation, break_even, lottery_shift
from harness.figures.frame import frame
from harness.figures.portability import explain_outcomes, portability
from harness.figures.summary import main_table, summarise
from harness.figures.twins import comparisons
from harness.stats.intervals import ranks
from harness.stats.noise import drift_floor, noise_floor, paired_floors
from workloads.base import Axis

REACH = 4.302652729911275 / math.sqrt(3)  # Student's t with two degrees of freedom


def _compared(*records):
    return comparisons(best_paths(frame(records)))


def _only(records, **options):
    (row,) = main_table(frame(records), **options)
    return row


def _sweep(times, **facts):
    out = [dense([1.0] * 3)]
    for density, seconds in times.items():
        processes = seconds if isinstance(seconds, list) else [seconds] * 3
        out.append(idea(processes, params={**SHAPE, "density": density}, **facts))
    return out


def _break_even(records, noise=None):
    best = best_paths(frame(records))
    (found,) = break_even(best, comparisons(best), noise)
    return found


def test_break_even_by_log_log_interpolation():
    """T = 1/4 at δ = 0.01 and 4 at 0.16: half-way in log, δ = 0.04."""
    found = _break_even(_sweep({0.01: 0.25, 0.16: 4.0}))
    assert found.verdict == "crosses"
    assert found.value == pytest.approx(0.04)
    assert (found.low, found.high) == pytest.approx((0.04, 0.04))
    assert found.point == "k=8,m=8,n=4"


def _over_k(times):
    out = [dense([1.0] * 3)]
    out += [idea([seconds] * 3, params={**SHAPE, "density": 0.1, "k": k}) for k, seconds in times.items()]
    return out


@pytest.fixture
def declared(monkeypatch):
    """The workload of the records declares `k` as the axis to break even on."""
    name = idea([1.0]).case.workload
    known = SimpleNamespace(axes={"k": Axis(break_even=True), "density": Axis(default=0.1)})
    monkeypatch.setattr("harness.figures.findings.workloads", lambda: ({name: known}, ()))


@pytest.mark.usefixtures("declared")
def test_any_axis_that_its_workload_declares_is_one_to_break_even_on():
    below, above = (_break_even(_over_k(times)) for times in ({10: 0.25, 160: 4.0}, {10: 4.0, 160: 0.25}))
    assert (below.axis, below.verdict, below.above) == ("k", "crosses", False)
    assert (above.axis, above.verdict, above.above) == ("k", "crosses", True)
    assert (below.value, above.value) == pytest.approx((40, 40))
    assert (above.range_low, above.range_high, above.crossings) == (10, 160, pytest.approx([40]))
    assert below.sentence == "faster than dense below k 40 [40, 40]"
    assert above.sentence == "faster than dense above k 40 [40, 40]"


@pytest.mark.usefixtures("declared")
def test_a_sweep_over_another_axis_than_the_declared_has_no_break_even():
    best = best_paths(frame(_sweep({0.01: 0.25, 0.16: 4.0})))
    assert break_even(best, comparisons(best)) == []


def test_over_density_an_idea_that_is_faster_on_the_dense_side_is_not_monotone():
    assert _break_even(_sweep({0.01: 4.0, 0.16: 0.25})).verdict == "not_monotone"


def test_a_break_even_of_single_processes_has_their_margin_and_not_that_of_pairs():
    """T from 1/4 to 4 by single processes: 30 % either way, not the 1 % of groups."""
    found = _break_even(_sweep({0.01: [0.25], 0.16: [4.0]}), noise=0.01)
    assert found.value == pytest.approx(0.04)
    reach = 16 ** (math.log(1.3) / math.log(16))
    assert (found.low, found.high) == pytest.approx((0.04 / reach, 0.04 * reach))


def test_an_entry_without_an_interval_ties_up_to_what_single_processes_differ_by():
    assert ranks([1.2, 1.0], [(1.19, 1.21), (0.99, 1.01)], 0.02) == [1, 2]
    assert ranks([1.2, 1.0], [(1.19, 1.21), None], 0.02) == [1, 1]
    assert ranks([1.4, 1.0], [(1.39, 1.41), None], 0.02) == [1, 2]


def test_the_interval_of_a_break_even_is_where_the_bounds_of_the_ratio_cross():
    """The upper bounds, 1/4 → 16, pass 1 a third of the way in log; the lower, 1/16 → 4, at two thirds."""
    r = 2 ** (1 / REACH)  # so that the intervals reach a factor of 2
    found = _break_even(_sweep({0.01: [0.125 / r, 0.125, 0.125 * r], 0.64: [8.0 / r, 8.0, 8.0 * r]}))
    assert found.value == pytest.approx(0.08)
    assert found.low == pytest.approx(0.01 * 64 ** (1 / 3))
    assert found.high == pytest.approx(0.01 * 64 ** (2 / 3))
    assert "below density 0.08 [0.04, 0.16]" in found.sentence


def test_a_bound_outside_the_range_is_open_and_one_process_has_no_interval():
    found = _break_even(_sweep({0.01: [0.5, 0.5, 2.0], 0.1: [0.5, 2.0, 2.0]}))
    assert found.open_low
    assert found.open_high
    assert "[<0.01, >0.1]" in found.sentence
    alone = _break_even(_sweep({0.01: [0.25], 0.16: [4.0]}))
    assert (alone.low, alone.high, alone.open_low) == (None, None, False)
    assert alone.sentence == "faster than dense below density 0.04"


def test_break_even_that_never_or_always_happens_in_the_range_says_so():
    never, always = _break_even(_sweep({0.01: 2.0, 0.1: 4.0})), _break_even(_sweep({0.01: 0.2, 0.1: 0.4}))
    assert (never.verdict, never.value) == ("never", None)
    assert "never faster than dense in the range measured, density 0.01–0.1" in never.sentence
    assert (always.verdict, always.value) == ("always", None)


def test_a_curve_that_crosses_twice_is_not_given_one_density():
    found = _break_even(_sweep({0.01: 2.0, 0.1: 0.5, 0.5: 2.0}))
    assert found.verdict == "not_monotone"
    assert found.value is None
    assert len(found.crossings) == 2


def test_ratios_inside_the_noise_decide_nothing_about_a_break_even():
    """0.95 and 1.05 are ties at 10 % noise: without it the curve crosses twice more, with it never clearly."""
    curve = _sweep({0.01: 0.25, 0.1: 0.95, 0.2: 1.05, 0.4: 0.96})
    best = best_paths(frame(curve))
    (plain,) = break_even(best, comparisons(best))
    (noisy,) = break_even(best, comparisons(best), noise=0.1)
    assert plain.verdict == "not_monotone"
    assert (noisy.verdict, noisy.open_high) == ("crosses", True)
    assert noisy.low < 0.1
    (tied,) = break_even(
        best_paths(frame(_sweep({0.01: 0.95, 0.1: 0.99}))), _compared(*_sweep({0.01: 0.95, 0.1: 0.99})), 0.1
    )
    assert tied.verdict == "never"


def test_a_tie_up_to_the_end_of_the_range_is_called_one():
    curve = _sweep({0.01: 0.25, 0.16: 0.98})
    (found,) = break_even(best_paths(frame(curve)), _compared(*curve), noise=0.1)
    assert found.value is None
    assert "a tie with dense from there on" in found.sentence


def test_the_noise_floor_is_what_controls_differ_by_in_common_rounds():
    """A/A: 10 % in the middle of three rounds; cases that are no controls of each other do not count."""
    case = dense([9.0, 1.0, 1.0, 1.0], rounds=[0, 1, 2, 3])
    control = msgspec.structs.replace(dense([1.3, 1.1, 1.05], rounds=[1, 2, 3]), control=True)
    assert noise_floor([case, control]) == pytest.approx(0.1)
    assert noise_floor([case, idea([5.0], rounds=[1])]) is None
    assert summarise([case, control, idea([0.95], rounds=[1])]).noise == pytest.approx(0.1)
    assert summarise([case, control]).records == 1


def test_controls_count_that_were_in_all_rounds():
    """The median of two strays further than the median of three that rows report, and one fell behind after two."""

    def control(times, **facts):
        case = dense([1.0] * len(times), **facts)
        return [case, msgspec.structs.replace(dense(times, **facts), control=True)]

    whole, behind = control([1.01, 1.1, 1.02]), control([1.3, 1.3], formulation="nt")
    assert paired_floors([*whole, *behind]) == pytest.approx([1.02])
    assert noise_floor([*whole, *behind]) == pytest.approx(0.02)
    twice = control([1.03, 1.03, 1.03, 1.03], formulation="tn", rounds=[1, 2, 2, 3], groups=[1, 2, 4, 3])
    assert len(paired_floors([*whole, *twice])) == 2, "four groups in three rounds are no more rounds"
    many = control([1.04] * 9, formulation="tt")
    assert paired_floors([*whole, *many]) == pytest.approx([1.04]), "three rounds of nine are not all"
    five = control([1.05] * 5, formulation="t5")
    assert len(paired_floors([*five, *many])) == 2, "five are enough where some had more for their width"
    other = [msgspec.structs.replace(r, run="r2") for r in behind]
    assert len(paired_floors([*whole, *other])) == 2, "each run by its own rounds"


def test_times_that_are_not_pairs_have_the_noise_of_the_drift_between_groups():
    drifting = dense([1.0, 1.0, 1.2, 1.2])
    assert drift_floor([drifting, idea([3.0, 3.0, 3.0, 3.0])]) == pytest.approx(0.2)
    assert noise_floor([drifting]) is None
    assert drift_floor([dense([1.0, 1.2, 1.2])]) is None, "three groups have no halves"


def test_one_density_is_no_sweep():
    best = best_paths(frame(_sweep({0.1: 2.0})))
    assert break_even(best, comparisons(best)) == []


def test_sweeps_are_kept_apart_by_everything_but_density():
    records = _sweep({0.01: 0.25, 0.16: 4.0})
    records += [r for r in _sweep({0.01: 0.25, 0.16: 4.0}, backend="jax") if r.case.backend == "jax"]
    best = best_paths(frame(records))
    assert [item.backend for item in break_even(best, comparisons(best))] == ["numpy"], "jax has no twin here"


def _paid(*records):
    table = frame(records)
    best = best_paths(table)
    return amortisation(table, best, comparisons(best))


def test_compilation_is_paid_back_after_the_calls_worked_by_hand():
    """Eager 2 s a call; compiled 11 s, then 1 s: after 10 calls both have taken 20 s."""
    (item,) = _paid(
        record(processes=[2.0], first_call_s=2.0),
        record(processes=[1.0], first_call_s=11.0, execution="compiled", cache="cold"),
    )
    assert (item.kind, item.calls, item.extra_s, item.cache) == ("compile", 10, 9.0, "cold")


def test_compilation_that_gains_nothing_is_never_paid_back():
    (item,) = _paid(
        record(processes=[1.0], first_call_s=1.0), record(processes=[1.5], first_call_s=9.0, execution="graph")
    )
    assert item.calls is None


def test_conversion_is_paid_back_against_the_dense_twin():
    """3 s more of conversion, 1 s gained a call: three calls."""
    (item,) = _paid(idea([1.0], convert_s=4.0), dense([2.0], convert_s=1.0))
    assert (item.kind, item.calls, item.against) == ("convert", 3, "nn/eager")


def test_portability_counts_what_runs_and_says_why_the_rest_does_not():
    (numpy_, tf) = portability(
        best_paths(
            frame(
                [
                    idea([1.0]),
                    dense([1.0]),
                    idea([1.0], backend="tensorflow"),
                    idea(params={"m": 1}, backend="tensorflow", status="oom", reason="2 GiB"),
                    idea(mode="train_step", backend="tensorflow", status="unsupported", reason="no gradient"),
                    record("stream", backend="tensorflow", status="error"),
                ]
            )
        )
    )
    assert (numpy_.ok, numpy_.total, numpy_.missing) == (2, 2, [])
    assert (tf.ok, tf.total, tf.share) == (1, 2, 0.5)
    assert [(m.mode, m.points_ok, m.points, m.reason) for m in tf.missing] == [
        ("train_step", 0, 1, "no gradient"),
        ("forward", 1, 2, "2 GiB"),
    ]


def _ideas(backend, **times):
    out = [dense([1.0] * 3, backend=backend)]
    return out + [idea([t] * 3, workload=name, backend=backend) for name, t in times.items()]


def test_the_lottery_shift_is_how_far_an_idea_moves():
    records = [*_ideas("torch", a=0.5, b=1.0, c=2.0), *_ideas("jax", a=2.0, b=1.0, c=0.5, d=0.1)]
    best = best_paths(frame(records))
    shifts = {s.workload: s for s in lottery_shift(best, comparisons(best))}
    assert shifts["a"].ranks == {"jax cpu": 3, "torch cpu": 1}
    assert (shifts["a"].shift, shifts["b"].shift, shifts["c"].shift) == (2, 0, 2)
    assert shifts["d"].shift is None, "an idea that lacks a place has no rank"


def test_one_place_has_no_lottery():
    best = best_paths(frame(_ideas("torch", a=0.5, b=1.0)))
    assert lottery_shift(best, comparisons(best)) == []


def test_failures_that_differ_in_numbers_only_are_one_kind():
    oom = [
        idea(status="oom", reason=f"tried to take {k} GiB\nTraceback", failure_class="memory", backend=b)
        for k, b in ((2.5, "jax"), (31, "torch"))
    ]
    silent = idea(status="crash")
    kinds = explain_outcomes([*oom, silent, idea([1.0])])
    assert [(f.cases, f.status, f.reason) for f in kinds] == [
        (2, "oom", "tried to take 2.5 GiB"),
        (1, "crash", "no reason was recorded"),
    ]
    assert kinds[0].backends == ["jax", "torch"]
    assert kinds[0].failure_class == "memory"

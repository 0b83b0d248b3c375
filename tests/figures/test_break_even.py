"""Break-even against values worked by hand, and over made-up tables of which the true value is known."""

from __future__ import annotations

import math
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from _records import SHAPE, dense, idea, trial

from harness.figures.break_even import break_even, multiplies_zeros
from harness.figures.frame import frame
from harness.figures.summary import summarise
from harness.stats.intervals import SINGLE
from workloads.base import Axis
from workloads.discovery import workloads

REACH = 4.302652729911275 / math.sqrt(3)  # Student's t with two degrees of freedom
DENSITIES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)


def _at(density, processes, **facts):
    return idea(processes, params={**SHAPE, "density": density}, **facts)


def _alone(times_s, **facts):
    """As older records have it: each idea ran alone, once, and so did the twin, which then went on to groups."""
    out = [dense([1.0] * 4, rounds=[0, 1, 2, 3])]
    return out + [_at(density, [seconds], rounds=[0], **facts) for density, seconds in times_s.items()]


def _sweep(times_s, **facts):
    """Every value in three groups with its twin."""
    out = [dense([1.0] * 3)]
    for density, seconds in times_s.items():
        out.append(_at(density, seconds if isinstance(seconds, list) else [seconds] * 3, **facts))
    return out


def _in_group(record, *groups):
    """The record with more processes, of the sweep, in the groups (number, seconds)."""
    more = [(msgspec.structs.replace(trial(0), heat=heat), [seconds]) for heat, seconds in groups]
    time = record.time
    trials, samples = [*time.trials, *(t for t, _ in more)], [*time.samples_s, *(s for _, s in more)]
    return msgspec.structs.replace(record, time=msgspec.structs.replace(time, trials=trials, samples_s=samples))


def _found(records, noise=None):
    (found,) = break_even(frame(records), noise)
    return found


# -- one curve ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("one_run")
def test_break_even_by_log_log_interpolation():
    """T = 1/4 at δ = 0.01 and 4 at 0.16: half-way in log, δ = 0.04."""
    found = _found(_sweep({0.01: 0.25, 0.16: 4.0}))
    assert found.verdict == "crosses"
    assert found.value == pytest.approx(0.04)
    assert (found.low, found.high) == pytest.approx((0.04, 0.04))
    assert found.point == "k=8,m=8,n=4"
    assert [(p.value, p.path, p.time_ratio) for p in found.curve] == [(0.01, "csr/eager", 0.25), (0.16, "csr/eager", 4)]


@pytest.mark.usefixtures("one_run")
def test_the_interval_of_a_break_even_is_where_the_bounds_of_the_ratio_cross():
    """The upper bounds, 1/4 → 16, pass 1 a third of the way in log; the lower, 1/16 → 4, at two thirds."""
    r = 2 ** (1 / REACH)  # so that the intervals reach a factor of 2
    found = _found(_sweep({0.01: [0.125 / r, 0.125, 0.125 * r], 0.64: [8.0 / r, 8.0, 8.0 * r]}))
    assert found.value == pytest.approx(0.08)
    assert found.low == pytest.approx(0.01 * 64 ** (1 / 3))
    assert found.high == pytest.approx(0.01 * 64 ** (2 / 3))
    assert "below density 0.08 [0.04, 0.16]" in found.sentence


def test_break_even_that_never_or_always_happens_in_the_range_says_so():
    never, always = _found(_sweep({0.01: 2.0, 0.1: 4.0})), _found(_sweep({0.01: 0.2, 0.1: 0.4}))
    assert (never.verdict, never.value) == ("never", None)
    assert "never faster than dense in the range measured, density 0.01–0.1" in never.sentence
    assert (always.verdict, always.value) == ("always", None)


def test_a_curve_that_crosses_twice_is_not_given_one_density():
    for times in ({0.01: 2.0, 0.1: 0.5, 0.5: 2.0}, {0.01: 0.5, 0.1: 2.0, 0.5: 0.5}):
        found = _found(_sweep(times))
        assert (found.verdict, found.value) == ("not_monotone", None)
        assert len(found.crossings) == 2
        assert found.sentence.startswith("not monotone: crosses dense at density 0.")


def test_over_density_an_idea_that_is_faster_on_the_dense_side_is_not_monotone():
    assert _found(_sweep({0.01: 4.0, 0.16: 0.25})).verdict == "not_monotone"


@pytest.mark.usefixtures("one_run")
def test_of_several_crossings_inside_the_noise_the_first_from_the_sparse_side_is_given():
    """0.95, 1.05 and 0.96 are ties at 10 % noise: surely faster until 0.01, surely slower from 0.8 on."""
    times = {0.01: 0.25, 0.1: 0.95, 0.2: 1.05, 0.4: 0.96, 0.8: 2.0}
    assert _found(_sweep(times)).verdict == "not_monotone"
    found = _found(_sweep(times), 0.1)
    assert (found.verdict, len(found.crossings)) == ("crosses", 3)
    assert found.value == found.crossings[0]
    assert 0.01 < found.low < 0.1 < found.value < 0.2
    assert 0.4 < found.high < 0.8


def test_ties_up_to_an_end_of_the_range_leave_the_interval_open():
    found = _found(_sweep({0.01: 0.25, 0.16: 0.98}), 0.1)
    assert (found.value, found.open_low, found.open_high) == (None, False, True)
    assert found.sentence.startswith("faster than dense below density 0.1")
    assert found.sentence.endswith("a tie with dense from there on")
    found = _found(_sweep({0.01: 1.02, 0.16: 4.0}), 0.1)
    assert (found.verdict, found.value, found.open_low, found.open_high) == ("crosses", None, True, False)
    assert found.sentence.startswith("slower than dense above density 0.01")
    assert found.sentence.endswith("a tie with dense below it")
    found = _found(_sweep({0.01: 0.96, 0.1: 1.02, 0.16: 4.0}), 0.1)
    assert 0.01 < found.value < 0.1
    assert f"density {found.value:.2g} [<0.01, " in found.sentence


def test_of_ties_alone_nothing_is_said_but_that():
    wide = _found(_sweep({0.01: [0.5, 0.5, 2.0], 0.1: [0.5, 2.0, 2.0]}))
    near = _found(_sweep({0.01: 0.95, 0.1: 0.99}), 0.1)
    for found in (wide, near):
        assert (found.verdict, found.value) == ("tie", None)
        assert found.sentence == "a tie with dense in the range measured, density 0.01–0.1"


def test_one_density_is_no_sweep_and_sweeps_are_kept_apart_by_everything_else():
    assert break_even(frame(_sweep({0.1: 2.0}))) == []
    records = _sweep({0.01: 0.25, 0.16: 4.0})
    records += [r for r in _sweep({0.01: 0.25, 0.16: 4.0}, backend="jax") if r.case.backend == "jax"]
    assert [item.backend for item in break_even(frame(records))] == ["numpy"], "jax has no twin here"


# -- other axes --------------------------------------------------------------------------------------------------------


def _over_k(times):
    out = [dense([1.0] * 3)]
    return out + [idea([s] * 3, params={**SHAPE, "density": 0.1, "k": k}) for k, s in times.items()]


@pytest.fixture
def declared(monkeypatch):
    """The workload of the records declares `k` as the axis to break even on."""
    name = idea([1.0]).case.workload
    known = SimpleNamespace(axes={"k": Axis(break_even=True), "density": Axis(default=0.1)}, formulations={})
    monkeypatch.setattr("harness.figures.break_even.workloads", lambda: ({name: known}, ()))


@pytest.mark.usefixtures("declared", "one_run")
def test_any_axis_that_its_workload_declares_is_one_to_break_even_on():
    below, above = (_found(_over_k(times)) for times in ({10: 0.25, 160: 4.0}, {10: 4.0, 160: 0.25}))
    assert (below.axis, below.verdict, below.above) == ("k", "crosses", False)
    assert (above.axis, above.verdict, above.above) == ("k", "crosses", True)
    assert (below.value, above.value) == pytest.approx((40, 40))
    assert (above.range_low, above.range_high, above.crossings) == (10, 160, pytest.approx([40]))
    assert below.sentence.startswith("faster than dense below k 40 [40, 40]")
    assert above.sentence.startswith("faster than dense above k 40 [40, 40]")


@pytest.mark.usefixtures("declared")
def test_an_idea_that_is_faster_at_large_values_and_ties_at_an_end():
    open_high = _found(_over_k({10: 4.0, 160: 1.02}), 0.1)
    assert (open_high.above, open_high.value, open_high.open_low, open_high.open_high) == (True, None, False, True)
    assert open_high.sentence.startswith("slower than dense below k 1")
    assert "a tie with dense above it" in open_high.sentence
    below_too = _found(_over_k({10: 4.0, 40: 0.98, 160: 0.25}), 0.1)
    assert (below_too.verdict, below_too.above) == ("crosses", True)
    assert 10 < below_too.low < below_too.value < 40 < below_too.high < 160


@pytest.mark.usefixtures("declared")
def test_a_sweep_over_another_axis_than_the_declared_has_no_break_even():
    assert break_even(frame(_sweep({0.01: 0.25, 0.16: 4.0}))) == []


# -- which formulations ------------------------------------------------------------------------------------------------


def test_a_formulation_that_multiplies_the_zeros_is_left_out_of_the_curve():
    """The dense product itself would be the best path at 0.16, and T nowhere above 1."""
    dense_again = [_at(d, [s] * 3, formulation="masked_dense") for d, s in ((0.01, 1.01), (0.16, 0.99))]
    found = _found([*_sweep({0.01: 0.25, 0.16: 4.0}), *dense_again])
    assert found.value == pytest.approx(0.04)
    assert {point.path for point in found.curve} == {"csr/eager"}
    (row,) = summarise([*_sweep({0.16: 4.0}), dense_again[1]], all_points=True).rows
    assert row.path == "masked_dense/eager", "the table's best path is of all formulations"
    assert break_even(frame([dense([1.0] * 3), *dense_again])) == []


def test_whether_a_formulation_multiplies_zeros_is_what_its_workload_says():
    sparse = workloads()[0]["unstructured_sparse"]
    assert multiplies_zeros(sparse, "forward", "masked_dense") is True
    assert multiplies_zeros(sparse, "forward", "csr") is False
    assert multiplies_zeros(sparse, "forward", "no_more") is None
    assert multiplies_zeros(None, "forward", "csr") is None


def test_a_formulation_that_nobody_knows_any_more_counts_and_the_finding_says_so():
    found = _found(_sweep({0.01: 0.25, 0.16: 4.0}, formulation="no_more"))
    assert found.value == pytest.approx(0.04)
    assert found.unknown == ["no_more"]
    assert found.sentence.endswith(" (whether no_more skips the zeros is not known here)")
    assert _found(_sweep({0.01: 0.25, 0.16: 4.0}, workload="of_somebody")).unknown == ["csr"]


# -- how sure each value is --------------------------------------------------------------------------------------------


def test_ideas_that_ran_alone_are_held_against_their_twin_as_it_ran_alone():
    """In the groups, later, the machine is twice as slow: the twin takes 1 s alone and 2 s there."""
    records = _alone({0.01: 0.25, 0.16: 4.0})
    twin = dense([1.0, 2.0, 2.0, 2.0], rounds=[0, 1, 2, 3])
    found = _found([twin, *records[1:]], 0.01)
    assert found.value == pytest.approx(0.04)
    reach = 16 ** (math.log(1 + SINGLE) / math.log(16))
    assert (found.low, found.high) == pytest.approx((0.04 / reach, 0.04 * reach)), "30 % either way, not 1 %"


def test_a_swept_idea_is_held_against_its_twin_in_the_group_that_they_shared():
    """The twin took 2 s in the groups of the sweep, 1 s in the survey and in the rounds."""
    twin = _in_group(dense([1.0] * 4, rounds=[0, 1, 2, 3]), (7, 2.0), (8, 2.0))
    ideas = [_in_group(_at(d, [], rounds=[]), (heat, 2 * t)) for d, t, heat in ((0.01, 0.25, 7), (0.16, 4.0, 8))]
    found = _found([twin, *ideas])
    assert found.value == pytest.approx(0.04)
    reach = 16 ** (math.log(1 + SINGLE) / math.log(16))
    assert (found.low, found.high) == pytest.approx((0.04 / reach, 0.04 * reach))
    assert _found([twin, *ideas], noise=0.5).low < found.low, "of a run that is noisier than that, its noise"


@pytest.mark.usefixtures("one_run")
def test_several_groups_of_a_sweep_have_an_interval():
    twin = _in_group(dense([1.0] * 2, rounds=[0, 1]), *((heat, 1.0) for heat in range(7, 13)))
    r = 2 ** (1 / REACH)
    ideas = [
        _in_group(_at(d, [], rounds=[]), *((heat, t * f) for heat, f in zip(heats, (1 / r, 1, r), strict=True)))
        for d, t, heats in ((0.01, 0.125, (7, 8, 9)), (0.64, 8.0, (10, 11, 12)))
    ]
    found = _found([twin, *ideas])
    assert (found.low, found.high) == pytest.approx((0.01 * 64 ** (1 / 3), 0.01 * 64 ** (2 / 3)))


def test_a_group_with_another_path_of_the_twin_counts_by_how_the_two_paths_stand():
    """The sweep was run beside `nt`, which takes twice as long as what came out as the best, `nn`."""
    best = dense([1.0] * 4, rounds=[0, 1, 2, 3])
    other = _in_group(dense([2.0] * 3, rounds=[0, 1, 2], formulation="nt"), (7, 2.0), (8, 2.0))
    ideas = [_in_group(_at(d, [], rounds=[]), (heat, t)) for d, t, heat in ((0.01, 0.25, 7), (0.16, 4.0, 8))]
    found = _found([best, other, *ideas])
    assert found.value == pytest.approx(0.04)
    assert found.curve[0].high == pytest.approx(0.25 * (1 + SINGLE))


# -- simulated ---------------------------------------------------------------------------------------------------------


def _made_up(rng, *, grouped, sd, dense_again="masked_dense", **facts):
    """A sweep whose T is (δ/0.15)^0.8, with the dense product again at every value; `sd` is of the log of a time."""

    def noisy(seconds, n):
        return [seconds * math.exp(rng.normal(0, sd)) for _ in range(n)]

    twin = dense(noisy(1.0, 4), rounds=[0, 1, 2, 3], **facts)
    out = []
    for heat, density in enumerate(DENSITIES, 1):
        for name, true in (("csr", (density / 0.15) ** 0.8), (dense_again, 1.0)):
            of = {"formulation": name, **facts}
            if density == 0.1:
                out.append(_at(density, noisy(true, 4), rounds=[0, 1, 2, 3], **of))
            elif grouped:
                out.append(_in_group(_at(density, [], rounds=[], **of), (heat, *noisy(true, 1))))
            else:
                out.append(_at(density, noisy(true, 1), rounds=[0], **of))
        if grouped and density != 0.1:
            twin = _in_group(twin, (heat, *noisy(1.0, 1)))
    return [twin, *out]


def _many(n, **facts):
    """As many backends, each with a table of its own."""
    rng = np.random.default_rng(20)
    return break_even(frame([r for k in range(n) for r in _made_up(rng, backend=f"b{k}", **facts)]), 0.02)


@pytest.mark.parametrize(("grouped", "sd"), [(False, 0.08), (True, 0.03)])
def test_the_median_break_even_is_right_and_the_interval_holds_it(grouped, sd):
    """True 0.15: in 300 made-up runs the median is within 3 % of it, and 95 % of the intervals hold it."""
    found = _many(300, grouped=grouped, sd=sd)
    assert len(found) == 300
    assert np.median([f.value for f in found if f.value]) == pytest.approx(0.15, rel=0.03)
    holds = [f.verdict == "crosses" and (f.low or 0) <= 0.15 <= (f.high or 1) for f in found]
    assert sum(holds) >= 0.95 * len(found)
    assert sum(f.open_low or f.open_high or f.value is None for f in found) <= 0.05 * len(found)


def test_the_simulation_sees_what_the_dense_product_does_to_a_curve():
    """Under a name that nobody knows it stays on the curve: the crossing is a coin toss, and mostly open to one end."""
    found = _many(100, grouped=False, sd=0.08, dense_again="no_more")
    assert np.median([f.value for f in found if f.value]) > 1.1 * 0.15
    assert sum(f.open_high for f in found) > 90

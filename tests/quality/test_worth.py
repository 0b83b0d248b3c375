"""Steps, seconds and their intervals, by hand-worked values."""

from __future__ import annotations

import math

import msgspec
import pytest

from harness.quality.arrivals import ert, ert_interval, steps_of, steps_ratio, target_of
from harness.quality.costs import StepCost
from harness.quality.facts import EndToEnd, Training
from harness.quality.foretold import arrival_s, carried, run_interval
from harness.quality.worth import PUBLISHED, product, worths


def training(learner="dense_mlp", purpose="count", correct=(), target=170, steps=100, every=10):
    correct = [list(c) for c in correct]
    return Training(
        learner=learner,
        purpose=purpose,
        rate=0.1,
        seeds=list(range(len(correct))),
        steps=steps,
        every=every,
        target=target,
        correct=correct,
        test_correct=[500] * len(correct),
    )


def cost(workload="dense_mlp", time_s=1e-3, low=0.9e-3, high=1.1e-3, spread=0.05, processes=5, energy=2e-3):
    return StepCost(
        workload=workload, backend="numpy", formulation="by_hand", execution="eager", kept=None, time_s=time_s,
        time_low_s=low, time_high_s=high, processes=processes, spread=spread, energy_j=energy, energy_low_j=1e-3,
        energy_high_j=4e-3, energy_source="modelled",
    )  # fmt: skip


def test_the_target_is_the_median_of_the_best_of_each_run_as_whole_images():
    assert target_of(training(correct=[[1, 9, 5], [7, 3, 2], [8, 8, 8]])) == 8
    assert target_of(training(correct=[[9], [6], [8], [7]])) == 8  # 7.5 images is no count: the next whole one


def test_runs_that_never_arrive_count_with_all_that_they_took():
    assert ert([20, 40, None, None], 100) == (20 + 40 + 200) / 2
    assert ert([None, None], 100) is None


def test_the_mean_of_the_successes_is_not_what_is_published():
    steps = steps_of(training(correct=[[170], [0] * 10]))
    assert steps.arrived == [10, None]
    assert steps.reached == 1
    assert steps.steps == 110


def test_success_has_wilsons_interval():
    steps = steps_of(training(correct=[[170]] * 20))
    assert steps.success_low == pytest.approx(0.8389, abs=1e-3)
    assert steps.success_high == pytest.approx(1)


def test_the_interval_of_ert_is_unbounded_where_resamples_have_no_success():
    low, high = ert_interval([10, *[None] * 9], 100)
    assert low is not None
    assert high is None
    assert ert_interval([None] * 5, 100) == (None, None)
    assert ert_interval([30] * 5, 100) == (30, 30)


def test_a_target_was_reached_up_to_an_evaluation_before_it_was_seen():
    steps = steps_of(training(correct=[[0, 0, 170]] * 5))
    assert (steps.steps, steps.steps_low, steps.steps_high) == (30, 20, 30)


def test_held_is_apart_from_a_first_crossing():
    steps = steps_of(training(correct=[[170, 0, 170, 170, 170], [170, 0, *[0] * 8]]))
    assert steps.reached == 2
    assert steps.held == 1
    assert steps.steps == 10
    assert steps.held_steps == 30 + 100


def test_intervals_of_independent_factors_add_in_squares_on_logarithms():
    middle, low, high = product((10, 10 / math.exp(0.3), 10 * math.exp(0.3)), (2, 2 / math.exp(0.4), 2 * math.exp(0.4)))
    assert middle == 20
    assert math.log(high / middle) == pytest.approx(0.5)
    assert math.log(middle / low) == pytest.approx(0.5)
    assert product((10, 9, None), (2, 1, 3))[2] is None
    assert product((None, None, None), (2, 1, 3)) == (None, None, None)


def test_the_ratio_of_steps_needs_arrivals_on_both_sides():
    never = steps_of(training(correct=[[0] * 10] * 5))
    some = steps_of(training(correct=[[0, 170]] * 5))
    assert steps_ratio(never, some) == (None, None, None) == steps_ratio(some, never)
    assert steps_ratio(some, steps_of(training(correct=[[170]] * 5))) == (2, 2, 2)


def test_a_single_run_is_foretold_wider_than_the_expected_time():
    steps = steps_of(training(correct=[[0] * k + [170] for k in (1, 2, 3, 4, 5, 6)]))
    low, high = run_interval(steps, cost(), None)
    mean, _, sure = product((steps.steps, steps.steps_low, steps.steps_high), (1e-3, 0.9e-3, 1.1e-3))
    assert low < 20e-3
    assert high > 70e-3
    assert high > sure > mean
    assert run_interval(steps, cost(processes=1, spread=None), None) is None
    assert run_interval(steps_of(training(correct=[[170], [170]])), cost(), None) is None


def end(chunks, correct, seed=7, **more):
    return EndToEnd(
        learner="dense_mlp", backend="numpy", formulation="by_hand", execution="eager", seed=seed, rate=0.1, every=10,
        target=170, status="ok", chunks_s=chunks, correct=correct, **more,
    )  # fmt: skip


def test_an_end_to_end_run_takes_what_its_chunks_took_until_the_target_was_seen():
    assert arrival_s(end([1.0, 2.0, 4.0], [0, 170])) == 3
    assert arrival_s(end([1.0, 2.0], [0, 0])) is None


def test_what_carrying_on_adds_is_foretold_by_the_others_alone():
    costs = {
        (name, "numpy"): cost(name) for name in ("dense_mlp", "local_update", "forward_forward", "sparse_training")
    }
    runs = [
        msgspec.structs.replace(end([10e-3 * times] * 2, [0, 170], seed=seed), learner=name)
        for (name, _), times in zip(costs, (50, 2, 2, 2), strict=True)
        for seed in (1, 2)
    ]
    beside = carried(runs, costs, ("dense_mlp", "numpy"))
    assert beside == (pytest.approx(math.log(2)), pytest.approx(0), 3)
    assert carried(runs[2:], costs, ("local_update", "numpy")) is None
    wider = carried(runs, costs, ("local_update", "numpy"))
    assert wider.mean > math.log(2)
    assert wider.spread > 1
    steps = steps_of(training(correct=[[0] * k + [170] for k in (1, 2, 3, 4, 5, 6)]))
    apart = cost(processes=1, spread=None)
    low, high = run_interval(steps, apart, beside)
    one_low, one_high = run_interval(steps, apart, beside._replace(mean=0.0))
    assert (low, high) == (pytest.approx(2 * one_low), pytest.approx(2 * one_high))
    assert run_interval(steps, apart, wider)[1] > 2 * high


def test_end_to_end_runs_are_held_to_what_was_foretold():
    twin = training(correct=[[0] * k + [170] for k in (1, 2, 2, 3, 3, 4)])
    facts = {f.key: f for f in (training(purpose="target", correct=[[170]]), twin)}
    inside, outside = end([0.01] * 3, [0, 0, 170], counted=3), end([9.0], [170], seed=8, counted=1)
    late, never = end([0.01], [0], seed=9, counted=1), end([0.01], [0], seed=10)
    facts |= {f.key: f for f in (inside, outside, late, never)}
    (row,) = worths(facts, {("dense_mlp", "numpy"): cost()})
    assert (row.end_to_end, row.foretold, row.inside, row.never, row.alike) == (4, 3, 1, 2, 3)
    assert row.energy_j == pytest.approx(row.steps * 2e-3)
    assert row.energy_low_j < row.energy_j < row.energy_high_j
    assert row.seconds_low < row.seconds < row.seconds_high
    assert row.steps_ratio == 1


def test_an_idea_that_never_arrives_has_no_time_and_no_energy():
    facts = {
        f.key: f
        for f in (
            training(purpose="target", correct=[[170]]),
            training(correct=[[0, 170]] * 4),
            training("forward_forward", correct=[[0] * 10] * 4),
        )
    }
    costs = {(n, "numpy"): cost(n) for n in ("dense_mlp", "forward_forward")}
    row = next(r for r in worths(facts, costs) if r.idea == "forward_forward")
    assert row.reached == 0
    assert row.seconds is row.energy_j is row.time_ratio is row.steps is None
    assert row.success_high < 0.5


def test_what_json_has_is_what_was_agreed():
    assert PUBLISHED == (
        "idea", "baseline", "backend", "target", "seeds", "reached", "success_low", "success_high", "steps", "seconds",
        "seconds_low", "seconds_high", "energy_j", "energy_source",
    )  # fmt: skip

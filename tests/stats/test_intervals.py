"""Intervals and verdicts against values worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from _records import idea, timing

from harness.figures.frame import frame
from harness.stats.intervals import (
    FEWEST,
    RUN_SD,
    across_runs,
    few_interval,
    freedom,
    median_interval,
    median_intervals,
    pooled_intervals,
    verdict,
)
from harness.stats.process_times import counted


@pytest.mark.parametrize("n", [3, 4, 6, 7, 10])
def test_the_interval_is_what_resampling_converges_to(n):
    """The ideal bootstrap agrees with drawing 200 000 resamples."""
    rng = np.random.default_rng(n)
    x = rng.lognormal(size=n)
    drawn = np.median(rng.choice(x, (200_000, n)), axis=1)
    low, high = (float(v[0]) for v in median_interval(x[None]))
    assert (drawn < low).mean() <= 0.03
    assert (drawn <= low).mean() >= 0.022
    assert (drawn > high).mean() <= 0.03
    assert (drawn >= high).mean() >= 0.022


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_the_interval_of_few_processes_is_their_range(n):
    low, high = median_interval(np.array([[float(k) for k in range(n, 0, -1)]]))
    assert (low[0], high[0]) == (1, n)


def test_intervals_of_many_values_are_narrow_and_those_of_one_unknown():
    low, high = median_intervals([[1.0], list(range(500)), []])
    assert math.isnan(low[0])
    assert math.isnan(high[2])
    assert 220 < low[1] < 250 < high[1] < 280


def test_an_interval_of_one_value_is_refused():
    with pytest.raises(ValueError, match="at least 2 values"):
        median_interval(np.ones((1, 1)))


def test_verdicts():
    nan = math.nan
    assert verdict(0.5, 0.4, 0.6, None) == "faster"
    assert verdict(2.0, 1.9, 2.1, None) == "slower"
    assert verdict(0.95, 0.9, 1.1, None) == "tie"
    assert verdict(0.95, 0.94, 0.96, 0.1) == "tie"
    assert verdict(0.5, nan, nan, None) is None, "one process alone settles nothing"
    assert verdict(0.5, nan, nan, 0.1) == "faster"
    assert verdict(0.8, nan, nan, 0.02) == "tie", "the noise of pairs says nothing of single processes"
    assert verdict(0.8, 0.79, 0.81, 0.02) == "faster"
    assert verdict(nan, nan, nan, 0.1) is None


def test_the_surveys_own_time_does_not_count_where_a_case_went_on():
    """It was chosen for being small; in the rounds it is what it is."""
    survey, went_on = timing([[1.0, 1.2]], rounds=[0]), timing([[1.0], [2.0], [3.0]], rounds=[0, 1, 2])
    assert counted(survey) == [(0, [1.0, 1.2])]
    assert counted(went_on) == [(1, [2.0]), (2, [3.0])]
    assert frame([idea([1.0, 2.0, 3.0], rounds=[0, 1, 2])]).iloc[0]["time_s"] == 2.5


def test_two_ratios_take_the_spread_of_all_pairs_of_their_run():
    """Other runs, equal values and many values change nothing of a run's pool."""
    wide, two = [1.0, 1.2, 0.9, 1.1], [2.0, 2.1]
    many = [1.0, 9.0] * 12
    (low, high) = pooled_intervals([wide, two, [5.0, 5.0, 5.0], many, [1.0], [0.1, 10.0]], [*"aaaaa", "b"])
    plain = median_intervals([wide, two, [5.0, 5.0, 5.0], many, [1.0], [0.1, 10.0]])
    logs = [np.log(wide) - np.log(wide).mean(), np.log(two) - np.log(two).mean()]
    variance = sum(float(each @ each) for each in logs) / 4
    half = 2.776445 * math.sqrt(variance / 2)  # Student's t of 3 + 1 freedoms
    assert (low[1], high[1]) == pytest.approx((math.sqrt(4.2) * math.exp(-half), math.sqrt(4.2) * math.exp(half)))
    for k in (0, 2, 3, 4, 5):
        assert (low[k], high[k]) == pytest.approx((plain[0][k], plain[1][k]), nan_ok=True)


@pytest.mark.parametrize("spread", [0.02, 0.2])
def test_the_pooled_interval_of_two_holds_what_it_should(spread):
    """Simulated with a seed: 200 tables of 20 rows; 95 % asked of it."""
    rng = np.random.default_rng(7)
    held = []
    for _ in range(200):
        rows = [list(np.exp(rng.normal(0, spread, n))) for n in [2] * 4 + [4] * 16]
        low, high = pooled_intervals(rows, ["a"] * 20)
        held += [low[k] <= 1 <= high[k] for k in range(4)]
    assert 0.93 <= np.mean(held) <= 0.97


@pytest.mark.parametrize(("within", "groups"), [(0.0, 3), (0.005, 3), (0.02, 3), (0.02, 5), (0.1, 5)])
def test_an_interval_speaks_of_other_runs_too(within, groups):
    """Of two runs of one code that share nothing but the truth, intervals leave out the other's estimate seldom."""
    rng = np.random.default_rng(7)
    outside = []
    for _ in range(600):
        logs = [rng.normal(0, RUN_SD * np.sqrt(2)) + rng.normal(0, within, groups) for _ in range(2)]
        mine, other = np.exp(logs[0]), float(np.exp(np.median(logs[1])))
        ratio = float(np.median(mine))
        (low,), (high,) = median_intervals([mine.tolist()])
        low, high = across_runs(ratio, float(low), float(high))
        assert low <= ratio <= high
        outside.append(not low <= other <= high)
    assert np.mean(outside) < 0.19, "of exact intervals of known spread it is 16.6 %"


def test_what_has_no_interval_gets_none_from_other_runs():
    assert np.isnan(across_runs(2.0, float("nan"), float("nan"))).all()


@pytest.mark.parametrize("groups", [10, 12, 19])
@pytest.mark.parametrize("disturbed", [0.0, 0.15])
def test_from_ten_values_disturbed_processes_widen_no_interval_and_it_still_holds(groups, disturbed):
    rng = np.random.default_rng(11)

    def drawn(share):
        logs = rng.normal(0, 0.01, (4000, groups)) + (rng.random((4000, groups)) < share) * rng.normal(0, 0.1)
        low, high = few_interval(np.exp(logs))
        return np.mean((low <= 1) & (high >= 1)), np.median(np.log(high / low))

    holds, width = drawn(disturbed)
    assert 0.93 <= holds <= 0.97
    assert width < 1.7 * drawn(0.0)[1]
    assert freedom(groups) == groups - 1 - 2 * (groups // 5)


@pytest.mark.parametrize("n", range(2, FEWEST))
def test_an_interval_of_few_holds_their_median_however_lopsided_they_are(n):
    """Of two heaps of nearly equal size the mean lies apart from the median, which lies between two unlike values."""
    heaps = [[0.0] * k + [0.02] + [1.0] * (n - k - 1) for k in range(n)]
    values = np.exp(np.array(heaps + [[-x for x in reversed(row)] for row in heaps]))
    low, high = few_interval(values)
    middle = np.median(values, axis=1)
    assert (low <= middle).all()
    assert (middle <= high).all()

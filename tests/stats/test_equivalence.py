"""Whether two ratios are the same: intervals worked by hand, three verdicts, and how often each of them is wrong."""

from __future__ import annotations

from math import exp, log

import numpy as np
import pytest

from harness.stats.equivalence import MARGIN, RatioChange, ratio_change, sameness, span
from harness.stats.intervals import few_interval


def test_the_interval_of_a_ratio_of_ratios_is_the_root_of_the_squares_to_each_side():
    found = ratio_change(2.0, (2.0 * exp(-0.3), 2.0 * exp(0.4)), 3.0, (3.0 * exp(-0.4), 3.0 * exp(0.3)))
    assert found.ratio == pytest.approx(1.5)
    luck = 1.959964 * 0.02 * 2**0.5  # of two cases in two runs
    assert found.low == pytest.approx(1.5 * exp(-((0.4**2 + 0.4**2 + luck**2) ** 0.5)))
    assert found.high == pytest.approx(1.5 * exp((0.3**2 + 0.3**2 + luck**2) ** 0.5))


def test_noise_widens_what_an_interval_says_and_never_the_margin():
    assert span(2.0, 1.9, 2.1, 0.0) == (1.9, 2.1)
    assert span(2.0, 1.9, 2.1, 0.5) == (2.0 / 1.5, 3.0)
    assert span(None, None, None, 0.1) is None
    assert span(2.0, None, None, None) is None


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.95, 1.05, "reproduced"),
        (1 / 1.2, 1.2, "reproduced"),
        (1.1, 1.25, "cannot tell"),
        (0.5, 2.0, "cannot tell"),
        (1.21, 1.4, "not reproduced"),
        (0.4, 0.8, "not reproduced"),
    ],
)
def test_a_verdict_needs_the_whole_interval_on_one_side_of_the_margin(low, high, verdict):
    assert sameness(RatioChange(1.0, low, high), 0.2) == verdict


@pytest.mark.parametrize(("shift", "wrong"), [(log(1 + MARGIN), "reproduced"), (0.0, "not reproduced")])
@pytest.mark.parametrize(("rounds", "again"), [(3, 5), (5, 5), (8, 5)])
def test_a_verdict_is_wrong_in_few_of_a_thousand_pairs_of_runs(shift, wrong, rounds, again):
    """Lognormal ratios of rounds with a spread of 4 %, and of runs with 2 %: at the edge 2.5 % may be wrong."""
    rng = np.random.default_rng(7)
    n = 2000
    sides = [
        np.exp(mean + rng.normal(0, 0.02, (n, 1)) + rng.normal(0, 0.04, (n, count)))
        for mean, count in ((0.0, rounds), (shift, again))
    ]
    values = [np.median(side, axis=1) for side in sides]
    bounds = [few_interval(side) for side in sides]
    verdicts = [
        sameness(
            ratio_change(
                values[0][k], (bounds[0][0][k], bounds[0][1][k]), values[1][k], (bounds[1][0][k], bounds[1][1][k])
            )
        )
        for k in range(n)
    ]
    assert verdicts.count(wrong) / n < 0.035
    if not shift and min(rounds, again) >= 5:
        assert verdicts.count("reproduced") / n > 0.9

"""What a table can find and what it finds by chance, held against drawn runs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness.stats.intervals import few_interval
from harness.stats.power import detectable, false_call, family_error

SPREAD = 0.024  # of the ratio in one group, as on a busy host


def _called(ratios, floor):
    """Which rows of ratios are called different: the interval leaves out 1, and the median is beyond the floor."""
    low, high = few_interval(ratios)
    return ((low > 1) | (high < 1)) & (np.abs(np.log(np.median(ratios, axis=1))) > floor)


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.05])
@pytest.mark.parametrize("groups", [3, 5, 10])
def test_the_difference_that_is_said_to_be_found_is_found_in_four_of_five_runs(groups, noise):
    rng = np.random.default_rng(groups)
    low, high = few_interval(np.exp(rng.normal(0, SPREAD, (20_000, groups))))
    half = math.sqrt(np.mean((np.log(high / low) / 2) ** 2))
    least = detectable(math.exp(-half), math.exp(half), groups, noise)
    runs = np.exp(rng.normal(math.log1p(least), SPREAD, (20_000, groups)))
    assert 0.73 < _called(runs, math.log1p(noise)).mean() < 0.84


def test_a_wider_interval_and_a_higher_floor_find_less():
    assert detectable(0.9, 1.1, 3, None) < detectable(0.8, 1.25, 3, None)
    assert detectable(0.9, 1.1, 5, 0.5) > 0.5
    assert detectable(1.0, 1.0, 5, 0.1) == pytest.approx(0.1)


@pytest.mark.parametrize(("groups", "controls"), [(3, 8), (5, 8), (5, 30), (10, 5)])
def test_a_row_without_a_difference_is_called_as_often_as_is_said(groups, controls):
    rng = np.random.default_rng(controls)
    rows = np.exp(rng.normal(0, SPREAD, (20_000, groups)))
    medians = np.abs(np.median(rng.normal(0, SPREAD, (20_000, controls, groups)), axis=2))
    floor = np.quantile(medians, 0.95, axis=1, method="higher")
    assert _called(rows, floor).mean() == pytest.approx(false_call(groups, controls), rel=0.2)


def test_without_controls_a_row_is_called_at_the_confidence_and_a_table_more_often():
    assert false_call(5, 0) == pytest.approx(0.05, abs=1e-4)
    assert family_error([5] * 20, 0) == pytest.approx(1 - 0.95**20, abs=1e-3)
    assert family_error([], 8) == 0
    assert family_error([3] * 27, 8) < family_error([3] * 54, 8) < 1

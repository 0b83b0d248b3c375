"""Whether windows are level, by their slices."""

from __future__ import annotations

import math
from math import nan

import numpy as np
import pytest
from scipy import stats

from harness.stats.trend import LEAST_SLICES, level, mann_kendall


def _noise(seed, n=20, sd=0.05):
    return np.exp(sd * np.random.default_rng(seed).standard_normal(n))


def test_the_test_is_that_of_mann_and_kendall_and_the_slope_that_of_theil_and_sen():
    x = _noise(3) + np.linspace(0, 0.1, 20)
    p, drift = mann_kendall(x)
    s = abs(stats.kendalltau(np.arange(20), x).statistic) * 190
    assert p == pytest.approx(2 * stats.norm.sf((s - 1) / math.sqrt(950)))
    assert drift == pytest.approx(stats.theilslopes(x, np.arange(20)).slope * 20 / np.median(x))


def test_a_trend_is_marked_and_a_small_one_is_not():
    assert level([np.linspace(1, 1.2, 20)]) is False
    assert level([np.linspace(1.2, 1, 20)]) is False
    assert level([np.linspace(1, 1.04, 20)]) is True
    assert level([_noise(1)]) is True


def test_too_few_slices_say_nothing():
    rising = list(np.linspace(1, 2, LEAST_SLICES - 1))
    assert level([]) is None
    assert level([rising, [*rising, nan]]) is None, "an unknown slice is none"
    assert level([[*rising, 3.0], rising]) is False


def test_rows_without_a_trend_are_marked_as_rarely_as_is_said():
    """2 000 rows of three windows, their slices of a spread of 5 %: at most 1 % is marked, 93 % of a trend of 20 %."""
    draws = np.exp(0.05 * np.random.default_rng(0).standard_normal((2000, 3, 20)))
    assert sum(level(row) is False for row in draws) <= 20
    trends = draws * np.linspace(0.9, 1.1, 20)
    assert sum(level(row) is False for row in trends) > 1860

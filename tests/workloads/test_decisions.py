"""Thresholds stand where rounding cannot reach, and near ties are named."""

from __future__ import annotations

import numpy as np
import pytest

from workloads.common.decisions import largest, near_ties, widest_gap


def test_the_threshold_stands_in_the_widest_gap_near_the_count():
    values = np.array([9.0, 8.0, 7.9, 5.0, 4.9, 1.0])
    assert widest_gap(values, 2) == (pytest.approx(7.95), 2)
    assert widest_gap(values, 2, around=1) == (pytest.approx((7.9 + 5) / 2), 3)
    assert widest_gap(values, 4, around=9) == (pytest.approx((4.9 + 1) / 2), 5)


def test_a_threshold_needs_values_on_both_sides():
    with pytest.raises(ValueError, match="has values on one side only"):
        widest_gap(np.array([1.0]), 1)


def test_near_ties_are_those_that_rounding_may_decide():
    values = np.array([[4.0, -2.0 - 1e-6], [2.0, 1.0]])
    assert near_ties(values, 2).tolist() == [[False, True], [True, False]]
    assert not near_ties(values, 1).any()
    assert not near_ties(values, 4).any()


def test_the_largest_are_by_magnitude_and_of_equal_ones_the_first():
    assert largest(np.array([1.0, -3.0, 3.0, 2.0]), 2).tolist() == [False, True, True, False]
    assert largest(np.array([1.0, 1.0, 1.0]), 2).tolist() == [True, True, False]

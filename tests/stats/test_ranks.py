"""Rank intervals, by hand and over many made-up tables."""

from __future__ import annotations

import numpy as np
import pytest

from harness.stats.intervals import median_intervals
from harness.stats.ranks import RankInterval, gap, rank_intervals


def _ends(*args, **options):
    return [(rank.low, rank.high) for rank in rank_intervals(*args, **options)]


def test_a_rank_goes_from_who_is_surely_better_to_who_is_surely_worse():
    """3 and 2.9 cannot be told apart, and both are surely better than 1."""
    assert _ends([3.0, 2.9, 1.0], [(2.5, 3.5), (2.4, 3.4), (0.9, 1.1)]) == [(1, 2), (1, 2), (3, 3)]
    assert _ends([1.0, 3.0, 2.9], [(0.9, 1.1), (2.95, 3.5), (2.4, 2.94)]) == [(3, 3), (1, 1), (2, 2)]
    assert _ends([], []) == []


def test_an_unsure_leader_hides_nothing_of_the_others():
    """The first may have any rank; the other two are in order all the same."""
    assert _ends([3.06, 1.29, 1.0], [(0.5, 5.5), (1.25, 1.33), (0.98, 1.02)]) == [(1, 3), (1, 2), (2, 3)]


def test_a_difference_inside_the_noise_decides_nothing():
    exact = [(v, v) for v in (1.0, 0.95, 0.9, 0.5)]
    assert _ends([1.0, 0.95, 0.9, 0.5], exact, noise=0.1) == [(1, 2), (1, 3), (2, 3), (4, 4)]
    assert _ends([1.0, 0.95], exact[:2], noise=None) == [(1, 1), (2, 2)]
    assert _ends([1.0, 1.0], [(1.0, 1.0)] * 2) == [(1, 2), (1, 2)]


def test_an_entry_without_an_interval_is_as_unsure_as_single_processes_are():
    assert _ends([1.25, 1.0], [(1.24, 1.26), None]) == [(1, 2), (1, 2)]
    assert _ends([1.35, 1.0], [(1.34, 1.36), None]) == [(1, 1), (2, 2)]
    assert _ends([1.6, 1.0], [None, None]) == [(1, 2), (1, 2)]
    assert _ends([1.8, 1.0], [None, None]) == [(1, 1), (2, 2)]


def test_a_gap_is_what_lies_between_two_intervals():
    assert gap(RankInterval(1, 2), RankInterval(4, 6)) == gap(RankInterval(4, 6), RankInterval(1, 2)) == 2
    assert gap(RankInterval(1, 3), RankInterval(3, 6)) == 0
    assert (str(RankInterval(2, 2)), str(RankInterval(2, 4))) == ("2", "2–4")


@pytest.mark.parametrize("true", [(3.1, 2.4, 1.29, 1.28, 1.22, 1.0, 0.77, 0.72, 0.1), (1.0,) * 9])
@pytest.mark.parametrize("sd", [0.016, 0.04])
def test_frameworks_that_are_identical_have_no_shift(true, sd):
    """Nine ideas, three frameworks, three groups of standard deviation `sd`: a gap in at most 5 % of 1000 tables."""
    rng = np.random.default_rng(7)
    found = 0
    for _ in range(1000):
        ranks = []
        for _ in range(3):
            groups = np.array(true)[:, None] * rng.lognormal(0, sd, (len(true), 3))
            low, high = median_intervals(groups.tolist())
            ranks.append(rank_intervals(list(np.median(groups, axis=1)), list(zip(low, high, strict=True))))
        found += any(
            gap(a, b)
            for k in range(len(true))
            for i, a in enumerate(r[k] for r in ranks)
            for b in [r[k] for r in ranks[i + 1 :]]
        )
    assert found <= 50


def test_a_framework_in_which_an_idea_is_another_is_seen():
    """The best of three in one place, the last in the other: a shift of two in nearly all of 200 tables."""
    rng = np.random.default_rng(7)
    seen = 0
    for _ in range(200):
        ranks = []
        for true in ((2.0, 1.0, 0.5), (0.3, 1.0, 0.5)):
            groups = np.array(true)[:, None] * rng.lognormal(0, 0.04, (3, 3))
            low, high = median_intervals(groups.tolist())
            ranks.append(rank_intervals(list(np.median(groups, axis=1)), list(zip(low, high, strict=True)))[0])
        seen += gap(*ranks) == 2
    assert seen >= 180

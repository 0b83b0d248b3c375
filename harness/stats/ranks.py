"""Which ranks the measurements allow an entry to have: an interval, since what cannot be told apart has no order."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from math import sqrt

import msgspec

from harness.stats.intervals import SINGLE


class RankInterval(msgspec.Struct, frozen=True, order=True):
    """The ranks, 1 being the best, that an entry may have: from 1 + how many are surely better to n − surely worse."""

    low: int
    high: int

    def __str__(self) -> str:
        return f"{self.low}" if self.low == self.high else f"{self.low}–{self.high}"


def rank_intervals(
    values: Sequence[float], intervals: Sequence[tuple[float, float] | None], noise: float | None = None
) -> list[RankInterval]:
    """The rank interval of every value among all of them, the largest being the best; all are positive.

    One entry is surely better than another where their intervals are disjoint and the two differ by more than `noise`,
    the A/A noise as a share. An entry without an interval is as unsure as single processes are, by `SINGLE` either way.
    Each comparison is made on its own, so that an entry with a wide interval hides nothing of the others (Mogstad,
    Romano, Shaikh and Wilhelm 2024, "Inference for Ranks", make rank intervals of pairwise comparisons the same way).
    """
    spans = [_span(value, interval, noise or 0.0) for value, interval in zip(values, intervals, strict=True)]
    lows, highs = sorted(low for low, _ in spans), sorted(high for _, high in spans)
    n = len(spans)
    return [RankInterval(1 + n - bisect_right(lows, high), n - bisect_left(highs, low)) for low, high in spans]


def _span(value: float, interval: tuple[float, float] | None, noise: float) -> tuple[float, float]:
    """Half of the noise is each side's own, so that two spans are disjoint only beyond the whole of it."""
    low, high = (value / (1 + SINGLE), value * (1 + SINGLE)) if interval is None else interval
    half = sqrt(1 + noise)
    return min(low, value / half), max(high, value * half)


def gap(first: RankInterval, second: RankInterval) -> int:
    """By how many ranks two intervals are apart at least; 0 where they overlap."""
    return max(0, second.low - first.high, first.low - second.high)

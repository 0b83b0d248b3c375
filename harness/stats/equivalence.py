"""Whether two runs found the same ratio: how they differ, with an interval, and whether within a stated margin."""

from __future__ import annotations

from math import exp, hypot, log, log1p
from typing import Literal, NamedTuple

from scipy.special import ndtri

from harness.stats.changes import prior
from harness.stats.intervals import CONFIDENCE

Span = tuple[float, float]
Sameness = Literal["reproduced", "not reproduced", "cannot tell"]

MARGIN = 0.2  # two ratios that differ by no more than this factor less 1 are the same for whoever chooses by them

_NORMAL = float(ndtri((1 + CONFIDENCE) / 2))


class RatioChange(NamedTuple):
    """One ratio over another of another run, with its 95 % interval."""

    ratio: float
    low: float
    high: float


def span(value: float | None, low: float | None, high: float | None, noise: float | None) -> Span | None:
    """Where the true figure may lie: the interval, and no closer than the A/A noise allows; None if neither is known.

    Two figures are of two runs, and each of them is as unsure as its own run's noise.
    """
    if value is None or not value > 0:
        return None
    margins = [(low, high)] if low is not None and high is not None and low > 0 else []
    margins += [(value / (1 + noise), value * (1 + noise))] if noise is not None else []
    return (min(m[0] for m in margins), max(m[1] for m in margins)) if margins else None


def ratio_change(was: float, within: Span, now: float, now_within: Span) -> RatioChange:
    """`now` over `was`, two positive ratios of independent runs, each with the span in which it may lie.

    The interval is the MOVER of Zou and Donner (2008, "Construction of confidence limits about effect measures: a
    general approach", Statistics in Medicine 27:10) on logarithms: the distance to either end is the root of the sum of
    the squares of the distances that the two spans allow to that side, which needs no more than the spans themselves.
    To these comes the luck that all rounds of a run share and no interval within it shows (`harness.stats.changes`).
    """
    a, b = (tuple(log(x) for x in (low, value, high)) for value, (low, high) in ((was, within), (now, now_within)))
    moved = b[1] - a[1]
    luck = _NORMAL * prior(cases=2).sd
    down = hypot(b[1] - b[0], a[2] - a[1], luck)
    up = hypot(b[2] - b[1], a[1] - a[0], luck)
    return RatioChange(exp(moved), exp(moved - down), exp(moved + up))


def sameness(change: RatioChange, margin: float = MARGIN) -> Sameness:
    """Reproduced where the whole interval lies within the margin, not reproduced where all of it lies outside.

    Two one-sided tests (Schuirmann 1987, "A comparison of the two one-sided tests procedure", Journal of
    Pharmacokinetics and Biopharmaceutics 15), each at 2.5 % for a 95 % interval: two ratios that differ by the margin
    are called either with 2.5 % at most. Whatever lies across the edge needs more rounds, or a quieter machine.
    """
    edge = log1p(margin)
    low, high = log(change.low), log(change.high)
    if -edge <= low and high <= edge:
        return "reproduced"
    return "not reproduced" if low > edge or high < -edge else "cannot tell"

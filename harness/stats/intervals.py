"""How sure a median is, and what a ratio with its interval says."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from math import exp, hypot, log, nan, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import bdtrc, ndtri, stdtrit

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]

CONFIDENCE = 0.95
FEWEST = 20  # values from which the bootstrap bounds their median: of seven it holds 87.5 %, of six 94 %
# What a case's time differs by between runs of one code on one machine, beside the spread of its processes: 1.4 %, by
# what all processes of a run share, such as the clock that the processor held then, its neighbours, a layout of memory.
# One run cannot tell it by itself; repeated runs do (`tools/chain.py`), 1 % on one kind of host and 2 % on another.
RUN_SD = 0.02 / sqrt(2)
SINGLE = 0.3  # what two single processes differ by on a busy machine, as a share: no interval says how much
TRIMMED = 10  # values from which a fifth is left out at either end
_EXACT_PAIRS = 200  # past this many values the two middle ones of an even number are taken as one
_CHUNK = 4_000_000  # candidate values held at once
_NORMAL = float(ndtri((1 + CONFIDENCE) / 2))


@cache
def _distribution(n: int) -> tuple[Ints, Ints, Floats]:
    """The bootstrap distribution of the median of n sorted values: (x[i] + x[j]) / 2 has this weight.

    This is the ideal bootstrap (Efron 1979, section 3; Maritz & Jarrett 1978): what resampling converges to, without
    drawing. An odd sample's median is one order statistic, P(median ≤ x(k)) = P(Bin(n, k/n) ≥ (n + 1)/2). An even
    one's, n = 2m, is the mean of the m-th and the next; for i < j exactly m draws lie at or below x(i) and m at or
    above x(j), so that P(X(m) ≤ x(i), X(m+1) ≥ x(j)) = C(2m, m) (i/n)^m ((n − j + 1)/n)^m.
    """
    k = np.arange(n + 1)
    if n % 2 or n > _EXACT_PAIRS:
        weights = np.diff(bdtrc(n // 2, n, k / n))
        return np.arange(n), np.arange(n), weights
    m = n // 2
    steps = np.diff((k / n) ** m)  # of (i/n)^m at i = 1…n
    both = _central_binomial(m) * np.outer(steps, steps[::-1])
    i, j = np.triu_indices(n, 1)
    off = both[i, j]
    lower = np.diff(bdtrc(m - 1, n, k / n))  # P(X(m) = x(i))
    same = lower - np.bincount(i, weights=off, minlength=n)
    order = np.arange(n)
    return np.concatenate([order, i]), np.concatenate([order, j]), np.concatenate([same, off])


def _central_binomial(m: int) -> float:
    value = 1.0
    for k in range(1, m + 1):
        value *= (m + k) / k
    return value


def median_interval(values: Floats, confidence: float = CONFIDENCE) -> tuple[Floats, Floats]:
    """Percentile bootstrap interval of the median of every row of `values` (rows, n), n ≥ 2: two arrays (rows,).

    Nothing is drawn, so the same values always give the same interval. Up to five values the 95 % interval is their
    range, which holds the true median with probability 1 − 2^(1−n) only: 50 % for two, 75 % for three, 94 % for five.
    """
    rows, n = values.shape
    if n < 2:
        raise ValueError(f"an interval needs at least 2 values a row, found {n}")
    x = np.sort(values, axis=1)
    i, j, weights = _distribution(n)
    tails = ((1 - confidence) / 2, (1 + confidence) / 2)
    if len(i) == n:
        low, high = (int(np.searchsorted(np.cumsum(weights), q - 1e-12)) for q in tails)
        return x[:, low], x[:, min(high, n - 1)]
    out = np.empty((2, rows))
    size = max(1, _CHUNK // len(i))
    for start in range(0, rows, size):
        part = slice(start, start + size)
        middle = (x[part][:, i] + x[part][:, j]) / 2
        order = np.argsort(middle, axis=1)
        reached = np.cumsum(weights[order], axis=1)
        for side, q in enumerate(tails):
            at = np.argmax(reached >= q - 1e-12, axis=1)[:, None]
            out[side, part] = np.take_along_axis(middle, np.take_along_axis(order, at, 1), 1)[:, 0]
    return out[0], out[1]


def few_interval(values: Floats, confidence: float = CONFIDENCE) -> tuple[Floats, Floats]:
    """Interval of the centre of every row of `values` (rows, n), positive: two arrays (rows,).

    Student's t on the logarithms, widened to hold the median. For n < FEWEST the bootstrap of a median is bounded by
    order statistics, too few to bound it well: of three it holds the true median with 75 %, of seven with 87.5 %,
    whatever their law. Times of processes, and their ratios, are near to lognormal; ratios of small samples are
    Student's own case (1908). From TRIMMED values on their tails do not count: a process that the host disturbed is off
    by 10 % and more where the others agree within one, and would widen the interval for all (`trimmed`).
    """
    centre, variance = trimmed(np.log(values))
    half = stdtrit(freedom(values.shape[1]), (1 + confidence) / 2) * np.sqrt(variance)
    x, n = np.sort(values, axis=1), values.shape[1]  # np.median takes three times as long for rows of so few
    middle = (x[:, n // 2] + x[:, (n - 1) // 2]) / 2
    with np.errstate(over="ignore"):  # of times that no clock took the upper end may be infinite
        return np.minimum(np.exp(centre - half), middle), np.maximum(np.exp(centre + half), middle)


def cut(n: int) -> int:
    """How many of n values are left out at either end of them."""
    return n // 5 if n >= TRIMMED else 0


def freedom(n: int) -> int:
    """The degrees of freedom of the interval of n values."""
    return n - 1 - 2 * cut(n) if n < FEWEST else n - 1


def trimmed(values: Floats) -> tuple[Floats, Floats]:
    """The mean of every row of `values` (rows, n) without `cut(n)` at either end, and its variance: two arrays (rows,).

    The variance is by the values with their ends drawn in to the last that count, with n − 2 cut(n) − 1 degrees of
    freedom (Yuen, "The two-sample trimmed t for unequal population variances", Biometrika 61, 1974).
    """
    n, ends = values.shape[1], cut(values.shape[1])
    if not ends:
        mean = values.sum(axis=1) / n
        off = values - mean[:, None]
        return mean, (off * off).sum(axis=1) / (n - 1) / n
    x, kept = np.sort(values, axis=1), n - 2 * ends
    drawn_in = np.clip(x, x[:, ends, None], x[:, n - ends - 1, None])
    return x[:, ends : n - ends].mean(axis=1), drawn_in.var(axis=1, ddof=1) * (n - 1) / (kept * (kept - 1))


def median_intervals(values: Sequence[Sequence[float]]) -> tuple[Floats, Floats]:
    """Intervals of lists of unequal lengths; NaN where a list has fewer than two values.

    From FEWEST values on the bootstrap of the median; below it `few_interval`, where no value is 0.
    """
    low, high = np.full(len(values), np.nan), np.full(len(values), np.nan)
    by_length: dict[tuple[int, bool], list[int]] = defaultdict(list)
    for index, each in enumerate(values):
        if len(each) >= 2:
            by_length[len(each), len(each) < FEWEST and min(each) > 0].append(index)
    for (_, few), indices in by_length.items():
        rows = np.array([values[k] for k in indices], np.float64)
        low[indices], high[indices] = few_interval(rows) if few else median_interval(rows)
    return low, high


def pooled_intervals(ratios: Sequence[Sequence[float]], runs: Sequence[str]) -> tuple[Floats, Floats]:
    """`median_intervals` of ratios by group, where lists of two take the spread of all short lists of their run.

    Two values alone say next to nothing of their spread: Student's factor is 12.7 for them. Between the groups of a run
    the logarithms of all pairs differ for the same reasons, so their variance is pooled, weighted by its freedoms.
    """
    low, high = median_intervals(ratios)
    squares = _squares(ratios)
    within: dict[str, list[int]] = defaultdict(list)
    for k in sorted(squares):
        within[runs[k]].append(k)
    narrower: dict[str, float] = {}
    wider: dict[str, float] = {}
    for run, indices in within.items():
        freedom = sum(len(ratios[k]) - 1 for k in indices)
        variance = sum(squares[k] for k in indices) / freedom
        half = float(stdtrit(freedom, (1 + CONFIDENCE) / 2) * np.sqrt(variance / 2))
        narrower[run], wider[run] = float(np.exp(-half)), float(np.exp(half))
    for k, (run, values) in enumerate(zip(runs, ratios, strict=True)):
        if len(values) == 2 and min(values) > 0 and run in wider:
            centre = sqrt(values[0] * values[1])
            low[k], high[k] = centre * narrower[run], centre * wider[run]
    return low, high


def _squares(ratios: Sequence[Sequence[float]]) -> dict[int, float]:
    """Of each list below FEWEST whose values differ the sum of squares of their logarithms around their mean."""
    by_length: dict[int, list[int]] = defaultdict(list)
    for k, values in enumerate(ratios):
        if 2 <= len(values) < FEWEST and 0 < min(values) < max(values):
            by_length[len(values)].append(k)
    out: dict[int, float] = {}
    for indices in by_length.values():
        logs = np.log([ratios[k] for k in indices])
        off = logs - logs.mean(axis=1, keepdims=True)
        out |= zip(indices, (off[:, None] @ off[..., None])[:, 0, 0].tolist(), strict=True)
    return out


def across_runs(ratio: float, low: float, high: float) -> tuple[float, float]:
    """The interval of a ratio of two cases, such that it speaks of other runs, too; NaN stays NaN.

    What either case's time has of its run (RUN_SD) is independent of the spread within the run, so that the halves of
    the interval, on the logarithm, grow by it in quadrature.
    """
    if not low > 0:
        return nan, nan
    beside = _NORMAL * RUN_SD * sqrt(2)
    below, above = hypot(log(ratio / low), beside), hypot(log(high / ratio), beside)
    return ratio * exp(-below), ratio * exp(above)


def verdict(ratio: float, low: float, high: float, noise: float | None) -> str | None:
    """`faster`, `slower` or `tie` for a time ratio with its interval (NaN where unknown); None when it cannot be said.

    A ratio whose interval holds 1, or which is nearer to 1 than the A/A noise, is a tie. The A/A noise is that of pairs
    in groups: without an interval there was no pair, and up to SINGLE it is a tie.
    """
    if ratio != ratio:
        return None
    known = low == low and high == high
    inside_noise = noise is not None and max(ratio, 1 / ratio) < 1 + (noise if known else max(noise, SINGLE))
    if inside_noise or (known and low <= 1 <= high):
        return "tie"
    if not known and noise is None:
        return None
    return "faster" if ratio < 1 else "slower"


def none_if_nan(value: Any) -> Any:
    """Unknown leaves the frame as None, never as NaN or 0."""
    return None if value is None or value != value else value

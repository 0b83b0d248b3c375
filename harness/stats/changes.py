"""Which of many ratios between two runs are changes: one rate of false alarms for all of them together.

Two runs of the same code differ by more than their processes say. The host is faster or slower (a drift that all rows
share), and each case has luck of its own that all processes of a run share: one compilation, one layout of memory. A
run cannot tell this spread by itself, but a comparison can, since most of its rows do not change: it is the spread
under which the rows look like rows of equal code (the empirical null of Efron, JASA 99, 2004). Where either side has
several runs, how far these are apart tells it of ratios within a run, too. Each row then has Welch's t (Biometrika 34,
1947) on the logarithms of its times, from ten rounds on without a fifth at either end (`intervals.trimmed`), with that
spread added; Holm's step-down (Scandinavian Journal of Statistics 6, 1979) holds the rate of false alarms for all rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import NamedTuple

import numpy as np
from scipy.special import chdtri, nctdtrinc, ndtri, stdtr, stdtrit

from harness.stats.intervals import CONFIDENCE, RUN_SD, Floats, cut, trimmed

FALSE_ALARM = 0.05  # of two-sided tests of one family, all rows together
POWER = 0.8  # with which a difference that is called detectable is found
# What a case of two runs differs by beside its processes' spread, before the comparison itself is looked at; it weighs
# as much as this many degrees of freedom.
PRIOR_SD = RUN_SD * sqrt(2)
PRIOR_DF = 5
# A spread beyond this is no luck of cases: of equal code the largest was some percent, and where most rows did change,
# the spread that they show would hide that all of them did.
MOST_SD = 0.1
FEW = 5  # rows that do not count for the spread: one that did change would weigh too much among few
# Squared normal scores count up to this square, so that a row that did change adds no more; what is expected of them
# then, and the efficiency of a spread that is estimated so, are those of a normal value.
WINSOR = 1.5
EXPECTED = 0.7775
EFFICIENCY = 0.7259
_LEAST, _MOST = 1e-18, 50.0
# Degrees of freedom at most by runs of one side: what the two sides have each of their own, such as an hour between
# them, no run of one side tells; the rows do, where they are many.
MOST_REPEATED = 20.0
FEWEST_REFERENCES = 5  # rows of any kind that tell a drift where no row is known to be unchanged


class LogRatio(NamedTuple):
    """The logarithm of B over A, its variance by the spread within the runs, and that variance's degrees of freedom.

    `between` is the same variance by how far the runs of either side are apart; None where either side is one run.
    """

    log: float
    variance: float
    df: float
    between: float | None = None
    between_df: int = 0


class Null(NamedTuple):
    """What equal code would show: a shift of all logarithms, its variance, and the spread of a row's with its df."""

    drift: float = 0.0
    drift_variance: float = 0.0
    drift_df: float = 1.0
    sd: float = PRIOR_SD
    df: float = PRIOR_DF


class Judgement(NamedTuple):
    """A row's ratio without the drift, its 95 % interval, Holm's p, and the share that it would find in 4 of 5 runs."""

    ratio: float
    low: float
    high: float
    p: float
    detectable: float


def change(a: Sequence[Sequence[float]], b: Sequence[Sequence[float]]) -> LogRatio | None:
    """Of the times of either side, positive, a list a run with a value a round; None where no run has two rounds.

    Of several runs the means of each are averaged: what a run's processes share counts as often as there are runs.
    """
    sides = [_side([np.log(run) for run in runs if len(run)]) for runs in (a, b)]
    if any(side is None for side in sides):
        return None
    (means_a, variance_a, df_a), (means_b, variance_b, df_b) = (side for side in sides if side is not None)
    variance = variance_a + variance_b
    spread = variance_a**2 / df_a + variance_b**2 / df_b
    log = float(means_b.mean() - means_a.mean())
    return LogRatio(log, variance, variance**2 / spread if spread else df_a + df_b, *_between(means_a, means_b))


def _side(runs: Sequence[Floats]) -> tuple[Floats, float, float] | None:
    """The runs' means, the variance of their mean by the spread within them, and the degrees of freedom of that."""
    kept = np.array([len(run) - 2 * cut(len(run)) for run in runs])
    df = int(np.sum(kept - 1))
    if df < 1:
        return None
    several = [trimmed(run[None]) if len(run) > 1 else (run, np.zeros(1)) for run in runs]
    means, variances = (np.concatenate(part) for part in zip(*several, strict=True))
    within = float(np.sum(variances * kept * (kept - 1))) / df
    return means, within * float(np.sum(1 / kept)) / len(runs) ** 2, df


def _between(a: Floats, b: Floats) -> tuple[float | None, int]:
    """The variance of the difference of two means of runs, by the spread of the runs about them, and its freedoms."""
    if min(len(a), len(b)) < 2:
        return None, 0
    df = len(a) + len(b) - 2
    apart = sum(float(np.sum((side - side.mean()) ** 2)) for side in (a, b)) / df
    return apart * (1 / len(a) + 1 / len(b)), df


def null(changes: Sequence[LogRatio], references: Sequence[LogRatio] | None, beforehand: Null) -> Null | None:
    """The drift and the spread of a comparison of equal conditions, from its own rows.

    `references` are the rows that tell the drift; None where there can be none (a ratio within either run). None where
    too few rows tell it. `beforehand` is the `prior`.
    """
    if references is not None and not references:
        if len(changes) < FEWEST_REFERENCES:
            return None
        references = changes
    found = beforehand
    for _ in range(3):  # either needs the other; they settle at once
        if references is not None:
            found = found._replace(**_drift(references, found.sd))
        repeated = _of_repeated_runs(changes) if references is None else (0.0, 0.0)
        found = found._replace(**_spread(changes, found.drift, beforehand.sd, repeated))
    return found


def prior(runs: tuple[int, int] = (1, 1), *, cases: int = 1) -> Null:
    """No drift, and the spread expected before any row is looked at, of so many runs a side.

    `cases` is 2 for a ratio of two cases within either run.
    """
    return Null(sd=PRIOR_SD * sqrt(cases * (1 / runs[0] + 1 / runs[1]) / 2))


def columns(changes: Sequence[LogRatio]) -> tuple[Floats, Floats, Floats]:
    """Their logarithms, variances and degrees of freedom."""
    logs, variances, dfs = np.array([(c.log, c.variance, c.df) for c in changes], np.float64).T
    return logs, variances, dfs


def _drift(references: Sequence[LogRatio], sd: float) -> dict[str, float]:
    """The weighted median of the references."""
    logs, variances, dfs = columns(references)
    total = variances + sd**2
    order = np.argsort(logs)
    reached = np.cumsum(total[order] ** -0.5)
    reached /= reached[-1]
    at = float(np.interp(0.5, reached - np.diff(reached, prepend=0) / 2, logs[order]))
    loss = np.pi / 2 if len(logs) > 2 else 1.0  # of a median against a mean
    return {"drift": at, "drift_variance": loss / float(np.sum(1 / total)), "drift_df": float(np.sum(dfs))}


def _spread(changes: Sequence[LogRatio], drift: float, prior: float, repeated: tuple[float, float]) -> dict[str, float]:
    """The spread under which the winsorised normal scores of all rows are those of equal code.

    It is drawn to `prior` and to what `repeated` runs of either side are apart, which no change of the code enlarges.
    """
    logs, variances, dfs = columns(changes)

    def score(sd: float) -> float:
        total = np.maximum(variances + sd**2, _LEAST)
        df = dfs * (total / np.maximum(variances, _LEAST)) ** 2
        p = stdtr(df, -np.abs(logs - drift) / np.sqrt(total))
        return float(np.mean(np.minimum(ndtri(np.maximum(p, _LEAST)) ** 2, WINSOR**2)))

    low, high = 0.0, MOST_SD
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (low, middle) if score(middle) < EXPECTED else (middle, high)
    weight = EFFICIENCY * max(0, len(changes) - FEW)
    known = [(prior, float(PRIOR_DF)), (high, weight), repeated]
    df = sum(freedom for _, freedom in known)
    return {"sd": sqrt(sum(freedom * sd**2 for sd, freedom in known) / df), "df": df}


def _of_repeated_runs(changes: Sequence[LogRatio]) -> tuple[float, float]:
    """The spread under which the runs of either side are as far apart as they are, by the median row; its freedoms.

    Of ratios within a run only: times of two runs differ by their hosts, too.
    """
    rows = [(c.between, c.variance, c.between_df) for c in changes if c.between is not None]
    if not rows:
        return 0.0, 0.0
    between, variance, dfs = (np.array(x) for x in zip(*rows, strict=True))
    middle = between * dfs / chdtri(dfs, 0.5)  # as large as what it estimates in half of all rows
    return sqrt(max(0.0, float(np.median(middle - variance)))), min(float(np.sum(dfs)) / 2, MOST_REPEATED)


def judge(changes: Sequence[LogRatio], under: Null) -> list[Judgement]:
    """Every change of one family against what equal code would show."""
    if not changes:
        return []
    logs, variances, dfs = columns(changes)
    spread = np.full(len(logs), under.sd**2)
    total = variances + spread + under.drift_variance
    # A row whose few processes agree by chance would also seem to know its spread well: none knows it better than most.
    within = np.maximum(variances, np.median(variances))
    typical = within + spread + under.drift_variance
    parts = within**2 / dfs + spread**2 / under.df + under.drift_variance**2 / under.drift_df
    df, se, moved = typical**2 / parts, np.sqrt(total), logs - under.drift
    p = holm(2 * stdtr(df, -np.abs(moved) / se))
    half = stdtrit(df, (1 + CONFIDENCE) / 2) * se
    # Bonferroni's limit is Holm's first step; of a test by an estimated spread the power is that of a noncentral t.
    least = nctdtrinc(df, 1 - POWER, stdtrit(df, 1 - FALSE_ALARM / 2 / len(logs))) * se
    half, least = np.minimum(half, _MOST), np.minimum(least, _MOST)  # of two rounds apart, and JSON has no infinity
    figures = zip(np.exp(moved), np.exp(moved - half), np.exp(moved + half), p, np.expm1(least), strict=True)
    return [Judgement(*map(float, row)) for row in figures]


def holm(p: Floats) -> Floats:
    """Adjusted p: a test whose own is at most α is one that Holm rejects at α."""
    order = np.argsort(p)
    steps = np.maximum.accumulate(np.minimum(1.0, p[order] * np.arange(len(p), 0, -1)))
    out = np.empty_like(p)
    out[order] = steps
    return out

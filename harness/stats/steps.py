"""Steps in figures that were measured run after run: one rate of false alarms for all rows of a history together.

A step is a split of a row's runs into those before and those after, whose means differ by more than the intervals and
the luck of runs allow. All splits of all rows are tests of one family: Bonferroni over the splits of a row, Holm over
rows, so that a history without any step shows one with FALSE_ALARM at most. Where one is found, the parts before and
after it are looked at in the same way (binary segmentation, Scott and Knott 1974, Biometrics 30:3).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import exp, sqrt
from typing import NamedTuple

import numpy as np
from scipy.special import stdtr, stdtrit

from harness.stats.changes import FALSE_ALARM, LogRatio, Null, columns, holm, null, prior
from harness.stats.intervals import CONFIDENCE, freedom

MOST_STEPS = 10  # of a row
FEWEST_RUNS = 3  # of a history: from two runs nobody learns by how much runs differ although nothing changed


class Step(NamedTuple):
    """A step of row `row` before its run number `at`: the mean after it over the mean before, with a 95 % interval.

    `p` is of all splits of all rows together.
    """

    row: int
    at: int
    ratio: float
    low: float
    high: float
    p: float


Series = Sequence[LogRatio]  # of each run in order of time its logarithm, its variance within the run, and that's df
Segment = tuple[int, int, int]  # row, and the first run and the one past the last


def steps(rows: Sequence[Series]) -> list[Step]:
    """The steps of all rows, by row and run.

    What a run differs by from the next although nothing changed is taken from the rows themselves, since most runs
    follow each other without a step (`changes.null`).
    """
    under = _luck(rows)
    found: list[Step] = []
    waiting: list[Segment] = [(k, 0, len(series)) for k, series in enumerate(rows) if len(series) >= FEWEST_RUNS]
    while waiting and under is not None:
        best = [_best_split(rows[row][begin:end], under) for row, begin, end in waiting]
        adjusted = holm(np.array([step.p for step in best]))
        parts: list[Segment] = []
        for (row, begin, end), step, p in zip(waiting, best, adjusted.tolist(), strict=True):
            if p <= FALSE_ALARM and sum(known.row == row for known in found) < MOST_STEPS:
                at = begin + step.at
                found.append(step._replace(row=row, at=at, p=p))
                parts += [(row, *part) for part in ((begin, at), (at, end)) if part[1] - part[0] > 1]
        waiting = parts
    return sorted(found)


def _luck(rows: Sequence[Series]) -> Null | None:
    """What a ratio differs by from one run to the next; None where no row has two runs."""
    moves = [
        LogRatio(b.log - a.log, a.variance + b.variance, _both_df(a, b)) for series in rows for a, b in pairwise(series)
    ]
    return null(moves, None, prior(cases=2)) if moves else None


def _both_df(a: LogRatio, b: LogRatio) -> float:
    total = a.variance + b.variance
    parts = a.variance**2 / a.df + b.variance**2 / b.df
    return total**2 / parts if parts else a.df + b.df


def _best_split(series: Series, under: Null) -> Step:
    """The split whose sides differ most surely; its p counts for all splits of the series."""
    logs, variances, dfs = columns(series)
    n = len(logs)
    spread = under.sd**2 / 2  # of a run; `under` is of the difference of two
    before = np.arange(1, n)
    means = np.cumsum(logs)[:-1] / before
    after = (logs.sum() - means * before) / (n - before)
    within = np.cumsum(variances)[:-1] / before**2 + (variances.sum() - np.cumsum(variances)[:-1]) / (n - before) ** 2
    between = spread * (1 / before + 1 / (n - before))
    df = (within + between) ** 2 / (within**2 / float(dfs.min()) + between**2 / under.df)
    se = np.sqrt(within + between)
    moved = after - means
    k = int(np.argmax(np.abs(moved) / se))
    p = 2 * float(stdtr(df[k], -abs(moved[k]) / se[k]))
    half = float(stdtrit(df[k], (1 + CONFIDENCE) / 2)) * float(se[k])
    ratio = float(moved[k])
    return Step(0, k + 1, exp(ratio), exp(ratio - half), exp(ratio + half), min(1.0, p * (n - 1)))


def of_interval(log: float, log_low: float, log_high: float, rounds: int) -> LogRatio:
    """A figure whose interval is Student's over so many rounds, at least two, as logarithm and variance."""
    error = (log_high - log_low) / 2 / float(stdtrit(freedom(rounds), (1 + CONFIDENCE) / 2))
    return LogRatio(log, error**2, freedom(rounds))


def luck_of(rows: Sequence[Series]) -> float | None:
    """By how much, as a share, one run differs from another although nothing changed (standard deviation)."""
    under = _luck(rows)
    return None if under is None else under.sd / sqrt(2)

"""T of one idea at one value of a sweep, from what was measured together, and how sure it is.

Most of a sweep is measured once. In the records of today each swept idea shares a group with its twin; in older ones
it ran alone, as did the twin in the survey, minutes apart: then the twin's time in the groups, of another hour and with
other programs beside it, is not what it is held against.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from math import nan
from statistics import median
from typing import Any, NamedTuple

from harness.figures.best_paths import grouped, place_of
from harness.figures.frame import Rows, alone_s
from harness.stats.intervals import SINGLE, across_runs, median_intervals
from harness.stats.process_times import paired_ratios


class Ratio(NamedTuple):
    """T with its interval, NaN where it has none, and the share by which it is unsure at least."""

    ratio: float
    low: float
    high: float
    margin: float


class TwinPaths:
    """The measured paths of every computation of a table, for those in whose group a swept idea ran."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    @cached_property
    def _at(self) -> dict[tuple[Any, ...], list[int]]:
        return grouped(self._rows)

    def of(self, row: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The paths that are ok of the computation of `row`, its own first."""
        found = (self._rows[k] for k in self._at.get(place_of(row), ()))
        return sorted((path for path in found if path["status"] == "ok"), key=lambda path: path["path"] != row["path"])


def time_ratio(
    idea: Mapping[str, Any], twin: Mapping[str, Any] | None, figures: Mapping[str, Any], paths: TwinPaths
) -> Ratio | None:
    """T of a best path against its twin's, both rows of `best_paths`; `figures` are theirs of `comparisons`.

    In this order: over the groups that both were in; over those with another path of the twin; each where it ran alone.
    None where the twin has no time.
    """
    if twin is None or not twin["path"] or not figures["time_ratio"] > 0:
        return None
    if figures["rounds"]:
        low, high = figures["time_ratio_low"], figures["time_ratio_high"]
        return _bounded(figures["time_ratio"], low, high)
    in_groups = any(process.group is not None for process in idea["paired"])
    for path in paths.of(twin) if in_groups else ():
        ratios = paired_ratios(idea["paired"], path["paired"])
        link = _link(path, twin) if ratios else nan
        if link == link:
            low, high = (float(bound[0]) for bound in median_intervals([[ratio * link for ratio in ratios]]))
            middle = median(ratios) * link
            return _bounded(middle, *across_runs(middle, low, high))
    alone = alone_s(idea["paired"]) / alone_s(twin["paired"])
    return Ratio(alone if alone == alone else figures["time_ratio"], nan, nan, SINGLE)


def _bounded(ratio: float, low: float, high: float) -> Ratio:
    """Where there is no interval the margin is that of single processes.

    One group is not surer than two processes an hour apart: between runs of one code, 57 % of the crossings of single
    groups lay outside margins of 15 %.
    """
    return Ratio(ratio, low, high, 0.0 if low == low else SINGLE)


def _link(path: Mapping[str, Any], best: Mapping[str, Any]) -> float:
    """Time of a twin's path over that of its best one."""
    if path["path"] == best["path"]:
        return 1.0
    shared = paired_ratios(path["paired"], best["paired"])
    link: float = median(shared) if shared else alone_s(path["paired"]) / alone_s(best["paired"])
    return link

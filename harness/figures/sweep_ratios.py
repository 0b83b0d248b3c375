"""T of one idea at one value of a sweep, from what was measured together, and how sure it is.

Most of a sweep is measured once. In the records of today each swept idea shares a group with its twin; in older ones
it ran alone, as did the twin in the survey, minutes apart: then the twin's time in the groups, of another hour and with
other programs beside it, is not what it is held against.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import nan
from statistics import median
from typing import Any, NamedTuple

from harness.figures.best_paths import grouped, place_of
from harness.figures.frame import Rows
from harness.stats.intervals import SINGLE, median_intervals
from harness.stats.process_times import paired_ratios

# What a ratio measured in a single group differs by from the one over many groups, as a share: 95 % of the pairs of
# the stored run of `standard` are within it (one case in two groups, A/A, is within 4 %; the two sides are not alike).
ONE_GROUP = 0.15


class Ratio(NamedTuple):
    """T with its interval, NaN where it has none, and the share by which it is unsure at least."""

    ratio: float
    low: float
    high: float
    margin: float


class TwinPaths:
    """The measured paths of every computation of a table, for those in whose group a swept idea ran."""

    def __init__(self, rows: Rows) -> None:
        self._rows, self._at = rows, grouped(rows)

    def of(self, row: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The paths that are ok of the computation of `row`, its own first."""
        found = (self._rows[k] for k in self._at[place_of(row)])
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
        return _bounded(figures["time_ratio"], low, high, ONE_GROUP)
    for path in paths.of(twin):
        ratios = paired_ratios(idea["paired"], path["paired"])
        link, margin = _link(path, twin) if ratios else (nan, nan)
        if link == link:
            low, high = (float(bound[0]) for bound in median_intervals([[ratio * link for ratio in ratios]]))
            return _bounded(median(ratios) * link, low, high, margin)
    alone = idea["alone_s"] / twin["alone_s"]
    return Ratio(alone if alone == alone else figures["time_ratio"], nan, nan, SINGLE)


def _bounded(ratio: float, low: float, high: float, margin: float) -> Ratio:
    return Ratio(ratio, low, high, 0.0 if low == low else margin)


def _link(path: Mapping[str, Any], best: Mapping[str, Any]) -> tuple[float, float]:
    """Time of a twin's path over that of its best one, and the margin of a ratio that needs it."""
    if path["path"] == best["path"]:
        return 1.0, ONE_GROUP
    shared = paired_ratios(path["paired"], best["paired"])
    return (median(shared), ONE_GROUP) if shared else (path["alone_s"] / best["alone_s"], SINGLE)

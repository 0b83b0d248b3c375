"""The best path of every point: of all formulations and executions on one backend and device, the fastest `ok` one."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from math import inf, nan
from operator import itemgetter
from statistics import median
from typing import TYPE_CHECKING, Any

from harness.figures.frame import Rows, alone_s, as_frame, rows_of
from harness.records.outcomes import SEVERITY, outcome
from harness.stats.intervals import median_intervals
from harness.stats.process_times import Process, paired_ratios

if TYPE_CHECKING:
    import pandas as pd

# A path that had its first look only must beat the best by more than that look can err to be the best itself.
FIRST_LOOK_MARGIN = 1.3
WELL_KNOWN = 3  # full groups from which a path's time is well known: what shared fewer with it may have been lucky
FEW_GROUPS_MARGIN = 1.1  # and must be faster by this; processes of one short call differ by as much and more

# What belongs to a path's own record, and so to nobody where no path is ok.
_NO_PATH = {
    **dict.fromkeys(
        ("key", "formulation", "execution", "path", "fallback", "settings", "steady", "compile_cache", "executed")
    ),
    "memory_source": None,
    "energy_source": "none",
    **dict.fromkeys(("max_rel_error", "drift", "first_call_s", "compile_s", "convert_s", "memory_bytes"), nan),
    **dict.fromkeys(("device_peak_bytes", "host_peak_bytes", "compiled_temp_bytes"), nan),
    **dict.fromkeys(("energy_j", "energy_net_j", "energy_low_j", "energy_high_j"), nan),
}
place_of: Callable[[Mapping[str, Any]], tuple[Any, ...]] = itemgetter("place")


def grouped(rows: Rows) -> dict[tuple[Any, ...], list[int]]:
    """Row numbers by their place: the cases that compete for one best path."""
    groups: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        groups[row["place"]].append(index)
    return groups


def timed(rows: Rows, indices: Sequence[int]) -> list[int]:
    """Of the rows of these numbers those that are `ok` and have a time."""
    return [k for k in indices if rows[k]["status"] == "ok" and rows[k]["time_s"] == rows[k]["time_s"]]


def best_paths(frame: pd.DataFrame) -> pd.DataFrame:
    """`best_rows` of a frame, as a frame."""
    columns = [*frame.columns.drop("status"), "outcome", "cases", "tied", "rivals"]
    return as_frame(best_rows(rows_of(frame)), columns)


def best_rows(rows: Rows, paths: Paths | None = None) -> Rows:
    """One row for every (run, workload, point, mode, dtype, backend, device, seed): its fastest `ok` path.

    The columns are the table's, those of the path's own record; `path` is None where none is ok. Added: `outcome`
    (counts over all its cases), `cases`, `reason` and `failure_class` of the worst failure; `tied`, how many other
    paths cannot be told from the best (`Paths.inseparable`), and `rivals`, their processes.

    The smallest of many noisy times is too small (winner's curse), the more so the more formulations an idea has, and
    times of different groups are of different minutes. So what was in the last round is ranked by the ratios in the
    groups that both sides shared (`Paths.choose`). `paths` are those of the rows, where they are known.
    """
    paths = paths or Paths(rows)
    out: Rows = []
    points = []
    for indices in paths.places.values():
        several = [rows[k] for k in indices]
        fit = timed(rows, indices)
        best = paths.choose(fit)
        points.append((best, fit))
        row = (several[0] if best is None else rows[best]).copy()
        if best is None:
            row.update(_NO_PATH)
        statuses = [row["status"] for row in several]
        row["reason"], row["failure_class"], row["outcome"] = None, None, "ok"
        if len(fit) < len(several) and set(statuses) != {"ok"}:
            worst = several[statuses.index(min(set(statuses), key=SEVERITY.index))]
            row["reason"], row["failure_class"] = worst["reason"], worst["failure_class"]
            row["outcome"] = outcome(Counter(statuses))
        row["headline"] = any(row["headline"] for row in several)
        row["cases"] = len(several)
        del row["status"]
        out.append(row)
    for row, rivals in zip(out, paths.inseparable(points), strict=True):
        row["tied"], row["rivals"] = len(rivals), [rows[k]["paired"] for k in rivals]
    return out


def _last_round(found: Sequence[Process]) -> int:
    return max([process.round for process in found], default=0)


class Paths:
    """The rows of a table as competitors, by its columns `time_s` and `paired`; `places` has their numbers by place."""

    def __init__(self, rows: Rows) -> None:
        self._time: list[float] = [row["time_s"] for row in rows]
        self._paired: list[Sequence[Process]] = [row["paired"] for row in rows]
        self._rounds = [found[0].round if len(found) == 1 else _last_round(found) for found in self._paired]
        self._in_groups = [
            int(found[0].group is not None) if len(found) == 1 else sum([p.group is not None for p in found])
            for found in self._paired
        ]
        self._ratios: dict[tuple[int, int], list[float]] = {}
        self.places = grouped(rows)

    def _full_groups(self, k: int) -> int:
        return len({process.group for process in self._paired[k] if process.round})

    def contenders(self, timed: Sequence[int]) -> list[int]:
        """Of the rows `timed` those that were in the last round which any of them had: who fell behind earlier is out.

        All where there was no full round. Two groups of one round are one round.
        """
        last = max([self._rounds[k] for k in timed], default=0)
        return [k for k in timed if self._rounds[k] == last]

    def choose(self, timed: Sequence[int]) -> int | None:
        """The fastest of the rows `timed`; None of none.

        Of the `contenders` the one with the most processes in groups, and of such the fastest, is what all are held
        against: each by the median ratio in the groups that the two shared; by their times where they shared none, as
        in records of which every first look was alone. What then leads gives way to one that beats it in the groups
        those two shared, until none does.

        What has had no full round yet, as in a run that was cut short, is the best where it was FIRST_LOOK_MARGIN
        times faster in its first look, in a group that both shared or where both ran alone.
        """
        if len(timed) == 1:
            return timed[0]
        left = self.contenders(timed)
        best = self._best_of(left) if len(left) > 1 else next(iter(left), None)
        if best is None or len(left) == len(timed):
            return best
        early = {k: self._first_look(k, best) for k in timed if not self._rounds[k]}
        fastest = min(early, key=early.__getitem__, default=best)
        return fastest if early.get(fastest, 1.0) * FIRST_LOOK_MARGIN < 1 else best

    def inseparable(self, points: Sequence[tuple[int | None, Sequence[int]]]) -> list[list[int]]:
        """For each point, its best row and its `timed` ones, the other `contenders` that may be the best.

        The 95 % interval of their ratio to it, group by group, holds 1. Of what shared fewer than two groups nobody
        knows.
        """
        others = [
            (best, [k for k in self.contenders(timed) if k != best] if len(timed) > 1 else []) for best, timed in points
        ]
        low, high = median_intervals(
            [self._over(k, best) for best, several in others for k in several if best is not None]
        )
        holds = iter(((low <= 1) & (high >= 1)).tolist())
        return [[k for k in several if next(holds)] for _, several in others]

    def _over(self, k: int, other: int) -> list[float]:
        """The ratios of a row to another in the groups that both shared; known ones are not made again."""
        if not (self._in_groups[k] and self._in_groups[other]):
            return []
        known = self._ratios.get((k, other))
        if known is None:
            known = self._ratios[k, other] = paired_ratios(self._paired[k], self._paired[other])
        return known

    def _best_of(self, left: Sequence[int]) -> int:
        """The fastest of the rows `left`, at least one, which are all of one round."""
        time = self._time
        hub = min(left, key=lambda k: (-self._in_groups[k], time[k]))
        if not self._in_groups[hub]:
            return min(left, key=time.__getitem__)

        def to_hub(k: int) -> float:
            return self._against(k, hub) if k == hub or self._over(k, hub) else time[k] / time[hub]

        best, seen = min([hub, *left], key=to_hub), {hub}
        while best not in seen:
            seen.add(best)
            ratios = {k: self._against(k, best) for k in left if k not in seen}
            faster = min(ratios, key=ratios.__getitem__, default=best)
            best = faster if ratios.get(faster, 1.0) < 1 else best
        return best

    def _against(self, k: int, other: int) -> float:
        """The median ratio of a row to another in the groups that both shared, 1 of none.

        In one group or two the other may have had bad luck of its own, such as two threads on one core. Where
        WELL_KNOWN groups tell its time, a row that shared fewer is faster only by FEW_GROUPS_MARGIN, there and by all
        groups that either had.
        """
        shared = self._over(k, other)
        ratio = median(shared or [1.0])
        if 0 < len(shared) < WELL_KNOWN <= self._full_groups(other) and ratio < 1:
            sure = max(ratio, self._time[k] / self._time[other])
            return sure if sure * FEW_GROUPS_MARGIN < 1 else 1.0
        return ratio

    def _first_look(self, k: int, other: int) -> float:
        """How many times as long a row took as another in a first look that both had alike; infinite without one."""
        shared = self._over(k, other)
        if shared:
            return median(shared)
        mine, its = (alone_s(self._paired[row]) for row in (k, other))
        ratio = mine / its if its else inf
        return ratio if ratio == ratio else inf

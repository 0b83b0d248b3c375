"""What two runs of the same code on the same machine say differently: the figures of the study of the whole chain.

Pure functions on runs that were read back, all but `compared`, which asks the command line as a user's CI does.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import exp, inf, log, nan
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import msgspec

from harness.cli.main import run_cli
from harness.figures.break_even import BreakEven
from harness.figures.frame import case_rows
from harness.figures.summary import Row, Summary, summarise
from harness.records.record import Record
from harness.records.store import INFO, RECORDS, Run, load
from harness.stats.process_times import paired_ratios
from harness.stats.ranks import gap

LOSS = 0.03  # by which a path must be slower than the best to count as wrongly chosen
FAIL_ON = "slower:5%"

Where = tuple[str, ...]
_ROW = ("workload", "point", "mode", "dtype", "backend", "device")


class Count(NamedTuple):
    """How many of how many."""

    found: int
    of: int

    @property
    def share(self) -> float:
        """`found` over `of`; NaN of none."""
        return self.found / self.of if self.of else nan

    def __str__(self) -> str:
        return f"{self.found} of {self.of}"


def total(counts: Iterable[Count]) -> Count:
    """All of them together."""
    several = list(counts)
    return Count(sum(c.found for c in several), sum(c.of for c in several))


@dataclass(frozen=True)
class Told:
    """A run and what it says."""

    run: Run

    @cached_property
    def summary(self) -> Summary:
        """As a report has it: headline points."""
        return summarise(self.run.records)

    @cached_property
    def ideas(self) -> dict[Where, Row]:
        """The rows of ideas that have a speed-up; a dense computation held against itself is none."""
        rows = (row for row in self.summary.rows if row.principal and row.principal.speed_up)
        return {at(row): row for row in rows if row.principal and row.principal.twin_workload != row.workload}

    @cached_property
    def best(self) -> dict[Where, str]:
        """The best path of every row, those of the twins among them."""
        return {at(row): row.path for row in (*self.summary.rows, *self.summary.dense) if row.path}

    @cached_property
    def paths(self) -> dict[tuple[Where, str], dict[str, Any]]:
        """Every path that is ok: its processes and its time alone."""
        rows = case_rows([record for record in self.run.records if not record.control])
        return {(tuple(r[name] for name in _ROW), r["path"]): r for r in rows if r["status"] == "ok"}


def read(folders: Iterable[Path]) -> list[Told]:
    """The runs in the folders; StoreError for one that is none."""
    return [Told(load(folder)) for folder in folders]


def at(row: Row | BreakEven) -> Where:
    """What a row is about and where it ran, whatever the run."""
    return tuple(getattr(row, name) for name in _ROW)


# -- of two runs -------------------------------------------------------------------------------------------------------


def excluded(a: Told, b: Told) -> Count:
    """Intervals of A's speed-ups that do not hold B's estimate. Exact ones of few groups exclude some 11 %."""
    held = []
    for where, row in a.ideas.items():
        mine, other = row.principal, b.ideas.get(where)
        if mine and other and other.principal and mine.speed_up_low is not None and mine.speed_up_high is not None:
            held.append(mine.speed_up_low <= (other.principal.speed_up or nan) <= mine.speed_up_high)
    return Count(held.count(False), len(held))


def verdicts(a: Told, b: Told) -> Count:
    """Rows that one calls otherwise than the other: faster, slower or a tie."""
    both = [(a.ideas[w].principal, b.ideas[w].principal) for w in a.ideas if w in b.ideas]
    differ = [x.verdict != y.verdict for x, y in both if x and y and x.verdict and y.verdict]
    return Count(sum(differ), len(differ))


def break_evens(a: Told, b: Told) -> Count:
    """Intervals of A's break-evens that do not hold B's estimate, where B has one."""
    sweeps = {(*at(found), found.axis): found for found in a.summary.break_even}
    held = [
        _holds(sweeps[key], found.value)
        for found in b.summary.break_even
        if found.value is not None and (key := (*at(found), found.axis)) in sweeps
    ]
    return Count(held.count(False), len(held))


def _holds(found: BreakEven, value: float) -> bool:
    """Of a curve that never crosses, none; of one that says nothing for sure, any."""
    if found.verdict != "crosses":
        return found.verdict in ("tie", "not_monotone")
    return (found.low or 0.0) <= value <= (found.high or inf)


def ranks(a: Told, b: Told) -> Count:
    """Rank intervals of an idea in a place that A and B have none in common."""
    other = {(s.workload, s.point, s.mode, s.dtype): s.ranks for s in b.summary.lottery}
    apart = []
    for shift in a.summary.lottery:
        theirs = other.get((shift.workload, shift.point, shift.mode, shift.dtype), {})
        for place, mine in _unnamed(shift.ranks, a).items():
            rank = _unnamed(theirs, b).get(place)
            if mine is not None and rank is not None:
                apart.append(gap(mine, rank) > 0)
    return Count(sum(apart), len(apart))


def _unnamed(ranks_: Mapping[str, Any], told: Told) -> dict[str, Any]:
    """The places without the name of the run."""
    return {place.removesuffix(f" {told.run.info.run}"): rank for place, rank in ranks_.items()}


class Compared(NamedTuple):
    """What `compare A B` calls different, of the rows that have an interval, and whether --fail-on ended with 1."""

    different: Count
    failed: bool


def compared(a: Path, b: Path, workloads: frozenset[str] | None = None, verdict: str | None = None) -> Compared:
    """`hwlottery compare A B --fail-on slower:5%`: of equal code, everything that it calls different is false.

    `workloads` and `verdict` count only best paths of those, each once, and only what is called that, be it by its time
    or by its speed-up.
    """
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()) as said:
        code = run_cli(["compare", str(a), str(b), "--json", "--fail-on", FAIL_ON])
    if code not in (0, 1) or not out.getvalue():
        raise ValueError(f"compare {a} {b} ended with {code}: {said.getvalue().strip()}")
    rows = [row for row in json.loads(out.getvalue())["rows"] if row["low"] is not None]
    wanted = ("faster", "slower") if verdict is None else (verdict,)
    if workloads is None:
        return Compared(Count(sum(row["verdict"] in wanted for row in rows), len(rows)), code == 1)
    rows = [r for r in rows if r["kind"] != "case" and r["case"].split()[0].partition("/")[0] in workloads]
    called = {row["case"] for row in rows if row["verdict"] in wanted}
    return Compared(Count(len(called), len({row["case"] for row in rows})), code == 1)


# -- of all runs -------------------------------------------------------------------------------------------------------


class PathLoss(NamedTuple):
    """A run that chose another path than the best of those that the runs chose.

    `loss` is the share by which it is slower, the median over the runs; NaN where no run has both. `paired` says
    whether some run had both in one group: the survey's times, which decide else, differ by as much as that.
    """

    where: Where
    path: str
    best: str
    loss: float
    paired: bool


def path_losses(runs: Sequence[Told]) -> list[list[PathLoss]]:
    """For each run the rows in which it chose another path than the best one that any of them chose."""
    out: list[list[PathLoss]] = [[] for _ in runs]
    for where in dict.fromkeys(where for told in runs for where in told.best):
        chosen = [told.best.get(where) for told in runs]
        names = [name for name, _ in Counter(filter(None, chosen)).most_common()]
        over = {name: _over(runs, where, name, names[0])[0] for name in names}
        best = min(names, key=lambda name: over[name] if over[name] == over[name] else inf)
        for losses, path in zip(out, chosen, strict=True):
            if path is not None and path != best:
                ratio, paired = _over(runs, where, path, best)
                losses.append(PathLoss(where, path, best, ratio - 1, paired))
    return out


def _over(runs: Sequence[Told], where: Where, path: str, best: str) -> tuple[float, bool]:
    """Time of one path over that of another: the median over the runs that had both in a group, else alone."""
    if path == best:
        return 1.0, True
    both = [(t.paths.get((where, path)), t.paths.get((where, best))) for t in runs]
    pairs = [(x, y) for x, y in both if x is not None and y is not None]
    groups = [log(median(found)) for x, y in pairs if (found := paired_ratios(x["paired"], y["paired"]))]
    alone = [log(x["alone_s"] / y["alone_s"]) for x, y in pairs]
    found = groups or [ratio for ratio in alone if ratio == ratio]
    return (exp(median(found)) if found else nan), bool(groups)


# -- what is planted ---------------------------------------------------------------------------------------------------


def scaled_copy(
    run: Run, folder: Path, factor: float, which: Callable[[Record], bool], name: str | None = None
) -> Path:
    """A copy of a run in which the samples of some records, controls too, are longer by a factor."""
    folder.mkdir(parents=True)
    info = msgspec.structs.replace(run.info, run=name or run.info.run)
    (folder / INFO).write_bytes(msgspec.json.encode(info))
    lines = []
    for record in run.records:
        time = record.time
        if time is not None and which(record):
            longer = [[second * factor for second in process] for process in time.samples_s]
            record = msgspec.structs.replace(record, time=msgspec.structs.replace(time, samples_s=longer))
        lines.append(msgspec.json.encode(msgspec.structs.replace(record, run=info.run)))
    (folder / RECORDS).write_bytes(b"\n".join([*lines, b""]))
    return folder


def is_idea(record: Record) -> bool:
    """Whether the record is of an idea that is held against another computation."""
    return bool(record.twins) and record.twins[0].workload != record.case.workload

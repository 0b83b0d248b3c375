"""The one definition of a case's time that planning and reporting share, and of which two times are a pair."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cached_property
from math import nan
from statistics import median
from typing import TypeAlias

import msgspec

from harness.records.record import Record, Timing

FEWEST_SLICES = 2  # that two processes have in common, to be held against each other slice by slice

# Processes of one group begin within this of each other, seconds: as long as eight of them take to be prepared one
# after the other. In early records a group's number came back after --resume; in what is published such processes are
# at least 3000 s apart, and those of one group at most 17 s.
TOGETHER_S = 600.0


class Process(msgspec.Struct, frozen=True, dict=True):
    """The time of one process of a case, and what pairs it with those of others.

    `group` is the interleaved group that it ran in, None where it ran alone; `centre_s` the median of its samples;
    `counts` how many samples each slice of its window had before the first `cut` of them, the warm-up, were left out.
    `round` is 0 for the short first look; `all_cpu_s` are the CPU seconds of all calls, `calls` of which are a sample.
    """

    group: int | None
    centre_s: float
    samples_s: Sequence[float] = ()
    counts: Sequence[int] = ()
    cut: int = 0
    round: int = 1
    started_at: str = ""
    all_cpu_s: float = nan
    calls: int = 1

    @property
    def cpu_s(self) -> float:
        """The CPU seconds of a call; NaN where they are unknown."""
        calls = (sum(self.counts) or self.cut + len(self.samples_s)) * self.calls
        return self.all_cpu_s / calls if calls else nan

    @cached_property
    def slices_s(self) -> list[float]:
        """The median of each slice, in the order of the turns.

        NaN where the warm-up took most of a slice; empty where the record does not tell the slices apart.
        """
        if sum(self.counts) != self.cut + len(self.samples_s):
            return []
        out, end, samples = [], -self.cut, self.samples_s
        for count in self.counts:
            start, end = max(0, end), end + count
            n = end - start  # a report takes some hundred thousand medians of so few, so they are taken by hand
            if n <= 0 or 2 * n < count:
                out.append(nan)
            elif n == 1:
                out.append(samples[start])
            elif n == 2:
                out.append((samples[start] + samples[start + 1]) / 2)
            else:
                left = sorted(samples[start:end])
                out.append((left[n // 2] + left[(n - 1) // 2]) / 2)
        return out

    @cached_property
    def started_s(self) -> float:
        """When it began to be prepared, seconds since 1970; NaN where the record has no time."""
        try:
            return datetime.fromisoformat(self.started_at).timestamp()
        except ValueError:
            return nan


Pair: TypeAlias = tuple[Process, Process]


def process_centres(samples_s: Sequence[Sequence[float]]) -> list[float]:
    """Median of each process's steady samples: robust against the odd interrupted one."""
    return [median(samples) for samples in samples_s if samples]


def middle(values: Sequence[float]) -> float:
    """The median of at least one value, by hand: there are several for each record of a table."""
    n = len(values)
    if n == 1:
        return values[0]
    ordered = sorted(values)
    return ordered[n // 2] if n % 2 else (ordered[n // 2 - 1] + ordered[n // 2]) / 2


def counted(time: Timing) -> list[tuple[int, list[float]]]:
    """The samples of the processes that count (`processes`), each with its group's number, or its round if alone."""
    pairs = [(trial, samples) for trial, samples in zip(time.trials, time.samples_s, strict=False) if samples]
    full = [(trial, samples) for trial, samples in pairs if trial.round > 0] or pairs
    return [(trial.round if trial.heat is None else trial.heat, samples) for trial, samples in full]


def every_process(record: Record | None) -> list[Process]:
    """All processes of a case, those of the first look too; none unless it is `ok`."""
    if record is None or record.status != "ok" or record.time is None:
        return []
    pairs = zip(record.time.trials, record.time.samples_s, strict=False)
    return [
        Process(
            t.heat,
            middle(samples),
            samples,
            t.slices,
            len(t.warmup_s),
            t.round,
            t.started_at,
            t.cpu_s,
            t.calls_per_sample,
        )
        for t, samples in pairs
        if samples
    ]


def processes(record: Record | None) -> list[Process]:
    """The processes of a case whose times count; none unless it is `ok`.

    The first look (round 0) chooses who goes on to the full rounds, and the smallest of many noisy times is too small
    (winner's curse): where a case went on, its first look is left out.
    """
    return that_count(every_process(record))


def that_count(found: Sequence[Process]) -> list[Process]:
    """Those of the full rounds; all where there are none."""
    if len(found) == 1:
        return list(found)
    return [process for process in found if process.round > 0] or list(found)


def centre(record: Record | None) -> float | None:
    """A case's time in seconds: the median over the processes that count of their medians; None unless it is `ok`."""
    found = processes(record)
    return median(process.centre_s for process in found) if found else None


# -- pairs -------------------------------------------------------------------------------------------------------------


def pairs(over: Iterable[Process], under: Iterable[Process]) -> list[Pair]:
    """The processes of two cases that ran together, in the order of their groups: near in time, so that drift cancels.

    Two are a pair if they were in one group: it has the same number, and they began within TOGETHER_S of each other.
    Where a number came back, each is paired with the one that began nearest to it; none is paired twice. What ran alone
    has no pair. Pairs of full rounds count; those of the first look where there are no others.
    """
    overs, unders = list(over), list(under)
    if len(overs) == len(unders) == 1:  # as of most cases
        one, other = overs[0], unders[0]
        together = one.group is not None and one.group == other.group and other.centre_s
        return _nearest(overs, unders) if together else []
    mine: dict[int, list[Process]] = defaultdict(list)
    for process in overs:
        if process.group is not None:
            mine[process.group].append(process)
    if not mine:
        return []
    beside: dict[int, list[Process]] = defaultdict(list)
    for process in unders:
        if process.group in mine and process.centre_s:
            beside[process.group].append(process)
    found = [pair for group in sorted(beside) for pair in _nearest(mine[group], beside[group])]
    return [pair for pair in found if pair[0].round > 0 and pair[1].round > 0] or found


def _nearest(over: Sequence[Process], under: Sequence[Process]) -> list[Pair]:
    """Those of one number that ran together, the nearest first taken, in the order in which they began."""
    if len(over) == len(under) == 1:
        return [(over[0], under[0])] if _apart_s(over[0], under[0]) <= TOGETHER_S else []
    apart = sorted((_apart_s(a, b), i, j) for i, a in enumerate(over) for j, b in enumerate(under))
    taken: dict[int, int] = {}
    for gap, i, j in apart:
        if gap <= TOGETHER_S and i not in taken and j not in taken.values():
            taken[i] = j
    return [(over[i], under[taken[i]]) for i in sorted(taken, key=lambda i: (over[i].started_at, i))]


def _apart_s(a: Process, b: Process) -> float:
    """Seconds between the beginnings of two processes; infinite where one has no time."""
    if a.started_at == b.started_at:
        return 0.0
    gap = abs(a.started_s - b.started_s)
    return gap if gap == gap else float("inf")


def paired_ratios(over: Iterable[Process], under: Iterable[Process]) -> list[float]:
    """One time over another for every pair (`pairs`).

    In a group the slices of both took turns. A machine that is shared changes its speed from one slice to the next, and
    the median of a window that was half slow and half fast is either; so the ratio of a group is the median over the
    turns of the ratio in each, where both have FEWEST_SLICES that can be told apart, else that of the two medians.
    """
    return [pair_ratio(a, b) for a, b in pairs(over, under)]


def pair_ratio(over: Process, under: Process) -> float:
    """The ratio of one pair."""
    turns = turn_ratios(over, under) if over.slices_s and under.slices_s else []
    known = [ratio for ratio in turns if ratio == ratio]
    return middle(known) if len(known) >= FEWEST_SLICES else over.centre_s / under.centre_s


def turn_ratios(over: Process, under: Process) -> list[float]:
    """The ratio of the two in each turn that both had, NaN where it is unknown."""
    turns = zip(over.slices_s, under.slices_s, strict=False)
    return [a / b if a == a and b == b and b else nan for a, b in turns]

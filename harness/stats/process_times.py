"""The one definition of a case's time that planning and reporting share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import nan
from statistics import median
from typing import NamedTuple

from harness.records.record import Record, Timing, Trial

FEWEST_SLICES = 2  # that two processes have in common, to be held against each other slice by slice


class Process(NamedTuple):
    """The time of one process of a case, and what pairs it with those of others.

    `key` is its group, or its round where it ran alone; `centre_s` the median of its samples; `counts` how many samples
    each slice of its window had before the first `cut` of them, the warm-up, were left out.
    """

    key: int
    centre_s: float
    samples_s: Sequence[float] = ()
    counts: Sequence[int] = ()
    cut: int = 0

    def slices_s(self) -> list[float]:
        """The median of each slice, in the order of the turns.

        NaN where the warm-up took most of a slice; empty where the record does not tell the slices apart.
        """
        if sum(self.counts) != self.cut + len(self.samples_s):
            return []
        out, start = [], -self.cut
        for count in self.counts:
            left = self.samples_s[max(0, start) : max(0, start + count)]
            out.append(median(left) if left and 2 * len(left) >= count else nan)
            start += count
        return out


def process_centres(samples_s: Sequence[Sequence[float]]) -> list[float]:
    """Median of each process's steady samples: robust against the odd interrupted one."""
    return [median(samples) for samples in samples_s if samples]


def counted(time: Timing) -> list[tuple[int, list[float]]]:
    """The processes whose samples count, each with the number by which it pairs with others: its group, else its round.

    The survey and the sweep (round 0) choose who goes on to the groups, and the smallest of many noisy times is too
    small (winner's curse): where a case went on, they are left out.
    """
    return [(_key(trial), samples) for trial, samples in _counted(time)]


def alone_s(record: Record | None) -> float | None:
    """Seconds of a case in the survey or the sweep, where it ran alone and once; None where it did not or is not ok."""
    if record is None or record.status != "ok" or record.time is None:
        return None
    pairs = zip(record.time.trials, record.time.samples_s, strict=False)
    return next((median(samples) for trial, samples in pairs if trial.round == 0 and samples), None)


def processes(record: Record | None) -> list[Process]:
    """The processes of a case that count; none unless it is `ok`."""
    if record is None or record.status != "ok" or record.time is None:
        return []
    return [Process(_key(t), median(s), s, t.slices, len(t.warmup_s)) for t, s in _counted(record.time)]


def swept(record: Record | None) -> list[Process]:
    """The processes of the sweep that took turns with others in a group; none unless the case is `ok`.

    They are pairs, whatever the case did in the rounds afterwards: a twin is in the group of each of its ideas.
    """
    if record is None or record.status != "ok" or record.time is None:
        return []
    pairs = zip(record.time.trials, record.time.samples_s, strict=False)
    return [
        Process(trial.heat, median(samples), samples, trial.slices, len(trial.warmup_s))
        for trial, samples in pairs
        if trial.round == 0 and trial.heat is not None and samples
    ]


def _counted(time: Timing) -> list[tuple[Trial, list[float]]]:
    pairs = [(trial, samples) for trial, samples in zip(time.trials, time.samples_s, strict=False) if samples]
    return [(trial, samples) for trial, samples in pairs if trial.round > 0] or pairs


def _key(trial: Trial) -> int:
    return trial.round if trial.heat is None else trial.heat


def centre(record: Record | None) -> float | None:
    """A case's time in seconds: the median over the processes that count of their medians; None unless it is `ok`."""
    found = processes(record)
    return median(process.centre_s for process in found) if found else None


def paired_ratios(over: Iterable[Process], under: Iterable[Process]) -> list[float]:
    """One time over another in every group (or round) that both ran in: pairs near in time, so that drift cancels.

    In a group the slices of both took turns. A machine that is shared changes its speed from one slice to the next, and
    the median of a window that was half slow and half fast is either; so the ratio of a group is the median over the
    turns of the ratio in each, where both have FEWEST_SLICES that can be told apart, else that of the two medians.
    """
    first, second = _by_key(over), _by_key(under)
    return [_ratio(first[key], second[key]) for key in sorted(first) if key in second and second[key].centre_s]


def _ratio(over: Process, under: Process) -> float:
    turns = [a / b for a, b in zip(over.slices_s(), under.slices_s(), strict=False) if a == a and b == b and b]
    return median(turns) if len(turns) >= FEWEST_SLICES else over.centre_s / under.centre_s


def _by_key(processes: Iterable[Process]) -> dict[int, Process]:
    grouped: dict[int, list[Process]] = {}
    for process in processes:
        grouped.setdefault(process.key, []).append(process)
    return {
        key: same[0] if len(same) == 1 else Process(key, median(process.centre_s for process in same))
        for key, same in grouped.items()
    }

"""The one definition of a case's time that planning and reporting share."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from harness.record import Record, Timing


def process_centres(samples_s: Sequence[Sequence[float]]) -> list[float]:
    """Median of each process's steady samples: robust against the odd interrupted one."""
    return [median(samples) for samples in samples_s if samples]


def counted(time: Timing) -> list[tuple[int, list[float]]]:
    """The processes whose samples count, each with the number by which it pairs with others: its heat, else its round.

    The survey and the sweep (round 0) choose who goes on to the heats, and the smallest of many noisy times is too
    small (winner's curse): where a case went on, they are left out.
    """
    pairs = [(trial, samples) for trial, samples in zip(time.trials, time.samples_s, strict=False) if samples]
    again = [(trial, samples) for trial, samples in pairs if trial.round > 0]
    return [(t.round if t.heat is None else t.heat, samples) for t, samples in again or pairs]


def centre(record: Record | None) -> float | None:
    """A case's time in seconds: the median over the processes that count of their medians; None unless it is `ok`."""
    if record is None or record.status != "ok" or record.time is None:
        return None
    centres = process_centres([samples for _, samples in counted(record.time)])
    return median(centres) if centres else None


def paired_ratios(
    over_keys: Sequence[int | None],
    over_s: Sequence[float],
    under_keys: Sequence[int | None],
    under_s: Sequence[float],
) -> list[float]:
    """One time over another in every heat (or round) that both ran in: pairs near in time, so that drift cancels."""
    over, under = _by_key(over_keys, over_s), _by_key(under_keys, under_s)
    return [over[key] / under[key] for key in sorted(over) if under.get(key)]


def _by_key(keys: Sequence[int | None], times: Sequence[float]) -> dict[int, float]:
    grouped: dict[int, list[float]] = {}
    for key, time in zip(keys, times, strict=True):
        if key is not None:
            grouped.setdefault(key, []).append(time)
    return {key: median(of_key) for key, of_key in grouped.items()}

"""One record a case, from those of its processes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from harness.records.record import ANSWERED, Energy, Memory, Record, Timing, Trial


def merge(records: Iterable[Record]) -> list[Record]:
    """One record a case: the trials of its processes side by side, in the order of their rounds.

    A case that failed in any process is a failure, with how many of its processes did: it cannot be relied on.
    """
    groups: dict[tuple[str, str, bool], list[Record]] = {}
    for record in records:
        groups.setdefault((record.run, record.case.key, record.control), []).append(record)
    return [group[0] if len(group) == 1 else _merged(group) for group in groups.values()]


def with_next(known: Record, made: Record) -> Record:
    """The same as `merge` of the two, of one case; quick where `made` is a process after all of `known`.

    A run that goes on does this for every process that it stored.
    """
    old, new = known.time, made.time
    if old is None or new is None or len(new.trials) != 1 or {known.status, made.status} != {"ok"}:
        return _merged([known, made])
    last, next_ = old.trials[-1], new.trials[0]
    if (last.round, last.started_at) >= (next_.round, next_.started_at):
        return _merged([known, made])
    return msgspec.structs.replace(
        known,
        time=_timing([*old.trials, next_], [*old.samples_s, *new.samples_s]),
        memory=_largest([known, made]),
        headline=known.headline or made.headline,
        energy=_energy([known, made]),
        settings={**made.settings, **known.settings},
    )


def _merged(group: Sequence[Record]) -> Record:
    first = group[0]
    failed = [r for r in group if r.status not in ANSWERED]
    headline = any(r.headline for r in group)
    if failed:
        worst = failed[0]
        reason = (
            f"in {len(failed)} of {len(group)} processes: {worst.reason}" if len(failed) < len(group) else worst.reason
        )
        return msgspec.structs.replace(worst, reason=reason, headline=headline)
    times = [r.time for r in group if r.time is not None]
    if not times:
        return first
    pairs = [pair for t in times for pair in zip(t.trials, t.samples_s, strict=True)]
    pairs = list({(trial.round, trial.heat, trial.started_at): (trial, samples) for trial, samples in pairs}.values())
    pairs.sort(key=lambda pair: (pair[0].round, pair[0].started_at))
    trials, samples = [p[0] for p in pairs], [p[1] for p in pairs]
    time = _timing(trials, samples)
    settings = {name: value for record in reversed(group) for name, value in record.settings.items()}  # the first wins
    return msgspec.structs.replace(
        first, time=time, memory=_largest(group), headline=headline, energy=_energy(group), settings=settings
    )


def _timing(trials: list[Trial], samples_s: list[list[float]]) -> Timing:
    return Timing(
        first_call_s=trials[0].first_call_s,
        compile_s=trials[0].compile_s,
        convert_s=trials[0].convert_s,
        samples_s=samples_s,
        steady=all(t.steady for t in trials),
        drift=max((t.drift for t in trials), key=abs),
        trials=trials,
    )


def _largest(group: Sequence[Record]) -> Memory | None:
    peaks = [r.memory for r in group if r.memory is not None]
    return max(peaks, key=lambda m: (m.device_peak_bytes or 0, m.host_peak_bytes or 0), default=None)


def _energy(group: Sequence[Record]) -> Energy | None:
    """The reading of the process in the middle, so that it is one that was really taken."""
    readings = [r.energy for r in group if r.energy is not None]
    readings.sort(key=lambda e: (e.gross_j is None, e.gross_j or 0.0))
    return readings[(len(readings) - 1) // 2] if readings else None

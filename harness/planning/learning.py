"""What one run teaches of paths, purely: from its records to `Learnt`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import median

from backends.ops import Device
from harness.planning.learnt import KnownMachine, KnownWorkload, Learnt, Seen, machine_name, path_of, short, version_of
from harness.records.points import point_name
from harness.records.record import FAILED, Record, Trial
from harness.records.store import Run
from harness.stats.process_times import centre, paired_ratios, processes
from workloads.base import Mode


def learn(run: Run) -> Learnt:
    """What one run teaches; pure. Controls and failures teach nothing."""
    info = run.info
    records = [record for record in run.records if not record.control and record.status not in FAILED]
    devices: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        devices[_machine(record, machine_name(info.machine))].append(record)
    isolation_s, slice_s, refusal_s = _overheads(run)
    return Learnt(
        machines=[
            KnownMachine(
                name=name,
                kind=kind,
                places=_places(of_device, info.versions),
                isolation_s=isolation_s,
                slice_s=slice_s,
                refusal_s=refusal_s,
                again=_again(of_device),
            )
            for (name, kind), of_device in devices.items()
        ]
    )


def _machine(record: Record, host: str) -> tuple[str, str]:
    """The name and kind of the device that a record is of."""
    device = Device.parse(record.case.device)
    named = record.settings.get("gpu") or record.settings.get("device_kind")
    if device.chip is not None:
        return device.chip, device.kind
    return (str(named) if named and device.kind != "cpu" else host), device.kind


def _overheads(run: Run) -> tuple[float | None, float | None, float | None]:
    """Seconds of a process alone, of a slice and of a refusal beside what is timed: the steps' times without that.

    None where a run does not tell: one that was stopped, or in which programs were only compiled.
    """
    phases = run.info.phases_s
    refused = sum(record.time is None for record in run.records)
    if any(record.estimate is not None for record in run.records) or "failed_cases_s" not in phases:
        return None, None, None
    trials = [trial for record in run.records for trial in _trials(record)]
    alone = [trial.wall_s for trial in trials if trial.round == 0]
    rounds = [trial for trial in trials if trial.round > 0]
    steps_s = phases.get("survey_s", 0.0) + phases.get("sweep_s", 0.0) - phases["failed_cases_s"]
    isolation_s = max(0.0, steps_s - sum(alone)) / len(alone) if alone else 0.0
    beside_s = phases.get("rounds_s", 0.0) - sum(t.wall_s for t in rounds) - isolation_s * len(rounds)
    return (
        short(isolation_s) if alone else None,
        short(max(0.0, beside_s) / sum(t.turns for t in rounds)) if rounds else None,
        short(phases["failed_cases_s"] / refused) if refused else None,
    )


def _places(records: Sequence[Record], versions: Mapping[str, str]) -> list[KnownWorkload]:
    warm = _first_calls(records)
    found: dict[tuple[str, Mode, str, str], dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        c = record.case
        found[c.workload, c.mode, c.dtype, c.backend][point_name(c.params)].append(record)
    out = []
    for (workload, mode, dtype, backend), points in found.items():
        seen: dict[str, list[Seen]] = defaultdict(list)
        refused: dict[str, dict[str, list[int]]] = defaultdict(dict)
        version = version_of(backend, versions)
        for number, at_point in enumerate(points.values()):
            times = point_times(at_point)
            for record in at_point:
                path = path_of(record.case.formulation, record.case.execution)
                if record.case.key in times:
                    seen[path].append(_seen(number, times[record.case.key], record, warm))
                elif record.status == "unsupported" and version is not None:
                    refused[path].setdefault(version, []).append(number)
        axes = [dict(at_point[0].case.params) for at_point in points.values()]
        place = KnownWorkload(
            workload=workload,
            mode=mode,
            dtype=dtype,
            backend=backend,
            points=axes,
            seen=dict(seen),
            refused=dict(refused),
        )
        out.append(place)
    return out


def point_times(records: Iterable[Record]) -> dict[str, float]:
    """Seconds of the paths of one point, such that their ratios are the best that is known of them.

    Those that shared groups with the fastest by the ratio there; the others by the times that each took alone.
    """
    alone: dict[str, float] = {}
    raced: dict[str, Record] = {}
    for record in records:
        time = alone_s(record) if record.estimate is None else record.estimate.optimal_s
        if time is not None:
            alone[record.case.key] = time
        if any(trial.round > 0 for trial in _trials(record)):
            raced[record.case.key] = record
    centres = {key: time for key, record in raced.items() if (time := centre(record)) is not None}
    if not centres:
        return alone
    best = min(centres, key=lambda key: centres[key])
    scale = centres[best] / alone[best] if best in alone else 1.0
    times = {key: scale * time for key, time in alone.items()}
    for key, time in centres.items():
        ratios = paired_ratios(processes(raced[key]), processes(raced[best])) if key != best else [1.0]
        times[key] = median(ratios) * centres[best] if ratios else time
    return times


def _seen(point: int, time_s: float, record: Record, warm: Mapping[tuple[str, str], float | None]) -> Seen:
    if record.estimate is not None:
        compiling_s = short(record.estimate.trace_s + record.estimate.compile_s)
        return Seen(point, short(time_s), cold_s=compiling_s, warm_s=compiling_s)
    first, later = _first_call(record)
    if first is None:
        return Seen(point, short(time_s), warm_s=short(median(later)) if later else None)
    factor = warm.get((record.case.backend, record.case.execution))
    cold = factor is not None and first.compile_cache != "warm"
    usual = first.first_call_s * (factor if cold and factor is not None else 1.0)
    return Seen(
        point,
        short(time_s),
        rest_s=short(_rest_s(first)),
        cold_s=short(first.first_call_s) if cold else None,
        warm_s=short(median(later) if later else usual),
        again_s=short(median(_rest_s(trial) for trial in _trials(record) if trial.round > 0)) if later else None,
    )


def _first_call(record: Record) -> tuple[Trial | None, list[float]]:
    """The process that ran alone, and the first calls of the later ones, for which the compile cache was warm."""
    trials = _trials(record)
    first = next((trial for trial in trials if trial.round == 0), None)
    return first, [trial.first_call_s for trial in trials if trial.round > 0]


def _trials(record: Record) -> Sequence[Trial]:
    return record.time.trials if record.time is not None else ()


def _rest_s(trial: Trial) -> float:
    return max(0.0, trial.wall_s - trial.window_s - trial.first_call_s)


def _first_calls(records: Iterable[Record]) -> dict[tuple[str, str], float | None]:
    """First calls of later processes over those of the first, by backend and execution; None where the run was warm."""
    states: dict[str, list[bool]] = defaultdict(list)
    totals: dict[tuple[str, str], list[float]] = {}
    for record in records:
        first, later = _first_call(record)
        if first is None:
            continue
        if first.compile_cache is not None:
            states[record.case.backend].append(first.compile_cache == "warm")
        total = totals.setdefault((record.case.backend, record.case.execution), [0.0, 0.0])
        if later and first.compile_cache != "warm":
            total[0] += first.first_call_s
            total[1] += median(later)
    warm = {backend for backend, were in states.items() if 2 * sum(were) > len(were)}
    return {
        key: None if key[0] in warm else min(1.0, second / first) if first else 1.0
        for key, (first, second) in totals.items()
    }


def _again(records: Iterable[Record]) -> dict[str, float]:
    totals: dict[str, list[float]] = {}
    for record in records:
        first = [_rest_s(trial) for trial in _trials(record) if trial.round == 0]
        later = [_rest_s(trial) for trial in _trials(record) if trial.round > 0]
        if first and later:
            total = totals.setdefault(record.case.backend, [0.0, 0.0])
            total[0] += first[0]
            total[1] += median(later)
    return {backend: short(min(1.0, later / first)) for backend, (first, later) in totals.items() if first}


def alone_s(record: Record) -> float | None:
    """Seconds of a case in its first look."""
    pairs = (
        zip(record.time.trials, record.time.samples_s, strict=False) if record.time and record.status == "ok" else ()
    )
    return next((median(samples) for trial, samples in pairs if trial.round == 0 and samples), None)

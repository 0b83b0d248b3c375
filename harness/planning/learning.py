"""What one run teaches of paths, purely: from its records to `Learnt`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import NamedTuple

from backends.ops import Device
from harness.planning.learnt import (
    REFUSAL_S,
    KnownMachine,
    KnownWorkload,
    Learnt,
    Seen,
    machine_name,
    path_of,
    short,
    usual_inputs_s,
    version_of,
)
from harness.planning.standing import relative_times
from harness.records.points import point_name
from harness.records.record import FAILED, Record, Trial
from harness.records.store import Run
from harness.stats.process_times import centre
from workloads.base import Mode


def learn(run: Run) -> Learnt:
    """What one run teaches; pure. Controls and failures teach nothing."""
    info = run.info
    records = [record for record in run.records if not record.control and record.status not in FAILED]
    devices: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        devices[_machine(record, machine_name(info.machine))].append(record)
    costs = _costs(run)
    return Learnt(
        machines=[
            KnownMachine(
                name=name,
                kind=kind,
                places=_places(of_device, info.versions),
                pace=costs.pace,
                stretch=costs.stretch,
                start_s=costs.start_s,
                inputs=costs.inputs,
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


class _Costs(NamedTuple):
    """What of a run is in no process of it, as `KnownMachine` has it; None where the run does not tell."""

    pace: float | None = None
    stretch: float | None = None
    start_s: float | None = None
    inputs: float | None = None


def _costs(run: Run) -> _Costs:
    """The wall time of the parts of a run, over the seconds that the processes themselves took in them.

    Older runs do not tell the parts apart, and on an accelerator processes follow each other.
    """
    phases, records = run.info.phases_s, run.records
    trials = [trial for record in records for trial in _trials(record)]
    made_s = phases.get("inputs_and_references_s", 0.0)
    firsts = [in_order[0] for record in records if not record.control and (in_order := _in_order(record))]
    cold = [trial.compile_cache == "cold" for trial in firsts if trial.compile_cache is not None]
    points = {(r.case.workload, point_name(r.case.params), r.case.mode, r.case.dtype): r.work for r in records}
    # Inputs are kept where compiled programs are: with those that were there before nothing was made.
    inputs = short(made_s / usual_inputs_s(points.values())) if points and 2 * sum(cold) > len(cold) else None
    on_host = all(Device.parse(record.case.device).kind == "cpu" for record in records)
    if not on_host or not trials or not {"preparing_s", "measuring_s", "finishing_s"} <= phases.keys():
        return _Costs(inputs=inputs)
    import_s = phases.get("import_s", 0.0)  # a part of what preparing took
    apart_s = max(0.0, phases["preparing_s"] - import_s) + phases["finishing_s"]
    refused_s = REFUSAL_S * sum(record.time is None for record in records)
    windows_s = sum(trial.window_s for trial in trials)
    in_processes_s = sum(trial.wall_s for trial in trials) - windows_s + refused_s
    rest_s = (run.info.wall_s or 0.0) - made_s - phases["measuring_s"] - apart_s
    return _Costs(
        pace=short(apart_s / in_processes_s) if in_processes_s > 0 else None,
        stretch=short(phases["measuring_s"] / windows_s) if windows_s > 0 else None,
        start_s=short(max(0.0, rest_s)) if run.info.wall_s else None,
        inputs=inputs,
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
    """Seconds of the paths of one point, such that their ratios are those of `relative_times`.

    The fastest has the median of its processes; the compiler's ideal seconds where programs were only compiled.
    """
    known = {record.case.key: record for record in records}
    ratios = relative_times(known.values())
    if not ratios:
        return {}
    best = known[min(ratios, key=lambda key: ratios[key])]
    seconds = centre(best) if best.estimate is None else best.estimate.optimal_s
    return {key: ratio * (seconds or 0.0) for key, ratio in ratios.items()}


def _seen(point: int, time_s: float, record: Record, warm: Mapping[tuple[str, str], float | None]) -> Seen:
    if record.estimate is not None:
        compiling_s = short(record.estimate.trace_s + record.estimate.compile_s)
        return Seen(point, short(time_s), cold_s=compiling_s, warm_s=compiling_s)
    first, *later = _in_order(record)
    factor = warm.get((record.case.backend, record.case.execution))
    cold = factor is not None and first.compile_cache != "warm"
    usual = first.first_call_s * (factor if cold and factor is not None else 1.0)
    return Seen(
        point,
        short(time_s),
        rest_s=short(_rest_s(first)),
        cold_s=short(first.first_call_s) if cold else None,
        warm_s=short(median(trial.first_call_s for trial in later) if later else usual),
        again_s=short(median(map(_rest_s, later))) if later else None,
    )


def _in_order(record: Record) -> list[Trial]:
    """Its processes as they were started: the compile cache is warm for all but the first.

    Their times are what they were beside the others that were prepared meanwhile, as `pace` takes them to be.
    """
    return sorted(_trials(record), key=lambda trial: trial.started_at)


def _trials(record: Record) -> Sequence[Trial]:
    return record.time.trials if record.time is not None else ()


def _rest_s(trial: Trial) -> float:
    return max(0.0, trial.wall_s - trial.window_s - trial.first_call_s)


def _first_calls(records: Iterable[Record]) -> dict[tuple[str, str], float | None]:
    """First calls of later processes over those of the first, by backend and execution; None where the run was warm."""
    states: dict[str, list[bool]] = defaultdict(list)
    totals: dict[tuple[str, str], list[float]] = {}
    for record in records:
        trials = _in_order(record)
        if not trials:
            continue
        first, *later = trials
        if first.compile_cache is not None:
            states[record.case.backend].append(first.compile_cache == "warm")
        total = totals.setdefault((record.case.backend, record.case.execution), [0.0, 0.0])
        if later and first.compile_cache != "warm":
            total[0] += first.first_call_s
            total[1] += median(trial.first_call_s for trial in later)
    warm = {backend for backend, were in states.items() if 2 * sum(were) > len(were)}
    return {
        key: None if key[0] in warm else min(1.0, second / first) if first else 1.0
        for key, (first, second) in totals.items()
    }


def _again(records: Iterable[Record]) -> dict[str, float]:
    totals: dict[str, list[float]] = {}
    for record in records:
        trials = _in_order(record)
        if len(trials) > 1:
            total = totals.setdefault(record.case.backend, [0.0, 0.0])
            total[0] += _rest_s(trials[0])
            total[1] += median(map(_rest_s, trials[1:]))
    return {backend: short(min(1.0, later / first)) for backend, (first, later) in totals.items() if first}

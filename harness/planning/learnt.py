"""What records teach of paths: how long each took at every point where it was seen, and which framework refused it.

A path is a formulation in an execution. What was learnt is a file made by a command: `contenders.json` beside this
module from the stored runs (`python tools/contenders.py --write RUN…`), and one in the user's cache folder from the
runs of this machine. Failures are not learnt: they are tried again.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from math import sqrt
from pathlib import Path

import msgspec

from backends.ops import Scalar
from harness.records.lines import UNREADABLE
from harness.records.points import point_name
from harness.records.record import WorkFacts
from workloads.base import Mode, Value

FORMAT = 2
INPUT_S, REFERENCE_FLOP_PER_S = 0.2, 6e9  # of a point; of NumPy on two cores
REFUSAL_S = 0.1  # of a process that is refused; no record tells
DISTURBED = 1.25  # two times of one path that differ by more: the slower one was disturbed
FILE = Path(__file__).with_name("contenders.json")


class Seen(msgspec.Struct, frozen=True, array_like=True):
    """A path at one point, `point` of its place; seconds, None where they are not known.

    `time_s` is of a call; `rest_s` of the case's first process without its window and first call, `again_s` of a later
    one; the first call itself takes `cold_s` with an empty compile cache, else `warm_s`.
    """

    point: int
    time_s: float
    rest_s: float | None = None
    cold_s: float | None = None
    warm_s: float | None = None
    again_s: float | None = None


class KnownWorkload(msgspec.Struct, frozen=True, kw_only=True):
    """One workload in one backend: the points that were seen, and by path what was seen there.

    `refused` has, by path and by version of the framework, the points at which it was refused.
    """

    workload: str
    mode: Mode
    dtype: str
    backend: str
    points: list[dict[str, Value]]
    seen: dict[str, list[Seen]]
    refused: dict[str, dict[str, list[int]]] = {}


class KnownMachine(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one kind of device of one machine.

    `pace` is what a second of a process, its window apart, costs of a run, in which several prepare side by side;
    `stretch` what a second of a window costs, in which others have their turns. `start_s` is what a run takes beside
    its processes, imports most of all, and `inputs` what it takes to make inputs and references, over what is usual.
    `again` is the share of `rest_s` that a case's later processes take, by backend, where the path does not tell.
    """

    name: str
    kind: str
    places: list[KnownWorkload]
    pace: float | None = None
    stretch: float | None = None
    start_s: float | None = None
    inputs: float | None = None
    again: dict[str, float] = {}


class Learnt(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is known, by machine; `runs` names the folders that a file was made from."""

    format: int = FORMAT
    runs: list[str] = []
    machines: list[KnownMachine] = []


def machine_name(machine: Mapping[str, Scalar]) -> str:
    """A machine as far as times go: its processor and cores, `machine` being the facts that run.json holds.

    Clouds give one name to processors of several generations, with and without wide vectors; the id tells them apart.
    """
    cpu, told = machine.get("cpu"), machine.get("cpu_id")  # older runs do not tell the id
    processor = f"{cpu} ({told})" if told else cpu
    return f"{processor}, {machine.get('architecture')}, {machine.get('cores_usable')} cores"


def version_of(backend: str, versions: Mapping[str, str]) -> str | None:
    """What a refusal hangs on, the versions of the framework and of its adapter; None where that is not known."""
    own, adapter = versions.get(backend) or versions.get(backend.replace("_", "-")), versions.get("hwlottery")
    return f"{own} (hwlottery {adapter})" if own and adapter else None


def path_of(formulation: str, execution: str) -> str:
    """The name of a path."""
    return f"{formulation} {execution}"


def usual_inputs_s(works: Iterable[WorkFacts]) -> float:
    """Seconds in which inputs and float64 references of points are made, roughly, one entry a point."""
    return sum(INPUT_S + work.useful_flop / REFERENCE_FLOP_PER_S for work in works)


def short(seconds: float) -> float:
    """Three digits: what is known of a time that will be taken again."""
    return float(f"{seconds:.3g}")


# -- several runs --------------------------------------------------------------------------------------------------


def merged(*several: Learnt) -> Learnt:
    """All of them, those of one machine as one: what lies between two times of a path at a point, and later costs."""
    machines: dict[tuple[str, str], KnownMachine] = {}
    for learnt in several:
        for machine in learnt.machines:
            key = (machine.name, machine.kind)
            machines[key] = _joined(machines[key], machine) if key in machines else machine
    return Learnt(machines=list(machines.values()))


def _joined(old: KnownMachine, new: KnownMachine) -> KnownMachine:
    places = {(p.workload, p.mode, p.dtype, p.backend): p for p in old.places}
    for place in new.places:
        key = (place.workload, place.mode, place.dtype, place.backend)
        places[key] = _both(places[key], place) if key in places else place
    return KnownMachine(
        name=old.name,
        kind=old.kind,
        places=list(places.values()),
        pace=old.pace if new.pace is None else new.pace,
        stretch=old.stretch if new.stretch is None else new.stretch,
        start_s=old.start_s if new.start_s is None else new.start_s,
        inputs=old.inputs if new.inputs is None else new.inputs,
        again={**old.again, **new.again},
    )


def _both(old: KnownWorkload, new: KnownWorkload) -> KnownWorkload:
    points = {point_name(params): params for params in (*old.points, *new.points)}
    number = {name: index for index, name in enumerate(points)}
    sights: list[dict[int, dict[str, Seen]]] = []
    refused: dict[str, dict[str, list[int]]] = defaultdict(dict)
    for place in (old, new):
        moved = [number[point_name(params)] for params in place.points]
        by_point: dict[int, dict[str, Seen]] = defaultdict(dict)
        for path, at in place.seen.items():
            for sight in at:
                to = moved[sight.point]
                by_point[to][path] = msgspec.structs.replace(sight, point=to)
        sights.append(by_point)
        for path, by_version in place.refused.items():
            for version, where in by_version.items():
                refused[path][version] = sorted({*refused[path].get(version, []), *(moved[point] for point in where)})
    seen: dict[str, list[Seen]] = defaultdict(list)
    for point in range(len(points)):
        for path, sight in _at_point(sights[0].get(point, {}), sights[1].get(point, {})).items():
            seen[path].append(sight)
    return msgspec.structs.replace(new, points=list(points.values()), seen=dict(seen), refused=dict(refused))


def _at_point(old: Mapping[str, Seen], new: Mapping[str, Seen]) -> dict[str, Seen]:
    """The paths of one point in two runs. The machine may have been slower in one, and one may have had few of them.

    So the old times are held against the new ones by the path that was the fastest of those that both have.
    """
    common = min((path for path in old if path in new), key=lambda path: old[path].time_s, default=None)
    scale = new[common].time_s / old[common].time_s if common is not None and old[common].time_s else 1.0
    out = {path: msgspec.structs.replace(sight, time_s=short(scale * sight.time_s)) for path, sight in old.items()}
    for path, sight in new.items():
        out[path] = _later(out[path], sight) if path in out else sight
    return out


def _later(old: Seen, new: Seen) -> Seen:
    """Of two times what lies between, so that the luck of one run does not choose a path for all that follow.

    What slows a process down by as much as DISTURBED is no luck of a run, and only ever adds time.
    """
    low, high = sorted((old.time_s, new.time_s))
    return Seen(
        new.point,
        low if high > DISTURBED * low else short(sqrt(low * high)),
        rest_s=old.rest_s if new.rest_s is None else new.rest_s,
        cold_s=old.cold_s if new.cold_s is None else new.cold_s,
        warm_s=old.warm_s if new.warm_s is None else new.warm_s,
        again_s=old.again_s if new.again_s is None else new.again_s,
    )


# -- files ---------------------------------------------------------------------------------------------------------


def packaged(file: Path = FILE) -> Learnt:
    """What the stored runs taught, as it comes with the package."""
    return msgspec.json.decode(file.read_bytes(), type=Learnt)


def encoded(learnt: Learnt) -> bytes:
    """The file of it: a line a place, so that a change shows where it is."""
    text = msgspec.json.encode(learnt, order="deterministic")
    return text.replace(b'{"workload":', b'\n{"workload":') + b"\n"


def remember(learnt: Learnt, machine: Mapping[str, Scalar], folder: Path) -> None:
    """Add what a run taught to what is known of this machine, in a file of `folder`; OSError where it cannot be."""
    folder.mkdir(parents=True, exist_ok=True)
    file = _file(folder, machine)
    partial = file.with_suffix(f".{os.getpid()}.partial")  # two runs may end at once
    partial.write_bytes(encoded(merged(known(folder, machine), learnt)))
    partial.replace(file)


def known(folder: Path, machine: Mapping[str, Scalar]) -> Learnt:
    """What the user's own runs of this machine taught; nothing where no file is, or one that cannot be read.

    It is a cache: what is lost is learnt again.
    """
    try:
        found = msgspec.json.decode(_file(folder, machine).read_bytes(), type=Learnt)
    except (OSError, *UNREADABLE):
        return Learnt()
    return found if found.format == FORMAT else Learnt()


def _file(folder: Path, machine: Mapping[str, Scalar]) -> Path:
    name = hashlib.sha256(machine_name(machine).encode()).hexdigest()[:16]
    return folder / f"contenders-{name}.json"

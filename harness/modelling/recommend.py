"""Which hardware suits an idea: what was measured, what compilers estimated, what the model says. Never one list.

Measured rows are of the point nearest to the axes that were asked for, on each machine and framework, and say how near:
the distance of two points is the sum over numeric axes of |log₂| of the ratio, and 1 for each word that differs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from math import log2
from typing import Literal, NamedTuple, TypeVar

import msgspec

from harness.figures.answer import brief
from harness.figures.estimates import EstimateRow
from harness.figures.modelled import ModelledRow
from harness.figures.summary import Row, summarise
from harness.modelling.class_errors import ANY, MEDIAN_LIMIT, P95_LIMIT
from harness.modelling.rows import DeviceNeeded, WhatIfRow
from harness.modelling.validated import held
from harness.records.store import Run
from workloads.base import Value

Kind = Literal["measured", "estimated", "modelled"]


class Suited(msgspec.Struct, frozen=True, kw_only=True):
    """One device for an idea: its best path there, with its speed-up over the twin on that same device.

    `distance` is how far the point is from the axes asked for. `needs` is the break-even of a modelled device. Where
    the model is too far off to say whether the idea pays, it is not `told`.
    """

    kind: Kind
    where: str
    backend: str
    point: str
    mode: str
    distance: float
    path: str | None
    speed_up: float | None
    speed_up_low: float | None = None
    speed_up_high: float | None = None
    time_s: float | None = None
    energy_j: float | None = None
    bound_by: str | None = None
    error: float | None = None
    needs: DeviceNeeded | None = None
    told: bool = True


class Recommendation(msgspec.Struct, frozen=True, kw_only=True):
    """Three lists, each from its best device down, and the answer in sentences."""

    idea: str
    measured: list[Suited]
    estimated: list[Suited]
    modelled: list[Suited]
    answer: list[str]


def distance(params: Mapping[str, Value], wanted: Mapping[str, Sequence[Value]]) -> float:
    """From a point to the nearest of the values asked for, axis by axis; axes that it does not have count nothing."""
    total = 0.0
    for axis, values in wanted.items():
        if axis in params and values:
            total += min(_apart(params[axis], value) for value in values)
    return total


def _apart(a: Value, b: Value) -> float:
    if isinstance(a, str) or isinstance(b, str):
        return float(str(a) != str(b))
    if a > 0 and b > 0:
        return abs(log2(a / b))
    return float(a != b)


def recommendation(
    idea: str, runs: Sequence[Run], modelled: Iterable[WhatIfRow], wanted: Mapping[str, Sequence[Value]]
) -> Recommendation:
    """The three lists; `modelled` are rows of the model, of which those of any framework count.

    Records that a run of `model:FILE` stored stand in the third list too, each through its own framework.
    """
    measured: list[Suited] = []
    estimated: list[Suited] = []
    said: list[Suited] = []
    for run in runs:
        summary = summarise([r for r in run.records if not r.control], all_points=True)
        where = str(run.info.machine.get("cpu") or run.info.run)
        rows = [row for row in summary.rows if row.workload == idea]
        measured += [_measured(row, where, wanted) for row in _nearest(rows, wanted)]
        compiled = [row for row in summary.estimates if row.workload == idea]
        estimated += [_estimated(row, wanted) for row in _nearest(compiled, wanted)]
        stored = [row for row in summary.modelled if row.workload == idea and row.time_s is not None]
        said += [_stored(row, wanted) for row in _nearest(stored, wanted)]
    reckoned = [row for row in modelled if row.workload == idea and row.backend == ANY and row.time_s is not None]
    said += [_modelled(row, wanted) for row in reckoned]
    lists = [sorted(several, key=_order) for several in (measured, estimated, _each_nearest(said))]
    return Recommendation(
        idea=idea, measured=lists[0], estimated=lists[1], modelled=lists[2], answer=_answer(idea, *lists)
    )


def _order(found: Suited) -> tuple[float, float]:
    """The nearest points first, of these the largest speed-up."""
    return (round(found.distance, 6), -(found.speed_up or 0.0))


_AnyRow = TypeVar("_AnyRow", Row, EstimateRow, ModelledRow)


def _nearest(rows: Sequence[_AnyRow], wanted: Mapping[str, Sequence[Value]]) -> list[_AnyRow]:
    """Of each mode, framework, device and dtype the rows of the nearest point; of equally near ones the headline's."""
    groups: dict[tuple[str, ...], list[_AnyRow]] = defaultdict(list)
    for row in rows:
        groups[row.mode, row.backend, row.device, row.dtype].append(row)
    return [min(g, key=lambda r: (distance(r.params, wanted), not r.headline)) for g in groups.values()]


def _each_nearest(found: Sequence[Suited]) -> list[Suited]:
    groups: dict[tuple[str, ...], list[Suited]] = defaultdict(list)
    for row in found:
        groups[row.where, row.backend, row.mode].append(row)
    return [min(g, key=_order) for g in groups.values()]


def _measured(row: Row, where: str, wanted: Mapping[str, Sequence[Value]]) -> Suited:
    against = row.principal
    return Suited(
        kind="measured",
        where=f"{where} {row.device}",
        backend=row.backend,
        point=row.point,
        mode=row.mode,
        distance=distance(row.params, wanted),
        path=row.path,
        speed_up=against.speed_up if against else None,
        speed_up_low=against.speed_up_low if against else None,
        speed_up_high=against.speed_up_high if against else None,
        time_s=row.time_s,
        energy_j=row.energy_j,
        bound_by=against.bound_by if against else None,
    )


def _estimated(row: EstimateRow, wanted: Mapping[str, Sequence[Value]]) -> Suited:
    ratio = row.tax * row.work_ratio if row.tax is not None and row.work_ratio is not None else None
    return Suited(
        kind="estimated",
        where=row.device,
        backend=row.backend,
        point=row.point,
        mode=row.mode,
        distance=distance(row.params, wanted),
        path=row.path,
        speed_up=1 / ratio if ratio else None,
        time_s=row.optimal_s,
    )


def _stored(row: ModelledRow, wanted: Mapping[str, Sequence[Value]]) -> Suited:
    return Suited(
        kind="modelled",
        where=row.device_name or row.device,
        backend=row.backend,
        point=row.point,
        mode=row.mode,
        distance=distance(row.params, wanted),
        path=row.path,
        speed_up=row.speed_up,
        time_s=row.time_s,
        energy_j=row.energy_j,
        bound_by=row.bound_by,
        error=row.median_error,
        told=_near_enough(row),
    )


def _near_enough(row: ModelledRow) -> bool:
    """By the errors that the record has, and by how well the model chooses in its class."""
    if row.median_error is None or row.p95_error is None:
        return False
    known = {error.name: error for error in held().errors}.get(f"{row.kind} {row.backend}")
    chooses = known is None or known.chooses
    return row.median_error <= MEDIAN_LIMIT and row.p95_error <= P95_LIMIT and chooses


def _modelled(row: WhatIfRow, wanted: Mapping[str, Sequence[Value]]) -> Suited:
    return Suited(
        kind="modelled",
        where=row.device,
        backend=row.backend,
        point=row.point,
        mode=row.mode,
        distance=distance(row.params, wanted),
        path=row.best,
        speed_up=row.speed_up,
        time_s=row.time_s,
        energy_j=row.energy_j,
        bound_by=row.bound_by,
        error=row.error.median_error if row.error else None,
        needs=row.break_even,
        told=row.near_enough,
    )


def _answer(
    idea: str, measured: Sequence[Suited], estimated: Sequence[Suited], modelled: Sequence[Suited]
) -> list[str]:
    """A sentence for each list that has something; where nothing pays, what it would take."""
    out = []
    for kind, several in (("measured", measured), ("estimated", estimated), ("modelled", modelled)):
        if several:
            nearest = [f for f in several if f.distance == several[0].distance]
            if not any(f.told for f in nearest):
                out.append(f"{kind.capitalize()}: the model is too far off to say whether {idea} pays anywhere.")
                continue
            nearest = [f for f in nearest if f.told]
            pays = [f for f in nearest if (f.speed_up_low or f.speed_up or 0.0) > 1]
            out.append(_sentence(idea, kind, pays, nearest))
    known = [f for f in modelled if f.needs is not None]
    if not any("pays on" in said for said in out) and known:
        least = min(known, key=lambda f: f.needs.factor if f.needs else 0.0)
        assert least.needs is not None
        out.append(
            f"None of these: by the model {idea} needs {least.needs.parameter} ×{brief(least.needs.factor)} on "
            f"{least.where}, at {least.point}."
        )
    return out or [f"Nothing is known of {idea}: no record of it was given, and the model has no figure for it."]


def _sentence(idea: str, kind: str, pays: Sequence[Suited], nearest: Sequence[Suited]) -> str:
    if not pays:
        best = nearest[0]
        how = f"; it comes nearest on {best.where}, {brief(best.speed_up)}×" if best.speed_up else ""
        return f"{kind.capitalize()}: {idea} is not surely faster than its twin on any device{how}."
    best = max(pays, key=lambda f: f.speed_up or 0.0)
    through = "" if best.backend == ANY else f" through {best.backend}"
    far = f", {brief(best.distance)} octaves from what was asked" if best.distance else ""
    gain = f"{brief(best.speed_up or 0.0)}× its twin at {best.point}"
    return f"{kind.capitalize()}: {idea} pays on {best.where}{through}, {gain}{far}."


# -- what it is worth --------------------------------------------------------------------------------------------------
class Transfer(NamedTuple):
    """What a choice made from the other machines costs on a machine that was left out."""

    machine: str
    points: int
    within: int  # points at which it takes at most 1.1 times the machine's own best


def transfers(runs: Sequence[Run], ideas: Collection[str]) -> list[Transfer]:
    """Leave one machine out: at each of its points take the framework that is best, on the mean, elsewhere."""
    times: list[dict[tuple[str, ...], dict[str, float]]] = []
    for run in runs:
        summary = summarise([r for r in run.records if not r.control], all_points=True)
        places: dict[tuple[str, ...], dict[str, float]] = defaultdict(dict)
        for row in summary.rows:
            if row.workload in ideas and row.time_s is not None and row.path is not None:
                places[row.workload, row.point, row.mode, row.dtype][row.backend] = row.time_s
        times.append(places)
    out = []
    for number, own in enumerate(times):
        others = [place for k, place in enumerate(times) if k != number]
        points = within = 0
        for place, here in own.items():
            elsewhere: dict[str, list[float]] = defaultdict(list)
            for other in others:
                known = other.get(place, {})
                for choice, time in known.items():
                    if choice in here:
                        elsewhere[choice].append(time / min(known.values()))
            if elsewhere:
                chosen = min(elsewhere, key=lambda choice: sum(elsewhere[choice]) / len(elsewhere[choice]))
                points += 1
                within += here[chosen] <= 1.1 * min(here.values())
        out.append(Transfer(str(runs[number].info.machine.get("cpu") or number), points, within))
    return out

"""The model held to what was measured: errors by class, and what its choices would have cost.

Nothing is fitted here. A device file is made from ceilings alone, which are left out of the judged cases, so that every
shape and every workload that is judged was held out.

A case is one class of calls at one point in one framework: the least time reckoned against the least time measured.
Paths that do the same work, such as a product with its operands stored one way or the other, are one to the model, and
what it says is of the best of them; how well it chooses between paths is what regret tells.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Literal, NamedTuple, TypeAlias

import msgspec
from msgspec.structs import replace

from backends.ops import EXECUTIONS
from harness.modelling.class_errors import ANY, FEWEST_CASES, REGRET, ClassError, ClassRegret, class_error
from harness.modelling.device_schema import ModelDevice
from harness.modelling.kernel_table import Asked, KernelTable
from harness.modelling.kernels import COUNTS, KernelClass
from harness.modelling.reckon import Terms, missing
from harness.records.record import Case, Record
from workloads.base import Definition

INDISTINGUISHABLE = 1.02  # times as long is the same time to the model; the path written first stands for both


class Judged(NamedTuple):
    """A measured path and what the model said of it; `order` is its place in the workload's file."""

    kind: str
    backend: str
    workload: str
    point: tuple[str, ...]
    path: str
    order: int
    measured_s: float
    reckoned_s: float

    @property
    def formulation(self) -> str:
        """Of its path."""
        return self.path.partition("/")[0]


class Validation(msgspec.Struct, frozen=True, kw_only=True):
    """What came of holding a device to records. `left_out` counts the cases without a figure, by why."""

    judged: list[Judged]
    left_out: dict[str, int]

    def by(self, *fields: str) -> list[ClassError]:
        """The errors of the cases that are alike in these fields of `Judged`, by the fields' values."""
        groups: dict[str, list[float]] = defaultdict(list)
        for path, ratio in self._cases():
            groups[" ".join(str(getattr(path, field)) for field in fields)].append(ratio)
        return [class_error(name, ratios) for name, ratios in sorted(groups.items())]

    def _cases(self) -> list[tuple[Judged, float]]:
        """A path that stands for each case, and least time reckoned / least time measured."""
        cases: dict[tuple[object, ...], list[Judged]] = defaultdict(list)
        for path in self.judged:
            cases[(path.kind, path.workload, path.backend, *path.point)].append(path)
        return [
            (several[0], min(p.reckoned_s for p in several) / min(p.measured_s for p in several))
            for several in cases.values()
        ]

    def held_out(self, what: Literal["shape", "workload"]) -> list[ClassError]:
        """By class and framework, with one factor that is learnt from the others: every other shape, or workload.

        The figures of `whatif` have no such factor; this tells how much of an error is one and the same everywhere.
        """
        cases = self._cases()
        groups: dict[str, list[float]] = defaultdict(list)
        for path, ratio in cases:
            others = [
                r
                for p, r in cases
                if (p.kind, p.backend) == (path.kind, path.backend)
                and (
                    p.workload != path.workload
                    if what == "workload"
                    else (p.workload, p.point) != (path.workload, path.point)
                )
            ]
            if others:
                groups[f"{path.kind} {path.backend}"].append(ratio / median(others))
        return [class_error(name, ratios) for name, ratios in sorted(groups.items())]

    def classes(self) -> list[ClassError]:
        """By class and framework, such as "dense torch"; then "dense any", the device by itself, the best of all."""
        choices = {choice.name: choice for choice in self.regret_by_class()}
        found = [
            error if (of := choices.get(error.name)) is None else replace(error, points=of.points, within=of.within)
            for error in self.by("kind", "backend")
        ]
        return sorted(found, key=lambda error: (error.name.endswith(f" {ANY}"), error.name))

    def errors(self) -> dict[str, ClassError]:
        """`classes` by name, of those with FEWEST_CASES."""
        return {error.name: error for error in self.classes() if error.cases >= FEWEST_CASES}

    def regrets(self) -> list[float]:
        """Of every point and framework with two formulations or more: time of the model's choice / least time."""
        return [regret for _, regret in self._choices()]

    def regret_by_class(self) -> list[ClassRegret]:
        """By the class and framework of the best measured formulation, as `classes` has them."""
        groups: dict[str, list[float]] = defaultdict(list)
        for best, regret in self._choices():
            groups[f"{best.kind} {best.backend}"].append(regret)
        return [
            ClassRegret(
                name=name, points=len(several), within=sum(r <= REGRET for r in several), median=median(several)
            )
            for name, several in sorted(groups.items())
        ]

    def _choices(self) -> list[tuple[Judged, float]]:
        """The best measured path of each point and framework, and the regret of what the model chooses there.

        It chooses a formulation. Each takes as long as by its best execution, to the model and as it was measured.
        """
        points: dict[tuple[object, ...], list[Judged]] = defaultdict(list)
        for path in self.judged:
            points[(path.workload, path.backend, *path.point)].append(path)
        out = []
        for several in points.values():
            if len({p.formulation for p in several}) > 1:
                chosen = several[first_of_least([(p.reckoned_s, p.order) for p in several])].formulation
                best = min(several, key=lambda p: p.measured_s)
                takes = min(p.measured_s for p in several if p.formulation == chosen)
                out.append((best, takes / best.measured_s))
        return out


def first_of_least(several: Sequence[tuple[float, int]]) -> int:
    """Of (seconds, order) the place of the first in order among those that the model cannot tell from the least."""
    least = min(seconds for seconds, _ in several)
    return min(
        (order, place) for place, (seconds, order) in enumerate(several) if seconds <= least * INDISTINGUISHABLE
    )[1]


def path_order(definition: Definition, case: Case) -> int:
    """The place of a path among those that the model cannot tell apart: formulations as the workload's file has them.

    First come those that only some executions have: their operands were put into the library's own order ahead, and
    the others' are in the call. Of one formulation what is compiled comes first: a compiler knows every shape ahead,
    and can only leave work out.
    """
    formulations = definition.formulations.get(case.mode, {})
    place = list(formulations).index(case.formulation)
    place += len(formulations) * (formulations[case.formulation].executions is None)
    return (place + 1) * len(EXECUTIONS) - EXECUTIONS.index(case.execution)


def validate_device(
    device: ModelDevice, records: Sequence[Record], definitions: Mapping[str, Definition]
) -> Validation:
    """Reckon every case that was measured ok, but for the ceilings that a device is made from.

    Through any framework: each path by the device's own values, against the framework in which it was fastest, and
    only where all frameworks were measured that have the class.
    """
    return validate_forms(device, measured_forms(records, definitions))


class MeasuredForms(NamedTuple):
    """What was measured, counted; and how many cases cannot be counted, by why."""

    forms: list[MeasuredForm]
    uncounted: dict[str, int]


class MeasuredForm(NamedTuple):
    """A counted path through a framework, its place in the workload's file, and its time."""

    backend: str
    path: _Path
    asked: Asked
    order: int
    time_s: float


def measured_forms(records: Sequence[Record], definitions: Mapping[str, Definition]) -> MeasuredForms:
    """Every case that was measured ok, but for ceilings."""
    from harness.figures.frame import case_rows  # scipy, which takes long and which `whatif` alone does without
    from harness.modelling.ceiling_times import CEILINGS, is_ceiling

    forms: list[MeasuredForm] = []
    uncounted: dict[str, int] = defaultdict(int)
    candidates = [r for r in records if r.status == "ok" and not r.control and not is_ceiling(r)]
    candidates = [r for r in candidates if r.case.workload not in CEILINGS[1:]]
    for record, row in zip(candidates, case_rows(candidates), strict=True):
        case = record.case
        definition = definitions.get(case.workload)
        counted = "no workload of that name is known here" if definition is None else COUNTS.of(definition, case)
        if isinstance(counted, str) or definition is None:
            uncounted[str(counted)] += 1
        elif row["time_s"] > 0:
            asked = Asked(call=counted.call(case.execution), execution=case.execution, dtype=case.dtype)
            path = (case.workload, (case.point, case.mode, case.dtype), f"{case.formulation}/{case.execution}")
            forms.append(MeasuredForm(case.backend, path, asked, path_order(definition, case), row["time_s"]))
    return MeasuredForms(forms, uncounted)


def validate_forms(device: ModelDevice, measured: MeasuredForms) -> Validation:
    """`validate_device` of what is counted already."""
    left_out = defaultdict(int, measured.uncounted)
    every: dict[str, dict[_Path, MeasuredForm]] = defaultdict(dict)
    everywhere = _everywhere(measured.forms)
    for form in measured.forms:
        for backend in (form.backend, ANY) if _place(form) in everywhere else (form.backend,):
            needs = missing(device, backend, form.asked.call, form.asked.execution, form.asked.dtype)
            if needs is None:
                known = every[backend].get(form.path, form)
                every[backend][form.path] = min(known, form, key=lambda m: m.time_s)
            elif backend != ANY:
                left_out[f"{device.name} does not give {needs}"] += 1
    judged = []
    for backend, paths in every.items():
        times = Terms(KernelTable([m.asked for m in paths.values()]), device, backend).times().tolist()
        for ((workload, point, name), m), time in zip(paths.items(), times, strict=True):
            judged.append(Judged(m.asked.call.kind, backend, workload, point, name, m.order, m.time_s, time))
    return Validation(judged=judged, left_out=dict(left_out))


_Place: TypeAlias = tuple[KernelClass, str, tuple[str, str, str]]  # class, workload, point


def _place(form: MeasuredForm) -> _Place:
    workload, point, _ = form.path
    return form.asked.call.kind, workload, point


def _everywhere(forms: Sequence[MeasuredForm]) -> set[_Place]:
    """Where every framework that has the class of a workload, at any of its points, was measured with it.

    A sweep leaves out what was slow before, in one framework and not in another: where one is left out, the best of
    the others is not the best of the device.
    """
    have: dict[tuple[str, ...], set[str]] = defaultdict(set)
    at: dict[_Place, set[str]] = defaultdict(set)
    for form in forms:
        kind, workload, point = _place(form)
        have[kind, workload, *point[1:]].add(form.backend)
        at[kind, workload, point].add(form.backend)
    return {place for place, there in at.items() if there == have[place[0], place[1], *place[2][1:]]}


_Path: TypeAlias = tuple[str, tuple[str, str, str], str]  # workload, point, path

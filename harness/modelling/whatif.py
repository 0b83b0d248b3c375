"""What the model says of every idea on every device: time, energy, the term that binds, and the break-even device.

Modelled figures stand by themselves: never beside measured or estimated ones in a column, never in a rank with them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import exp, isfinite, log, nan
from typing import NamedTuple

import msgspec
import numpy as np

from harness.modelling.device_schema import ModelDevice
from harness.modelling.kernels import COUNTS
from harness.modelling.reckon import PARAMETERS, TERMS, Asked, Floats, KernelTable, Reckoned, Terms, missing
from harness.modelling.validation import ANY, ClassError, first_of_least, path_order
from harness.planning.plan import Planned
from harness.records.record import TwinRef
from workloads.base import Definition, Value

FACTORS = tuple(2.0 ** (k / 2) for k in range(41))  # 1 to a million


CURVE = tuple(2.0**k for k in range(11))


class CurvePoint(NamedTuple):
    """The speed-up of one idea at one point, named `line`, with one parameter so many times as good."""

    line: str
    idea: str
    parameter: str
    factor: float
    speed_up: float


class DeviceNeeded(msgspec.Struct, frozen=True, kw_only=True):
    """The smallest factor on one parameter of a device at which the idea takes as long as its twin."""

    parameter: str
    factor: float


class WhatIfRow(msgspec.Struct, frozen=True, kw_only=True):
    """One idea at one point on one device, through one framework or any; None where there is no figure, and `why`.

    `best` is "formulation/execution"; `kind` its class, whose error in validation holds for the figure. `parts` are the
    shares of its time by the term that binds. `helps` is the parameter that, doubled, helps the idea most against its
    twin, and by how much. `break_even` is None where the idea pays already, and where nothing alone would make it pay.
    """

    workload: str
    point: str
    params: dict[str, Value]
    mode: str
    dtype: str
    backend: str
    device: str
    headline: bool
    kind: str | None = None
    best: str | None = None
    time_s: float | None = None
    energy_j: float | None = None
    twin_best: str | None = None
    twin_time_s: float | None = None
    speed_up: float | None = None
    tax: float | None = None
    bound_by: str | None = None
    parts: dict[str, float] = {}
    break_even: DeviceNeeded | None = None
    helps: DeviceNeeded | None = None
    why: str | None = None
    error: ClassError | None = None
    own_twin: bool = False


# -- what is asked -----------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    """A formulation and execution of a point, counted."""

    place: tuple[str, str, str, str]  # workload, point, mode, dtype
    path: str
    order: int
    asked: Asked


@dataclass
class _Software:
    """What one framework (or any) has: the forms, by place, and one table of all their kernels."""

    backend: str
    forms: list[_Form] = field(default_factory=list)
    uncounted: dict[tuple[str, str, str, str], str] = field(default_factory=dict)

    def ready(self) -> None:
        """Make the table, once all forms are there."""
        self.table = KernelTable([form.asked for form in self.forms])
        self.at: dict[tuple[str, str, str, str], list[int]] = defaultdict(list)
        for number, form in enumerate(self.forms):
            self.at[form.place].append(number)


class WhatIf:
    """The forms of a plan, counted once, to be reckoned on as many devices as wanted."""

    def __init__(self, planned: Iterable[Planned], definitions: Mapping[str, Definition]) -> None:
        self._points: dict[tuple[str, str, str, str], Planned] = {}
        self._work: dict[tuple[str, str, str, str], int] = {}
        software = {ANY: _Software(ANY)}
        seen = set()
        cases = list(planned)
        wanted = {(ref.workload, ref.point, ref.mode) for p in cases for ref in p.twins[:1]}
        for p in cases:
            case = p.case
            place = (case.workload, case.point, case.mode, case.dtype)
            if p.twins:
                known = self._points.get(place)
                if known is None or (p.headline and not known.headline):
                    self._points[place] = p
            elif place[:3] not in wanted:
                continue
            self._work[place] = p.work.useful_flop
            own = software.setdefault(case.backend, _Software(case.backend))
            counted = COUNTS.of(definitions[case.workload], case)
            path, order = f"{case.formulation}/{case.execution}", path_order(definitions[case.workload], case)
            for of in (own, software[ANY]):
                if (of.backend, place, path) in seen:
                    continue
                seen.add((of.backend, place, path))
                if isinstance(counted, str):
                    of.uncounted[place] = counted
                    continue
                call = counted.call(case.execution)
                flop = sum(k.matmul_flop for k in call.kernels)
                zeros = flop / p.work.useful_flop if p.multiplies_zeros and p.work.useful_flop else 1.0
                asked = Asked(
                    call=call,
                    execution=case.execution,
                    dtype=case.dtype,
                    zeros=max(1.0, zeros),
                    structure=_structure(case.params),
                )
                of.forms.append(_Form(place=place, path=path, order=order, asked=asked))
        self._software = software
        for of in software.values():
            of.ready()

    def rows(
        self, device: ModelDevice, errors: Mapping[str, ClassError] | None = None, backends: Collection[str] = ()
    ) -> list[WhatIfRow]:
        """A row for each idea's point and each framework that the file speaks of (or of `backends`), and for any.

        With `errors`, by "class framework", only forms whose class has been validated count.
        """
        asked = [b for b in self._software if b != ANY and (b in backends if backends else b in device.backend)]
        out = []
        for backend in [ANY, *asked]:
            reckoning = _Reckoning(self._software[backend], device, errors)
            for place, planned in self._points.items():
                out.append(self._row(reckoning, place, planned))
        return out

    def curves(self, device: ModelDevice, errors: Mapping[str, ClassError] | None = None) -> list[CurvePoint]:
        """The speed-up of every headline idea against the factor on each parameter alone, through any framework.

        Only of parameters that change some speed-up by a tenth, and of ideas that have a figure.
        """
        reckoning = _Reckoning(self._software[ANY], device, errors)
        out = []
        for term in TERMS:
            of_term = []
            for place, planned in self._points.items():
                twin_place = _twin_place(planned.twins[0], planned.case.dtype)
                if not planned.headline or place == twin_place:
                    continue
                speeds = [reckoning.speed_up(place, twin_place, term, factor) for factor in CURVE]
                if all(isfinite(speed) for speed in speeds):
                    name = f"{planned.case.workload} {planned.case.mode}"
                    of_term.append((f"{name} {planned.case.point}", name, speeds))
            if any(max(speeds) > 1.1 * min(speeds) for _, _, speeds in of_term):
                out += [
                    CurvePoint(line, name, PARAMETERS[term], factor, speed)
                    for line, name, speeds in of_term
                    for factor, speed in zip(CURVE, speeds, strict=True)
                ]
        return out

    def _row(self, reckoning: _Reckoning, place: tuple[str, str, str, str], planned: Planned) -> WhatIfRow:
        case, ref = planned.case, planned.twins[0]
        row = WhatIfRow(
            workload=case.workload,
            point=case.point,
            params=dict(case.params),
            mode=case.mode,
            dtype=case.dtype,
            backend=reckoning.backend,
            device=reckoning.device.name,
            headline=planned.headline,
            own_twin=_twin_place(ref, case.dtype) == place,
        )
        twin_place = _twin_place(ref, case.dtype)
        idea, twin = reckoning.best(place), reckoning.best(twin_place)
        if idea is None:
            return msgspec.structs.replace(row, why=reckoning.why(place))
        row = reckoning.with_time(row, idea)
        if twin is None:
            return msgspec.structs.replace(row, why=f"of the twin nothing is known: {reckoning.why(twin_place)}")
        ratio = self._work[place] / self._work[twin_place] if self._work[twin_place] else nan
        return reckoning.against(row, place, twin_place, twin, ratio)


def _structure(params: Mapping[str, Value]) -> tuple[int, int] | None:
    keep, of = params.get("keep"), params.get("of")
    return (keep, of) if isinstance(keep, int) and isinstance(of, int) else None


def _twin_place(ref: TwinRef, dtype: str) -> tuple[str, str, str, str]:
    return (ref.workload, ref.point, ref.mode, dtype)


# -- one device, one framework -----------------------------------------------------------------------------------------
class _Reckoning:
    """Every form reckoned on one device through one framework."""

    def __init__(self, software: _Software, device: ModelDevice, errors: Mapping[str, ClassError] | None) -> None:
        self._software, self.device, self._errors = software, device, errors
        self.backend = software.backend
        self._part = None if self.backend == ANY else self.backend
        self._terms = Terms(software.table, device, self._part)
        self._found: Reckoned = self._terms.reckoned()
        known = np.isfinite(self._found.time_s)
        judged = np.array([self._error(form) is not None for form in software.forms], bool)
        self._allowed = known & (judged if errors is not None else True)
        self._scaled: dict[tuple[str, float], Floats] = {}

    def _error(self, form: _Form) -> ClassError | None:
        if self._errors is None:
            return None
        kind = form.asked.call.kind
        return self._errors.get(f"{kind} {self.backend}")

    def best(self, place: tuple[str, str, str, str], times: Floats | None = None) -> int | None:
        """The number of the fastest form of a place that has a figure."""
        times = self._found.time_s if times is None else times
        fit = [k for k in self._software.at.get(place, ()) if self._allowed[k]]
        if not fit:
            return None
        return fit[first_of_least([(float(times[k]), self._software.forms[k].order) for k in fit])]

    def why(self, place: tuple[str, str, str, str]) -> str:
        """Why a place has no figure: classes that nobody has validated, else what the device does not give."""
        numbers = self._software.at.get(place, [])
        unjudged = {self._software.forms[k].asked.call.kind for k in numbers if np.isfinite(self._found.time_s[k])}
        if unjudged:
            return f"the class {' or '.join(sorted(unjudged))} has not been held to measured times"
        for k in numbers:
            asked = self._software.forms[k].asked
            needs = missing(self.device, self._part, asked.call, asked.execution, asked.dtype)
            return f"{self.device.name} does not give {needs or 'all that it needs'}"
        return self._software.uncounted.get(place, "nothing of it is in the plan")

    def with_time(self, row: WhatIfRow, k: int) -> WhatIfRow:
        """The row with the figures of its own best form."""
        form, time = self._software.forms[k], float(self._found.time_s[k])
        parts = {name: float(part) / time for name, part in zip(TERMS, self._found.terms_s[k], strict=True) if part > 0}
        energy = float(self._found.energy_j[k])
        return msgspec.structs.replace(
            row,
            kind=form.asked.call.kind,
            best=form.path,
            time_s=time,
            energy_j=energy if isfinite(energy) else None,
            bound_by=max(parts, key=parts.__getitem__, default=None),
            parts=parts,
            error=self._error(form),
        )

    def against(
        self,
        row: WhatIfRow,
        place: tuple[str, str, str, str],
        twin_place: tuple[str, str, str, str],
        twin: int,
        work_ratio: float,
    ) -> WhatIfRow:
        """The row with its figures against the twin."""
        assert row.time_s is not None  # it has a best form
        twin_s = float(self._found.time_s[twin])
        ratio = row.time_s / twin_s if twin_s else nan
        if not isfinite(ratio):
            return row
        row = msgspec.structs.replace(
            row,
            twin_best=self._software.forms[twin].path,
            twin_time_s=twin_s,
            speed_up=1 / ratio,
            tax=ratio / work_ratio if work_ratio > 0 else None,
        )
        if row.own_twin or (row.error is not None and not row.error.breaks_even):
            return row
        return msgspec.structs.replace(
            row, break_even=self._break_even(place, twin_place, ratio), helps=self._helps(place, twin_place, ratio)
        )

    def speed_up(
        self, place: tuple[str, str, str, str], twin_place: tuple[str, str, str, str], term: str, factor: float
    ) -> float:
        """The speed-up with one term so many times as fast, each side by what is then its best form."""
        key = (term, factor)
        if key not in self._scaled:
            self._scaled[key] = self._terms.times(term, factor)
        times = self._scaled[key]
        idea, twin = self.best(place, times), self.best(twin_place, times)
        if idea is None or twin is None or not times[idea] > 0:
            return nan
        return float(times[twin] / times[idea])

    def _break_even(
        self, place: tuple[str, str, str, str], twin_place: tuple[str, str, str, str], ratio: float
    ) -> DeviceNeeded | None:
        """None where it pays already, or where no one parameter alone makes it pay."""
        if ratio <= 1:
            return None
        found = []
        for term in TERMS:
            factor = self._meets(place, twin_place, term, ratio)
            if factor is not None:
                found.append((factor, term))
        if not found:
            return None
        factor, term = min(found)
        return DeviceNeeded(parameter=PARAMETERS[term], factor=factor)

    def _meets(
        self, place: tuple[str, str, str, str], twin_place: tuple[str, str, str, str], term: str, ratio: float
    ) -> float | None:
        """The first factor at which the speed-up is 1, straight in logarithms between those that were reckoned."""
        before, at = 1.0, 1 / ratio
        if not self.speed_up(place, twin_place, term, FACTORS[-1]) >= 1:
            return None
        for factor in FACTORS[1:]:
            speed = self.speed_up(place, twin_place, term, factor)
            if speed >= 1:
                share = -log(at) / (log(speed) - log(at))
                return exp(log(before) + share * (log(factor) - log(before)))
            before, at = factor, speed
        return None

    def _helps(
        self, place: tuple[str, str, str, str], twin_place: tuple[str, str, str, str], ratio: float
    ) -> DeviceNeeded | None:
        gains = {term: self.speed_up(place, twin_place, term, 2.0) * ratio for term in TERMS}
        term = max(gains, key=lambda t: gains[t] if isfinite(gains[t]) else 0.0)
        if not gains[term] > 1 + 1e-9:
            return None
        return DeviceNeeded(parameter=PARAMETERS[term], factor=gains[term])


# -- the ticket --------------------------------------------------------------------------------------------------------
class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """Which ideas win on a device, by their best headline point, and the ranks that each moved from the first one."""

    device: str
    ranks: list[tuple[str, float, int]]  # idea, speed-up, ranks gained (+) or lost (−)

    @property
    def holders(self) -> list[str]:
        """The ideas that pay at all."""
        return [name for name, speed_up, _ in self.ranks if speed_up > 1]


def tickets(rows: Sequence[WhatIfRow]) -> list[Ticket]:
    """Of each device in order, through any framework."""
    by: dict[str, dict[str, float]] = {}
    for row in rows:
        if row.backend == ANY:
            of = by.setdefault(row.device, {})
            if row.speed_up is not None and row.headline and not row.own_twin:
                name = f"{row.workload} {row.mode}"
                of[name] = max(of.get(name, 0.0), row.speed_up)
    first: dict[str, int] = {}
    out = []
    for device, ideas in by.items():
        order = sorted(ideas, key=lambda name: -ideas[name])
        first = first or {name: rank for rank, name in enumerate(order)}
        ranks = [(name, ideas[name], first.get(name, rank) - rank) for rank, name in enumerate(order)]
        out.append(Ticket(device=device, ranks=ranks))
    return out

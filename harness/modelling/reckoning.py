"""Every path reckoned on one device, through one framework or any: figures, break-even, what helps most."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import exp, isfinite, log, nan
from typing import TypeAlias

import msgspec
import numpy as np

from harness.modelling.class_errors import ANY, ClassError
from harness.modelling.device_parts import Floats
from harness.modelling.device_schema import ModelDevice
from harness.modelling.kernel_table import Asked, KernelTable
from harness.modelling.reckon import PARAMETERS, TERMS, Reckoned, Terms, missing
from harness.modelling.rows import DeviceNeeded, WhatIfRow
from harness.modelling.validation import first_of_least

Place: TypeAlias = tuple[str, str, str, str]  # workload, point, mode, dtype
FACTORS = tuple(2.0**k for k in range(21))  # 1 to a million


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedPath:
    """A formulation and execution of a point, counted."""

    place: Place
    path: str
    order: int
    asked: Asked


@dataclass
class Software:
    """What one framework (or any) has: the forms, by place, and one table of all their kernels."""

    backend: str
    forms: list[CountedPath] = field(default_factory=list)
    uncounted: dict[Place, str] = field(default_factory=dict)

    def ready(self) -> None:
        """Make the table, once all forms are there."""
        self.table = KernelTable([form.asked for form in self.forms])
        self.at: dict[Place, list[int]] = defaultdict(list)
        for number, form in enumerate(self.forms):
            self.at[form.place].append(number)


class Reckoning:
    """Every form reckoned on one device through one framework."""

    def __init__(self, software: Software, device: ModelDevice, errors: Mapping[str, ClassError] | None) -> None:
        self._software, self.device, self._errors = software, device, errors
        self.backend = software.backend
        self._part = None if self.backend == ANY else self.backend
        self._terms = Terms(software.table, device, self._part)
        self._found: Reckoned = self._terms.reckoned()
        known = np.isfinite(self._found.time_s)
        found = [self._error(form) for form in software.forms]
        judged = np.array([error is not None for error in found], bool)
        near = np.array([error is not None and error.breaks_even for error in found], bool)
        self._allowed = known & (judged if errors is not None else True)
        self._near = known & (near if errors is not None else True)
        self._scaled: dict[tuple[str, float], Floats] = {}

    def _error(self, form: CountedPath) -> ClassError | None:
        if self._errors is None:
            return None
        kind = form.asked.call.kind
        return self._errors.get(f"{kind} {self.backend}")

    def best(self, place: Place, times: Floats | None = None) -> int | None:
        """The number of the fastest form of a place that has a figure; by other `times`, that may have a break-even."""
        among = self._allowed if times is None else self._near
        times = self._found.time_s if times is None else times
        fit = [k for k in self._software.at.get(place, ()) if among[k]]
        if not fit:
            return None
        return fit[first_of_least([(float(times[k]), self._software.forms[k].order) for k in fit])]

    def why(self, place: Place) -> str:
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
        place: Place,
        twin_place: Place,
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
            twin_error=self._error(self._software.forms[twin]),
            twin_time_s=twin_s,
            speed_up=1 / ratio,
            tax=ratio / work_ratio if work_ratio > 0 else None,
        )
        if row.own_twin or not row.near_enough:
            return row
        return msgspec.structs.replace(
            row, break_even=self._break_even(place, twin_place, ratio), helps=self._helps(place, twin_place, ratio)
        )

    def speed_up(self, place: Place, twin_place: Place, term: str, factor: float) -> float:
        """The speed-up with one term so many times as fast, each side by its best form that is near enough."""
        key = (term, factor)
        if key not in self._scaled:
            self._scaled[key] = self._terms.times(term, factor)
        times = self._scaled[key]
        idea, twin = self.best(place, times), self.best(twin_place, times)
        if idea is None or twin is None or not times[idea] > 0:
            return nan
        return float(times[twin] / times[idea])

    def _break_even(self, place: Place, twin_place: Place, ratio: float) -> DeviceNeeded | None:
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

    def _meets(self, place: Place, twin_place: Place, term: str, ratio: float) -> float | None:
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

    def _helps(self, place: Place, twin_place: Place, ratio: float) -> DeviceNeeded | None:
        gains = {term: self.speed_up(place, twin_place, term, 2.0) * ratio for term in TERMS}
        term = max(gains, key=lambda t: gains[t] if isfinite(gains[t]) else 0.0)
        if not gains[term] > 1 + 1e-9:
            return None
        return DeviceNeeded(parameter=PARAMETERS[term], factor=gains[term])

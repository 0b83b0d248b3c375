"""What the model says of every idea on every device: the paths of a plan, counted once and reckoned on each."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from math import isfinite, nan

import msgspec

from harness.modelling.class_errors import ANY, ClassError
from harness.modelling.device_schema import ModelDevice
from harness.modelling.kernel_table import Asked
from harness.modelling.kernels import COUNTS, CountedForm
from harness.modelling.reckon import PARAMETERS, TERMS
from harness.modelling.reckoning import CountedPath, Place, Reckoning, Software
from harness.modelling.rows import CURVE, FactorPoint, WhatIfRow
from harness.modelling.validation import path_order
from harness.planning.plan import Planned
from harness.records.record import TwinRef
from workloads.base import Definition, Value


class WhatIf:
    """The forms of a plan, counted once, to be reckoned on as many devices as wanted."""

    def __init__(self, planned: Iterable[Planned], definitions: Mapping[str, Definition]) -> None:
        self._points: dict[Place, Planned] = {}
        self._work: dict[Place, int] = {}
        software = {ANY: Software(ANY)}
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
            own = software.setdefault(case.backend, Software(case.backend))
            counted = COUNTS.of(definitions[case.workload], case)
            path, order = f"{case.formulation}/{case.execution}", path_order(definitions[case.workload], case)
            for of in (own, software[ANY]):
                if (of.backend, place, path) in seen:
                    continue
                seen.add((of.backend, place, path))
                if isinstance(counted, str):
                    of.uncounted[place] = counted
                    continue
                of.forms.append(CountedPath(place=place, path=path, order=order, asked=asked_of(p, counted)))
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
            reckoning = Reckoning(self._software[backend], device, errors)
            for place, planned in self._points.items():
                out.append(self._row(reckoning, place, planned))
        return out

    def curves(self, device: ModelDevice, errors: Mapping[str, ClassError] | None = None) -> list[FactorPoint]:
        """The speed-up of every headline idea against the factor on each parameter alone, through any framework.

        Only of parameters that change some speed-up by a tenth, and of ideas that may have a break-even.
        """
        reckoning = Reckoning(self._software[ANY], device, errors)
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
                    FactorPoint(line, name, PARAMETERS[term], factor, speed)
                    for line, name, speeds in of_term
                    for factor, speed in zip(CURVE, speeds, strict=True)
                ]
        return out

    def _row(self, reckoning: Reckoning, place: Place, planned: Planned) -> WhatIfRow:
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


def asked_of(planned: Planned, counted: CountedForm) -> Asked:
    """What the model is asked of a planned case whose formulation is counted."""
    case, useful = planned.case, planned.work.useful_flop
    call = counted.call(case.execution)
    flop = sum(k.matmul_flop for k in call.kernels)
    zeros = flop / useful if planned.multiplies_zeros and useful else 1.0
    structure = _structure(case.params)
    return Asked(call=call, execution=case.execution, dtype=case.dtype, zeros=max(1.0, zeros), structure=structure)


def _structure(params: Mapping[str, Value]) -> tuple[int, int] | None:
    keep, of = params.get("keep"), params.get("out_of")
    return (keep, of) if isinstance(keep, int) and isinstance(of, int) else None


def _twin_place(ref: TwinRef, dtype: str) -> Place:
    return (ref.workload, ref.point, ref.mode, dtype)

"""A device file from records: the rates that a run's ceilings reached, each with its interval and the case it is of.

Only ceilings count, never an idea or a twin: dense products of equal sides, `stream`, the other ceilings of a run, and
the primitives of harness/modelling/primitives/. A run without some of them gives a device that lacks their rates.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from harness.figures.ceilings import (
    CEILING_MATMUL,
    CEILING_STREAM,
    POLYNOMIAL,
    ROW_GATHER,
    ROW_SCATTER,
    SMALL_STEPS,
    STORED_PRODUCT,
)
from harness.modelling import calibrated_curves as curves
from harness.modelling.ceiling_times import (
    ROW_SORT,
    THIN_PRODUCTS,
    CalibratedPoint,
    CalibratedValue,
    Starts,
    TimedCeiling,
    best,
    is_ceiling,
    timed,
    useful,
)
from harness.modelling.device_parts import part_for
from harness.modelling.device_schema import DTYPES, PACKS, ModelDevice
from harness.records.record import Record

Values = Mapping[tuple[str, ...], CalibratedValue]
FORMS = (((), "csr"), (("bag",), "bag"), (("vector",), "vector"))  # of stored products: key below sparse, formulation


def device_of(records: Iterable[Record], *, name: str, source: str, kind: str = "cpu") -> dict[str, Any]:
    """The document of a device file: the best of all frameworks for the device, and each framework's own beside it."""
    several = [t for record in records if is_ceiling(record) and (t := timed(record)) is not None]
    file = _File({"name": name, "kind": kind, "source": source})
    if kind == "cpu" and not any(t.case.workload == THIN_PRODUCTS for t in several):
        _put(file.document, ["matmul", "packs"], True)
        file.sources["matmul.packs"] = PACKS
    backends = sorted({t.case.backend for t in several})
    values = {b: _values([t for t in several if t.case.backend == b]) for b in backends}
    starts = {b: _starts(own) for b, own in values.items()}
    for backend in (None, *backends):
        of = [t for t in several if backend in (None, t.case.backend)]
        place = () if backend is None else ("backend", backend)
        for key, found in (_values(of) if backend is None else values[backend]).items():
            if backend is None and key[0] == "launch" and not all(key in own for own in values.values()):
                continue  # a framework whose own cost is unknown must not have another's
            file.value((*place, *key), found)
        file.curve((*place, "memory", "levels"), "bytes", "read", curves.levels(of, starts))
        for key, formulation in FORMS:
            stored = _of_form([t for t in of if t.case.workload == STORED_PRODUCT], formulation)
            file.curve((*place, "sparse", *key, "far"), "bytes", "share", curves.far(stored))
    for backend in (None, *backends):
        of = [t for t in several if backend in (None, t.case.backend)]
        place = () if backend is None else ("backend", backend)
        part = part_for(msgspec.convert(file.document, ModelDevice), backend)
        for curve, points in curves.short_sides(of, part, starts).items():
            file.curve((*place, "matmul", curve), "side", "share", points)
        file.curve((*place, "matmul", "vector"), "bytes", "share", curves.with_a_vector(of, part, starts))
    return file.document | {"sources": file.sources, "intervals": file.intervals}


class _File:
    """A document that grows, with the source and the interval of each of its values."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.sources: dict[str, str] = {}
        self.intervals: dict[str, list[float]] = {}

    def value(self, key: Sequence[str], found: CalibratedValue) -> None:
        """One number."""
        _put(self.document, key, found.value)
        self._said(".".join(key), found)

    def curve(self, key: Sequence[str], at: str, name: str, points: Sequence[CalibratedPoint]) -> None:
        """A list of `name` at `at`, from the smallest up; nothing where there are no points."""
        if points:
            whole = at == "side"
            _put(self.document, key, [{at: int(p.at) if whole else p.at, name: p.found.value} for p in points])
        for number, point in enumerate(points):
            self._said(f"{'.'.join(key)}[{number}].{name}", point.found)

    def _said(self, dotted: str, found: CalibratedValue) -> None:
        self.sources[dotted], self.intervals[dotted] = found.source, [found.low, found.high]


def _put(document: dict[str, Any], key: Sequence[str], value: Any) -> None:
    for name in key[:-1]:
        document = document.setdefault(name, {})
    document[key[-1]] = value


# -- the values --------------------------------------------------------------------------------------------------------
def _values(several: Sequence[TimedCeiling]) -> dict[tuple[str, ...], CalibratedValue]:
    """Every value that stands by itself, by the parts of its key."""
    by: dict[str, list[TimedCeiling]] = defaultdict(list)
    for t in several:
        by[t.case.workload].append(t)
    out: dict[tuple[str, ...], CalibratedValue | None] = {}
    for dtype in DTYPES:
        dense = [t for t in by[CEILING_MATMUL] if t.case.dtype == dtype]
        out["matmul", "rate", dtype] = best(dense, useful)
        vector = [t for t in by[POLYNOMIAL] if t.case.dtype == dtype]
        out["vector", "rate", dtype] = best(vector, useful)
        for key, formulation in FORMS:
            wide = [t for t in _of_form(by[STORED_PRODUCT], formulation) if int(t.case.params["n"]) > 1]
            out["sparse", *key, "rate", dtype] = best([t for t in wide if t.case.dtype == dtype], useful)
    for key, formulation in FORMS:  # some libraries take longer for one column than for many
        stored = _of_form(by[STORED_PRODUCT], formulation)
        out["sparse", *key, "values_per_s"] = best(stored, lambda t: useful(t) / 2 / int(t.case.params["n"]))
    out["gather", "rows_per_s"] = best(by[ROW_GATHER], lambda t: int(t.case.params["count"]))
    out["scatter", "rows_per_s"] = best(by[ROW_SCATTER], lambda t: int(t.case.params["count"]))
    out["select", "sort_per_s"] = best(by[ROW_SORT], useful)
    out |= _launches(by[SMALL_STEPS], by[CEILING_STREAM])
    return {key: found for key, found in out.items() if found is not None}


def _of_form(stored: Sequence[TimedCeiling], formulation: str) -> Sequence[TimedCeiling]:
    """Those of a formulation; of a framework without it those of compressed rows, so that it has no other's rate."""
    rows = [t for t in stored if t.case.formulation == "csr"]
    return [t for t in stored if t.case.formulation == formulation] or rows


def _launches(
    steps: Sequence[TimedCeiling], stream: Sequence[TimedCeiling]
) -> Mapping[tuple[str, ...], CalibratedValue | None]:
    """By `small_steps`, products of almost no work; without them what is left of two small streams at size 0."""
    out: dict[tuple[str, ...], CalibratedValue | None] = {}
    for key, eager in (("op_s", True), ("program_s", False)):
        of = [t for t in steps if (t.case.execution == "eager") == eager]
        single = [t for t in of if int(t.case.params["steps"]) == 1]
        many = [t for t in of if int(t.case.params["steps"]) > 1]
        if eager and many:
            out["launch", key] = _least(many, lambda t: 1 / int(t.case.params["steps"]))
        elif single:
            out["launch", key] = least = _least(single, lambda _: 1.0)
            if many:
                out["launch", "kernel_s"] = _further(many, least)
        else:
            out["launch", key] = _intercept([t for t in stream if (t.case.execution == "eager") == eager])
    return out


def _least(several: Sequence[TimedCeiling], share: Callable[[TimedCeiling], float]) -> CalibratedValue:
    least = min(several, key=lambda t: t.time_s * share(t))
    each = share(least)
    return CalibratedValue(least.time_s * each, least.low_s * each, least.high_s * each, least.said)


def _further(many: Sequence[TimedCeiling], first: CalibratedValue) -> CalibratedValue:
    """What each kernel behind the first costs in a program."""
    least = min(many, key=lambda t: t.time_s)
    behind = int(least.case.params["steps"]) - 1
    value, low, high = (max(0.0, time - first.value) / behind for time in (least.time_s, least.low_s, least.high_s))
    return CalibratedValue(value, low, high, least.said)


def _intercept(stream: Sequence[TimedCeiling]) -> CalibratedValue | None:
    """Of the same formulation at the two smallest working sets, the time at size 0, and at most the smaller's time."""
    paths: dict[tuple[object, ...], list[TimedCeiling]] = defaultdict(list)
    for t in stream:
        if t.case.params.get("kernel") == "dot" and t.case.formulation != "rows":
            paths[t.case.backend, t.case.formulation, t.case.execution, t.case.dtype].append(t)
    found = []
    for several in paths.values():
        sizes = sorted(several, key=lambda t: int(t.case.params["elements"]))
        if len(sizes) < 2 or int(sizes[0].case.params["elements"]) > 2**17:
            continue
        small, large = sizes[0], sizes[1]
        a, b = (int(t.case.params["elements"]) for t in (small, large))
        start = max(0.0, small.time_s - a * (large.time_s - small.time_s) / (b - a))
        said = f"{small.said}, at size 0 by this and {b} elements"
        found.append(CalibratedValue(start, min(start, small.low_s), small.high_s, said))
    return min(found, default=None)


def _starts(own: Values) -> Starts:
    op, program = (own.get(("launch", name)) for name in Starts._fields)
    return Starts(op.value if op else 0.0, program.value if program else 0.0)

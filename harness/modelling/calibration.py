"""A device file from records: the rates that a run's ceilings reached, each with its interval and the case it is of.

Only ceilings count, never an idea or a twin: dense products of equal sides, `stream`, the other ceilings of a run, and
the primitives of harness/modelling/primitives/. A run without some of them gives a device that lacks their rates.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median, quantiles
from typing import Any, NamedTuple

import msgspec
import numpy as np

from backends.dtypes import ITEM_BYTES, itemsize
from harness.figures.ceilings import (
    CEILING_MATMUL,
    CEILING_STREAM,
    POLYNOMIAL,
    ROW_GATHER,
    ROW_SCATTER,
    SMALL_STEPS,
    STORED_PRODUCT,
)
from harness.modelling.device_schema import DTYPES, PACKS, FrameworkPart, ModelDevice
from harness.modelling.reckon import bandwidth, part_for
from harness.records.record import Case, Record
from harness.stats.process_times import counted

ROW_SORT, SQUARE_PRODUCTS = "row_sort", "square_products"
PRIMITIVES = (ROW_GATHER, ROW_SCATTER, SMALL_STEPS, POLYNOMIAL, STORED_PRODUCT, ROW_SORT, SQUARE_PRODUCTS)
CEILINGS = (CEILING_MATMUL, CEILING_STREAM, *PRIMITIVES)


WANTED = (
    *("matmul.rate", "vector.rate", "memory.levels", "gather.rows_per_s", "scatter.rows_per_s"),
    *("sparse.values_per_s", "sparse.rate", "select.sort_per_s", "launch.op_s", "launch.program_s", "launch.kernel_s"),
)  # of a calibrated device


class TimedCeiling(NamedTuple):
    """A ceiling's case with its typical time, the quartiles of its samples, and its record."""

    case: Case
    time_s: float
    low_s: float
    high_s: float
    record: Record

    def begun(self, start_s: float) -> TimedCeiling | None:
        """The time without what it took to begin; None where that is more than half of it."""
        if start_s > self.time_s / 2:
            return None
        low, high = (max(bound - start_s, self.time_s / 100) for bound in (self.low_s, self.high_s))
        return self._replace(time_s=self.time_s - start_s, low_s=low, high_s=high)


class CalibratedValue(NamedTuple):
    """A value for the device file, its bounds, and where it is from."""

    value: float
    low: float
    high: float
    source: str


def is_ceiling(record: Record) -> bool:
    """Whether a record is of a ceiling that a device file is made from, and so no case that it may be judged by."""
    case = record.case
    if case.workload == CEILING_MATMUL:
        sides = {case.params.get(side) for side in "mkn"}
        return case.mode == "forward" and len(sides) == 1
    return case.workload in (CEILING_STREAM, *PRIMITIVES)


def device_of(records: Iterable[Record], *, name: str, source: str, kind: str = "cpu") -> dict[str, Any]:
    """The document of a device file: the best of all frameworks for the device, and each framework's own beside it."""
    timed = [t for record in records if is_ceiling(record) and (t := _timed(record)) is not None]
    document: dict[str, Any] = {"name": name, "kind": kind, "source": source}
    sources: dict[str, str] = {}
    if kind == "cpu":
        _put(document, ["matmul", "packs"], True)
        sources["matmul.packs"] = PACKS
    intervals: dict[str, list[float]] = {}
    backends = sorted({t.case.backend for t in timed})
    values = {b: _values([t for t in timed if t.case.backend == b]) for b in backends}
    for backend in (None, *backends):
        of = [t for t in timed if backend in (None, t.case.backend)]
        place = [] if backend is None else ["backend", backend]
        for key, found in (_values(of) if backend is None else values[backend]).items():
            if backend is None and key[0] == "launch" and not all(key in own for own in values.values()):
                continue  # a framework whose own cost is unknown must not have another's
            _put(document, [*place, *key], found.value)
            if backend is None or key[0] != "memory":
                dotted = ".".join([*place, *key])
                sources[dotted], intervals[dotted] = found.source, [found.low, found.high]
        levels = _levels(of, {b: _starts(own) for b, own in values.items()})
        if levels:
            _put(document, [*place, "memory", "levels"], [level for level, _ in levels])
            sources[".".join([*place, "memory.levels"])] = "; ".join(dict.fromkeys(f.source for _, f in levels))
    for backend in (None, *backends):
        of = [t for t in timed if backend in (None, t.case.backend) and t.case.workload == SQUARE_PRODUCTS]
        place = [] if backend is None else ["backend", backend]
        part = part_for(msgspec.convert(document, ModelDevice), backend)
        small = _small(of, part, {b: _starts(own) for b, own in values.items()})
        if small:
            _put(document, [*place, "matmul", "small"], [level for level, _ in small])
            sources[".".join([*place, "matmul.small"])] = "; ".join(dict.fromkeys(said for _, said in small))
    return document | {"sources": sources, "intervals": intervals}


def unknown(document: Mapping[str, Any]) -> list[str]:
    """The keys that a calibration is to give and this document lacks, neither for all nor for any framework."""
    places = [document, *document.get("backend", {}).values()]
    return [key for key in WANTED if not any(_has(place, key.split(".")) for place in places)]


def _has(place: Any, names: Sequence[str]) -> bool:
    for name in names:
        place = place.get(name, {}) if isinstance(place, Mapping) else {}
    return bool(place != {})


def _put(document: dict[str, Any], key: Sequence[str], value: Any) -> None:
    for name in key[:-1]:
        document = document.setdefault(name, {})
    document[key[-1]] = value


def _timed(record: Record) -> TimedCeiling | None:
    if record.status != "ok" or record.time is None or record.control:
        return None
    processes = [samples for _, samples in counted(record.time)]
    samples = sorted(sample for several in processes for sample in several)
    if not samples or not samples[0] > 0:
        return None
    low, _, high = quantiles(samples, n=4) if len(samples) > 1 else (samples[0],) * 3
    return TimedCeiling(record.case, median(map(median, processes)), low, high, record)


# -- the values --------------------------------------------------------------------------------------------------------
def _values(timed: Sequence[TimedCeiling]) -> dict[tuple[str, ...], CalibratedValue]:
    """Every value but the memory's levels, by the parts of its key."""
    by: dict[str, list[TimedCeiling]] = defaultdict(list)
    for t in timed:
        by[t.case.workload].append(t)
    out: dict[tuple[str, ...], CalibratedValue | None] = {}
    for dtype in DTYPES:
        dense = [t for t in by[CEILING_MATMUL] if t.case.dtype == dtype]
        out["matmul", "rate", dtype] = _best(dense, lambda t: t.record.work.useful_flop)
        vector = [t for t in by[POLYNOMIAL] if t.case.dtype == dtype]
        out["vector", "rate", dtype] = _best(vector, lambda t: t.record.work.useful_flop)
        wide = [t for t in by[STORED_PRODUCT] if t.case.dtype == dtype and int(t.case.params["n"]) > 1]
        out["sparse", "rate", dtype] = _best(wide, lambda t: t.record.work.useful_flop)
    stored = by[STORED_PRODUCT]  # some libraries take longer for one column than for many
    out["sparse", "values_per_s"] = _best(stored, lambda t: t.record.work.useful_flop / 2 / int(t.case.params["n"]))
    out["gather", "rows_per_s"] = _best(by[ROW_GATHER], lambda t: int(t.case.params["count"]))
    out["scatter", "rows_per_s"] = _best(by[ROW_SCATTER], lambda t: int(t.case.params["count"]))
    out["select", "sort_per_s"] = _best(by[ROW_SORT], lambda t: t.record.work.useful_flop)
    out |= _launches(by[SMALL_STEPS], by[CEILING_STREAM])
    return {key: found for key, found in out.items() if found is not None}


def _best(timed: Sequence[TimedCeiling], amount: Callable[[TimedCeiling], float]) -> CalibratedValue | None:
    """The largest typical rate of an amount of work."""
    if not timed:
        return None
    best = max(timed, key=lambda t: amount(t) / t.time_s)
    work = amount(best)
    return CalibratedValue(work / best.time_s, work / best.high_s, work / best.low_s, _said(best.case))


def _said(case: Case) -> str:
    axes = ",".join(f"{name}={value}" for name, value in case.params.items() if name != "grads")
    return f"measured: {case.workload}/{case.formulation} {case.backend} {case.execution} {axes} {case.dtype}"


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


def _least(timed: Sequence[TimedCeiling], share: Callable[[TimedCeiling], float]) -> CalibratedValue:
    best = min(timed, key=lambda t: t.time_s * share(t))
    each = share(best)
    return CalibratedValue(best.time_s * each, best.low_s * each, best.high_s * each, _said(best.case))


def _further(many: Sequence[TimedCeiling], first: CalibratedValue) -> CalibratedValue:
    """What each kernel behind the first costs in a program."""
    best = min(many, key=lambda t: t.time_s)
    behind = int(best.case.params["steps"]) - 1
    value, low, high = (max(0.0, time - first.value) / behind for time in (best.time_s, best.low_s, best.high_s))
    return CalibratedValue(value, low, high, _said(best.case))


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
        said = f"{_said(small.case)}, at size 0 by this and {b} elements"
        found.append(CalibratedValue(start, min(start, small.low_s), small.high_s, said))
    return min(found, default=None)


class _Starts(NamedTuple):
    """Seconds before a framework computes anything, of an operation by itself and of a program."""

    op_s: float
    program_s: float


def _starts(own: Mapping[tuple[str, ...], CalibratedValue]) -> _Starts:
    op, program = (own.get(("launch", name)) for name in _Starts._fields)
    return _Starts(op.value if op else 0.0, program.value if program else 0.0)


def _levels(
    timed: Sequence[TimedCeiling], starts: Mapping[str, _Starts]
) -> list[tuple[dict[str, float], CalibratedValue]]:
    """Of each working set the best stream; from the smallest up, none slower than one beyond it.

    Bytes move once a stream has begun, and what it takes to begin is counted by itself. A stream that is mostly
    beginning tells nothing of bandwidth.
    """
    by: dict[int, list[TimedCeiling]] = defaultdict(list)
    for t in timed:
        if t.case.workload == CEILING_STREAM and t.case.dtype in ITEM_BYTES:
            start = starts[t.case.backend]
            begun = t.begun(start.op_s if t.case.execution == "eager" else start.program_s)
            if begun is not None:
                by[int(t.case.params["elements"]) * itemsize(t.case.dtype)].append(begun)
    out: list[tuple[dict[str, float], CalibratedValue]] = []
    fastest = 0.0
    for size in sorted(by, reverse=True):
        found = _best(by[size], lambda t: t.record.work.least_bytes)
        if found is not None:
            fastest = max(fastest, found.value)
            out.append(({"bytes": float(size), "read": fastest}, found))
    return out[::-1]


def _small(
    timed: Sequence[TimedCeiling], part: FrameworkPart, starts: Mapping[str, _Starts]
) -> list[tuple[dict[str, float], str]]:
    """Of each side the share of the matmul rate that the best small products reach; none less than a shorter side's.

    Of their time the arithmetic is what is left without what it took to begin, and without the memory that the model
    counts beside it: each matrix once, and the operands once more where they are packed.
    """
    by: dict[int, list[tuple[float, TimedCeiling]]] = defaultdict(list)
    for t in timed:
        rate = part.matmul.rate.get(t.case.dtype)  # type: ignore[call-overload]
        if not rate or not part.memory.levels:
            continue
        start, moved = starts[t.case.backend], t.record.work.least_bytes
        begun_s = t.time_s - (start.op_s if t.case.execution == "eager" else start.program_s)
        streamed_s = moved / float(bandwidth(part.memory, np.array([float(moved)]))[0])
        memory_s = streamed_s * (5 / 3 if part.matmul.packs else 1)
        arithmetic_s = max(begun_s - memory_s, t.time_s / 4)
        by[int(t.case.params["side"])].append((t.record.work.useful_flop / arithmetic_s / rate, t))
    out: list[tuple[dict[str, float], str]] = []
    reached = 0.0
    for side in sorted(by):
        share, best = max(by[side], key=lambda found: found[0])
        reached = min(1.0, max(reached, share))
        out.append(({"side": side, "share": reached}, _said(best.case)))
    return out

"""The curves of a device file: bandwidth by working set, and shares of rates where a side is short or a table large."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from backends.dtypes import ITEM_BYTES, itemsize
from harness.figures.ceilings import CEILING_MATMUL, CEILING_STREAM
from harness.modelling.ceiling_times import (
    SQUARE_PRODUCTS,
    THIN_PRODUCTS,
    CalibratedValue,
    CurvePoint,
    Starts,
    TimedCeiling,
    best,
    useful,
)
from harness.modelling.device_parts import bandwidth
from harness.modelling.device_schema import FrameworkPart

WIDE = 64  # columns from which a stored sparse product is bound by its FLOP, not by the values that it looks up


def levels(several: Sequence[TimedCeiling], starts: Mapping[str, Starts]) -> list[CurvePoint]:
    """Of each working set the best stream; from the smallest up, none slower than one beyond it.

    Bytes move once a stream has begun, and what it takes to begin is counted by itself. A stream that is mostly
    beginning tells nothing of bandwidth.
    """
    by: dict[float, list[TimedCeiling]] = defaultdict(list)
    for t in several:
        if t.case.workload == CEILING_STREAM and t.case.dtype in ITEM_BYTES:
            begun = t.begun(starts[t.case.backend].of(t.case))
            if begun is not None:
                by[float(int(t.case.params["elements"]) * itemsize(t.case.dtype))].append(begun)
    found = [(size, best(streams, _least_bytes)) for size, streams in by.items()]
    return _falling((size, value) for size, value in found if value is not None)


def far(stored: Sequence[TimedCeiling]) -> list[CurvePoint]:
    """Of stored sparse products of one form the share of their best rate, by the bytes that rows are gathered of."""
    wide = [t for t in stored if int(t.case.params["n"]) >= WIDE]
    rates = [(_table_bytes(t), value) for t in wide if (value := best([t], useful)) is not None]
    if len({size for size, _ in rates}) < 2:
        return []
    highest = max(value.value for _, value in rates)
    return _falling((size, _shared(value, highest)) for size, value in rates)


def _table_bytes(t: TimedCeiling) -> float:
    params = t.case.params
    return float(int(params["columns"]) * int(params["n"]) * itemsize(t.case.dtype))


def _shared(value: CalibratedValue, whole: float) -> CalibratedValue:
    share, low, high = (min(1.0, part / whole) for part in value[:3])
    return CalibratedValue(share, low, high, value.source)


def _falling(found: Iterable[tuple[float, CalibratedValue]]) -> list[CurvePoint]:
    """From the smallest up: the best of each size, and none worse than one beyond it."""
    out: list[CurvePoint] = []
    for at, value in sorted(found, key=lambda f: (-f[0], -f[1].value)):
        if out and out[-1].at == at:
            continue
        out.append(CurvePoint(at, max(value, out[-1].found) if out else value))
    return out[::-1]


def short_sides(
    several: Sequence[TimedCeiling], part: FrameworkPart, starts: Mapping[str, Starts]
) -> dict[str, list[CurvePoint]]:
    """Of each side the share of the matmul rate that the best products reach; none less than a shorter side's.

    `small` of many products in one call, `thin` of one by itself. Of their time the arithmetic is what is left without
    what it took to begin, and without the memory that the model counts beside it: each matrix once, and the operands
    once more where they are packed.
    """
    out: dict[str, list[CurvePoint]] = {}
    for name, workload in (("small", SQUARE_PRODUCTS), ("thin", THIN_PRODUCTS)):
        by: dict[float, list[CalibratedValue]] = defaultdict(list)
        for t in several:
            side = int(t.case.params["side"]) if t.case.workload == workload else 1
            if side > 1 and t.case.dtype in part.matmul.rate and part.memory.levels:
                by[float(side)].append(_share(t, part, starts[t.case.backend]))
        points: list[CurvePoint] = []
        for side in sorted(by):
            found = max(by[side])
            points.append(CurvePoint(side, max(found, points[-1].found) if points else found))
        if points and name == "thin":  # up to where the rate itself is from
            points += _whole(several)
        if points:
            out[name] = points
    return out


def _whole(several: Sequence[TimedCeiling]) -> list[CurvePoint]:
    large = max((t for t in several if t.case.workload == CEILING_MATMUL), key=useful)
    return [CurvePoint(float(int(large.case.params["m"])), CalibratedValue(1.0, 1.0, 1.0, large.said))]


def _share(t: TimedCeiling, part: FrameworkPart, starts: Starts) -> CalibratedValue:
    moved = float(t.record.work.least_bytes)
    copied = moved - _result_bytes(t) if part.matmul.packs else 0.0
    memory_s = (moved + copied) / float(bandwidth(part.memory, np.array([moved]))[0])
    rate = part.matmul.rate[t.case.dtype]  # type: ignore[index]

    def share(time_s: float) -> float:
        arithmetic_s = max(time_s - starts.of(t.case) - memory_s, time_s / 4)
        return min(1.0, useful(t) / arithmetic_s / rate)

    return CalibratedValue(share(t.time_s), share(t.high_s), share(t.low_s), t.said)


def _result_bytes(t: TimedCeiling) -> float:
    if t.case.workload == SQUARE_PRODUCTS:
        return t.record.work.least_bytes / 3
    return float(int(t.case.params["rows"]) * int(t.case.params["side"]) * itemsize(t.case.dtype))


def with_a_vector(
    several: Sequence[TimedCeiling], part: FrameworkPart, starts: Mapping[str, Starts]
) -> CalibratedValue | None:
    """The share of the bandwidth that the best product with a vector reaches."""
    found = []
    for t in several:
        if t.case.workload == THIN_PRODUCTS and int(t.case.params["side"]) == 1 and part.memory.levels:
            begun, moved = t.begun(starts[t.case.backend].of(t.case)), float(t.record.work.least_bytes)
            if begun is not None and (value := best([begun], _least_bytes)) is not None:
                found.append(_shared(value, float(bandwidth(part.memory, np.array([moved]))[0])))
    return max(found, default=None)


def _least_bytes(t: TimedCeiling) -> float:
    return t.record.work.least_bytes

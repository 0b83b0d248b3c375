"""The curves of a device file: bandwidth by working set, and shares of rates where a side is short or a table large."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from backends.dtypes import ITEM_BYTES, itemsize
from harness.figures.ceilings import CEILING_MATMUL, CEILING_STREAM
from harness.modelling.ceiling_times import (
    SQUARE_PRODUCTS,
    THIN_PRODUCTS,
    CalibratedPoint,
    CalibratedValue,
    Starts,
    TimedCeiling,
    best,
    useful,
)
from harness.modelling.device_parts import bandwidth
from harness.modelling.device_schema import FrameworkPart

WIDE = 64  # columns from which a stored sparse product is bound by its FLOP, not by the values that it looks up


def levels(several: Sequence[TimedCeiling], starts: Mapping[str, Starts]) -> list[CalibratedPoint]:
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


def far(stored: Sequence[TimedCeiling]) -> list[CalibratedPoint]:
    """Of stored sparse products of one form the share of their best rate, by the bytes that rows are gathered of."""
    wide = [t for t in stored if int(t.case.params["n"]) >= WIDE]
    if len({_table_bytes(t) for t in wide}) < 2:
        return []
    highest = max(useful(t) / t.time_s for t in wide)
    return _falling((_table_bytes(t), _share(t, useful, highest)) for t in wide)


def _table_bytes(t: TimedCeiling) -> float:
    params = t.case.params
    return float(int(params["columns"]) * int(params["n"]) * itemsize(t.case.dtype))


def _falling(found: Iterable[tuple[float, CalibratedValue]]) -> list[CalibratedPoint]:
    """From the smallest up: the best of each size, and none worse than one beyond it."""
    out: list[CalibratedPoint] = []
    for at, value in sorted(found, key=lambda f: (-f[0], -f[1].value)):
        if out and out[-1].at == at:
            continue
        out.append(CalibratedPoint(at, max(value, out[-1].found) if out else value))
    return out[::-1]


def short_sides(
    several: Sequence[TimedCeiling], part: FrameworkPart, starts: Mapping[str, Starts]
) -> dict[str, list[CalibratedPoint]]:
    """Of each side the share of the matmul rate that the best products reach; none less than a shorter side's.

    `small` of many products in one call, `thin` of one by itself, both without what it took to begin.
    """
    out: dict[str, list[CalibratedPoint]] = {}
    for name, workload in (("small", SQUARE_PRODUCTS), ("thin", THIN_PRODUCTS)):
        of = [t for t in several if t.case.workload == workload and int(t.case.params["side"]) > 1]
        points: list[CalibratedPoint] = []
        for side, t in _fastest(of, starts, lambda t: float(int(t.case.params["side"]))):
            rate = part.matmul.rate.get(t.case.dtype)  # type: ignore[call-overload]
            if rate:
                found = _share(t, useful, rate)
                points.append(CalibratedPoint(side, max(found, points[-1].found) if points else found))
        if points and name == "thin":
            points += _whole(several, points[-1].at)
        if points:
            out[name] = points
    return out


def _fastest(
    several: Sequence[TimedCeiling], starts: Mapping[str, Starts], size: Callable[[TimedCeiling], float]
) -> list[tuple[float, TimedCeiling]]:
    """Of each size, from the smallest up, the fastest case once it has begun; none where that is mostly beginning."""
    by: dict[float, list[TimedCeiling]] = defaultdict(list)
    for t in several:
        by[size(t)].append(t)
    fastest = [(at, min(by[at], key=lambda t: t.time_s)) for at in sorted(by)]
    begun = [(at, t.begun(starts[t.case.backend].of(t.case))) for at, t in fastest]
    return [(at, t) for at, t in begun if t is not None]


def _share(t: TimedCeiling, amount: Callable[[TimedCeiling], float], whole: float) -> CalibratedValue:
    """Which part of a rate a case reaches, 1 at most."""
    work = amount(t)
    share, low, high = (min(1.0, work / seconds / whole) for seconds in (t.time_s, t.high_s, t.low_s))
    return CalibratedValue(share, low, high, t.said)


def _whole(several: Sequence[TimedCeiling], behind: float) -> list[CalibratedPoint]:
    """Where the rate itself is from, if that is a product of longer sides."""
    square = [(float(int(t.case.params["m"])), t) for t in several if t.case.workload == CEILING_MATMUL]
    at, large = max(square, key=lambda found: found[0], default=(0.0, None))
    return [CalibratedPoint(at, CalibratedValue(1.0, 1.0, 1.0, large.said))] if large and at > behind else []


def with_a_vector(
    several: Sequence[TimedCeiling], part: FrameworkPart, starts: Mapping[str, Starts]
) -> list[CalibratedPoint]:
    """Of each working set the share of the bandwidth that the best product with a vector reaches."""
    if not part.memory.levels:
        return []
    of = [t for t in several if t.case.workload == THIN_PRODUCTS and int(t.case.params["side"]) == 1]
    found = _fastest(of, starts, _least_bytes)
    streamed = bandwidth(part.memory, np.array([moved for moved, _ in found], np.float64))
    return [
        CalibratedPoint(moved, _share(t, _least_bytes, whole))
        for (moved, t), whole in zip(found, streamed.tolist(), strict=True)
    ]


def _least_bytes(t: TimedCeiling) -> float:
    return t.record.work.least_bytes

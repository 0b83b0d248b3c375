"""The least time that a machine's measured ceilings allow for a computation: its bound, and what binds it.

    bound = max(useful FLOP / dense rate, least bytes / bandwidth, one launch, least of its ways)

The bandwidth is that of the fastest level that may hold the bytes (`Ceilings`). A way is what one formulation executes,
as it was counted, whoever ran it and however that ended; each has its own least time,

    way = max(all FLOP / dense rate, FLOP outside of products / vector rate, bytes / bandwidth,
              gathered rows / rate, gathered bytes / rate, the same of what is scattered)

and the least of these holds for all of them: what a single formulation does, and another does without, is not in it
unless every other costs more. Of FLOP and bytes a bound has the useful ones alone: where all ways do more, each is
divided by what the leanest has too much. So padding, masks and temporaries count only as the price at which one way
avoids what another needs. Gathers have no useful number to be held to; what every way gathers counts as needed.

Without a count of every way nothing is known of ways, and without the ceilings beyond the dense rate and the bandwidth,
as in older runs, there is nothing to hold them against: then the bound is what these two allow.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from harness.figures.ceilings import Ceiling, Ceilings, Kind, product_dtype
from harness.figures.frame import Rows
from harness.records.record import Executed

Floats = npt.NDArray[np.float64]
_ROUNDING = 1e-9  # of quotients: what is at its bound has not passed it


class Way(NamedTuple):
    """What one formulation does, divided by what all ways of its computation have too much."""

    flop: float
    other_flop: float
    bytes: float
    gathered_rows: float = 0.0
    gathered_bytes: float = 0.0
    scattered_rows: float = 0.0
    scattered_bytes: float = 0.0


class Limits(NamedTuple):
    """The ceilings that a computation is held against; None where a run has none. Rows and bytes each by the fastest.

    A record does not say how large the table is that it gathers from, so no slower level than the fastest may bind.
    """

    matmul: Ceiling
    bandwidth: Ceiling
    vector: Ceiling | None
    gather_rows: Ceiling | None
    gather_bytes: Ceiling | None
    scatter_rows: Ceiling | None
    scatter_bytes: Ceiling | None
    launch: Ceiling | None


class Bound(NamedTuple):
    """Least seconds, one for each setting of the ceilings, and what binds in the first of them."""

    seconds: Floats
    by: Kind


def way_of(executed: Executed, flop: float = 1.0, bytes_: float = 1.0) -> Way:
    """With FLOP and bytes divided by what is too much."""
    e = executed
    rows = (e.gathered_rows, e.gathered_bytes, e.scattered_rows, e.scattered_bytes)
    return Way((e.matmul_flop + e.other_flop) / flop, e.other_flop / flop, e.bytes / bytes_, *map(float, rows))


class Bounds:
    """The bounds of the rows of one table, by the ceilings of their runs and the ways in which each was tried there.

    What is found of a row or of a pair of limits is kept: a twin has many ideas, and most rows the same ceilings.
    """

    def __init__(self, table: Rows, limits: Ceilings) -> None:
        self.limits = limits
        self._executed: dict[tuple[Any, ...], set[Executed | None]] = defaultdict(set)
        if limits.beyond:
            for row in table:
                self._executed[_place(row)].add(row["executed"])
        self._ways: dict[tuple[Any, ...], Sequence[Way]] = {}
        self._dtypes: dict[tuple[Any, ...], str] = {}
        self._limits: dict[tuple[Any, ...], Limits] = {}
        self._settings: dict[tuple[int, int], dict[int, Floats]] = {}  # by the identity of the limits, kept above
        self._impossible: dict[int, tuple[Mapping[str, Any], bool]] = {}  # by the identity of the row

    def limits_of(self, row: Mapping[str, Any]) -> Limits | None:
        """The ceilings of a row; None without a dense rate or a bandwidth."""
        place, found = (row["run"], row["device"]), self.limits
        matmul = found.matmul.get((*place, self._product_dtype(row)))
        level = found.level(*place, row["least_bytes"])
        if matmul is None or level is None:
            return None
        key = (*place, row["dtype"], id(matmul), id(level))
        limits = self._limits.get(key)
        if limits is None:
            limits = self._limits[key] = Limits(
                matmul,
                level,
                found.vector.get((*place, row["dtype"])),
                *_fastest(found.gather.get(place)),
                *_fastest(found.scatter.get(place)),
                max(found.launch.get(place, ()), key=lambda c: c.per_s, default=None),
            )
        return limits

    def settings(self, limits: Limits, other: Limits) -> dict[int, Floats]:
        """By the id of each ceiling of a pair its rate in every setting: each from its largest rate to its typical one.

        All largest come first. A ceiling that binds both sides of a ratio is one and the same on both.
        """
        pair = (id(limits), id(other))
        rates = self._settings.get(pair)
        if rates is None:
            every = {id(ceiling): ceiling for ceiling in (*limits, *other) if ceiling is not None}
            corners = np.array(list(product(*((c.per_s, c.typical_per_s) for c in every.values()))))
            rates = self._settings[pair] = {key: corners[:, k] for k, key in enumerate(every)}
        return rates

    def of(self, row: Mapping[str, Any], limits: Limits, rates: Mapping[int, Floats] | None = None) -> Bound:
        """The bound of a row's useful work; `rates` by the id of a ceiling, else its largest."""
        terms = list(_floor(row, limits, rates))
        ways = [list(_terms(way, limits, rates)) for way in self._ways_of(row)]
        if ways:
            least = min(ways, key=lambda of_way: max(seconds[0] for _, seconds in of_way))
            tops = [_highest([seconds for _, seconds in of_way]) for of_way in ways]
            kind = max(least, key=lambda term: term[1][0])[0]
            terms.append((kind, np.min(tops, axis=0)))
        by, _ = max(terms, key=lambda term: term[1][0])  # the first of equal ones
        return Bound(_highest([seconds for _, seconds in terms]), by)

    def least_s(self, row: Mapping[str, Any]) -> float | None:
        """The bound of a row by the largest rates; None where a ceiling is unknown."""
        limits = self.limits_of(row)
        return None if limits is None else float(self.of(row, limits).seconds[0])

    def executing_s(self, row: Mapping[str, Any], executed: Executed) -> float | None:
        """The least time for all that a call really does, by the largest rates."""
        limits = self.limits_of(row)
        level = self.limits.level(row["run"], row["device"], executed.bytes)
        if limits is None or level is None:
            return None
        found = limits._replace(bandwidth=level)
        return max(float(seconds[0]) for _, seconds in _terms(way_of(executed), found, None))

    def share(self, row: Mapping[str, Any]) -> float | None:
        """Useful FLOP/s over what the ceilings of the row's products and of memory allow; None where one is missing."""
        dtype = self._product_dtype(row)
        figures = (row[name] for name in ("flop_per_s", "useful_flop", "least_bytes"))
        return self.limits.share(row["run"], row["device"], dtype, *figures)

    def impossible(self, row: Mapping[str, Any]) -> bool:
        """Whether a row took less than its bound: then a ceiling or the time is wrong."""
        known = self._impossible.get(id(row))
        if known is None or known[0] is not row:
            known = self._impossible[id(row)] = row, self._took_less(row)
        return known[1]

    def _took_less(self, row: Mapping[str, Any]) -> bool:
        share = self.share(row)
        if share is None or share > 1 or not self.limits.beyond:
            return share is not None and share > 1
        least = self.least_s(row)
        return least is not None and least > (1 + _ROUNDING) * row["time_s"]

    def _product_dtype(self, row: Mapping[str, Any]) -> str:
        key = (row["workload"], row["point"], row["dtype"])
        dtype = self._dtypes.get(key)
        if dtype is None:
            dtype = self._dtypes[key] = product_dtype(row["workload"], row["params"], row["dtype"])
        return dtype

    def _ways_of(self, row: Mapping[str, Any]) -> Sequence[Way]:
        place = _place(row)
        if place not in self._ways:
            self._ways[place] = _ways(self._executed.get(place, ()), row["useful_flop"], row["least_bytes"])
        return self._ways[place]


def _place(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Where all formulations are ways of one computation: what is counted is the same for every backend."""
    return tuple(row[name] for name in ("run", "workload", "point", "mode", "dtype", "seed"))


def _ways(found: Collection[Executed | None], flop: float, bytes_: float) -> list[Way]:
    """Empty where one of them is not known."""
    counted = [executed for executed in found if executed is not None]
    if not counted or None in found or not (flop > 0 and bytes_ > 0):
        return []
    more_flop = max(1.0, min(e.matmul_flop + e.other_flop for e in counted) / flop)
    more_bytes = max(1.0, min(e.bytes for e in counted) / bytes_)
    return list(dict.fromkeys(way_of(executed, more_flop, more_bytes) for executed in counted))


def _fastest(found: Sequence[Ceiling] | None) -> tuple[Ceiling | None, Ceiling | None]:
    """The one of most rows a second, and the one of most bytes."""
    if not found:
        return None, None
    return max(found, key=lambda c: c.per_s), max(found, key=lambda c: c.per_s * (c.row_bytes or 0))


def _highest(several: Sequence[Floats]) -> Floats:
    """The largest in each setting; of so few short ones np.max takes many times as long."""
    highest = several[0]
    for seconds in several[1:]:
        highest = np.maximum(highest, seconds)
    return highest


def _rate(ceiling: Ceiling, rates: Mapping[int, Floats] | None) -> Floats:
    return np.array([ceiling.per_s]) if rates is None else rates[id(ceiling)]


def _floor(row: Mapping[str, Any], limits: Limits, rates: Mapping[int, Floats] | None) -> Iterator[tuple[Kind, Floats]]:
    yield "matmul", row["useful_flop"] / _rate(limits.matmul, rates)
    yield "bandwidth", row["least_bytes"] / _rate(limits.bandwidth, rates)
    if limits.launch is not None:
        yield "launch", 1.0 / _rate(limits.launch, rates)


def _terms(way: Way, limits: Limits, rates: Mapping[int, Floats] | None) -> Iterator[tuple[Kind, Floats]]:
    yield "matmul", way.flop / _rate(limits.matmul, rates)
    yield "bandwidth", way.bytes / _rate(limits.bandwidth, rates)
    if limits.vector is not None:
        yield "vector", way.other_flop / _rate(limits.vector, rates)
    yield from _rows("gather", way.gathered_rows, way.gathered_bytes, limits.gather_rows, limits.gather_bytes, rates)
    yield from _rows(
        "scatter", way.scattered_rows, way.scattered_bytes, limits.scatter_rows, limits.scatter_bytes, rates
    )


def _rows(
    kind: Kind,
    rows: float,
    bytes_: float,
    by_rows: Ceiling | None,
    by_bytes: Ceiling | None,
    rates: Mapping[int, Floats] | None,
) -> Iterator[tuple[Kind, Floats]]:
    if by_rows is not None and by_bytes is not None:
        yield kind, rows / _rate(by_rows, rates)
        yield kind, bytes_ / (by_bytes.row_bytes or 1) / _rate(by_bytes, rates)

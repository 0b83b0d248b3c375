"""The machine's own ceilings, measured in the same run: rates of arithmetic, of memory, of rows, and of launches."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from itertools import accumulate
from typing import Any, Literal, NamedTuple

import msgspec

from backends.dtypes import ITEM_BYTES, itemsize
from harness.figures.frame import Table, rows_of
from workloads.discovery import workloads

CEILING_MATMUL, CEILING_STREAM = "dense_matmul", "stream"
POLYNOMIAL, SMALL_STEPS = "polynomial", "small_steps"
ROW_GATHER, ROW_SCATTER, STORED_PRODUCT = "row_gather", "row_scatter", "stored_product"
# Of these nothing but a ceiling is made; a dense product may be a twin as well.
CEILINGS_ALONE = frozenset({CEILING_STREAM, POLYNOMIAL, SMALL_STEPS, ROW_GATHER, ROW_SCATTER, STORED_PRODUCT})
_CEILINGS = CEILINGS_ALONE | {CEILING_MATMUL}

ROUNDING = 1e-9  # of products and quotients of rates
LAUNCHES = 4  # of a call that takes fewer, most is a launch: what it reaches of arithmetic or rows is no ceiling

Kind = Literal["matmul", "bandwidth", "vector", "gather", "scatter", "launch"]
UNITS: Mapping[Kind, str] = {
    "matmul": "FLOP/s",
    "bandwidth": "B/s",
    "vector": "FLOP/s",
    "gather": "rows/s",
    "scatter": "rows/s",
    "launch": "launches/s",
}


class Ceiling(msgspec.Struct, frozen=True, kw_only=True):
    """What the machine reached at most in this run, in the unit that UNITS has for its kind.

    matmul: useful FLOP/s of a dense product. bandwidth: bytes/s of a stream. vector: FLOP/s of polynomials and of
    products with a stored sparse matrix. gather, scatter: rows/s of `row_bytes` each. launch: calls/s of a product of
    almost no work, as one operation or as a compiled program. `working_set_bytes` is all that a stream touches, or the
    table that is gathered from or scattered to; None of the others. `path` is "backend formulation/execution point".
    `per_s` is by the fastest sample of that path, `typical_per_s` by its median.
    """

    run: str
    device: str
    dtype: str | None
    working_set_bytes: int | None
    per_s: float
    typical_per_s: float
    path: str
    kind: Kind = "matmul"
    row_bytes: int | None = None


def _faster(a: Ceiling, b: Ceiling) -> Ceiling:
    return b if b.per_s > a.per_s else a


class Ceilings(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """`matmul` and `vector` by (run, device, dtype); the others by (run, device).

    `stream` is a list in order of the working set, `gather` and `scatter` one in order of the row and the working set,
    `launch` has one operation and one program. Runs of before they were measured have no `vector` and what follows it.
    """

    matmul: dict[tuple[str, str, str], Ceiling]
    stream: dict[tuple[str, str], list[Ceiling]]
    vector: dict[tuple[str, str, str], Ceiling] = {}
    gather: dict[tuple[str, str], list[Ceiling]] = {}
    scatter: dict[tuple[str, str], list[Ceiling]] = {}
    launch: dict[tuple[str, str], list[Ceiling]] = {}

    @property
    def all(self) -> list[Ceiling]:
        """Every ceiling, kind by kind."""
        several = (self.stream, self.gather, self.scatter, self.launch)
        streams, *rows = ([c for found in of.values() for c in found] for of in several)
        return [*self.matmul.values(), *streams, *self.vector.values(), *(c for found in rows for c in found)]

    @property
    def beyond(self) -> bool:
        """Whether there is more than a dense rate and a bandwidth."""
        return bool(self.vector or self.gather or self.scatter or self.launch)

    def bandwidth(self, run: str, device: str, least_bytes: float) -> float | None:
        """Bytes/s that bound a case: the largest measured from the largest working set ≤ its traffic upward.

        A cache can serve what fits in it, so a case is bounded by the fastest level that may hold it (the cache-aware
        roofline, Ilic, Pratas & Sousa 2014), never by a smaller one. None when no stream ran.
        """
        level = self.level(run, device, least_bytes)
        return None if level is None else level.per_s

    def level(self, run: str, device: str, least_bytes: float) -> Ceiling | None:
        """The ceiling that `bandwidth` is of."""
        sizes, fastest = self._levels.get((run, device), ([], []))
        return fastest[max(0, bisect_right(sizes, least_bytes) - 1)] if fastest else None

    def slowest(self) -> tuple[float, float]:
        """FLOP/s of products and bytes/s that no ceiling is below, less what rounding takes; 0 where there are none."""
        streams = [c.per_s for found in self.stream.values() for c in found]
        rates = (min([c.per_s for c in self.matmul.values()], default=0.0), min(streams, default=0.0))
        return rates[0] * (1 - ROUNDING), rates[1] * (1 - ROUNDING)

    @cached_property
    def _levels(self) -> dict[tuple[str, str], tuple[list[int], list[Ceiling]]]:
        """Of every stream the working sets, and for each the one of the largest rate from there upward."""
        levels = {}
        for place, sizes in self.stream.items():
            fastest = [*accumulate(reversed(sizes), _faster)][::-1]
            levels[place] = [c.working_set_bytes or 0 for c in sizes], fastest
        return levels

    def share(
        self, run: str, device: str, dtype: str, flop_per_s: float, flop: float, least_bytes: float
    ) -> float | None:
        """Useful FLOP/s over min(matmul ceiling, intensity × bandwidth); None when a ceiling or a figure is missing.

        Above 1 the ceiling or the time is wrong; the value is returned as it is.
        """
        most = self.most(run, device, dtype, flop, least_bytes)
        return None if most is None or flop_per_s != flop_per_s else flop_per_s / most

    def most(self, run: str, device: str, dtype: str, flop: float, least_bytes: float) -> float | None:
        """The useful FLOP/s that a `share` is of; None when a ceiling or a figure is missing."""
        matmul, level = self.matmul.get((run, device, dtype)), self.level(run, device, least_bytes)
        if matmul is None or level is None or not flop or not least_bytes:
            return None
        return min(matmul.per_s, flop / least_bytes * level.per_s)


_PRODUCTS: dict[str, Callable[[Any], str | None]] = {}  # by workload, since the files are looked at on every call


def product_dtype(workload: str, params: Mapping[str, Any], dtype: str) -> str:
    """The dtype of the products of a case, whose ceiling bounds it: int8 where both operands are quantised to it."""
    if workload not in _PRODUCTS:
        definition = workloads()[0].get(workload)
        if definition is None:
            return dtype
        _PRODUCTS[workload] = definition.product_dtype
    try:
        return _PRODUCTS[workload](params) or dtype
    except (AttributeError, KeyError, TypeError, ValueError):  # axes of a stored record that the workload has not
        return dtype


def ceilings(frame: Table) -> Ceilings:
    """The largest rates of the ceiling workloads in each run, over every backend, formulation and execution.

    A ceiling is what the machine can do, so it takes the fastest sample and not the median.
    """
    return _largest(
        r for r in rows_of(frame) if r["workload"] in _CEILINGS and r["mode"] == "forward" and r["time_min_s"] > 0
    )


class _Reached(NamedTuple):
    """An amount of one kind of work that a call does, and what tells its ceiling from others of the kind."""

    kind: Kind
    amount: float
    dtype: str | None = None
    row_bytes: int | None = None
    working_set_bytes: int | None = None
    program: bool = False


def _reached(row: Mapping[str, Any]) -> Iterator[_Reached]:
    """What a ceiling's row tells; nothing of points and dtypes that tell nothing."""
    workload, params, dtype = row["workload"], row["params"], str(row["dtype"])
    if workload in (CEILING_MATMUL, POLYNOMIAL, STORED_PRODUCT):
        yield _Reached("matmul" if workload == CEILING_MATMUL else "vector", row["useful_flop"], dtype)
    if dtype not in ITEM_BYTES:
        return
    e = itemsize(dtype)
    match workload, params:
        case "stream", {"elements": elements}:
            # The nominal size, so that kernels which differ by a vector share a level.
            yield _Reached("bandwidth", row["least_bytes"], working_set_bytes=int(elements) * e)
        case "stored_product", {"columns": rows, "n": width}:
            yield _rows("gather", row["useful_flop"] / (2 * width), width * e, rows)
        case "row_gather", {"rows": rows, "width": width, "count": count}:
            yield _rows("gather", count, width * e, rows)
        case "row_scatter", {"segments": rows, "width": width, "count": count}:
            yield _rows("scatter", count, width * e, rows)
        case "small_steps", {"steps": 1}:
            yield _Reached("launch", 1.0, program=not row["path"].endswith("/eager"))


def _rows(kind: Kind, count: float, row_bytes: int, table: int) -> _Reached:
    return _Reached(kind, count, row_bytes=row_bytes, working_set_bytes=row_bytes * table)


def _ceiling(rate: float, row: Mapping[str, Any], reached: _Reached) -> Ceiling:
    return Ceiling(
        run=str(row["run"]),
        device=str(row["device"]),
        dtype=reached.dtype,
        working_set_bytes=reached.working_set_bytes,
        per_s=rate,
        typical_per_s=reached.amount / row["time_s"],
        path=f"{row['backend']} {row['path']} {row['point']}",
        kind=reached.kind,
        row_bytes=reached.row_bytes,
    )


def _largest(rows: Iterable[Mapping[str, Any]]) -> Ceilings:
    best: dict[tuple[Any, ...], tuple[float, Mapping[str, Any], _Reached]] = {}
    found = [(row, reached) for row in rows for reached in _reached(row)]
    launch_s: dict[tuple[str, str], float] = {}
    for row, reached in found:
        if reached.kind == "launch":
            place = (str(row["run"]), str(row["device"]))
            launch_s[place] = min(row["time_min_s"], launch_s.get(place, row["time_min_s"]))
    for row, reached in found:
        run, device = str(row["run"]), str(row["device"])
        mostly_launch = row["time_min_s"] < LAUNCHES * launch_s.get((run, device), 0.0)
        if not (mostly_launch and reached.kind in ("vector", "gather", "scatter")):
            key = (run, device, reached.kind, *reached[2:])  # all but the amount
            rate = reached.amount / row["time_min_s"]
            if key not in best or rate > best[key][0]:
                best[key] = rate, row, reached
    made = [_ceiling(*reached) for reached in best.values()]
    by_dtype: dict[Kind, dict[tuple[str, str, str], Ceiling]] = defaultdict(dict)
    by_place: dict[Kind, dict[tuple[str, str], list[Ceiling]]] = defaultdict(lambda: defaultdict(list))
    for c in made:
        if c.kind in ("matmul", "vector"):
            by_dtype[c.kind][c.run, c.device, str(c.dtype)] = c
    for c in sorted(made, key=lambda c: (c.run, c.device, c.row_bytes or 0, c.working_set_bytes or 0)):
        if c.kind not in ("matmul", "vector"):
            by_place[c.kind][c.run, c.device].append(c)
    return Ceilings(
        matmul=by_dtype["matmul"],
        vector=by_dtype["vector"],
        stream=dict(by_place["bandwidth"]),
        gather=dict(by_place["gather"]),
        scatter=dict(by_place["scatter"]),
        launch=dict(by_place["launch"]),
    )

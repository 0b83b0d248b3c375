"""The machine's own ceilings, measured in the same run: its dense matmul rate and its memory bandwidth."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cached_property
from itertools import accumulate
from statistics import median
from typing import Any

import msgspec

from backends.dtypes import ITEM_BYTES, itemsize
from harness.figures.frame import Table, rows_of
from harness.records.record import Record
from harness.stats.process_times import counted

CEILING_MATMUL, CEILING_STREAM = "dense_matmul", "stream"


class Ceiling(msgspec.Struct, frozen=True, kw_only=True):
    """What the machine reached at most in this run: useful FLOP/s of a dense product, or bytes/s of a stream.

    `working_set_bytes` is the stream's, None for the product; `path` is "backend formulation/execution point".
    `per_s` is by the fastest sample of that path, `typical_per_s` by its median.
    """

    run: str
    device: str
    dtype: str | None
    working_set_bytes: int | None
    per_s: float
    typical_per_s: float
    path: str


def _faster(a: Ceiling, b: Ceiling) -> Ceiling:
    return b if b.per_s > a.per_s else a


class Ceilings(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """`matmul` by (run, device, dtype); `stream` by (run, device), a list in order of the working set."""

    matmul: dict[tuple[str, str, str], Ceiling]
    stream: dict[tuple[str, str], list[Ceiling]]

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
        matmul, bandwidth = self.matmul.get((run, device, dtype)), self.bandwidth(run, device, least_bytes)
        if matmul is None or bandwidth is None or flop_per_s != flop_per_s or not flop or not least_bytes:
            return None
        return flop_per_s / min(matmul.per_s, flop / least_bytes * bandwidth)


def ceilings(frame: Table) -> Ceilings:
    """The largest rates of the ceiling workloads in each run, over every backend, formulation and execution.

    A ceiling is what the machine can do, so it takes the fastest sample and not the median.
    """
    return _largest(r for r in rows_of(frame) if _is_ceiling(r["workload"], r["mode"]) and r["time_min_s"] > 0)


def ceilings_of(records: Iterable[Record]) -> Ceilings:
    """The same as `ceilings` of the frame of these records, without making one."""
    return _largest(row for record in records if (row := _row(record)) is not None)


def _is_ceiling(workload: str, mode: str) -> bool:
    return workload in (CEILING_MATMUL, CEILING_STREAM) and mode == "forward"


def _row(record: Record) -> dict[str, Any] | None:
    case, time = record.case, record.time
    if not _is_ceiling(case.workload, case.mode) or record.status != "ok":
        return None
    samples = [found for _, found in counted(time)] if time is not None else []
    fastest = min(map(min, samples), default=0.0)
    if not fastest > 0:
        return None
    return {
        "run": record.run,
        "workload": case.workload,
        "point": case.point,
        "params": case.params,
        "dtype": case.dtype,
        "backend": case.backend,
        "path": f"{case.formulation}/{case.execution}",
        "device": case.device,
        "time_min_s": fastest,
        "time_s": median(map(median, samples)),
        "useful_flop": record.work.useful_flop,
        "least_bytes": record.work.least_bytes,
    }


def _largest(rows: Iterable[Mapping[str, Any]]) -> Ceilings:
    matmul: dict[tuple[str, str, str], Ceiling] = {}
    stream: dict[tuple[str, str, int], Ceiling] = {}
    for row in rows:
        run, device, dtype = str(row["run"]), str(row["device"]), str(row["dtype"])
        path = f"{row['backend']} {row['path']} {row['point']}"
        if row["workload"] == CEILING_MATMUL:
            rate, typical = (row["useful_flop"] / row[name] for name in ("time_min_s", "time_s"))
            if (run, device, dtype) not in matmul or rate > matmul[run, device, dtype].per_s:
                matmul[run, device, dtype] = Ceiling(
                    run=run,
                    device=device,
                    dtype=dtype,
                    working_set_bytes=None,
                    per_s=rate,
                    typical_per_s=typical,
                    path=path,
                )
        elif "elements" in row["params"] and dtype in ITEM_BYTES:
            # The nominal size, so that kernels which differ by a vector share a level.
            size = int(row["params"]["elements"]) * itemsize(dtype)
            rate, typical = (row["least_bytes"] / row[name] for name in ("time_min_s", "time_s"))
            if (run, device, size) not in stream or rate > stream[run, device, size].per_s:
                stream[run, device, size] = Ceiling(
                    run=run,
                    device=device,
                    dtype=None,
                    working_set_bytes=size,
                    per_s=rate,
                    typical_per_s=typical,
                    path=path,
                )
    by_place: dict[tuple[str, str], list[Ceiling]] = defaultdict(list)
    for run, device, size in sorted(stream):
        by_place[run, device].append(stream[run, device, size])
    return Ceilings(matmul=matmul, stream=dict(by_place))

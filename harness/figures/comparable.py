"""Whether two sets of records may be compared: the conditions that decide a time, and where they differ."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from harness.measuring import threads
from harness.records.record import Record
from harness.records.store import RunInfo
from harness.records.text import shorten

MACHINE = ("cpu", "architecture", "cores_physical", "cores_logical", "cores_usable")
# Settings read back from the frameworks that decide precision or threads, whatever the case.
PRECISION = ("tf32", "float32_matmul_precision", "matmul_precision", "x64", "deterministic")
THREADS = (*threads.OWN, "threads_asked")
SOURCES = "sources of "  # of a package: what such a difference is called
_LONGEST = 80  # characters of a value in a sentence


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A condition that differs: its name, and its value on either side as text."""

    field: str
    a: str
    b: str

    def __str__(self) -> str:
        return f"{self.field} ({self.a} / {self.b})"


def hosts_differ(found: Iterable[Difference]) -> bool:
    """Whether a time differs for another reason than the code: all but the digests of the sources."""
    return any(not difference.field.startswith(SOURCES) for difference in found)


def differences(
    a: Sequence[Record], b: Sequence[Record], infos: tuple[RunInfo, RunInfo] | None, by: str | None = None
) -> list[Difference]:
    """What makes the records of `a` and `b` not comparable: precision, threads, shapes, machine or sources.

    `infos` are the two runs' own facts, None within one run. `by` is the field of the case that is compared, which may
    differ. Shapes differ where a workload that both have was measured at no common point.
    """
    found = _runs(*infos) if infos is not None else []
    for field in ("dtype", "seed"):
        left, right = ({getattr(r.case, field) for r in records} for records in (a, b))
        if left and right and not left & right:
            found.append(Difference(field=field, a=_said(left), b=_said(right)))
    found += _shapes(a, b)
    return found + _settings(a, b, by)


def _runs(a: RunInfo, b: RunInfo) -> list[Difference]:
    pairs = [(name, a.machine.get(name), b.machine.get(name)) for name in MACHINE]
    if "cpu_id" in a.machine and "cpu_id" in b.machine:  # older runs do not tell
        pairs.append(("cpu_id", a.machine["cpu_id"], b.machine["cpu_id"]))
    pairs.append(("threads", a.settings.get("threads"), b.settings.get("threads")))
    out = [Difference(field=n, a=_said([x]), b=_said([y])) for n, x, y in pairs if x != y]
    for package in dict.fromkeys((*a.sources, *b.sources)):
        left, right = a.sources.get(package), b.sources.get(package)
        if left != right:
            out.append(Difference(field=f"{SOURCES}{package}", a=_short(left), b=_short(right)))
    return out


def _short(digest: str | None) -> str:
    return "unknown" if digest is None else digest[:8]


def _shapes(a: Sequence[Record], b: Sequence[Record]) -> list[Difference]:
    points: tuple[dict[str, set[str]], dict[str, set[str]]] = (defaultdict(set), defaultdict(set))
    for seen, records in zip(points, (a, b), strict=True):
        for record in records:
            seen[record.case.workload].add(record.case.point)
    left, right = points
    return [
        Difference(field=f"shapes of {name}", a=_said(left[name]), b=_said(right[name]))
        for name in left
        if name in right and not left[name] & right[name]
    ]


def _settings(a: Sequence[Record], b: Sequence[Record], by: str | None) -> list[Difference]:
    """Settings that both sides have and whose values differ; of each backend apart, unless backends are compared."""
    seen: tuple[dict[tuple[str, str], set[object]], dict[tuple[str, str], set[object]]]
    seen = (defaultdict(set), defaultdict(set))
    for values, records in zip(seen, (a, b), strict=True):
        for record in records:
            backend = "" if by == "backend" else record.case.backend
            for name in (*PRECISION, *THREADS):
                if name in record.settings:
                    values[backend, name].add(record.settings[name])
    left, right = seen
    return [
        Difference(field=f"{key[0]} {key[1]}".strip(), a=_said(left[key]), b=_said(right[key]))
        for key in left
        if key in right and left[key] != right[key]
    ]


def _said(values: Iterable[object]) -> str:
    return shorten(", ".join(sorted("unknown" if v is None else str(v) for v in values)), _LONGEST)

"""What rows of estimated and of modelled records share: how they are grouped, find their twin and are ordered."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, TypeAlias, TypeVar

from harness.figures.ceilings import CEILINGS_ALONE
from harness.records.record import Record, TwinRef
from workloads.base import Value

Place: TypeAlias = tuple[object, ...]


class _PlacedRow(Protocol):
    @property
    def run(self) -> str: ...
    @property
    def workload(self) -> str: ...
    @property
    def params(self) -> dict[str, Value]: ...
    @property
    def mode(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def backend(self) -> str: ...
    @property
    def device(self) -> str: ...


_Row = TypeVar("_Row", bound=_PlacedRow)
_Found = TypeVar("_Found")


def by_place(records: Iterable[Record]) -> dict[Place, list[Record]]:
    """The formulations of each point together, without the workloads that are ceilings alone."""
    groups: dict[Place, list[Record]] = defaultdict(list)
    for record in records:
        c = record.case
        if c.workload not in CEILINGS_ALONE:
            groups[_place(record, c.workload, c.point, c.mode)].append(record)
    return groups


def twin_of(group: Sequence[Record]) -> TwinRef | None:
    """The principal twin of a point; None of a dense computation."""
    return next((r.twins[0] for r in group if r.twins), None)


def at_twin(group: Sequence[Record], found: Mapping[Place, _Found]) -> _Found | None:
    """What is found at the place of the group's principal twin; None where it has no twin, or that was not tried."""
    ref = twin_of(group)
    return None if ref is None else found.get(_place(group[0], ref.workload, ref.point, ref.mode, ref.dtype))


def in_order(rows: Iterable[_Row]) -> list[_Row]:
    """By idea and point, a text after every number of its axis, then by device."""

    def key(row: _Row) -> tuple[object, ...]:
        axes = [(name, isinstance(value, str), value) for name, value in row.params.items()]
        return row.workload, row.mode, axes, row.dtype, row.device, row.backend, row.run

    return sorted(rows, key=key)


def _place(record: Record, workload: str, point: str, mode: str, dtype: str | None = None) -> Place:
    c = record.case
    return (record.run, workload, point, mode, dtype or c.dtype, c.backend, c.device, c.seed)

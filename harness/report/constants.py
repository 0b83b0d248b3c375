"""What all rows of a table share and so no row says: the axes that never change, the dtype, the device, the twins."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias, TypeVar

from harness.figures.estimates import EstimateRow
from harness.figures.modelled import ModelledRow
from harness.figures.summary import Row
from harness.records.points import point_name
from workloads.base import Value

Either: TypeAlias = Row | EstimateRow | ModelledRow
AnyRow = TypeVar("AnyRow", Row, EstimateRow, ModelledRow)


def headlines(rows: Sequence[AnyRow]) -> list[AnyRow]:
    """The rows of headline points; all where none is one."""
    return [row for row in rows if row.headline] or list(rows)


def varying(rows: Sequence[Either]) -> dict[str, list[str]]:
    """For every workload, the axes in which its rows differ, in the workload's own order."""
    return {w: [n for n, seen in axes.items() if len(seen) > 1] for w, axes in _values(rows).items()}


def axes_text(params: Mapping[str, Value], names: Iterable[str]) -> str:
    """`m=8, density=1`: the axes named, in that order."""
    return ", ".join(point_name({name: params[name]}) for name in names if name in params)


def constants(rows: Sequence[Either]) -> str:
    """`constant in all rows: float32, cpu; density=0.1 of a and b; n=128 of b.`; nothing of no rows.

    An axis is said of several ideas at once where all ideas that have it agree.
    """
    values = _values(rows)
    owners: dict[str, list[str]] = defaultdict(list)  # the ideas that have an axis
    for workload, axes in values.items():
        for name in axes:
            owners[name].append(workload)
    said: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for workload, axes in values.items():
        for name, seen in axes.items():
            agree = all(values[other][name] == seen for other in owners[name])
            ideas = tuple(sorted(owners[name])) if agree else (workload,)
            text = point_name({name: seen[0]})
            if len(seen) == 1 and text not in said[ideas]:
                said[ideas].append(text)
    places = [
        values.pop() for values in ({row.dtype for row in rows}, {row.device for row in rows}) if len(values) == 1
    ]
    parts = [", ".join(places)] if places else []
    parts += [f"{', '.join(axes)} of {_and(ideas)}" for ideas, axes in said.items() if axes]
    return f"constant in all rows: {'; '.join(parts)}." if parts else ""


def twins_line(rows: Sequence[Either]) -> str:
    """`dense twins: dense_matmul (same shape) of a and b.`: what each idea is held against, the principal twin."""
    held: dict[str, dict[str, None]] = defaultdict(dict)
    for row in rows:
        twin = _twin(row)
        if twin is not None:
            held[twin][row.workload] = None
    own = held.pop("", None)
    said = [f"{twin} of {_and(sorted(ideas))}" for twin, ideas in held.items()]
    said += [f"{_and(sorted(own))} {'is its own' if len(own) == 1 else 'are their own'}"] if own else []
    return f"dense twins: {'; '.join(said)}." if said else ""


def _twin(row: Either) -> str | None:
    """The principal twin in words: "" of a row that is its own, None of one that has none."""
    if isinstance(row, EstimateRow | ModelledRow):
        workload, kind = row.twin_workload, row.twin_kind
    else:
        workload, kind = (row.principal.twin_workload, row.principal.kind) if row.principal else (None, None)
    if workload is None:
        return None
    return "" if kind == "itself" else f"{workload} ({str(kind).replace('_', ' ')})"


def _values(rows: Sequence[Either]) -> dict[str, dict[str, list[Value]]]:
    found: dict[str, dict[str, list[Value]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        for name, value in row.params.items():
            if value not in found[row.workload][name]:
                found[row.workload][name].append(value)
    return found


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"

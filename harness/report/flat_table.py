"""The report as a flat table for other programs: one row a row of the summary, every figure in full."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Any, TypeAlias, get_args, get_type_hints

import pandas as pd

from harness.figures.modelled import ModelledRow
from harness.figures.summary import Against, Row, Summary

_FIGURES = tuple(name for name in Against.__struct_fields__ if name != "kind")
_FORMULA = tuple("=+-@|%＝＋－＠")  # by which Excel, LibreOffice and their kin know one
# What a modelled row has in common with a measured one; its figures stand in columns of their own, `modelled_…`.
_PLACE = ("run", "workload", "point", "mode", "dtype", "backend", "device", "headline", "outcome", "cases", "reason")
_MODELLED = tuple(name for name in ModelledRow.__struct_fields__ if name not in (*_PLACE, "params"))
_OWN = tuple(name for name in Row.__struct_fields__ if name not in ("params", "against"))


def flat(row: Row) -> dict[str, object]:
    """A row as one level of names: the principal twin's figures under their own names, another's with its kind."""
    fields: dict[str, object] = {name: getattr(row, name) for name in _OWN}
    for order, against_twin in enumerate(row.against):
        suffix = f"_{against_twin.kind}" if order else ""
        fields |= {"twin": against_twin.kind} if not order else {}
        fields |= {f"{name}{suffix}": getattr(against_twin, name) for name in _FIGURES}
    return fields


def modelled_flat(row: ModelledRow) -> dict[str, object]:
    """A modelled row as one level of names: all columns of measured figures stay empty."""
    return {name: getattr(row, name) for name in _PLACE} | {
        f"modelled_{name}": getattr(row, name) for name in _MODELLED
    }


def _rows(summary: Summary, further: Further) -> list[dict[str, object]]:
    measured = [{**flat(row), **further(row)} for row in summary.rows]
    return [*measured, *map(modelled_flat, summary.modelled)]


def _columns(summary: Summary) -> dict[str, type]:
    """Every column and the type of its values: the row's own, the principal twin's, then those of other twins."""
    row, against = get_type_hints(Row), get_type_hints(Against)
    columns = {name: _plain(row[name]) for name in _OWN} | {"twin": str}
    columns |= {name: _plain(against[name]) for name in _FIGURES}
    kinds = dict.fromkeys(against_twin.kind for each in summary.rows for against_twin in each.against[1:])
    columns |= {f"{name}_{kind}": _plain(against[name]) for kind in kinds for name in _FIGURES}
    modelled = get_type_hints(ModelledRow) if summary.modelled else {}
    return columns | {f"modelled_{name}": _plain(modelled[name]) for name in _MODELLED if name in modelled}


def _plain(hint: Any) -> type:
    """`float` of `float | None`."""
    found = [kind for kind in get_args(hint) if kind is not NoneType] if isinstance(hint, UnionType) else [hint]
    return found[0] if len(found) == 1 and found[0] in (str, int, float, bool) else str


Further: TypeAlias = Callable[[Row], Mapping[str, float | None]]  # columns beside a row's own, the same of every row


def _nothing(_: Row) -> Mapping[str, float | None]:
    return {}


def csv(summary: Summary, further: Further = _nothing) -> str:
    """One line a row, with the columns of `flat` and `further` ones; unknown is empty.

    Modelled rows come behind the measured ones, with columns of their own, which are there where such rows are.
    """
    rows = [{name: as_text(value) for name, value in row.items()} for row in _rows(summary, further)]
    names = dict.fromkeys((*_columns(summary), *(further(summary.rows[0]) if summary.rows else ())))
    table = pd.DataFrame({n: pd.Series([row.get(n) for row in rows], dtype=object) for n in names})
    return table.to_csv(index=False, lineterminator="\n")


def as_text(value: object) -> object:
    """A value that no spreadsheet runs as a formula: words of others that begin like one get a ' before (OWASP)."""
    return f"'{value}" if isinstance(value, str) and value.lstrip()[:1] in _FORMULA and value.strip() else value


def parquet(summary: Summary, further: Further = _nothing) -> bytes:
    """The same columns with their types; unknown is null. The A/A noise stands in the schema's metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    noise = {"noise": repr(summary.noise)} if summary.noise is not None else {}
    columns = _columns(summary) | {name: float for row in summary.rows[:1] for name in further(row)}
    schema = pa.schema([(name, kinds[kind]) for name, kind in columns.items()], metadata=noise)
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(_rows(summary, further), schema=schema), file)
    return file.getvalue()

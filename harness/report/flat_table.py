"""The report as a flat table for other programs: one row a row of the summary, every figure in full."""

from __future__ import annotations

import io
from types import NoneType, UnionType
from typing import Any, get_args, get_type_hints

import pandas as pd

from harness.figures.summary import Against, Row, Summary

_FIGURES = tuple(name for name in Against.__struct_fields__ if name != "kind")
_FORMULA = tuple("=+-@|%＝＋－＠")  # by which Excel, LibreOffice and their kin know one
_OWN = tuple(name for name in Row.__struct_fields__ if name not in ("params", "against"))


def flat(row: Row) -> dict[str, object]:
    """A row as one level of names: the principal twin's figures under their own names, another's with its kind."""
    fields: dict[str, object] = {name: getattr(row, name) for name in _OWN}
    for order, against_twin in enumerate(row.against):
        suffix = f"_{against_twin.kind}" if order else ""
        fields |= {"twin": against_twin.kind} if not order else {}
        fields |= {f"{name}{suffix}": getattr(against_twin, name) for name in _FIGURES}
    return fields


def _columns(summary: Summary) -> dict[str, type]:
    """Every column and the type of its values: the row's own, the principal twin's, then those of other twins."""
    row, against = get_type_hints(Row), get_type_hints(Against)
    columns = {name: _plain(row[name]) for name in _OWN} | {"twin": str}
    columns |= {name: _plain(against[name]) for name in _FIGURES}
    kinds = dict.fromkeys(against_twin.kind for each in summary.rows for against_twin in each.against[1:])
    return columns | {f"{name}_{kind}": _plain(against[name]) for kind in kinds for name in _FIGURES}


def _plain(hint: Any) -> type:
    """`float` of `float | None`."""
    found = [kind for kind in get_args(hint) if kind is not NoneType] if isinstance(hint, UnionType) else [hint]
    return found[0] if len(found) == 1 and found[0] in (str, int, float, bool) else str


def csv(summary: Summary) -> str:
    """One line a row, with the columns of `flat`; unknown is empty."""
    rows = [{name: as_text(value) for name, value in flat(row).items()} for row in summary.rows]
    table = pd.DataFrame({n: pd.Series([row.get(n) for row in rows], dtype=object) for n in _columns(summary)})
    return table.to_csv(index=False, lineterminator="\n")


def as_text(value: object) -> object:
    """A value that no spreadsheet runs as a formula: words of others that begin like one get a ' before (OWASP)."""
    return f"'{value}" if isinstance(value, str) and value.lstrip()[:1] in _FORMULA and value.strip() else value


def parquet(summary: Summary) -> bytes:
    """The same columns with their types; unknown is null. The A/A noise stands in the schema's metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    noise = {"noise": repr(summary.noise)} if summary.noise is not None else {}
    schema = pa.schema([(name, kinds[kind]) for name, kind in _columns(summary).items()], metadata=noise)
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([flat(row) for row in summary.rows], schema=schema), file)
    return file.getvalue()

"""The report as a flat table for other programs: one row a row of the summary, every figure in full."""

from __future__ import annotations

import pandas as pd

from harness.table import Against, Row, Summary


def flat(row: Row) -> dict[str, object]:
    """A row as one level of names: the principal twin's figures under their own names, another's with its kind."""
    fields = {n: getattr(row, n) for n in Row.__struct_fields__ if n not in ("params", "against")}
    for order, one in enumerate(row.against):
        suffix = f"_{one.kind}" if order else ""
        names = [n for n in Against.__struct_fields__ if n != "kind"]
        fields |= {"twin": one.kind} if not order else {}
        fields |= {f"{name}{suffix}": getattr(one, name) for name in names}
    return fields


def csv(summary: Summary) -> str:
    """One line a row, with the columns of `flat`; unknown is empty."""
    rows = [flat(row) for row in summary.rows]
    principal = ["twin", *(n for n in Against.__struct_fields__ if n != "kind")]
    own = [n for n in Row.__struct_fields__ if n not in ("params", "against")]
    columns = list(dict.fromkeys([*own, *principal, *(name for row in rows for name in row)]))
    table = pd.DataFrame({n: pd.Series([row.get(n) for row in rows], dtype=object) for n in columns})
    return table.to_csv(index=False, lineterminator="\n")

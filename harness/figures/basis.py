"""What the rules for a run and its figures are both made from, so that whoever wants both makes it once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.figures.ceilings import Ceilings, ceilings
from harness.figures.frame import Rows, case_rows
from harness.records.record import Record
from harness.stats.noise import paired_floors


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """`rows` has one row for each record but the controls, in order (`case_rows`).

    `limits` are the ceilings that these measured; `controls` has the ratio of each control to its case.
    """

    rows: Rows
    limits: Ceilings
    controls: list[float]


def basis_of(records: Sequence[Record]) -> Basis:
    """The basis of records, one a case."""
    rows = case_rows([record for record in records if not record.control])
    return Basis(rows=rows, limits=ceilings(rows), controls=paired_floors(records))

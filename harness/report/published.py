"""What a report is made from, and what it may be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from harness.figures.summary import Row, Summary
from harness.records.record import Record
from harness.records.store import RunInfo
from harness.report.sections import Section

Content: TypeAlias = str | bytes | Mapping[str, bytes]  # a mapping is a folder of files: relative name → content


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """What other rooms add to a report: tables and charts below its own, and columns of numbers in its flat table.

    `columns` gives every row the same names, each with a number or None. `data` stands in JSON under its own names.
    """

    sections: Sequence[Section] = ()
    charts: Sequence[Any] = ()  # `harness.web.vega.Chart`
    columns: Callable[[Row], Mapping[str, float | None]] = lambda _: {}
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """All that a report may print: the figures, and the records and runs that they were made from."""

    summary: Summary
    records: Sequence[Record]
    runs: Sequence[RunInfo]
    beside: Beside = field(default_factory=Beside)

"""What a report is made from, and what it may be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from harness.figures.summary import Summary
from harness.records.record import Record
from harness.records.store import RunInfo

Content: TypeAlias = str | bytes | Mapping[str, bytes]  # a mapping is a folder of files: relative name → content


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """All that a report may print: the figures, and the records and runs that they were made from."""

    summary: Summary
    records: Sequence[Record]
    runs: Sequence[RunInfo]

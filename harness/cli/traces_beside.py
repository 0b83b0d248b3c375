"""What a page gains where the folders of its runs hold traces: where the time of these cases went."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import click

from harness.figures.summary import Row, Summary
from harness.records.traces import traces_of
from harness.report import trace_text
from harness.report.published import Beside

Besides: TypeAlias = Callable[[Summary, Sequence[Row]], Beside] | None


def with_traces(beside: Besides, folders: Sequence[Path]) -> Besides:
    """`beside`, and below it a table for each trace; what could not be read is a warning on stderr."""
    tables = []
    for found in (found for folder in dict.fromkeys(folders) for found in traces_of(folder)):
        if isinstance(found, str):
            click.echo(f"warning: {found}", err=True)
        else:
            tables.append(trace_text.section(found))
    if not tables:
        return beside

    def more(summary: Summary, rows: Sequence[Row]) -> Beside:
        known = Beside() if beside is None else beside(summary, rows)
        return replace(known, sections=[*known.sections, *tables])

    return more

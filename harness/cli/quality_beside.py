"""What a report gains where folders of studies of quality are among those that it is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import click

from harness.figures.summary import Row, Summary
from harness.quality import columns, text
from harness.quality.outcome import Outcome, outcome_of
from harness.records.store import Run
from harness.report.published import Beside


def outcomes_of(folders: Sequence[Path]) -> list[Outcome]:
    """The studies in these folders; what could not be read is a warning on stderr."""
    found = [outcome_of(folder) for folder in folders]
    for outcome in found:
        for warning in (*outcome.study.warnings, *(outcome.run.warnings if outcome.run else ())):
            click.echo(f"warning: {warning}", err=True)
    return found


def runs_of(outcomes: Sequence[Outcome]) -> list[Run]:
    """The runs that measured a step, of studies that have one."""
    return [outcome.run for outcome in outcomes if outcome.run is not None]


def beside_of(outcomes: Sequence[Outcome]) -> Callable[[Summary, Sequence[Row]], Beside]:
    """Makes the tables, charts, columns and data of studies, for the summary and the rows of all points."""

    def beside(_: Summary, rows: Sequence[Row]) -> Beside:
        from harness.quality import pictures

        tables = [columns.section(rows, outcomes)]
        for outcome in outcomes:
            tables += text.tables(outcome)
        return Beside(
            sections=[table for table in tables if table.cells],
            charts=pictures.charts(rows, outcomes),
            columns=lambda row: columns.figures(row, outcomes),
            data={"quality": [outcome.published() for outcome in outcomes]},
        )

    return beside

"""What the documentation is made from: stored runs, the command line and the record format, each from one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import click

    from harness.figures.summary import Row, Summary
    from harness.records.store import Run

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
RESULTS = ROOT / "results"
QUICK, STANDARD, AHEAD, IDEAS = "quick-epyc", "standard-cpu", "quick-tpu-aot-v5e", "ideas-epyc"


@cache
def run(name: str) -> Run:
    """A stored run of results/."""
    from harness.records.store import load

    return load(RESULTS / name)


@cache
def summary(name: str) -> Summary:
    """Every figure of a stored run."""
    from harness.figures.summary import summarise

    return summarise(run(name).records)


@cache
def cases(name: str) -> Sequence[Mapping[str, Any]]:
    """Every case of a stored run but its controls, as rows of the table of all figures."""
    from harness.figures.frame import case_rows

    return case_rows([record for record in run(name).records if not record.control])


@cache
def compiled_for() -> tuple[str, ...]:
    """The stored runs of `quick` that were compiled for a chip and not run."""
    return tuple(path.name for path in sorted(RESULTS.glob("quick-*-aot-*")) if (path / "records.jsonl").is_file())


@cache
def across_chips() -> Summary:
    """Every figure of those runs together."""
    from harness.figures.summary import summarise

    return summarise([record for name in compiled_for() for record in run(name).records])


@cache
def report(name: str) -> str:
    """The Markdown report of a stored run."""
    from harness.cli.formats import render

    return str(render(run(name).records, "markdown"))


def cells(row: Row) -> dict[str, str]:
    """The cells of a row of the main table, as every report prints them."""
    from harness.report import wording

    return {
        "workload": row.workload,
        "point": wording.point_cell(row),
        "backend": row.backend,
        "best path": row.path or wording.UNKNOWN,
        "time": wording.time_cell(row).replace("*", "\\*"),
        "speed-up": wording.speed_up_cell(row.principal),
        "tax": wording.tax_cell(row.principal),
        "memory": wording.memory_cell(row),
        "share": wording.share_cell(row),
    }


def commands() -> Mapping[str, click.Command]:
    """Every command by its verb."""
    from harness.cli.main import cli

    return cli.commands


def core() -> Sequence[str]:
    """The methods of `Ops` that every backend writes, in the order in which they stand."""
    from backends.core import CoreOps

    return [name for name in vars(CoreOps) if name in CoreOps.__abstractmethods__]


def structs() -> Mapping[str, Any]:
    """The record of a case and the facts of a run, by the name of the file that holds them."""
    from harness.records.record import Record
    from harness.records.store import RunInfo

    return {"records.jsonl": Record, "run.json": RunInfo}


def columns() -> Mapping[str, str]:
    """Every column of the data frame with its meaning and unit."""
    from harness.figures.frame import COLUMNS

    return COLUMNS


def source_files(*folders: str) -> Sequence[Path]:
    """The Python files of these folders of the checkout."""
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]

"""What `report` does once its arguments are parsed."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from harness import plan
from harness.errors import UserError
from harness.metrics import outcome
from harness.record import Record
from harness.report import FORMATS, Content, render
from harness.store import RunInfo, load


def report(folders: Sequence[Path], format_: str, output: Path | None, all_points: bool) -> int:
    """Render results folders to stdout, to a file, or to a folder where the format is one of several files."""
    if format_ not in FORMATS:
        raise plan.nearest("format", format_, FORMATS)
    if output is None and FORMATS[format_].binary and sys.stdout.isatty():
        raise UserError(f"--format {format_} is not for a terminal; name a file with -o FILE{FORMATS[format_].suffix}")
    content = rendered(folders, format_, all_points=all_points)
    if output is not None:
        write(content, output)
        click.echo(f"written: {output}", err=True)
    elif isinstance(content, Mapping):
        raise UserError(f"--format {format_} makes several files; name a folder for them with -o DIR")
    else:
        click.echo(content, nl=isinstance(content, str) and not content.endswith("\n"))
    return 0


def rendered(folders: Sequence[Path], format_: str = "table", *, all_points: bool = False) -> Content:
    """The report of results folders; what could not be read is a warning on stderr."""
    records: list[Record] = []
    runs: list[RunInfo] = []
    for folder in folders:
        found = load(folder)
        for warning in found.warnings:
            click.echo(f"warning: {warning}", err=True)
        records += found.records
        runs.append(found.info)
    if format_ == "pytest-benchmark":
        _say_left_out(records)
    try:
        return render(records, format_, runs=runs, all_points=all_points)
    except ModuleNotFoundError as error:
        raise UserError(
            f"--format {format_} needs {error.name}, which is not installed; "
            'try: python -m pip install "hwlottery[report]"'
        ) from None


def _say_left_out(records: Sequence[Record]) -> None:
    """pytest-benchmark knows times only, so the other outcomes are named on stderr."""
    counts = Counter[str](record.status for record in records if record.status != "ok")
    if counts:
        click.echo(f"note: without a benchmark, because not ok: {outcome(counts)}", err=True)


def write(content: Content, output: Path) -> None:
    """Write a report to the file or folder `output`; UserError where that cannot be."""
    try:
        if isinstance(content, Mapping):
            output.mkdir(parents=True, exist_ok=True)
            for name, part in content.items():
                (output / name).write_bytes(part)
        elif isinstance(content, bytes):
            output.write_bytes(content)
        else:
            output.write_text(content if content.endswith("\n") else content + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"-o {output} cannot be written ({error.strerror}); name another file or folder") from None

"""The commands for authors: `new` writes an example to start from, `check` holds a file to what every plug-in keeps."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from harness.cli.parameters import Duration, flat, names

_output = click.option(
    "-o", "--output", type=click.Path(path_type=Path), default=Path(), help="Folder of the file.  [default: this one]"
)


@click.group()
def new() -> None:
    """Write a complete, small example to start from: a workload or a backend of your own."""


@new.command()
@click.argument("name")
@_output
def workload(name: str, output: Path) -> None:
    """Write the workload NAME to NAME.py: an idea, its reference, two ways to write it, and the twin."""
    from harness.cli import new as writing

    sys.exit(writing.workload(name, output))


@new.command()
@click.argument("name")
@_output
def backend(name: str, output: Path) -> None:
    """Write the backend NAME to NAME_backend.py: any library of the array API standard, in some 40 lines."""
    from harness.cli import new as writing

    sys.exit(writing.backend(name, output))


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
@names("--backend", "Try workloads on these frameworks only; without it, on every one that is installed.")
@click.option("--timeout", type=Duration(), default="2m", show_default=True, help="Kill a try after this time.")
def check(files: tuple[Path, ...], backend: tuple[tuple[str, ...], ...], timeout: float) -> None:
    """Hold workloads and backends of your own to what every one keeps; exit code 1 with a sentence for each fault.

    A workload: its facts and formulas, the agreement of every formulation with the reference in every execution of
    every framework that is installed, dtypes, determinism and tracing. A backend: the contract of its operators, and
    every workload of the harness through it.
    """
    from harness.cli import check as checking

    sys.exit(checking.check([file.absolute() for file in files], flat(backend), timeout))

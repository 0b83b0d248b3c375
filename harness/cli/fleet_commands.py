"""`fleet`: its commands and their options."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from harness.cli.parameters import Duration

_FILE = click.argument("file", metavar="FILE", type=click.Path(path_type=Path))


def _campaign(help_: str) -> Callable[[Any], Any]:
    return click.option(
        "-o",
        "--out",
        "campaign",
        metavar="CAMPAIGN",
        type=click.Path(path_type=Path),
        help=f"{help_}  [default: campaigns/NAME-OF-FILE]",
    )


@click.group()
def fleet() -> None:
    """Run the same plan on many unlike machines, by an engine that exists.

    FILE is TOML: machines by their labels, and what is wanted on which. Each run of a machine is a results folder of
    its own, CAMPAIGN/runs/MACHINE/RUN/, ready for `leaderboard`.
    """


@fleet.command("plan")
@_FILE
@_campaign("Leave out what is done in this campaign.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help='Print JSON: {"machines": {kind: […]}, "rows": [{"shard", "kind", "command", …}]}.',
)
def plan(file: Path, campaign: Path | None, as_json: bool) -> None:
    """Say who would run what, and about how long; run nothing."""
    from harness.cli import fleet as acts

    sys.exit(acts.plan(file, campaign, as_json))


@fleet.command("run")
@_FILE
@_campaign("Folder of the campaign; one that was begun goes on.")
@click.option(
    "--wait",
    type=Duration(),
    default="1m",
    show_default=True,
    help="End when nothing runs and for so long no machine was there for the rest.",
)
def run(file: Path, campaign: Path | None, wait: float) -> None:
    """Run what is wanted and not done yet; what a lost machine did not finish goes to another as a new run."""
    from harness.cli import fleet as acts

    sys.exit(acts.run(file, campaign, wait))


@fleet.command("status")
@_FILE
@_campaign("Folder of the campaign.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: rows, what runs, what was lost.")
def status(file: Path, campaign: Path | None, as_json: bool) -> None:
    """Say what is done, runs, waits and was lost; it may be asked while a driver runs."""
    from harness.cli import fleet as acts

    sys.exit(acts.status(file, campaign, as_json))


@fleet.command("collect")
@_FILE
@_campaign("Folder of the campaign.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print JSON: what is there, what is partial, what may be compared."
)
def collect(file: Path, campaign: Path | None, as_json: bool) -> None:
    """Take in runs that were brought by hand, and say which of all are whole and may be compared."""
    from harness.cli import fleet as acts

    sys.exit(acts.collect(file, campaign, as_json))


@fleet.command("export")
@_FILE
@click.option("--to", required=True, metavar="FORM", help="sh, slurm, k8s or sky.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write to this file.  [default: stdout]")
def export(file: Path, to: str, output: Path | None) -> None:
    """Print the plan as job files, for those who start them by hand."""
    from harness.cli import fleet as acts

    sys.exit(acts.export(file, to, output))

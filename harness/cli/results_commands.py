"""The commands that read results folders: `report`, `compare`, `explain`, `validate` and `leaderboard`."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command()
@click.argument("folders", nargs=-1, required=True, metavar="DIR...", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "format_",
    default="table",
    show_default=True,
    help="table, markdown, csv, json, latex, parquet, pytest-benchmark, html, or pictures: svg, png, pdf.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write to this file (or folder of pictures).")
@click.option(
    "--all",
    "all_points",
    is_flag=True,
    help="Below the matrix, every figure of every point.",
)
def report(folders: tuple[Path, ...], format_: str, output: Path | None, all_points: bool) -> None:
    """Make the table of one or more results folders."""
    from harness.cli import publish

    sys.exit(publish.report(folders, format_, output, all_points))


@click.command()
@click.argument("folders", nargs=-1, required=True, metavar="A [B]", type=click.Path(path_type=Path))
@click.option(
    "--by",
    metavar="FIELD=A,B",
    help="Within one results folder: compare two values of backend, device, execution or formulation.",
)
@click.option("--format", "format_", default="table", show_default=True, help="table, markdown or json.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; the same as --format json.")
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Cases that do not differ, and the names of those on one side only.",
)
@click.option(
    "--fail-on",
    metavar="slower:PERCENT%",
    help="Exit with 1 where a row is surely slower and may be so by this much, or a case was ok and is not any more.",
)
@click.option("--force", is_flag=True, help="Compare although precision, threads, shapes, machine or sources differ.")
def compare(
    folders: tuple[Path, ...],
    by: str | None,
    format_: str,
    as_json: bool,
    everything: bool,
    fail_on: str | None,
    force: bool,
) -> None:
    """Compare results folder B with A, or two backends or devices of one: ratio B/A, its interval, and the verdict.

    Either may be a folder of several results folders: runs of the same plan, which find smaller differences.
    """
    from harness.cli import publish

    sys.exit(publish.compare(folders, by, "json" if as_json else format_, everything, fail_on, force))


@click.command()
@click.argument("folders", nargs=-1, required=True, metavar="DIR...", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, metavar="SITE", type=click.Path(path_type=Path), help="Folder to make.")
def leaderboard(folders: tuple[Path, ...], output: Path) -> None:
    """Build the static site of every submission in the folders DIR: boards, machines, history, feed.

    A submission is a results folder, at any depth. What `validate` refuses is listed with its reasons and ranked
    nowhere. The same records make the same bytes; copy the folder to publish it.
    """
    from harness.leaderboard import build

    sys.exit(build.build(folders, output))


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON: for each path, publishable, refusals and marks.")
def validate(paths: tuple[Path, ...], as_json: bool) -> None:
    """Say whether results folders may be published: every reason why not, and what fixes it. Exit code 1 if refused."""
    from harness.cli import publish

    sys.exit(publish.validate(paths, as_json))


@click.command()
@click.argument(
    "folders", nargs=-1, required=True, metavar="DIR...|-", type=click.Path(path_type=Path, allow_dash=True)
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print JSON: message, what, where, why, do, link and rule of each."
)
@click.option(
    "--script",
    metavar="CASE",
    help="Print a script of a few lines that shows the failure of CASE in the framework's own terms. CASE is words of "
    "it, such as 'block_sparse/bsr torch compiled'.",
)
def explain(folders: tuple[Path, ...], as_json: bool, script: str | None) -> None:
    """Explain every message of a failed or refused case in a line: what, where, why, what to do, and a link.

    With -, the lines of the standard input are messages.
    """
    from harness.cli import explain as explaining

    sys.exit(explaining.explain(folders, as_json, script))

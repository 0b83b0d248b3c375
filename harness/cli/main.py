"""The command line: the only room that parses arguments and prints. Heavy imports happen inside the commands."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130
DEBUG = "HWLOTTERY_DEBUG"


class Sentence(click.ClickException):
    """An error told in one sentence, exit code 2."""

    exit_code = EXIT_USAGE


class Names(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4 only
    """One name or several with commas between."""

    name = "name[,name]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Split at the commas."""
        if isinstance(value, tuple):
            return value
        names = tuple(part.strip() for part in str(value).split(","))
        if not all(names):
            self.fail(f"{value!r} has an empty name between its commas", param, ctx)
        return names


class Duration(click.ParamType):  # type: ignore[type-arg]
    """Seconds, minutes or hours: 90s, 5m, 1h."""

    name = "duration"
    _units = {"s": 1.0, "m": 60.0, "h": 3600.0}  # noqa: RUF012

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds of a text such as 5m."""
        if isinstance(value, float | int):
            return float(value)
        text = str(value).strip()
        unit = self._units.get(text[-1:], None)
        try:
            seconds = float(text[:-1]) * unit if unit else float(text)
        except ValueError:
            seconds = float("nan")
        if not 0 < seconds <= 7 * 86400:
            self.fail(f"{value!r} is not a time between 0 and 7 days such as 90s, 5m or 1h", param, ctx)
        return seconds


def _flat(names: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(name for several in names for name in several)


def _names(flag: str, help_: str) -> Callable[[Any], Any]:
    return click.option(flag, type=Names(), multiple=True, help=f"{help_} Repeat it or separate with commas.")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(package_name="hwlottery", prog_name="hwlottery")
def cli(debug: bool) -> None:
    """Measure what leaving the dense-matmul path costs in time, memory and energy, across frameworks and hardware."""
    if debug:
        os.environ[DEBUG] = "1"


@cli.command()
@click.option("--preset", default="quick", show_default=True, help="Shapes: smoke, quick, standard or full.")
@_names("--workload", "Only these workloads; their dense twins come along.")
@_names("--backend", "Only these backends; without it, every framework that is installed.")
@_names("--device", "Devices: cpu, cuda[:i], tpu[:i], tpu-aot:<chip>.  [default: cpu]")
@_names("--dtype", "float32, float64, bfloat16, float16.  [default: float32]")
@_names("--execution", "Only eager, graph (TensorFlow) or compiled.")
@_names("--formulation", "Only these formulations of the ideas; twins keep all of theirs.")
@click.option(
    "--set",
    "axes",
    multiple=True,
    metavar="AXIS=VALUE[,VALUE]",
    help="Set an axis of every idea that has it; several values make a point each. Repeatable.",
)
@click.option(
    "--smtx",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE...",
    help="Run unstructured_sparse on patterns of the Deep Learning Matrix Collection.",
)
@click.argument("more_smtx", nargs=-1, type=click.Path(path_type=Path), metavar="")
@click.option(
    "--rounds",
    type=click.IntRange(0, 100),
    help="Interleaved groups for each best path and its twins, after the survey.  [default: 5; quick 3, smoke 0]",
)
@click.option(
    "--budget",
    type=Duration(),
    help="End after this time, such as 90s, 5m or 1h; without --rounds, more groups run where intervals are widest.",
)
@click.option(
    "--precision",
    type=click.FloatRange(0.001, 1),
    default=0.02,
    show_default=True,
    help="With --budget: an interval that reaches less than this share from its middle is narrow enough.",
)
@click.option("--timeout", type=Duration(), default="5m", show_default=True, help="Kill a case after this time.")
@click.option("--threads", type=click.IntRange(1), help="Cores for every framework.  [default: all usable]")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="Of inputs and order.")
@click.option("--memory-limit", type=click.FloatRange(0.25), metavar="GIB", help="Memory a case may allocate.")
@click.option("--core-watts", type=click.FloatRange(0.1, 1000), help="Watts of a busy core, for modelled energy.")
@click.option("--core-watts-low", type=click.FloatRange(0.1, 1000), help="Its lower bound.")
@click.option("--core-watts-high", type=click.FloatRange(0.1, 1000), help="Its upper bound.")
@click.option(
    "--memory-watts-per-gb", type=click.FloatRange(0, 100), help="Watts of a GB of memory, for modelled energy."
)
@click.option("--out", type=click.Path(path_type=Path), help="Results folder.  [default: runs/TIME-PRESET]")
@click.option("--resume", is_flag=True, help="Go on with the run in --out; its failures are tried again.")
@click.option("--dry-run", is_flag=True, help="Show the plan and about how long it takes; run nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the records as JSON lines on stdout, nothing else.")
def run(**options: Any) -> None:
    """Plan, run, record, and print the table and where the results are."""
    from harness.cli import run

    if options["more_smtx"] and not options["smtx"]:
        raise Sentence(f"unexpected argument {str(options['more_smtx'][0])!r}; options begin with --, see run --help")
    for name in ("workload", "backend", "device", "dtype", "execution", "formulation"):
        options[name] = _flat(options[name])
    options["smtx"] = (*options.pop("smtx"), *options.pop("more_smtx"))
    sys.exit(run.run(options))


@cli.command("list")
@click.argument("what", metavar="WHAT")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(what: str, as_json: bool) -> None:
    """List WHAT: workloads, backends, devices, presets or formulations."""
    from harness.cli import listing

    rows = listing.listing(what)
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    else:
        listing.show(rows)


@cli.command()
@click.argument("folders", nargs=-1, required=True, metavar="DIR...", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "format_",
    default="table",
    show_default=True,
    help="table, markdown, csv, json, latex, parquet, pytest-benchmark, html, or pictures: svg, png, pdf.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write to this file (or folder of pictures).")
@click.option("--all", "all_points", is_flag=True, help="Every point of every sweep, not only the headline points.")
def report(folders: tuple[Path, ...], format_: str, output: Path | None, all_points: bool) -> None:
    """Make the table of one or more results folders."""
    from harness.cli import publish

    sys.exit(publish.report(folders, format_, output, all_points))


@cli.command()
@click.argument("folders", nargs=-1, required=True, metavar="A [B]", type=click.Path(path_type=Path))
@click.option(
    "--by",
    metavar="FIELD=A,B",
    help="Within one results folder: compare two values of backend, device, execution or formulation.",
)
@click.option("--format", "format_", default="table", show_default=True, help="table, markdown or json.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; the same as --format json.")
@click.option("--all", "everything", is_flag=True, help="Identical cases that do not differ, too.")
@click.option(
    "--fail-on",
    metavar="slower:PERCENT%",
    help="Exit with 1 where a case is slower by more than this and by more than noise, or was ok and is not any more.",
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
    """Compare results folder B with A, or two backends or devices of one: ratio B/A, its interval, and the verdict."""
    from harness.cli import publish

    sys.exit(publish.compare(folders, by, "json" if as_json else format_, everything, fail_on, force))


@cli.command()
@click.argument("folders", nargs=-1, required=True, metavar="DIR...", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, metavar="SITE", type=click.Path(path_type=Path), help="Folder to make.")
def leaderboard(folders: tuple[Path, ...], output: Path) -> None:
    """Build the static site of every submission in the folders DIR: boards, machines, history, feed.

    A submission is a results folder, at any depth. What `validate` refuses is listed with its reasons and ranked
    nowhere. The same records make the same bytes; copy the folder to publish it.
    """
    from harness.leaderboard import build

    sys.exit(build.build(folders, output))


@cli.command()
@click.argument("paths", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON: for each path, publishable, refusals and marks.")
def validate(paths: tuple[Path, ...], as_json: bool) -> None:
    """Say whether results folders may be published: every reason why not, and what fixes it. Exit code 1 if refused."""
    from harness.cli import publish

    sys.exit(publish.validate(paths, as_json))


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(as_json: bool) -> None:
    """Say what is installed, what is missing, and the command that fixes it."""
    from harness.cli import doctor as examination

    sys.exit(examination.examine(as_json))


def run_cli(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; every error is one sentence on stderr, and the exit code is returned."""
    from harness.errors import UserError

    try:
        cli.main(args=list(arguments) if arguments is not None else None, prog_name="hwlottery", standalone_mode=False)
    except click.exceptions.Abort:
        return EXIT_INTERRUPTED
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else "", err=True)
        return EXIT_USAGE
    except click.ClickException as error:
        if os.environ.get(DEBUG):
            raise
        words = error.format_message().replace("\n", " ")
        click.echo(f"error: {words}", err=True)
        return EXIT_USAGE
    except UserError as error:
        if os.environ.get(DEBUG):
            raise
        click.echo(f"error: {error}", err=True)
        return EXIT_USAGE
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the reader went away (| head): not an error of ours
        return EXIT_OK
    except Exception as error:
        if os.environ.get(DEBUG):
            raise
        click.echo(f"error: {type(error).__name__}: {error} (an error of the harness; --debug shows where)", err=True)
        return EXIT_FAILED
    return EXIT_OK

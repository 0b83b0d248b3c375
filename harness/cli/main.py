"""The command line: the only room that parses arguments and prints. Heavy imports happen inside the commands."""

from __future__ import annotations

import codecs
import errno
import io
import json
import os
import signal
import sys
from collections.abc import Sequence

import click

from harness.cli.authoring_commands import check, new
from harness.cli.fleet_commands import fleet
from harness.cli.modelling_commands import calibrate, recommend, whatif
from harness.cli.parameters import EXIT_BROKEN, EXIT_FAILED, EXIT_OK, EXIT_SIGNAL, EXIT_USAGE
from harness.cli.quality_command import quality
from harness.cli.results_commands import compare, explain, leaderboard, report, validate
from harness.cli.run_command import run
from harness.cli.sharing_commands import reproduce, submit
from harness.cli.trace_command import trace
from harness.running.stopping import stoppable

DEBUG = "HWLOTTERY_DEBUG"
PLACES = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EFBIG, errno.ESTALE),
    *(errno.ENAMETOOLONG, errno.ELOOP),
)


def _debug(_: click.Context, __: click.Parameter, value: bool) -> None:
    if value:
        os.environ[DEBUG] = "1"


def _debug_option() -> click.Option:
    return click.Option(
        ["--debug"], is_flag=True, expose_value=False, callback=_debug, help="Show the traceback of an error."
    )


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="hwlottery", prog_name="hwlottery")
def cli() -> None:
    """Measure what leaving the dense-matmul path costs in time, memory and energy, across frameworks and hardware."""


@cli.command("list")
@click.argument("what", metavar="WHAT")
@click.argument("names", nargs=-1, metavar="[NAME...]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(what: str, names: tuple[str, ...], as_json: bool) -> None:
    """List WHAT: workloads, backends, devices, presets or formulations.

    With a NAME after `workloads`, all about it: axes, presets, formulations and twins.
    """
    from harness.cli import listing

    rows = listing.listing(what, names)
    for reason in listing.left_out():
        click.echo(f"warning: left out: {reason}", err=True)
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    else:
        listing.show(what, rows, detailed=bool(names))


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(as_json: bool) -> None:
    """Say what is installed, what is missing, and the command that fixes it."""
    from harness.cli import doctor as examination

    sys.exit(examination.examine(as_json))


_RUNS = (run, report, compare, explain, trace, validate, leaderboard, reproduce, submit, fleet, quality)
for _command in (*_RUNS, new, check, calibrate, whatif, recommend):
    cli.add_command(_command)


def _with_debug(command: click.Command) -> None:
    """Give a command and those below it `--debug`, so that it may stand before the verb or behind it."""
    command.params.append(_debug_option())
    if isinstance(command, click.Group):
        for below in command.commands.values():
            _with_debug(below)


_with_debug(cli)


def _escaped(error: UnicodeError) -> tuple[str, int]:
    r"""What a stream cannot hold as \uXXXX, which JSON reads back: the halves of a pair for what has more digits."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2)), error.end


def _escape_what_streams_cannot_hold() -> None:
    """No name of a file, machine or framework may end a command, whatever the terminal or pipe is encoded in."""
    codecs.register_error("hwlottery.escaped", _escaped)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="hwlottery.escaped")


def _let_go_of_streams_that_nobody_reads() -> None:
    """Drop what a closed terminal did not take: Python would try it again at the end and exit with 120 for it."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def run_cli(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; every error is one sentence on stderr, and the exit code is returned."""
    code = _code_of(arguments)
    _let_go_of_streams_that_nobody_reads()
    return code


def _code_of(arguments: Sequence[str] | None) -> int:
    from harness.errors import UserError
    from harness.records.text import visible

    words = list(sys.argv[1:] if arguments is None else arguments)
    _escape_what_streams_cannot_hold()
    try:
        with stoppable():  # what a command has begun is taken down, whatever signal ends it
            cli.main(args=words, prog_name="hwlottery", standalone_mode=False, obj=tuple(words))
    except click.exceptions.Abort as stop:  # what click makes of KeyboardInterrupt
        return EXIT_SIGNAL + getattr(stop.__cause__, "number", signal.SIGINT)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else "", err=True)
        return EXIT_USAGE
    except click.ClickException as error:
        if os.environ.get(DEBUG):
            raise
        click.echo(f"error: {visible(error.format_message())}", err=True)
        return EXIT_USAGE
    except UserError as error:
        if os.environ.get(DEBUG):
            raise
        click.echo(f"error: {visible(str(error))}", err=True)  # names of files hold what they like
        return EXIT_USAGE
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else EXIT_FAILED
    except KeyboardInterrupt as stop:
        return EXIT_SIGNAL + getattr(stop, "number", signal.SIGINT)
    except BrokenPipeError:
        return EXIT_OK  # the reader went away (| head): not an error of ours
    except Exception as error:
        if os.environ.get(DEBUG):
            raise
        if isinstance(error, OSError) and error.errno in PLACES:  # of the machine, not of ours
            where = f"{visible(str(error.filename))} cannot be used" if error.filename else "a file cannot be used"
            click.echo(f"error: {where} ({error.strerror}); make room there or name another place", err=True)
            return EXIT_USAGE
        click.echo(f"error: {type(error).__name__}: {error} (an error of the harness; --debug shows where)", err=True)
        return EXIT_BROKEN
    return EXIT_OK

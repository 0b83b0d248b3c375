"""The kinds of values that options take, and the errors of the command line itself."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import click

EXIT_OK, EXIT_FAILED, EXIT_USAGE = 0, 1, 2
EXIT_BROKEN = 70  # an error of the harness itself, EX_SOFTWARE of sysexits.h: no result, as a failed case is one
EXIT_SIGNAL = 128  # and the number of the signal, as shells have it: 130 after Ctrl-C

Value: TypeAlias = int | float | str


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


class Setting(click.ParamType):  # type: ignore[type-arg]
    """An axis and the values that it takes: density=0.3,0.1."""

    name = "axis=value[,value]"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, tuple[Value, ...]]:
        """The axis, and its values as numbers where they are some."""
        if isinstance(value, tuple):
            return value
        axis, equals, values = str(value).partition("=")
        if not axis or not equals or not values:
            self.fail(f"{value!r} is not AXIS=VALUE[,VALUE], such as density=0.3,0.1", param, ctx)
        from harness.planning.retold import number

        return axis, tuple(map(number, values.split(",")))


class Finite(click.FloatRange):
    """A number within limits; `nan` is within none, and `inf` is none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number."""
        found = float(super().convert(value, param, ctx))
        if not math.isfinite(found):
            self.fail(f"{value!r} is not a finite number", param, ctx)
        return found


def merged(settings: Sequence[tuple[str, tuple[Value, ...]]]) -> dict[str, tuple[Value, ...]]:
    """The values of each axis, of all repetitions of the option."""
    out: dict[str, tuple[Value, ...]] = {}
    for axis, values in settings:
        out[axis] = tuple(dict.fromkeys((*out.get(axis, ()), *values)))
    return out


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


def names(flag: str, help_: str) -> Callable[[Any], Any]:
    """An option that takes names and may be repeated; `flat` makes one tuple of what it gives."""
    return click.option(flag, type=Names(), multiple=True, help=f"{help_} Repeat it or separate with commas.")


def threads(default: str) -> Callable[[Any], Any]:
    """The option of what may measure on fewer cores; `default` says on how many it does otherwise."""
    return click.option("--threads", type=click.IntRange(1), help=f"Cores for every framework.  [default: {default}]")


no_wait = click.option("--no-wait", is_flag=True, help="Go on beside another run on this machine; both are disturbed.")


def workload_files(more: str = "") -> Callable[[Any], Any]:
    """The option of workloads in files of the user's own; `more` goes on with what they mean to the command."""
    return click.option(
        "--workload-file",
        "workload_files",
        multiple=True,
        type=click.Path(path_type=Path),
        metavar="FILE",
        help=f"A workload of your own, in any file{more}. Repeatable.",
    )


def flat(several: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The names of all repetitions of an option, in order."""
    return tuple(name for given in several for name in given)


def program() -> str:
    """How the command line was started, for commands that a user may copy."""
    return "python -m harness" if Path(sys.argv[0]).name == "__main__.py" else "hwlottery"

"""`run --resume`: what is not said again is taken from the run that goes on; what contradicts it is refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from harness.cli.parameters import Sentence, flat

# What a part of a run may have for itself. The rest decides what is measured.
OWN = ("out", "resume", "retry", "as_json", "dry_run", "budget", "no_wait")
_NAMES = ("workload", "backend", "device", "dtype", "execution", "formulation")  # options whose values are names


def taken_up(context: click.Context) -> dict[str, Any]:
    """The values of all options: those of the run in --out, and of this command line what a part may have for itself.

    Sentence where an option contradicts the run's, or the run's own cannot be read. Where there is no run yet, those of
    the command line, if it says what to run.
    """
    from harness.records.store import INFO, info_of

    here: dict[str, Any] = dict(context.params)
    folder: Path | None = here["out"]
    if folder is None:
        raise Sentence("--resume goes on with the run in a folder: name it by --out DIR")
    said = {name for name in here if context.get_parameter_source(name) is ParameterSource.COMMANDLINE}
    if not (folder / INFO).is_file():
        if said <= {*OWN}:  # the default run would be another than was meant
            raise Sentence(f"there is no run in {folder} to go on with; say what to run, or name the folder of a run")
        return here
    info = info_of(folder)
    there = _values(context.command, info.command, folder)
    settings = info.settings
    # What was not said then was found out then; it stands in the run's settings.
    there["threads"] = settings.get("threads") or there["threads"]
    if isinstance(settings.get("backends"), str):
        there["backend"] = (tuple(str(settings["backends"]).split(",")),)
    if isinstance(settings.get("memory_limit_bytes"), int):
        there["memory_limit"] = int(settings["memory_limit_bytes"] or 0) / 2**30
    for name in said - {*OWN}:
        if _plain(name, here[name]) != _plain(name, there[name]):
            raise Sentence(
                f"{_option(context.command, name)} {_shown(name, here)} is not what the run in {folder} has "
                f"({_shown(name, there)}): a run goes on as it was asked for; leave it out, or name another --out"
            )
    return {**there, **{name: here[name] for name in OWN if name in said or name != "budget"}}


def _values(command: click.Command, words: list[str], folder: Path) -> dict[str, Any]:
    """What the options of a stored command line are."""
    if "run" not in words:
        raise Sentence(f"{folder} is not of `run`, and cannot be gone on with by it; name another --out")
    try:
        return dict(command.make_context("run", words[words.index("run") + 1 :]).params)
    except click.ClickException as error:
        said = error.format_message()
        raise Sentence(f"the command line of the run in {folder} cannot be read: {said}; start another run") from None


def _plain(name: str, value: Any) -> object:
    return sorted(set(flat(value))) if name in _NAMES else value


def _option(command: click.Command, name: str) -> str:
    option = next(parameter for parameter in command.params if parameter.name == name)
    return option.opts[0] if isinstance(option, click.Option) else "the files of --matrix"


def _shown(name: str, values: Mapping[str, Any]) -> str:
    value = values[name]
    if name == "axes":
        return " ".join(f"{axis}={','.join(map(str, given))}" for axis, given in value) or "none"
    if isinstance(value, tuple):
        return ",".join(map(str, flat(value) if name in _NAMES else value)) or "all"
    return "unsaid" if value is None else str(value)

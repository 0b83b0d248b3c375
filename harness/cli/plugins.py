"""Files of a user's own: workloads and backends that a command names, made known to it and to its fork servers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from backends.discovery import Broken, load_module
from harness.errors import UserError
from workloads.base import Definition
from workloads.discovery import definition_of

WORKLOADS, BACKENDS = "HWLOTTERY_WORKLOADS", "HWLOTTERY_BACKENDS"


def with_files(files: Sequence[Path], variable: str = WORKLOADS) -> None:
    """Add files to those in the environment variable, which discovery reads here and in every fork server.

    UserError for one that is no file or cannot be named in the variable.
    """
    for file in files:
        if not file.is_file():
            raise UserError(f"{file} is not there or no file; name a Python file that defines a workload")
        if os.pathsep in str(file):
            raise UserError(f"{file} has {os.pathsep!r} in its path, which separates files; move it to another folder")
    known = os.environ.get(variable, "").split(os.pathsep)
    os.environ[variable] = os.pathsep.join(dict.fromkeys(filter(None, (*known, *map(str, files)))))


def own_names(files: Iterable[Path], workloads: Mapping[str, Definition], broken: Iterable[Broken]) -> tuple[str, ...]:
    """The names of the workloads in `files`; UserError with the reason where one is broken."""
    reasons = {b.path.resolve(): b.reason for b in broken}
    names = []
    for file in files:
        reason = reasons.get(file.resolve())
        if reason is not None:
            raise UserError(reason)
        name = definition_of(load_module(file), str(file)).name
        names.append(workloads[name].name)
    return tuple(names)

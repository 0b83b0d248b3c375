"""Every workload by name, found by its file or by an installed package's entry point. Imports no framework."""

from __future__ import annotations

import functools
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import ModuleType

from backends.discovery import (
    Broken,
    PlugIn,
    as_it_is,
    attempt,
    by_name,
    folders,
    installed,
    load_module,
    missing,
    plugin_files,
    strangers,
)
from workloads.authoring.builder import Workload
from workloads.authoring.functions import WorkloadError
from workloads.base import Definition, Mode, Parameters, Twin

# What workloads share lives in workloads/common/, the short form in workloads/authoring/.
_OURS = frozenset({"base", "conformance", "counting", "discovery", "facts"})
PATTERN, FOLDERS = "*.py", "HWLOTTERY_WORKLOADS"
GROUP = "hwlottery.workloads"


def definition_of(value: object, where: str) -> Definition:
    """The workload that a plug-in holds: itself, or a module's `WORKLOAD`, `w`, or the only one at module level.

    It may have the short form or the long. WorkloadError where there is none, or two that have neither name.
    """
    held = vars(value) if isinstance(value, ModuleType) else {"w": value}
    found = {name: thing for name, thing in held.items() if isinstance(thing, Workload | Definition)}
    chosen = found.get("WORKLOAD") or found.get("w")
    if chosen is None:
        by_identity = {id(thing): thing for thing in found.values()}  # one workload under two names is one
        if len(by_identity) != 1:
            have = f"defines {len(found)} ({', '.join(found)})" if found else "defines none"
            raise WorkloadError(
                f"{where} {have}: it must define one workload, w = Workload(…) or WORKLOAD = Definition(…); a helper's "
                "file begins with _"
            )
        (chosen,) = by_identity.values()
    return chosen.definition() if isinstance(chosen, Workload) else chosen


def _plugin(value: object, where: str, path: Path) -> PlugIn[Definition] | Broken:
    try:
        return PlugIn(definition_of(value, where), where, path)
    except ValueError as error:
        return Broken(path, str(error) if where in str(error) else f"{where}: {error}")


def _read(path: Path) -> PlugIn[Definition] | Broken:
    try:
        module = load_module(path)
    except WorkloadError as error:
        return Broken(path, str(error) if path.name in str(error) else f"{path}: {error}")
    return _plugin(module, str(path), path)


def _plugins(where: Sequence[Path]) -> Iterator[PlugIn[Definition] | Broken]:
    yield from missing(where, FOLDERS)
    for path in plugin_files(where, PATTERN, _OURS):
        yield attempt(functools.partial(_read, path), str(path), path)
    for entry in installed(GROUP):
        if isinstance(entry, Broken):
            yield entry
        else:
            yield attempt(functools.partial(_plugin, entry.value, entry.where, entry.path), entry.where, entry.path)


def own_files() -> list[Path]:
    """The files of workloads that are no part of this package."""
    return strangers(_places(), PATTERN, _OURS)


def _places() -> list[Path]:
    return folders(Path(__file__).parent, FOLDERS)


def _with_whole_twins(definition: Definition, known: Mapping[str, Definition]) -> Definition:
    """The same workload, whose twins have the defaults of the axes that their author did not name."""

    @functools.wraps(definition.twins)
    def twins(p: Parameters, mode: Mode) -> Sequence[Twin]:
        return [_whole(twin, known) for twin in definition.twins(p, mode)]

    return replace(definition, twins=twins) if definition.role == "idea" else definition


def _whole(twin: Twin, known: Mapping[str, Definition]) -> Twin:
    if not isinstance(twin, Twin) or twin.workload not in known:
        return twin  # wrong, which workloads/facts.py says
    return replace(twin, params=known[twin.workload].completed(twin.params))


def workloads() -> tuple[Mapping[str, Definition], tuple[Broken, ...]]:
    """The workloads here and in the folders of HWLOTTERY_WORKLOADS, and the files that are broken."""
    return _listed(as_it_is(_places(), PATTERN))


@cache
def _listed(_as_it_is: Hashable) -> tuple[Mapping[str, Definition], tuple[Broken, ...]]:
    found, broken = by_name(_plugins(_places()), "workload")
    return {name: _with_whole_twins(definition, found) for name, definition in found.items()}, tuple(broken)

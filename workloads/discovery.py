"""Every workload by name, found by its file or an entry point. Imports no framework."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType

from backends.discovery import Broken, PlugIn, by_name, folders, installed, load_module, plugin_files
from workloads.authoring.builder import Workload
from workloads.authoring.functions import WorkloadError
from workloads.base import Definition

# What workloads share lives in workloads/common/, the short form in workloads/authoring/.
_OURS = frozenset({"base", "conformance", "discovery", "facts"})


def definition_of(module: ModuleType, path: Path) -> Definition:
    """The workload of a file: its `WORKLOAD`, else its `w`, else the only one at module level; short form or long.

    WorkloadError where there is none, or two that have neither name.
    """
    # imported modules and classes are no workloads; one workload under two names is one
    found = {name: value for name, value in vars(module).items() if isinstance(value, Workload | Definition)}
    chosen = found.get("WORKLOAD") or found.get("w")
    if chosen is None:
        by_identity = {id(value): value for value in found.values()}
        if len(by_identity) != 1:
            have = f"defines {len(found)} ({', '.join(found)})" if found else "defines none"
            raise WorkloadError(
                f"{path} {have}: it must define one workload, w = Workload(…) or WORKLOAD = Definition(…); a file of "
                "helpers begins with an underscore"
            )
        (chosen,) = by_identity.values()
    return chosen.definition() if isinstance(chosen, Workload) else chosen


def _of_file(path: Path) -> PlugIn[Definition] | Broken:
    try:
        return PlugIn(definition_of(load_module(path), path), str(path), path)
    except WorkloadError as error:
        return Broken(path, str(error) if str(path) in str(error) else f"{path}: {error}")
    except Exception as error:  # somebody's file: whatever it raises is its author's to read
        return Broken(path, f"{path} does not load: {type(error).__name__}: {error}")


def _of_entry(value: object, where: str, path: Path) -> PlugIn[Definition] | Broken:
    if isinstance(value, ModuleType):
        try:
            return PlugIn(definition_of(value, Path(value.__file__ or where)), where, path)
        except WorkloadError as error:
            return Broken(path, f"{where}: {error}")
    if isinstance(value, Workload | Definition):
        return PlugIn(value.definition() if isinstance(value, Workload) else value, where, path)
    return Broken(path, f"{where} must name a workload or its module, found {type(value).__name__}")


def _plugins(where: tuple[Path, ...]) -> Iterator[PlugIn[Definition] | Broken]:
    for path in plugin_files(where, "*.py", _OURS):
        yield _of_file(path)
    for one in installed("hwlottery.workloads"):
        yield one if isinstance(one, Broken) else _of_entry(one.value, one.where, one.path)


@cache
def _found(where: tuple[Path, ...]) -> tuple[Mapping[str, Definition], tuple[Broken, ...]]:
    found, broken = by_name(_plugins(where), "workload")
    return found, tuple(broken)


def workloads() -> tuple[Mapping[str, Definition], tuple[Broken, ...]]:
    """The workloads here, in the folders of HWLOTTERY_WORKLOADS and of installed packages, and what is broken."""
    return _found(tuple(folders(Path(__file__).parent, "HWLOTTERY_WORKLOADS")))

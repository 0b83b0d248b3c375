"""Every workload by name, found by its file. Imports no framework."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType

from backends.discovery import Broken, PlugIn, by_name, folders, installed, load_module, plugin_files
from workloads.base import Workload

_OURS = frozenset({"base", "discovery"})  # what workloads share lives in workloads/common/


def _of_kind(value: object, where: str, path: Path) -> PlugIn[Workload] | Broken:
    workload = getattr(value, "WORKLOAD", None) if isinstance(value, ModuleType) else value
    if isinstance(workload, Workload):
        return PlugIn(workload, where, path)
    found = "nothing" if workload is None else type(workload).__name__
    helper = "; a helper's file begins with _" if workload is None else ""
    return Broken(path, f"{where} must end with WORKLOAD = Workload(…), found {found}{helper}")


def _plugins(where: tuple[Path, ...]) -> Iterator[PlugIn[Workload] | Broken]:
    for path in plugin_files(where, "*.py", _OURS):
        try:
            yield _of_kind(load_module(path), str(path), path)
        except Exception as error:  # somebody's file: whatever it raises is its author's to read
            yield Broken(path, f"{path} does not load: {type(error).__name__}: {error}")
    for one in installed("hwlottery.workloads"):
        yield one if isinstance(one, Broken) else _of_kind(one.value, one.where, one.path)


@cache
def _found(where: tuple[Path, ...]) -> tuple[Mapping[str, Workload], tuple[Broken, ...]]:
    found, broken = by_name(_plugins(where), "workload")
    return found, tuple(broken)


def workloads() -> tuple[Mapping[str, Workload], tuple[Broken, ...]]:
    """The workloads here and in the folders of HWLOTTERY_WORKLOADS, and the files that are broken."""
    return _found(tuple(folders(Path(__file__).parent, "HWLOTTERY_WORKLOADS")))

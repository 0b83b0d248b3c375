"""Every workload by name, found by its file. Imports no framework."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from backends.discovery import Broken, folders, load_plugins
from workloads.base import Workload

_OURS = frozenset({"base", "discovery"})  # what workloads share lives in workloads/common/


@cache
def _found(where: tuple[Path, ...]) -> tuple[Mapping[str, Workload], tuple[Broken, ...]]:
    found: dict[str, Workload] = {}
    broken: list[Broken] = []
    for plugin in load_plugins(list(where), "*.py", _OURS, "WORKLOAD", Workload):
        if isinstance(plugin, Broken):
            broken.append(plugin)
        elif isinstance(plugin, Workload):
            if plugin.name in found:
                broken.append(Broken(Path(plugin.name), f"workload {plugin.name!r} is defined by two files"))
            else:
                found[plugin.name] = plugin
    return found, tuple(broken)


def workloads() -> tuple[Mapping[str, Workload], tuple[Broken, ...]]:
    """The workloads here and in the folders of HWLOTTERY_WORKLOADS, and the files that are broken."""
    return _found(tuple(folders(Path(__file__).parent, "HWLOTTERY_WORKLOADS")))

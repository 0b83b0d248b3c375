"""Every workload by name, found by its file. Imports no framework."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType

from backends.discovery import Broken, folders, load_module
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


def _files(where: tuple[Path, ...]) -> Iterator[Path]:
    ours = Path(__file__).parent
    for folder in where:
        for path in sorted(folder.glob("*.py")):
            if not path.stem.startswith("_") and not (folder == ours and path.stem in _OURS):
                yield path


@cache
def _found(where: tuple[Path, ...]) -> tuple[Mapping[str, Definition], tuple[Broken, ...]]:
    found: dict[str, Definition] = {}
    files: dict[str, Path] = {}
    broken: list[Broken] = []
    for path in _files(where):
        try:
            definition = definition_of(load_module(path), path)
        except WorkloadError as error:
            broken.append(Broken(path, str(error) if str(path) in str(error) else f"{path}: {error}"))
        except Exception as error:  # somebody's file: whatever it raises is its author's to read
            broken.append(Broken(path, f"{path} does not load: {type(error).__name__}: {error}"))
        else:
            if definition.name in found:
                first = files[definition.name]
                broken.append(
                    Broken(path, f"workload {definition.name!r} of {path} is in {first} already; give it another name")
                )
            else:
                found[definition.name], files[definition.name] = definition, path
    return found, tuple(broken)


def workloads() -> tuple[Mapping[str, Definition], tuple[Broken, ...]]:
    """The workloads here and in the folders of HWLOTTERY_WORKLOADS, and the files that are broken."""
    return _found(tuple(folders(Path(__file__).parent, "HWLOTTERY_WORKLOADS")))

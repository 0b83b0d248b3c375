"""Finds plug-ins, so that a file or an installed package adds one and no list is edited. For backends and workloads.

A plug-in is a file in one of the folders, whose name matches a pattern and does not begin with `_`, or an entry point
of an installed distribution. Files beside a plug-in can be imported by it: their folder is the last on Python's path.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Generic, Protocol, TypeVar

from backends.ops import Backend

ROOT = Path(__file__).resolve().parent.parent


class Named(Protocol):
    """What a plug-in is known by."""

    @property
    def name(self) -> str:
        """The name by which it is asked for."""


P = TypeVar("P", bound=Named)
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Broken:
    """A plug-in that could not be used: its file, or its distribution's name, and the one sentence that says why."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class PlugIn(Generic[T_co]):
    """A plug-in, the words for where it is defined, and its file or its distribution's name."""

    value: T_co
    where: str
    path: Path


def folders(package: Path, variable: str) -> list[Path]:
    """The package's own folder, then the folders and files listed in the environment variable, as in PATH."""
    return [package, *(Path(p) for p in os.environ.get(variable, "").split(os.pathsep) if p)]


def plugin_files(where: Iterable[Path], pattern: str, skip: frozenset[str] = frozenset()) -> Iterator[Path]:
    """The files of the folders that match `pattern`. One that begins with `_` is a helper; `skip` are stems of ours.

    A file that is itself in `where` is one, whatever its name. Each comes once.
    """
    seen: set[Path] = set()
    for place in where:
        for path in [place] if place.is_file() else sorted(place.glob(pattern)):
            if path.resolve() in seen:
                continue
            seen.add(path.resolve())
            helper = path.stem.startswith("_") or (path.stem in skip and _ours(path))
            if path == place or not helper:
                yield path


def load_module(path: Path) -> ModuleType:
    """The module of a plug-in's file, imported once; whatever it raises is its author's.

    ImportError where it imports a file beside it and Python gave it another of that name, from another folder.
    """
    # A file of somebody else's must not take the place of ours of the same folder and name.
    folder_name = path.parent.name if _ours(path) else f"hwlottery_{hashlib.sha256(bytes(path)).hexdigest()[:8]}"
    name = f"{folder_name}.{path.stem}"
    known = sys.modules.get(name)
    if known is not None and getattr(known, "__file__", None) == str(path):
        return known
    folder = str(path.parent.resolve())
    if not _ours(path) and folder not in sys.path:
        sys.path.append(folder)  # last, so that nothing that is installed gives way to it
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
        if not _ours(path):
            _refuse_another_of_the_name(path)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def installed(group: str) -> Iterator[PlugIn[object] | Broken]:
    """What the entry points of `group` name in installed distributions: an object, or a module that holds one."""
    for point in sorted(importlib.metadata.entry_points(group=group), key=lambda p: (p.name, p.value)):
        distribution = point.dist.name if point.dist is not None else "an unnamed distribution"
        words = f"entry point {point.name} = {point.value} of {distribution}"
        try:
            yield PlugIn(point.load(), words, Path(distribution))
        except Exception as error:  # somebody's package: whatever it raises is its author's to read
            yield Broken(Path(distribution), f"{words} does not load: {type(error).__name__}: {error}")


def by_name(found: Iterable[PlugIn[P] | Broken], what: str) -> tuple[dict[str, P], list[Broken]]:
    """Plug-ins by name, in the order in which they are found, and the broken ones; of one name the first is kept."""
    kept: dict[str, PlugIn[P]] = {}
    broken: list[Broken] = []
    for plugin in found:
        if isinstance(plugin, Broken):
            broken.append(plugin)
            continue
        first = kept.setdefault(plugin.value.name, plugin)
        if first.value is not plugin.value:
            name = f"{what} {plugin.value.name!r}"
            words = f"{name} is defined twice, by {first.where} and by {plugin.where}; rename one of them"
            broken.append(Broken(plugin.path, words))
    return {name: plugin.value for name, plugin in kept.items()}, broken


def _ours(path: Path) -> bool:
    return path.resolve().parent.parent == ROOT


def _refuse_another_of_the_name(path: Path) -> None:
    """ImportError for a helper beside `path` in whose place Python gave the first that it loaded of that name."""
    names = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
    for name in sorted(names):
        beside = (path.parent / f"{name}.py").resolve()
        given = getattr(sys.modules.get(name), "__file__", None)
        if beside.is_file() and given is not None and Path(given).resolve() != beside:
            raise ImportError(f"it imports {name}, which is {given} and not {beside}; rename one of them")


def _of_kind(value: object, where: str, path: Path) -> PlugIn[Backend] | Broken:
    backend = getattr(value, "BACKEND", None) if isinstance(value, ModuleType) else value
    if isinstance(backend, Backend):
        return PlugIn(backend, where, path)
    found = "nothing" if backend is None else type(backend).__name__
    helper = "; a helper's file begins with _" if backend is None else ""
    return Broken(path, f"{where} must end with BACKEND = Backend(…), found {found}{helper}")


def _found() -> Iterator[PlugIn[Backend] | Broken]:
    for path in plugin_files(folders(Path(__file__).parent, "HWLOTTERY_BACKENDS"), "*_backend.py"):
        try:
            yield _of_kind(load_module(path), str(path), path)
        except Exception as error:  # somebody's file, as above
            yield Broken(path, f"{path} does not load: {type(error).__name__}: {error}")
    for entry in installed("hwlottery.backends"):
        yield entry if isinstance(entry, Broken) else _of_kind(entry.value, entry.where, entry.path)


def backends() -> tuple[Mapping[str, Backend], tuple[Broken, ...]]:
    """Every backend by name, in the order of the files, and the plug-ins that are broken. Imports no framework."""
    return _listed(os.environ.get("HWLOTTERY_BACKENDS", ""), *sys.path)  # where entry points are found


@cache
def _listed(*_where: str) -> tuple[Mapping[str, Backend], tuple[Broken, ...]]:
    found, broken = by_name(_found(), "backend")
    return found, tuple(broken)

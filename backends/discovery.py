"""Finds plug-ins by their files, so that one file adds one and no list is edited. Used for backends and workloads."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from backends.ops import Backend


@dataclass(frozen=True, slots=True)
class Broken:
    """A plug-in file that could not be used, and the one sentence that says why."""

    path: Path
    reason: str


def folders(package: Path, variable: str) -> list[Path]:
    """The package's own folder, then those listed in the environment variable (separated as in PATH)."""
    return [package, *(Path(p) for p in os.environ.get(variable, "").split(os.pathsep) if p)]


def load_plugins(where: list[Path], pattern: str, skip: frozenset[str], attribute: str, kind: type) -> Iterator[object]:
    """Yield the `attribute` of every matching file, of type `kind`; a file that fails yields a Broken instead."""
    for folder in where:
        for path in sorted(folder.glob(pattern)):
            if path.stem in skip or path.stem.startswith("_"):
                continue
            try:
                value = getattr(load_module(path), attribute, None)
            except Exception as error:  # somebody's file: whatever it raises is its author's to read
                yield Broken(path, f"{path} does not load: {type(error).__name__}: {error}")
                continue
            if not isinstance(value, kind):
                found = "nothing" if value is None else type(value).__name__
                yield Broken(path, f"{path} must end with {attribute} = {kind.__name__}(…), found {found}")
            else:
                yield value


def load_module(path: Path) -> ModuleType:
    """The module of a plug-in file, imported once; whatever it raises is its author's."""
    name = f"{path.parent.name}.{path.stem}"
    known = sys.modules.get(name)
    if known is not None and getattr(known, "__file__", None) == str(path):
        return known
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def backends() -> tuple[Mapping[str, Backend], list[Broken]]:
    """Every backend by name, in the order of the files, and the files that are broken. Imports no framework."""
    found: dict[str, Backend] = {}
    broken: list[Broken] = []
    where = folders(Path(__file__).parent, "HWLOTTERY_BACKENDS")
    for plugin in load_plugins(where, "*_backend.py", frozenset(), "BACKEND", Backend):
        if isinstance(plugin, Broken):
            broken.append(plugin)
        elif isinstance(plugin, Backend):
            found[plugin.name] = plugin
    return found, broken

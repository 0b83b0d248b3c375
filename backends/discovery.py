"""Finds plug-ins, so that a file or an installed package adds one and no list is edited. For backends and workloads.

A plug-in is a file in one of the folders, whose name matches a pattern and does not begin with `_`, or an entry point
of an installed distribution. Files beside a plug-in can be imported by it: their folder is the last on Python's path.
"""

from __future__ import annotations

import ast
import contextlib
import fnmatch
import functools
import hashlib
import importlib.metadata
import importlib.util
import os
import sys
import warnings
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
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
T = TypeVar("T")
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


def missing(where: Iterable[Path], variable: str) -> Iterator[Broken]:
    """Those of the folders and files that are not there."""
    for place in where:
        if not place.exists():
            yield Broken(place, f"{place} is not there; {variable} names it: correct the path or take it out")


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
            helper = path.stem.startswith("_") or (path.stem in skip and is_ours(path))
            if path == place or not helper:
                yield path


def as_it_is(where: Sequence[Path], pattern: str) -> Hashable:
    """What decides which plug-ins are found: the files that are there now, and where entry points are looked for."""
    files = [entry.path for place in where if place.is_dir() for entry in os.scandir(place)]
    return (
        os.getcwd(),
        (*where,),
        (*map(Path.exists, where),),
        (*fnmatch.filter(files, f"*{os.sep}{pattern}"),),
        (*sys.path,),
    )


def strangers(where: Iterable[Path], pattern: str, skip: frozenset[str] = frozenset()) -> list[Path]:
    """The files of plug-ins that are no part of this package, in the order in which they are found."""
    return [path for path in plugin_files(where, pattern, skip) if not is_ours(path)]


def with_helpers(path: Path) -> list[Path]:
    """A plug-in's file and all files beside it that it imports, they import, and so on; sorted.

    What is imported by a name that is only known when it runs is not among them.
    """
    found: set[Path] = set()
    left = [path.resolve()]
    while left:
        file = left.pop()
        if file in found or not os.path.isfile(file):  # Path.is_file raises for a name that is too long
            continue
        found.add(file)
        for name in _imports(file):
            package = path.resolve().parent / name.partition(".")[0]
            left += [package.with_suffix(".py"), *(sorted(package.rglob("*.py")) if os.path.isdir(package) else [])]
    return sorted(found)


def load_module(path: Path) -> ModuleType:
    """The module of a plug-in's file, imported once; whatever it raises is its author's, and prints goes to stderr.

    ImportError where it imports a file beside it and Python gave it another of that name, from another folder.
    """
    # A file of somebody else's must not take the place of ours of the same folder and name.
    folder_name = path.parent.name if is_ours(path) else f"hwlottery_{hashlib.sha256(bytes(path)).hexdigest()[:8]}"
    name = f"{folder_name}.{path.stem}"
    known = sys.modules.get(name)
    if known is not None and getattr(known, "__file__", None) == str(path):
        return known
    folder = str(path.parent.resolve())
    if not is_ours(path) and folder not in sys.path:
        sys.path.append(folder)  # last, so that nothing that is installed gives way to it
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with _stdout_apart():
            spec.loader.exec_module(module)
        if not is_ours(path):
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
        loaded = attempt(point.load, words, Path(distribution))
        yield loaded if isinstance(loaded, Broken) else PlugIn(loaded, words, Path(distribution))


def attempt(load: Callable[[], T], where: str, path: Path) -> T | Broken:
    """What `load` gives, or why it cannot be used: somebody's code may raise anything, SystemExit too."""
    try:
        with _stdout_apart():
            return load()
    except KeyboardInterrupt:  # the user's own
        raise
    except BaseException as error:
        words = " ".join(str(error).split())
        return Broken(path, f"{where} does not load: {type(error).__name__}{f': {words}' if words else ''}")


@contextlib.contextmanager
def _stdout_apart() -> Iterator[None]:
    """What somebody's code prints while it is loaded goes to stderr, by Python or below it: stdout has answers only."""
    sys.stdout.flush()
    try:
        kept: int | None = os.dup(1)
        os.dup2(2, 1)
    except OSError:  # one of them is closed: then nothing can be printed there
        kept = None
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        if kept is not None:
            os.dup2(kept, 1)
            os.close(kept)


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


def is_ours(path: Path) -> bool:
    """Whether a plug-in's file is a part of this package; what lies elsewhere in a checkout is somebody's own."""
    return path.resolve().parent in (ROOT / "backends", ROOT / "workloads")


def parsed(file: Path) -> ast.Module:
    """The syntax tree of somebody's file, an empty one where it is no Python: it may be nested without end.

    OSError where it cannot be read.
    """
    source = file.read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are said where it is loaded
        try:
            return ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return ast.Module(body=[], type_ignores=[])


def _imports(file: Path) -> set[str]:
    """The modules that a file names in its imports."""
    names = set()
    for node in ast.walk(parsed(file)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
    return names


def _refuse_another_of_the_name(path: Path) -> None:
    """ImportError for a helper beside `path` in whose place Python gave the first that it loaded of that name."""
    for name in sorted(_imports(path)):
        beside = (path.parent / f"{name}.py").resolve()
        given = getattr(sys.modules.get(name), "__file__", None)
        if os.path.isfile(beside) and given is not None and Path(given).resolve() != beside:
            raise ImportError(f"it imports {name}, which is {given} and not {beside}; rename one of them")


def _of_kind(value: object, where: str, path: Path) -> PlugIn[Backend] | Broken:
    backend = getattr(value, "BACKEND", None) if isinstance(value, ModuleType) else value
    if isinstance(backend, Backend):
        return PlugIn(backend, where, path)
    found = "nothing" if backend is None else type(backend).__name__
    helper = "; a helper's file begins with _" if backend is None else ""
    return Broken(path, f"{where} must end with BACKEND = Backend(…), found {found}{helper}")


PATTERN, FOLDERS = "*_backend.py", "HWLOTTERY_BACKENDS"
GROUP = "hwlottery.backends"


def own_files() -> list[Path]:
    """The files of backends that are no part of this package."""
    return strangers(_places(), PATTERN)


def _places() -> list[Path]:
    return folders(Path(__file__).parent, FOLDERS)


def _found() -> Iterator[PlugIn[Backend] | Broken]:
    yield from missing(_places(), FOLDERS)
    for path in plugin_files(_places(), PATTERN):
        yield attempt(functools.partial(_read, path), str(path), path)
    for entry in installed(GROUP):
        yield entry if isinstance(entry, Broken) else _of_kind(entry.value, entry.where, entry.path)


def _read(path: Path) -> PlugIn[Backend] | Broken:
    return _of_kind(load_module(path), str(path), path)


def backends() -> tuple[Mapping[str, Backend], tuple[Broken, ...]]:
    """Every backend by name, in the order of the files, and the plug-ins that are broken. Imports no framework."""
    return _listed(as_it_is(_places(), PATTERN))


@cache
def _listed(_as_it_is: Hashable) -> tuple[Mapping[str, Backend], tuple[Broken, ...]]:
    found, broken = by_name(_found(), "backend")
    return found, tuple(broken)

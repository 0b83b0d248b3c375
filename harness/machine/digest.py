"""What decides a number, as digests: two runs are of the same code when their digests are equal."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib.metadata
import importlib.util
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from backends import discovery as of_backends
from workloads import discovery as of_workloads

ROOT = Path(__file__).resolve().parents[2]

# The rooms of harness/ that decide what is measured and how. What comes after a record was written decides no number.
DECIDING = ("records", "machine", "measuring", "worker", "planning", "running")


def sources(root: Path = ROOT) -> dict[str, str]:
    """SHA-256 of the code that decides what is computed and how it is measured, one digest a package.

    Comments, docstrings and blank lines do not count. `root` is the folder that holds the packages.
    """
    folders = {
        "backends": [root / "backends"],
        "workloads": [root / "workloads"],
        "harness": [root / "harness" / room for room in DECIDING],
    }
    return {package: _digest(root, where) for package, where in folders.items()}


def room(name: str, root: Path = ROOT) -> str:
    """SHA-256 of the code of one room of harness/, likewise."""
    return _digest(root, [root / "harness" / name])


PLUG_IN = "plug-in "  # how the name of a digest begins that is of no package of ours


def plug_ins() -> dict[str, str]:
    """SHA-256 of the code of each plug-in that is found here and is no part of this package; no folder is named.

    A file counts with all that it imports from beside it, an installed distribution with the whole of the package that
    its entry point names. Each runs in every process of a run, whatever it is asked for, so each counts.
    """
    found: dict[str, str] = {}

    def add(name: str, root: Path, files: Iterable[Path]) -> None:
        key, number = f"{PLUG_IN}{name}", 1
        while key in found:
            number += 1
            key = f"{PLUG_IN}{name} ({number})"
        found[key] = _of_files(root, files)

    for file in (*of_backends.own_files(), *of_workloads.own_files()):
        add(file.name, file.resolve().parent, of_backends.with_helpers(file))
    for package in sorted({p for group in (of_backends.GROUP, of_workloads.GROUP) for p in _installed(group)}):
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            continue  # it does not load either
        root = Path(spec.origin).parent
        add(package, root, root.rglob("*.py") if spec.submodule_search_locations else [Path(spec.origin)])
    return found


def _installed(group: str) -> Iterator[str]:
    """The packages, or modules of no package, in which entry points lie."""
    for point in importlib.metadata.entry_points(group=group):
        yield point.module.partition(".")[0]


def _digest(root: Path, folders: Iterable[Path]) -> str:
    return _of_files(root, (path for folder in folders for path in folder.rglob("*.py")))


def _of_files(root: Path, files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted(files):
        content = path.read_bytes()
        with contextlib.suppress(SyntaxError, ValueError, RecursionError, MemoryError):  # no Python: as it stands
            content = code_of(content.decode()).encode()
        digest.update(str(path.relative_to(root)).encode() + b"\0" + content + b"\0")
    return digest.hexdigest()


# A string, which is kept, or a comment, which is not. What stands between quotes is skipped whole, so that a # in it is
# no comment. A scanner by regular expression takes a twentieth of the time of Python's own tokenizer.
_STRING_OR_COMMENT = re.compile(
    r"""(\"{3}(?:[^\\]|\\.)*?\"{3}|'{3}(?:[^\\]|\\.)*?'{3}|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')|\#[^\n]*""",
    re.DOTALL,
)


def code_of(source: str) -> str:
    """The lines of `source` without comments, docstrings, blank lines and trailing blanks.

    It works on the text, not on a dump of the syntax tree, whose form changes between versions of Python.
    """
    lines = _STRING_OR_COMMENT.sub(lambda found: found[1] or "", source).splitlines()  # as many lines as before
    for first, last in _docstrings(ast.parse(source)):
        lines[first - 1 : last] = [""] * (last - first + 1)
    return "\n".join(stripped for line in lines if (stripped := line.rstrip()))


def _docstrings(node: ast.Module | ast.stmt) -> Iterator[tuple[int, int]]:
    """The first and last line of each docstring in a module, class or function, and in what they hold."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        match node.body:
            case [ast.Expr(value=ast.Constant(value=str())) as first, *_]:
                yield first.lineno, first.end_lineno or first.lineno
    for name in ("body", "orelse", "handlers", "finalbody"):
        for child in getattr(node, name, []):
            yield from _docstrings(child)

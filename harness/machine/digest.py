"""What decides a number, as digests: two runs are of the same code when their digests are equal."""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

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


def _digest(root: Path, folders: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for folder in folders for path in folder.rglob("*.py")):
        code = code_of(path.read_text(encoding="utf-8"))
        digest.update(str(path.relative_to(root)).encode() + b"\0" + code.encode() + b"\0")
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

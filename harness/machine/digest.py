"""What decides a number, as digests: two runs are of the same code when their digests are equal."""

from __future__ import annotations

import ast
import hashlib
import io
import tokenize
from collections.abc import Iterable
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


def code_of(source: str) -> str:
    """The lines of `source` without comments, docstrings, blank lines and trailing blanks.

    It works on the text, not on a dump of the syntax tree, whose form changes between versions of Python.
    """
    rows = [list(line) for line in source.splitlines()]
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, start = token.start
            rows[row - 1][start:] = []
    lines = ["".join(row) for row in rows]
    for node in ast.walk(ast.parse(source)):
        for first, last in _docstring(node):
            lines[first - 1 : last] = [""] * (last - first + 1)
    return "\n".join(stripped for line in lines if (stripped := line.rstrip()))


def _docstring(node: ast.AST) -> Iterable[tuple[int, int]]:
    """The first and last line of a node's docstring, nothing where it has none."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
        first = node.body[0]
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            yield first.lineno, first.end_lineno or first.lineno

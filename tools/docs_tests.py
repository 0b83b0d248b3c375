"""What each file of tests/ holds, a line a file, from the first lines of their docstrings."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "tests" / "README.md"
HEAD = """# Tests

Folders mirror the rooms. `helpers/` has what several tests share. `benchmarks/` has what times: `tox run -e perf` and
`-e best` run it, `tox run` never does. `pytest -m "not slow and not browser"` leaves out what takes long or needs a
browser.
This page is written by `python tools/docs.py --write`.
"""


class DocstringError(ValueError):
    """A file of tests does not say what it holds."""


def made() -> str:
    """The page."""
    by_folder: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests").rglob("*.py")):
        folder = str(path.parent.relative_to(ROOT / "tests"))
        by_folder.setdefault(folder, []).append(f"- `{path.name}`: {first_line(path)}")
    parts = [HEAD]
    for folder, lines in sorted(by_folder.items(), key=lambda item: (item[0] != ".", item[0])):
        title = "" if folder == "." else f"## {folder}\n\n"
        parts.append(title + "\n".join(lines) + "\n")
    return "\n".join(parts)


def first_line(path: Path) -> str:
    """The first line of a file's docstring; DocstringError where it has none."""
    said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    if not said:
        raise DocstringError(f"{path} has no docstring; say in its first line what it holds")
    return said.splitlines()[0]

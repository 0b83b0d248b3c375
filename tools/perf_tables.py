"""What benchmarks of the harness itself measured: tables of numbers, kept as JSON in results/perf-cpu, shown as text.

A benchmark hands its table to `store`, which writes it where HWLOTTERY_BENCH_OUT names a folder; `markdown` is the only
place that turns the numbers into text.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import geometric_mean
from typing import TypeAlias

import msgspec

OUT = "HWLOTTERY_BENCH_OUT"
Cell: TypeAlias = str | int | float | None
_INNERMOST = re.compile(r"\{[^{}\[\]]*\}")  # objects that hold no other


class Column(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A column: the key of its cells, its heading, and how a number is shown (Python's format specification)."""

    key: str
    head: str
    format: str = ""


class Table(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Rows of numbers and names. `ratio` is the key of a ratio whose geometric mean and largest value say something."""

    title: str
    columns: list[Column]
    rows: list[dict[str, Cell]]
    about: str = ""
    ratio: str | None = None


class Perf(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One benchmark: the command that ran it, the machine, its tables, single figures, remarks."""

    name: str
    command: str
    machine: str
    tables: list[Table] = []
    facts: dict[str, Cell] = {}
    notes: list[str] = []


def read(path: Path) -> Perf:
    """The file; ValueError with its name where it is not one."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Perf)
    except msgspec.DecodeError as error:
        raise ValueError(f"{path} is not a benchmark's file: {error}") from None


def write(folder: Path, perf: Perf) -> Path:
    """Write NAME.json in `folder`, a line a row, and return its path."""
    path = folder / f"{perf.name}.json"
    folder.mkdir(parents=True, exist_ok=True)
    text = msgspec.json.format(msgspec.json.encode(perf), indent=1).decode()
    path.write_text(_INNERMOST.sub(lambda found: " ".join(found[0].split()), text) + "\n")
    return path


def store(name: str, table: Table | None = None, facts: Mapping[str, Cell] | None = None) -> Path | None:
    """Add a table or figures to NAME.json in the folder of HWLOTTERY_BENCH_OUT; None where that is not set.

    A table replaces the one of the same title and `about`.
    """
    if not os.environ.get(OUT):
        return None
    folder = Path(os.environ[OUT])
    path = folder / f"{name}.json"
    was = read(path) if path.exists() else Perf(name=name, command=" ".join(sys.argv), machine=_machine())
    tables = [t for t in was.tables if table is None or (t.title, t.about) != (table.title, table.about)]
    new = [] if table is None else [table]
    return write(folder, msgspec.structs.replace(was, tables=[*tables, *new], facts={**was.facts, **(facts or {})}))


def _machine() -> str:
    return f"{os.cpu_count()} cores, {os.uname().machine}"


def markdown(perf: Perf) -> str:
    """The whole file as Markdown: figures, tables, remarks."""
    parts = [f"Measured by `{perf.command}` on {perf.machine}."]
    if perf.facts:
        parts.append(
            "\n".join(
                f"- {name}: {_shown(value, 'g' if isinstance(value, float) else '')}"
                for name, value in perf.facts.items()
            )
        )
    for table in perf.tables:
        parts.append(f"**{table.title}**" + (f" ({table.about})" if table.about else ""))
        parts.append(grid(table.columns, table.rows))
        if table.ratio is not None:
            parts.append(_summary(table, table.ratio))
    return "\n\n".join([*parts, *perf.notes])


def grid(columns: Sequence[Column], rows: Sequence[Mapping[str, Cell]]) -> str:
    """A Markdown table: text to the left, numbers to the right."""
    numbers = [all(not isinstance(row.get(c.key), str) for row in rows) for c in columns]
    lines = ["| " + " | ".join(c.head for c in columns) + " |"]
    lines.append("| " + " | ".join("---:" if number else "---" for number in numbers) + " |")
    shown = [[_shown(row.get(c.key), c.format) for c in columns] for row in rows]
    return "\n".join([*lines, *("| " + " | ".join(cells) + " |" for cells in shown)])


def _summary(table: Table, key: str) -> str:
    ratios = {row[table.columns[0].key]: value for row in table.rows if isinstance(value := row[key], float)}
    every = [value for row in table.rows if isinstance(value := row[key], float)]
    worst = max(ratios, key=ratios.__getitem__)
    return f"Geometric mean {geometric_mean(every):.3f}; the largest is {ratios[worst]:.3f} ({worst})."


def _shown(value: Cell, form: str) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value.replace("|", "\\|")
    return format(value, form).replace("%", " %")

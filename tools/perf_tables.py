"""What benchmarks of the harness itself measured: tables of numbers, kept as JSON in results/perf-cpu, shown as text.

A benchmark hands its table to `report`, which prints it, and writes it where HWLOTTERY_BENCH_OUT names a folder. The
documentation prints the stored ones by `markdown`.
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

from harness.records.store import RunInfo

OUT = "HWLOTTERY_BENCH_OUT"
ABOUT = "HWLOTTERY_BENCH_ABOUT"  # what a stored table says of itself, beside the others of its title
_WIDTH = 160  # a pipe is 80 columns wide, and the rows are not
Cell: TypeAlias = str | int | float | None
_INNERMOST = re.compile(r"\{[^{}]*\}")  # objects that hold no other


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


RATIO = (  # columns of a ratio with its interval
    Column(key="ratio", head="ratio", format=".3f"),
    Column(key="low", head="95 % from", format=".3f"),
    Column(key="high", head="to", format=".3f"),
)


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
    path.write_text(_INNERMOST.sub(lambda found: re.sub(r"\n *", " ", found[0]), text) + "\n")
    return path


def report(name: str, table: Table) -> None:
    """Print a table on the terminal, and store it."""
    from rich.console import Console
    from rich.table import Table as Grid

    out = Grid(title=table.title)
    for column, number in zip(table.columns, _numbers(table.columns, table.rows), strict=True):
        out.add_column(column.head, justify="right" if number else "left")
    for row in table.rows:
        out.add_row(*(_shown(row.get(c.key), c.format) for c in table.columns))
    console = Console()
    console.width = max(console.width, _WIDTH)
    console.print()
    console.print(out)
    if table.ratio is not None:
        console.print(_summary(table, table.ratio))
    store(name, msgspec.structs.replace(table, about=table.about or os.environ.get(ABOUT, "")))


def store(
    name: str, table: Table | None = None, facts: Mapping[str, Cell] | None = None, identity: Sequence[str] = ()
) -> Path | None:
    """Add a table or figures to NAME.json in the folder of HWLOTTERY_BENCH_OUT; None where that is not set.

    A table replaces the last one of the same title and `about`, and all others stay; with `identity`, the keys that
    tell rows apart, it replaces the rows that it has and keeps the others.
    """
    if not os.environ.get(OUT):
        return None
    folder = Path(os.environ[OUT])
    path = folder / f"{name}.json"
    was = (
        read(path)
        if path.exists()
        else Perf(name=name, command=" ".join([Path(sys.argv[0]).name, *sys.argv[1:]]), machine=_machine())
    )
    tables = list(was.tables)
    if table is not None:
        same = [i for i, t in enumerate(tables) if (t.title, t.about) == (table.title, table.about)]
        if same:
            tables[same[-1]] = _joined(tables[same[-1]], table, identity)
        else:
            tables.append(table)
    return write(folder, msgspec.structs.replace(was, tables=tables, facts={**was.facts, **(facts or {})}))


def _joined(before: Table, now: Table, identity: Sequence[str]) -> Table:
    if not identity:
        return now
    new = {tuple(row[key] for key in identity) for row in now.rows}
    kept = [row for row in before.rows if tuple(row[key] for key in identity) not in new]
    return msgspec.structs.replace(now, rows=[*kept, *now.rows])


def _machine() -> str:
    return f"{os.cpu_count()} cores, {os.uname().machine}"


def host(info: RunInfo) -> str:
    """The machine of a run, with the versions of what it measured."""
    facts, versions = info.machine, info.versions
    names = ", ".join(f"{name} {versions[name]}" for name in ("torch", "jax", "tensorflow") if name in versions)
    memory = float(facts.get("memory_bytes") or 0) / 2**30
    return f"{facts.get('cpu')}, {facts.get('cores_usable')} cores, {memory:.0f} GiB, {names}"


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
    lines = ["| " + " | ".join(c.head for c in columns) + " |"]
    lines.append("| " + " | ".join("---:" if number else "---" for number in _numbers(columns, rows)) + " |")
    shown = [[_shown(row.get(c.key), c.format).replace("|", "\\|") for c in columns] for row in rows]
    return "\n".join([*lines, *("| " + " | ".join(cells) + " |" for cells in shown)])


def _numbers(columns: Sequence[Column], rows: Sequence[Mapping[str, Cell]]) -> list[bool]:
    return [all(not isinstance(row.get(c.key), str) for row in rows) for c in columns]


def _summary(table: Table, key: str) -> str:
    ratios = {row[table.columns[0].key]: value for row in table.rows if isinstance(value := row[key], float)}
    every = [value for row in table.rows if isinstance(value := row[key], float)]
    worst = max(ratios, key=ratios.__getitem__)
    return f"Geometric mean {geometric_mean(every):.3f}; the largest is {ratios[worst]:.3f} ({worst})."


def _shown(value: Cell, form: str) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return format(value, form).replace("%", " %")

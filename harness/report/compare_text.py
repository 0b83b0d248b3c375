"""A comparison as text: a table for a terminal, Markdown for a pull request, JSON for a program."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.figures.compare import Comparison, ComparisonRow
from harness.records.text import visible
from harness.report.markdown import markdown_table
from harness.report.wording import FEWEST_PRINTED, UNKNOWN, quantity, significant
from harness.stats.intervals import SINGLE

_STYLE = {"slower": "bold red", "faster": "green", "broken": "bold red"}
_NAMES = ("case", "A", "B", "ratio", "verdict")
_MOST_ONLY = 8  # workloads whose cases on one side are counted


def as_json(found: Comparison) -> str:
    """All of it; `rows` has every case with its ratio, interval and verdict."""
    return msgspec.json.format(msgspec.json.encode(found), indent=2).decode() + "\n"


def as_markdown(found: Comparison, *, everything: bool = False) -> str:
    """Best paths, then identical cases that differ; `everything` shows all cases."""
    out = [f"A = {found.a}, B = {found.b}; {found.reads}."]
    for title, rows in _shown(found, everything):
        out += [f"## {title}", markdown_table(_NAMES, [_cells(row) for row in rows])]
    out += ["## Notes", "\n".join(f"- {line}" for line in notes(found, everything))]
    return "\n\n".join(out) + "\n"


def show(found: Comparison, *, everything: bool = False) -> None:
    """The same in the terminal; no colour in a pipe or with NO_COLOR."""
    console = Console(highlight=False, markup=False)
    console.print(f"A = {found.a}, B = {found.b}; {found.reads}.")
    for title, rows in _shown(found, everything):
        table = Table(box=None, pad_edge=False, header_style="bold", title=title, title_justify="left")
        table.add_column(_NAMES[0], overflow="fold", ratio=1)
        for name in _NAMES[1:]:
            table.add_column(name, overflow="fold", min_width=7)
        for row in rows:
            case, a, b, ratio, said = _cells(row)
            table.add_row(Text(case), Text(a), Text(b), Text(ratio), Text(said, style=_STYLE.get(_verdict(row), "")))
        console.print(table)
    for line in notes(found, everything):
        console.print(line)


def notes(found: Comparison, everything: bool) -> list[str]:
    """How to read it: counts, the noise, what could not be compared and what stands on one side only."""
    lines = []
    for kind in ("best path", "case"):
        counts = Counter(_verdict(row) for row in found.rows if row.kind == kind)
        if counts:
            said = ", ".join(f"{counts[v]} {v}" for v in ("broken", "slower", "tie", "faster", "unknown") if counts[v])
            lines.append(f"{'best paths' if kind == 'best path' else 'identical cases'}: {said}.")
    noise = "no A/A control was measured"
    if found.noise is not None:
        noise = f"the noise of both, drift between groups included, is {found.noise:.0%}"
    lines.append(
        f"tie: the interval holds 1, or the difference is inside the noise; {noise}. […] = 95 % bootstrap interval "
        "over the processes of A and of B, each resampled on its own: two runs at different times have no pairs."
    )
    if any(row.verdict is not None and row.low is None for row in found.rows):
        lines.append(
            f"A ratio with a single process on a side is called a tie up to {SINGLE:.0%}, which is what one process "
            "differs from another on a busy machine."
        )
    if any(row.ratio is not None and _few(row) for row in found.rows):
        lines.append(f"A ratio with fewer than {FEWEST_PRINTED} processes on a side is printed without an interval.")
    if not everything and any(row.kind == "case" and not _differs(row) for row in found.rows):
        lines.append("identical cases that do not differ are left out; --all shows them.")
    return lines + [line for side in ("A", "B") for line in _only(found, side, everything)]


def _only(found: Comparison, side: str, everything: bool) -> list[str]:
    """What stands on one side only: how many cases of each workload, or the name of each."""
    names = [lone.case for lone in found.only if lone.side == side and lone.kind == "case"]
    if not names:
        return []
    if everything:
        return [f"only in {side} ({len(names)}): {'; '.join(map(visible, names))}."]
    counts = Counter(visible(name.partition("/")[0]) for name in names)
    said = [f"{workload} {count}" for workload, count in counts.most_common(_MOST_ONLY)]
    said += [f"{len(counts) - _MOST_ONLY} workloads more"] if len(counts) > _MOST_ONLY else []
    return [f"only in {side}: {len(names)} case{'s' * (len(names) > 1)} ({', '.join(said)}); --all names them."]


def _shown(found: Comparison, everything: bool) -> list[tuple[str, Sequence[ComparisonRow]]]:
    best = [row for row in found.rows if row.kind == "best path"]
    cases = [row for row in found.rows if row.kind == "case" and (everything or _differs(row))]
    titles = (("Best paths", best), ("Identical cases" if everything else "Identical cases that differ", cases))
    return [(title, rows) for title, rows in titles if rows]


def _differs(row: ComparisonRow) -> bool:
    return _verdict(row) in ("slower", "faster", "broken")


def _verdict(row: ComparisonRow) -> str:
    return "broken" if row.broken else row.verdict or "unknown"


def _cells(row: ComparisonRow) -> list[str]:
    case = visible(row.case)
    if row.kind == "best path" and row.path_a is not None and row.path_b is not None:
        case += f" {row.path_a}" if row.path_a == row.path_b else f" {row.path_a} → {row.path_b}"
    a, b = quantity(row.time_a_s, "s"), quantity(row.time_b_s, "s")
    return [
        case,
        row.outcome_a if row.time_a_s is None else a,
        row.outcome_b if row.time_b_s is None else b,
        _ratio(row),
        _verdict(row),
    ]


def _ratio(row: ComparisonRow) -> str:
    if row.ratio is None:
        return UNKNOWN
    interval = (
        ""
        if row.low is None or row.high is None or _few(row)
        else f" [{significant(row.low)}, {significant(row.high)}]"
    )
    return f"{significant(row.ratio)}×{interval}"


def _few(row: ComparisonRow) -> bool:
    return min(row.processes_a, row.processes_b) < FEWEST_PRINTED

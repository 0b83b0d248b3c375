"""A comparison as text: a table for a terminal, Markdown for a pull request, JSON for a program."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.figures.compare import Comparison
from harness.figures.compare_rows import ComparisonRow, Kind
from harness.records.text import visible
from harness.report.markdown import markdown_table
from harness.report.wording import FEWEST_PRINTED, UNKNOWN, quantity, significant

_STYLE = {"slower": "bold red", "faster": "green", "broken": "bold red"}
_NAMES = ("case", "A", "B", "ratio", "verdict")
NO_VERDICT = "no verdict"
_PLURAL: dict[Kind, str] = {"best path": "best paths", "speed-up": "speed-ups", "case": "identical cases"}
_MOST_ONLY = 8  # workloads whose cases on one side are counted


def as_json(found: Comparison) -> str:
    """All of it; `rows` has every case with its ratio, interval and verdict."""
    return msgspec.json.format(msgspec.json.encode(found), indent=2).decode() + "\n"


def as_markdown(found: Comparison, *, everything: bool = False) -> str:
    """Best paths and speed-ups, then identical cases that differ; `everything` shows all cases."""
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
    """How to read it: counts, what a verdict is worth, what was not judged and what stands on one side only."""
    lines = []
    for kind, name in _PLURAL.items():
        counts = Counter(_verdict(row) for row in found.rows if row.kind == kind)
        if counts:
            said = ", ".join(f"{counts[v]} {v}" for v in ("broken", "slower", "tie", "faster", NO_VERDICT) if counts[v])
            lines.append(f"{name}: {said}.")
    lines += _worth(found)
    why = Counter(row.why for row in found.rows if row.why is not None)
    if why:
        said = "; ".join(f"{reason}: {count}" for reason, count in why.most_common())
        lines.append(f"without a verdict, rows of all kinds: {said}.")
    if any(row.ratio is not None and row.low is not None and _few(row) for row in found.rows):
        lines.append(f"A ratio with fewer than {FEWEST_PRINTED} rounds on a side is printed without an interval.")
    if not everything and any(row.kind == "case" and not _differs(row) for row in found.rows):
        lines.append("identical cases that do not differ are left out; --all shows them.")
    return lines + [line for side in ("A", "B") for line in _only(found, side, everything)]


def _worth(found: Comparison) -> list[str]:
    """How sure the verdicts are, and what they could find."""
    if not any(row.verdict for row in found.rows):
        return []
    spreads = ((found.spread, "times"), (found.speed_up_spread, "speed-ups"))
    apart = [f"{significant(100 * spread, 2)} % in {name}" for spread, name in spreads if spread is not None]
    lines = [
        f"verdicts hold for all rows together: of equal code {found.false_alarm / 2:.1%} of comparisons call a time "
        f"slower and as many a speed-up; so --fail-on is wrong in at most {found.false_alarm:.0%}. […] is the 95 % "
        "interval of a row by itself.",
        f"what differs from run to run beside the spread of processes: {' and '.join(apart)} (standard deviation), "
        "part of every interval.",
    ]
    if found.detectable is not None:
        lines.append(
            f"detectable: a best path must differ by {significant(100 * found.detectable, 2)} % (median of the rows) "
            "to be called different in 4 of 5 comparisons; more rounds, more runs a side and fewer rows find less."
        )
    if found.hosts_differ and any(row.kind != "speed-up" for row in found.rows):
        lines.append(
            "the hosts or their settings differ: times compare these, too, and --fail-on counts speed-ups only."
        )
    return lines


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
    by_kind = {kind: [row for row in found.rows if row.kind == kind] for kind in _PLURAL}
    cases = [row for row in by_kind["case"] if everything or _differs(row)]
    titles = (
        ("Best paths", by_kind["best path"]),
        ("Speed-ups against the dense twin", by_kind["speed-up"]),
        ("Identical cases" if everything else "Identical cases that differ", cases),
    )
    return [(title, rows) for title, rows in titles if rows]


def _differs(row: ComparisonRow) -> bool:
    return _verdict(row) in ("slower", "faster", "broken")


def _verdict(row: ComparisonRow) -> str:
    return "broken" if row.broken else row.verdict or NO_VERDICT


def _cells(row: ComparisonRow) -> list[str]:
    case = visible(row.case)
    if row.kind != "case" and row.path_a is not None and row.path_b is not None:
        case += f" {row.path_a}" if row.path_a == row.path_b else f" {row.path_a} → {row.path_b}"
    a, b = quantity(row.time_a_s, "s"), quantity(row.time_b_s, "s")
    if row.speed_up_a is not None and row.speed_up_b is not None:
        a, b = f"{significant(row.speed_up_a)}×", f"{significant(row.speed_up_b)}×"
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
    return min(row.rounds_a, row.rounds_b) < FEWEST_PRINTED

"""A reproduction as text: one row a published row, and what a verdict is worth."""

from __future__ import annotations

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.figures.reproduction import ReproducedRow, Reproduction
from harness.records.text import visible
from harness.report.wording import UNKNOWN, significant
from harness.stats.equivalence import Sameness

VERDICTS: tuple[Sameness, ...] = ("reproduced", "not reproduced", "cannot tell")
_STYLE = {"reproduced": "green", "not reproduced": "bold red"}
_NAMES = ("row", "speed-up then", "now", "now / then", "verdict")


def as_json(found: Reproduction) -> str:
    """All of it; `rows` has every row with both speed-ups, their ratio, its interval and the verdict."""
    return msgspec.json.format(msgspec.json.encode(found), indent=2).decode() + "\n"


def show(found: Reproduction) -> None:
    """A table in the terminal; no colour in a pipe or with NO_COLOR."""
    console = Console(highlight=False, markup=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(_NAMES[0], overflow="fold", ratio=1)
    for name in _NAMES[1:]:
        table.add_column(name, overflow="fold", min_width=7)
    for row in found.rows:
        *cells, verdict = _cells(row)
        table.add_row(*map(Text, cells), Text(verdict, style=_STYLE.get(row.verdict, "")))
    console.print(table)
    for line in notes(found):
        console.print(line)


def notes(found: Reproduction) -> list[str]:
    """The counts, and how to read them."""
    counts = ", ".join(f"{found.count(verdict)} {verdict}" for verdict in VERDICTS)
    kind = "equal hardware" if found.same_kind else "other hardware: a speed-up may well be another there"
    lines = [f"{counts}; {kind}."]
    edge = significant(1 + found.margin)
    lines.append(
        f"reproduced: now / then lies within 1/{edge} to {edge} with its whole 95 % interval; not reproduced: all of "
        "the interval lies outside. The interval holds those of both runs and the A/A noise of both "
        f"({_noise(found.noise)} then, {_noise(found.noise_again)} now)."
    )
    if found.differences:
        lines.append(f"conditions that differ (then / now): {visible('; '.join(map(str, found.differences)))}.")
    if found.count("cannot tell"):
        lines.append("what cannot be told needs more rounds (--rounds), a quieter machine, or a wider --margin.")
    return lines


def _noise(share: float | None) -> str:
    return "unknown" if share is None else f"{significant(100 * share, 2)} %"


def _cells(row: ReproducedRow) -> tuple[str, ...]:
    idea = " ".join(filter(None, (row.workload, row.label, row.mode)))
    name = visible(f"{idea}, {row.backend} {row.device} {row.dtype}: {row.path} against {row.twin_path}")
    then = _figure(row.speed_up, row.speed_up_low, row.speed_up_high)
    now = _figure(row.speed_up_again, row.speed_up_again_low, row.speed_up_again_high)
    said = row.verdict if row.why is None else f"{row.verdict}: {visible(row.why)}"
    return (name, then, now, _figure(row.ratio, row.low, row.high), said)


def _figure(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return UNKNOWN
    return f"{significant(value)}×" + (
        "" if low is None or high is None else f" [{significant(low)}, {significant(high)}]"
    )

"""The cells of the site's tables: what is shown, what it sorts by, which colour of the tax scale, and where it links.

Unknown is an empty cell that sorts last, never 0.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import NamedTuple

from harness.figures.summary import Against, Row
from harness.leaderboard.boards import EnergyStanding, Standing, is_calibration, why_unranked
from harness.leaderboard.standings import Overall
from harness.leaderboard.submission import ESTIMATE_NAMES, Entry, Estimated, Submission, plain
from harness.report.wording import (
    UNKNOWN,
    energy_cell,
    memory_cell,
    outcome_cell,
    point_cell,
    quantity,
    share_cell,
    significant,
    speed_up_cell,
    tax_cell,
    time_cell,
)
from harness.web.palette import tax_level

COLUMNS = 6  # submissions in a machine's history, the newest


def submission_page(digest: str) -> str:
    """The name of a submission's page."""
    return f"submission-{digest[:32]}.html"


def machine_page(slug: str) -> str:
    """The name of a machine's page; the slug is a digest."""
    return f"{slug}.html"


def idea_page(workload: str, suffix: str = "html") -> str:
    """The name of an idea's page: its own where that is a plain word, else a digest of it."""
    plain_word = re.fullmatch(r"[a-z0-9_]{1,40}", workload)
    return f"idea-{workload if plain_word else hashlib.sha256(workload.encode()).hexdigest()[:24]}.{suffix}"


class Cell(NamedTuple):
    """`value` is what it sorts by (None: unknown); `kind` are our own classes; `href` is one of our own names."""

    text: str
    value: float | str | None = ""
    small: str = ""
    kind: str = ""
    href: str = ""


Heads = tuple[tuple[str, str], ...]  # title and class of each column

IDEA_HEADS: Heads = (
    ("idea", ""),
    ("point", ""),
    ("where", ""),
    ("best path", ""),
    ("time", "number"),
    ("speed-up", "number"),
    ("tax", "number"),
    ("memory", "number"),
    ("energy", "number"),
    ("share", "number"),
    ("outcome", ""),
)
DENSE_HEADS: Heads = (*IDEA_HEADS[:5], *IDEA_HEADS[7:8], *IDEA_HEADS[9:])
STANDING_HEADS: Heads = (
    ("by speed-up", "number"),
    ("by tax", "number"),
    ("machine", ""),
    ("where", ""),
    ("best path", ""),
    ("speed-up", "number"),
    ("tax", "number"),
    ("time", "number"),
    ("memory tax", "number"),
    ("outcome", ""),
)
ENERGY_HEADS: Heads = (("rank", "number"), ("machine", ""), ("where", ""), ("best path", ""), ("energy tax", "number"))
ESTIMATED_HEADS: Heads = (("point", ""), ("chip and framework", ""), *((name, "") for name in ESTIMATE_NAMES))
OVERALL_HEADS: Heads = (
    ("by speed-up", "number"),
    ("by tax", "number"),
    ("machine", ""),
    ("where", ""),
    ("ideas", "number"),
    ("speed-up", "number"),
    ("tax", "number"),
)


def _number(text: str, value: float | None, kind: str = "") -> Cell:
    """A figure with its interval in small below it."""
    if value is None:
        return Cell("", None, kind="number")
    figure, bracket, interval = text.partition(" [")
    inside, _, rest = interval.partition("]")
    words = f"{bracket[1:]}{inside}]{rest}" if bracket else ""
    return Cell(figure, value, small=words, kind=f"number {kind}".strip())


def _tax(one: Against | None) -> Cell:
    if one is None or one.tax is None:
        return Cell("", None, kind="number")
    return _number(tax_cell(one), one.tax, kind=f"tax-{tax_level(one.tax)}")


def _rank(rank: int | None, why: str | None = None) -> Cell:
    return Cell("" if rank is None else str(rank), rank, small=why or "", kind="number")


def _known(text: str) -> str:
    return "" if text == UNKNOWN else text


# -- a submission's own rows -------------------------------------------------------------------------------------------


def idea_cells(row: Row) -> list[Cell]:
    """The cells of IDEA_HEADS. A dense computation held against itself has no speed-up and no tax."""
    one = row.principal
    if one is not None and (one.twin_workload, one.twin_point) == (row.workload, row.point):
        one = None
    return [
        *_names(row),
        _number(time_cell(row), row.time_s),
        _number(speed_up_cell(one), one.speed_up if one else None),
        _tax(one),
        _number(memory_cell(row), row.memory_bytes),
        _number(energy_cell(row), None if _known(energy_cell(row)) == "" else row.energy_j),
        _number(share_cell(row), row.roofline_share),
        Cell(plain(outcome_cell(row)), kind="long"),
    ]


def dense_cells(row: Row) -> list[Cell]:
    """The cells of DENSE_HEADS."""
    cells = idea_cells(row)
    return [*cells[:5], *cells[7:8], *cells[9:]]


def _names(row: Row) -> list[Cell]:
    where = f"{plain(row.backend, 40)} {plain(row.device, 40)}"
    return [
        Cell(plain(row.workload, 60)),
        Cell(plain(point_cell(row))),
        Cell(where, small=plain(row.dtype, 40)),
        Cell(plain(row.path or "", 80)),
    ]


# -- the boards --------------------------------------------------------------------------------------------------------


def _machine(one: Standing | EnergyStanding | Overall) -> Cell:
    return Cell(one.machine.title, kind="machine", href=machine_page(one.machine.slug))


def _where(entry: Entry) -> Cell:
    return Cell(f"{entry.backend} {entry.device}")


def _path(one: Standing | EnergyStanding) -> Cell:
    return Cell(one.entry.path or "", small=f"submission {one.submission[:8]}", href=submission_page(one.submission))


def standing_cells(one: Standing) -> list[Cell]:
    """The cells of STANDING_HEADS."""
    entry, against = one.entry, one.entry.against
    memory = against.memory_tax
    return [
        _rank(one.speed_up_rank, one.why),
        _rank(one.tax_rank),
        _machine(one),
        _where(entry),
        _path(one),
        _number(speed_up_cell(against), against.speed_up),
        _tax(against),
        _number(quantity(entry.time_s, "s", entry.time_low_s, entry.time_high_s), entry.time_s),
        _number("" if memory is None else f"{significant(memory)}×", memory),
        Cell(entry.outcome, kind="long"),
    ]


def energy_cells(one: EnergyStanding) -> list[Cell]:
    """The cells of ENERGY_HEADS."""
    against = one.entry.against
    text = _times(against.energy_tax, against.energy_tax_low, against.energy_tax_high)
    return [_rank(one.rank), _machine(one), _where(one.entry), _path(one), _number(text, against.energy_tax)]


def estimated_cells(one: Estimated, digest: str = "") -> list[Cell]:
    """The cells of ESTIMATED_HEADS; with the digest of its submission, its best path leads there."""
    href = submission_page(digest) if digest else ""
    path, *figures = [_known(text) for text in one.cells]
    shown = Cell(path, small=f"submission {digest[:8]}" if digest else "", kind="long", href=href)
    names = [Cell(one.point, small=f"{one.mode}, {one.dtype}", kind="long"), Cell(one.device, small=one.backend)]
    return [*names, shown, *(Cell(text) for text in figures)]


def overall_cells(one: Overall) -> list[Cell]:
    """The cells of OVERALL_HEADS."""
    missing = f"{one.of - one.ideas} without a figure" if one.ideas < one.of else ""
    tax = _number(_times(one.tax, one.tax_low, one.tax_high), one.tax, f"tax-{tax_level(one.tax)}" if one.tax else "")
    return [
        _rank(one.speed_up_rank),
        _rank(one.tax_rank),
        _machine(one),
        Cell(f"{one.backend} {one.device}"),
        Cell(f"{one.ideas} of {one.of}", one.ideas, small=missing, kind="number"),
        _number(_times(one.speed_up, one.speed_up_low, one.speed_up_high), one.speed_up),
        tax,
    ]


def _times(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return ""
    interval = "" if low is None or high is None else f" [{significant(low)}, {significant(high)}]"
    return f"{significant(value)}×{interval}"


# -- the history of a machine ------------------------------------------------------------------------------------------


def history_table(submissions: Sequence[Submission]) -> tuple[list[Submission], list[list[Cell]]]:
    """The newest COLUMNS submissions, the oldest of them first, and for every idea and place its speed-up in each."""
    shown = list(submissions)[-COLUMNS:]
    rows: dict[tuple[tuple[str, ...], tuple[str, str]], dict[str, tuple[Entry, float | None]]] = {}
    for one in shown:
        for entry in one.entries:
            if not is_calibration(entry):
                rows.setdefault((entry.board, entry.place), {}).setdefault(one.digest, (entry, one.noise))
    out = []
    for (board, place), found in sorted(rows.items()):
        entry = next(iter(found.values()))[0]
        names = [Cell(board[0], small=f"{entry.label} {entry.mode}".strip()), Cell(" ".join(place), small=board[3])]
        out.append(names + [_then(*found[one.digest]) if one.digest in found else Cell("", None) for one in shown])
    return shown, out


def _then(entry: Entry, noise: float | None) -> Cell:
    why = why_unranked(entry, noise)
    cell = _number(speed_up_cell(entry.against), entry.against.speed_up)
    return cell._replace(small=why) if why and entry.against.speed_up is None else cell

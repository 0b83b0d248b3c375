"""The cells of the site's tables: what is shown, what it sorts by, which colour of the tax scale.

Unknown is an empty cell that sorts last, never 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from harness.figures.summary import Against, Row
from harness.leaderboard.boards import EnergyStanding, Standing, is_calibration, why_unranked
from harness.leaderboard.links import machine_page, submission_page
from harness.leaderboard.standings import Overall
from harness.leaderboard.submission import ESTIMATE_NAMES, Entry, Estimated, Submission
from harness.records.text import plain
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
    spread,
    tax_cell,
    time_cell,
)
from harness.stats.ranks import RankInterval
from harness.web.palette import tax_level

COLUMNS = 6  # submissions in a machine's history, the newest


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


def number_cell(text: str, value: float | None, kind: str = "") -> Cell:
    """A figure with its interval in small below it."""
    if value is None:
        return Cell("", None, kind="number")
    figure, bracket, interval = text.partition(" [")
    inside, _, rest = interval.partition("]")
    words = f"{bracket[1:]}{inside}]{rest}" if bracket else ""
    return Cell(figure, value, small=words, kind=f"number {kind}".strip())


def _tax(against: Against | None) -> Cell:
    if against is None or against.tax is None:
        return Cell("", None, kind="number")
    return number_cell(tax_cell(against), against.tax, kind=f"tax-{tax_level(against.tax)}")


def _rank(rank: RankInterval | None, why: str | None = None) -> Cell:
    """An interval; sorted by the best rank that it allows."""
    text, low = ("", None) if rank is None else (str(rank), rank.low)
    return Cell(text, low, small=why or "", kind="number rank")


def _known(text: str) -> str:
    return "" if text == UNKNOWN else text


# -- a submission's own rows -------------------------------------------------------------------------------------------


def idea_cells(row: Row) -> list[Cell]:
    """The cells of IDEA_HEADS. A dense computation held against itself has no speed-up and no tax."""
    against = row.principal
    if against is not None and (against.twin_workload, against.twin_point) == (row.workload, row.point):
        against = None
    energy = energy_cell(row)
    return [
        *_names(row),
        number_cell(time_cell(row), row.time_s),
        number_cell(speed_up_cell(against), against.speed_up if against else None),
        _tax(against),
        number_cell(memory_cell(row), row.memory_bytes),
        number_cell(energy, row.energy_j if _known(energy) else None),
        number_cell(share_cell(row), row.roofline_share),
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


def _machine(standing: Standing | EnergyStanding | Overall) -> Cell:
    return Cell(standing.machine.title, kind="machine", href=machine_page(standing.machine.slug))


def _where(entry: Entry) -> Cell:
    return Cell(f"{entry.backend} {entry.device}")


def _path(standing: Standing | EnergyStanding) -> Cell:
    return Cell(
        standing.entry.path or "",
        small=", ".join(_of_submission(standing)),
        href=submission_page(standing.submission),
    )


def _of_submission(standing: Standing | EnergyStanding) -> list[str]:
    """Which submission an entry is of, and what to know of it."""
    said = [f"submission {standing.submission[:8]}"]
    said += ["disturbed"] if standing.entry.disturbed else []
    level = standing.level if isinstance(standing, Standing) else "self-reported"
    return said if level == "self-reported" else [*said, level]


def standing_cells(standing: Standing) -> list[Cell]:
    """The cells of STANDING_HEADS."""
    entry, against = standing.entry, standing.entry.against
    memory = against.memory_tax
    return [
        _rank(standing.speed_up_rank, standing.why),
        _rank(standing.tax_rank),
        _machine(standing),
        _where(entry),
        _path(standing),
        number_cell(speed_up_cell(against), against.speed_up),
        _tax(against),
        number_cell(
            quantity(entry.time_s, "s", *spread(entry.time_low_s, entry.time_high_s, entry.processes)), entry.time_s
        ),
        number_cell("" if memory is None else f"{significant(memory)}×", memory),
        Cell(entry.outcome, kind="long"),
    ]


def energy_cells(energy_standing: EnergyStanding) -> list[Cell]:
    """The cells of ENERGY_HEADS."""
    against = energy_standing.entry.against
    text = _times(against.energy_tax, against.energy_tax_low, against.energy_tax_high)
    return [
        _rank(energy_standing.rank),
        _machine(energy_standing),
        _where(energy_standing.entry),
        _path(energy_standing),
        number_cell(text, against.energy_tax),
    ]


def estimated_cells(estimated: Estimated, digest: str = "") -> list[Cell]:
    """The cells of ESTIMATED_HEADS; with the digest of its submission, its best path leads there."""
    href = submission_page(digest) if digest else ""
    path, *figures = [_known(text) for text in estimated.cells]
    shown = Cell(path, small=f"submission {digest[:8]}" if digest else "", kind="long", href=href)
    names = [
        Cell(estimated.point, small=f"{estimated.mode}, {estimated.dtype}", kind="long"),
        Cell(estimated.device, small=estimated.backend),
    ]
    return [*names, shown, *(Cell(text) for text in figures)]


def overall_cells(overall: Overall) -> list[Cell]:
    """The cells of OVERALL_HEADS."""
    missing = f"{overall.of - overall.ideas} without a figure" if overall.ideas < overall.of else ""
    tax = number_cell(
        _times(overall.tax, overall.tax_low, overall.tax_high),
        overall.tax,
        f"tax-{tax_level(overall.tax)}" if overall.tax else "",
    )
    return [
        _rank(overall.speed_up_rank),
        _rank(overall.tax_rank),
        _machine(overall),
        Cell(f"{overall.backend} {overall.device}"),
        Cell(f"{overall.ideas} of {overall.of}", overall.ideas, small=missing, kind="number"),
        number_cell(_times(overall.speed_up, overall.speed_up_low, overall.speed_up_high), overall.speed_up),
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
    shown = [submission for submission in submissions if submission.reproduces is None][-COLUMNS:]
    rows: dict[tuple[tuple[str, ...], tuple[str, str]], dict[str, tuple[Entry, float | None]]] = {}
    for submission in shown:
        for entry in submission.entries:
            if not is_calibration(entry):
                rows.setdefault((entry.board, entry.place), {}).setdefault(submission.digest, (entry, submission.noise))
    out = []
    for (board, place), found in sorted(rows.items()):
        entry = next(iter(found.values()))[0]
        names = [Cell(board[0], small=f"{entry.label} {entry.mode}".strip()), Cell(" ".join(place), small=board[3])]
        out.append(
            names
            + [
                _then(*found[submission.digest]) if submission.digest in found else Cell("", None)
                for submission in shown
            ]
        )
    return shown, out


def _then(entry: Entry, noise: float | None) -> Cell:
    why = why_unranked(entry, noise)
    cell = number_cell(speed_up_cell(entry.against), entry.against.speed_up)
    return cell._replace(small=why) if why and entry.against.speed_up is None else cell

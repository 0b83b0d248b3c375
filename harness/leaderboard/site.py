"""The pages of the leaderboard, from its figures: name of a file → its bytes. Pure, and the same for the same figures.

Names are ours: words of this module and digests. Texts of submissions reach a page through autoescaped templates only,
and a policy lets no script run but the one file beside the pages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from harness.figures.chips import ChipRow, across_chips
from harness.figures.summary import Summary
from harness.gate.foreign_file import MOST_BYTES
from harness.leaderboard.boards import WIDEST, Board, Standing
from harness.leaderboard.campaign_cells import campaign_table
from harness.leaderboard.campaigns import CampaignBoard
from harness.leaderboard.feed import MOST as FEED_ENTRIES
from harness.leaderboard.feed import atom, sentences
from harness.leaderboard.history import history_steps, undisturbed
from harness.leaderboard.links import CHIPS_PAGE, campaign_page, idea_page, machine_page, submission_page
from harness.leaderboard.reproductions import ReproducedBy
from harness.leaderboard.site_cells import (
    DENSE_HEADS,
    ENERGY_HEADS,
    ESTIMATED_HEADS,
    IDEA_HEADS,
    OVERALL_HEADS,
    STANDING_HEADS,
    Cell,
    dense_cells,
    energy_cells,
    estimated_cells,
    history_table,
    idea_cells,
    overall_cells,
    standing_cells,
)
from harness.leaderboard.site_rows import body
from harness.leaderboard.standings import Leaderboard
from harness.leaderboard.submission import MOST_ENTRIES, Estimated, Submission
from harness.records.outcomes import outcome
from harness.records.store import INFO, RECORDS
from harness.report import chips_text
from harness.report.wording import reads_estimated, significant
from harness.stats.changes import FALSE_ALARM
from harness.stats.equivalence import MARGIN
from harness.stats.steps import FEWEST_RUNS
from harness.web import templates

TRUST = (b"<!-- trust -->", b"<!-- /trust -->")  # around what `with_trust` replaces; no text of others holds one
MARKER = ".hwlottery-site"  # says that a folder is a site of ours and may be replaced
SHOWN = 100  # entries of a table of ranks; the file beside it has all
PAGE = 200  # submissions on a page of the history
FRAMEWORKS = ("torch", "jax", "tensorflow", "hwlottery")  # whose versions stand in a machine's history
ORDER = ("standard", "quick", "full")

Files = Iterator[tuple[str, bytes]]


def _page(template: str, **facts: Any) -> bytes:
    shared = {
        "policy": templates.policy(own_files=True),
        "machine_page": machine_page,
        "submission_page": submission_page,
        "idea_page": idea_page,
        "campaign_page": campaign_page,
        "outcome": outcome,
        "body": body,
    }
    return templates.environment().get_template(template).render(**shared, **facts).encode()


def one_submission(submission: Submission, summary: Summary) -> tuple[str, bytes]:
    """The page of a single submission: all its headline rows, whatever their outcome."""
    rows = summary.rows[:MOST_ENTRIES]
    page = _page(
        "site_submission.html.j2",
        one=submission,
        heads=IDEA_HEADS,
        rows=[idea_cells(row) for row in rows],
        dense_heads=DENSE_HEADS,
        dense=[dense_cells(row) for row in summary.dense[:MOST_ENTRIES]],
        estimated_heads=(("idea", ""), *ESTIMATED_HEADS),
        estimated=[[Cell(e.workload), *estimated_cells(e)] for e in submission.estimates],
        reads=" ".join(reads_estimated(e.device for e in submission.estimates)),
        by=[],
        margin=MARGIN,
    )
    return submission_page(submission.digest), page


def with_trust(page: bytes, submission: Submission, by: Sequence[ReproducedBy]) -> bytes:
    """The page of a submission with what others say of it, which is known only when all have been read."""
    begin, end = (page.index(mark) for mark in TRUST)
    return (
        page[:begin] + _page("site_trust.html.j2", one=submission, by=by, margin=MARGIN) + page[end + len(TRUST[1]) :]
    )


def pages(board: Leaderboard, titles: Mapping[str, str], part: int = 0, parts: int = 1) -> Files:
    """Every other file of the site, or one of `parts` shares of them; `titles` has the workloads' own titles."""
    for number, (name, make) in enumerate(_makers(board, titles)):
        if number % parts == part:
            yield name, make()


def _makers(board: Leaderboard, titles: Mapping[str, str]) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """What makes each file. Those that take equally long stand together, so that every share has as many of them."""
    places = _places(board)
    for slug, submissions in board.machines.items():
        yield machine_page(slug), partial(_machine, slug, submissions, places.get(slug, []))
    workloads = sorted(board.boards.keys() | board.estimates.keys())
    for workload in workloads:
        yield idea_page(workload, "json"), partial(_as_json, board.boards.get(workload, []))
    for workload in workloads:
        boards, estimates = board.boards.get(workload, []), board.estimates.get(workload, [])
        yield idea_page(workload), partial(_idea, workload, titles.get(workload, workload), boards, estimates)
    yield from _history(board)
    for campaign in board.campaigns:
        yield campaign_page(campaign.slug), partial(_campaign, campaign)
    yield "index.html", partial(_index, board)
    yield "feed.xml", partial(_feed, board)
    machines = [several[-1] for several in board.machines.values()]
    yield "machines.html", partial(_page, "site_machines.html.j2", machines=machines, board=board)
    chips = _across(board)
    if chips:
        yield CHIPS_PAGE, partial(_chips, chips)
    yield MARKER, "A leaderboard made by hwlottery, which may replace this folder.\n".encode
    yield "site.css", templates.stylesheet().encode
    yield "table.js", templates.asset("table.js").encode
    yield "refused.html", partial(_page, "site_refused.html.j2", refused=board.refused)
    limits = {name: most >> 20 for name, most in MOST_BYTES.items()}
    facts = {"limits": limits, "info": INFO, "records": RECORDS, "entries": MOST_ENTRIES, "widest": WIDEST}
    yield "submit.html", partial(_page, "site_submit.html.j2", **facts)


def _campaign(campaign: CampaignBoard) -> bytes:
    heads, rows = campaign_table(campaign)
    return _page("site_campaign.html.j2", campaign=campaign, heads=heads, rows=rows)


def _feed(board: Leaderboard) -> bytes:
    return atom(board, [(submission.digest, submission_page(submission.digest)) for submission in board.submissions])


def _index(board: Leaderboard) -> bytes:
    overall = [
        (preset, dtype, [overall_cells(o) for o in several[:SHOWN]], len(several))
        for (preset, dtype), several in sorted(board.overall.items(), key=_preset_order)
        if several[0].speed_up_rank is not None
    ]
    ideas = [(name, _leader(boards)) for name, boards in board.boards.items()]
    estimated = [(name, len(several)) for name, several in board.estimates.items()]
    tiles = [
        (len(board.machines), "machines"),
        (len(board.submissions), "submissions"),
        (sum(submission.records for submission in board.submissions), "cases"),
        (len(board.boards.keys() | board.estimates.keys()), "ideas"),
        (len(board.refused), "refused"),
    ]
    newest = [
        (submission, sentences(submission, board.changes[submission.digest]))
        for submission in reversed(board.submissions[-5:])
    ]
    return _page(
        "site_index.html.j2",
        tiles=tiles,
        heads=OVERALL_HEADS,
        overall=overall,
        ideas=ideas,
        estimated=estimated,
        chips=CHIPS_PAGE if _across(board) else "",
        newest=newest,
        campaigns=board.campaigns,
        shown=SHOWN,
    )


def _preset_order(item: tuple[tuple[str, str], Any]) -> tuple[int, str, str]:
    preset, dtype = item[0]
    return (ORDER.index(preset) if preset in ORDER else len(ORDER), preset, dtype)


def labels(boards: Sequence[Board]) -> list[str]:
    """For every board of a workload what tells it from the others: axes that differ, mode, dtype and twin."""
    if len(boards) < 2:
        return [idea_board.mode for idea_board in boards]
    parts = [
        [*idea_board.point.split(","), idea_board.mode, idea_board.dtype, f"twin {idea_board.twin.replace('_', ' ')}"]
        for idea_board in boards
    ]
    common = set(parts[0]).intersection(*parts[1:])
    return [", ".join(p for p in mine if p not in common) or boards[0].mode for mine in parts]


def _leader(boards: Sequence[Board]) -> list[tuple[Board, str, list[Standing], str, str]]:
    """For every board its label, all that lead it by speed-up, the best speed-up and the lowest tax as text."""
    out = []
    for board, label in zip(boards, labels(boards), strict=True):
        first = [s for s in board.standings if s.speed_up_rank is not None and s.speed_up_rank.low == 1]
        taxes = [s.entry.against.tax for s in board.standings if s.tax_rank and s.entry.against.tax is not None]
        best = max((s.entry.against.speed_up or 0.0 for s in first), default=None)
        out.append(
            (
                board,
                label,
                first,
                "" if best is None else f"{significant(best)}×",
                f"{significant(min(taxes))}×" if taxes else "",
            )
        )
    return out


def _idea(workload: str, title: str, boards: Sequence[Board], estimates: Sequence[tuple[str, Estimated]]) -> bytes:
    sections = [
        {
            "board": idea_board,
            "label": label,
            "anchor": f"b{number}",
            "rows": [standing_cells(s) for s in idea_board.standings[:SHOWN]],
            "energy": {
                source: ([energy_cells(s) for s in several[:SHOWN]], len(several))
                for source, several in idea_board.energy.items()
            },
        }
        for number, (idea_board, label) in enumerate(zip(boards, labels(boards), strict=True), 1)
    ]
    heads = {"time": STANDING_HEADS, "energy": ENERGY_HEADS, "estimated": ESTIMATED_HEADS}
    facts = {"workload": workload, "title": title, "data": idea_page(workload, "json"), "shown": SHOWN}
    estimated = [estimated_cells(e, digest) for digest, e in estimates[: 2 * SHOWN]]
    reads = " ".join(reads_estimated(e.device for _, e in estimates))
    return _page("site_idea.html.j2", sections=sections, heads=heads, estimated=estimated, reads=reads, **facts)


def _across(board: Leaderboard) -> list[ChipRow]:
    return across_chips(e.row for several in board.estimates.values() for _, e in several)


def _chips(rows: Sequence[ChipRow]) -> bytes:
    """What every idea costs on every chip that it was compiled for: a table for each figure."""
    names = [
        [Cell(row.workload, href=f"{idea_page(row.workload)}#estimated", small=row.mode), Cell(row.point)]
        for row in rows
    ]
    tables = []
    for title, told in chips_text.TABLES:
        ranked = told is chips_text.tax
        heads = (("idea", ""), ("point", ""), *((chip, "") for chip in chips_text.heads(rows)))
        figures = [
            [*name, *map(Cell, told_cells), *([Cell(chips_text.moves(row))] if ranked else [])]
            for name, told_cells, row in zip(names, chips_text.cells(rows, told), rows, strict=True)
        ]
        tables.append((title, (*heads, ("moves", "")) if ranked else heads, figures))
    return _page("site_chips.html.j2", tables=tables, reads=chips_text.READS_CHIPS)


def _as_json(boards: Sequence[Board]) -> bytes:
    """All entries of an idea's boards, so that others can check and plot them."""
    out = []
    for board in boards:
        for standing in board.standings:
            entry = msgspec.structs.asdict(standing.entry)
            against = msgspec.structs.asdict(entry.pop("against"))
            place = {"machine": standing.machine.slug, "submission": standing.submission}
            out.append(place | _ranks(standing) | entry | against)
    return b"[" + b",\n".join(msgspec.json.encode(row) for row in out) + b"]\n"


def _ranks(standing: Standing) -> dict[str, int | str | None]:
    out: dict[str, int | str | None] = {}
    for name, rank in (("speed_up", standing.speed_up_rank), ("tax", standing.tax_rank)):
        out |= {
            f"{name}_rank_low": None if rank is None else rank.low,
            f"{name}_rank_high": None if rank is None else rank.high,
        }
    return out | {"unranked": standing.why}


Place = tuple[Board, str, Standing]


def _places(board: Leaderboard) -> dict[str, list[Place]]:
    """The standings of every machine."""
    out: dict[str, list[Place]] = {}
    for boards in board.boards.values():
        for idea_board, label in zip(boards, labels(boards), strict=True):
            for standing in idea_board.standings:
                out.setdefault(standing.machine.slug, []).append((idea_board, label, standing))
    return out


def _machine(slug: str, submissions: Sequence[Submission], places: Sequence[Place]) -> bytes:
    rows = []
    for place, label, standing in places[: 2 * SHOWN]:
        by_speed_up, by_tax, _, *figures = standing_cells(standing)
        rows.append([Cell(place.workload, href=idea_page(place.workload), small=label), by_speed_up, by_tax, *figures])
    heads = (("idea", ""), *STANDING_HEADS[:2], *STANDING_HEADS[3:])
    newest = submissions[-1]
    columns, history = history_table(submissions) if len(submissions) > 1 else ([], [])
    return _page(
        "site_machine.html.j2",
        slug=slug,
        machine=newest.machine,
        newest=newest,
        submissions=list(reversed(submissions))[:PAGE],
        total=len(submissions),
        heads=heads,
        rows=rows,
        columns=columns,
        frameworks=FRAMEWORKS,
        history=history[: 2 * SHOWN],
        steps=history_steps(submissions)[:SHOWN],
        step_cell=lambda step: f"{significant(step.ratio)}× [{significant(step.low)}, {significant(step.high)}]",
        usable=len(undisturbed(submissions)),
        fewest=FEWEST_RUNS,
        false_alarm=FALSE_ALARM,
    )


def _history(board: Leaderboard) -> Iterator[tuple[str, Callable[[], bytes]]]:
    newest = list(reversed(board.submissions))
    several = [newest[k : k + PAGE] for k in range(0, len(newest), PAGE)] or [[]]
    names = ["history.html", *(f"history-{n}.html" for n in range(2, len(several) + 1))]
    for number, (name, shown) in enumerate(zip(names, several, strict=True)):
        before = names[number - 1] if number else None
        after = names[number + 1] if number + 1 < len(names) else None
        facts = {"total": len(newest), "number": number + 1, "of": len(names), "newer": before, "older": after}
        yield name, partial(_part_of_history, board, shown, **facts)


def _part_of_history(board: Leaderboard, shown: Sequence[Submission], **facts: Any) -> bytes:
    rows = [(submission, sentences(submission, board.changes[submission.digest])[1:]) for submission in shown]
    return _page("site_history.html.j2", rows=rows, feed_entries=FEED_ENTRIES, **facts)

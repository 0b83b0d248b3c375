"""The cells of a campaign's table: ideas down, machines across."""

from __future__ import annotations

from harness.leaderboard.campaigns import CampaignBoard, CampaignCell
from harness.leaderboard.links import idea_page, submission_page
from harness.leaderboard.site_cells import Cell, Heads, number_cell
from harness.report.wording import speed_up_cell


def campaign_table(campaign: CampaignBoard) -> tuple[Heads, list[list[Cell]]]:
    """Ideas down, machines across."""
    heads = (("idea", ""), ("where", ""), ("shift", "number"), *((m.name, "number") for m in campaign.machines))
    rows = []
    for row in campaign.rows:
        entry = row.first
        shift = Cell("" if row.shift is None else f"{row.shift}", row.shift, kind="number")
        names = [
            Cell(entry.workload, small=f"{entry.label} {entry.mode}".strip(), href=idea_page(entry.workload)),
            Cell(f"{entry.backend} {entry.device}", small=entry.dtype),
        ]
        rows.append([*names, shift, *(_campaign_cell(cell, row.ranked) for cell in row.cells)])
    return heads, rows


def _campaign_cell(cell: CampaignCell | None, ranked: int) -> Cell:
    if cell is None:
        return Cell("", None, kind="number")
    href = submission_page(cell.submission)
    against = cell.entry.against
    if against.speed_up is None:
        return Cell(cell.entry.outcome, None, kind="long", href=href)
    figure = number_cell(speed_up_cell(against), against.speed_up)
    rank = "" if cell.rank is None else f"rank {cell.rank} of {ranked}"
    return figure._replace(small=", ".join(filter(None, (figure.small, rank))), href=href)

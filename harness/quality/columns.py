"""What a report shows of a study beside speed-up and tax: steps ×, time to quality, and what is forgotten."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.figures.summary import Row
from harness.quality.compression import LEVELS
from harness.quality.forgotten import Forgets
from harness.quality.outcome import Outcome
from harness.quality.text import steps_cell, tail_cell, time_cell
from harness.quality.worth import Worth
from harness.report.sections import Section
from harness.report.wording import UNKNOWN, speed_up_cell, tax_cell

TITLE = "What each idea is worth"
NAMES = ("idea", "point", "backend", "speed-up", "tax", "steps ×", "time to quality", "forgets: tail")


def worth_of(row: Row, outcomes: Sequence[Outcome]) -> Worth | None:
    """The study's figures of a row of the run that measured its steps; None for any other row."""
    for outcome in outcomes:
        cost = outcome.costs.get((row.workload, row.backend))
        if cost is None or outcome.run is None or row.run != outcome.run.info.run or row.mode != "train_step":
            continue
        found = next((w for w in outcome.worths if (w.idea, w.backend) == (row.workload, row.backend)), None)
        if found is not None:
            return found
    return None


def forgotten_of(row: Row, outcomes: Sequence[Outcome], draw: str = "long_tailed") -> Forgets | None:
    """What the compression of a row forgets, where a study trained that level; None for other rows."""
    levels = {
        (level.method, level.level)
        for level in LEVELS
        if level.workload == row.workload and _fits(row.params, level.axes)
    }
    found = (f for outcome in outcomes for f in outcome.forgets if f.draw == draw and (f.method, f.level) in levels)
    return next(found, None)


def _fits(params: Mapping[str, Any], axes: Mapping[str, Any]) -> bool:
    """Whether a point is of a level: all of the level's axes, of which there is at least one."""
    return bool(axes) and all(params.get(name) == value for name, value in axes.items())


def section(rows: Sequence[Row], outcomes: Sequence[Outcome]) -> Section:
    """The rows of which a study knows something."""
    cells = []
    for row in rows:
        worth, level = worth_of(row, outcomes), forgotten_of(row, outcomes)
        if worth is None and level is None:
            continue
        cells.append(
            [
                row.workload,
                row.label or UNKNOWN,
                row.backend,
                speed_up_cell(row.principal),
                tax_cell(row.principal),
                UNKNOWN if worth is None else steps_cell(worth),
                UNKNOWN if worth is None else time_cell(worth),
                UNKNOWN if level is None else tail_cell(level),
            ]
        )
    return Section(TITLE, NAMES, cells, 3)


def figures(row: Row, outcomes: Sequence[Outcome]) -> dict[str, float | None]:
    """The same as numbers, for a flat table; None where nothing is known."""
    worth, level = worth_of(row, outcomes), forgotten_of(row, outcomes)
    out: dict[str, float | None] = dict.fromkeys(_COLUMNS)
    if worth is not None:
        out |= {
            "steps_ratio": worth.steps_ratio,
            "steps_ratio_low": worth.steps_ratio_low,
            "steps_ratio_high": worth.steps_ratio_high,
            "time_to_quality_s": worth.seconds,
            "time_to_quality_low_s": worth.seconds_low,
            "time_to_quality_high_s": worth.seconds_high,
            "success_share": worth.reached / worth.seeds,
        }
    if level is not None:
        out |= {
            "tail_recall_change": level.tail_recall_change,
            "tail_recall_change_low": level.low,
            "tail_recall_change_high": level.high,
        }
    return out


_COLUMNS = (
    *("steps_ratio", "steps_ratio_low", "steps_ratio_high"),
    *("time_to_quality_s", "time_to_quality_low_s", "time_to_quality_high_s", "success_share"),
    *("tail_recall_change", "tail_recall_change_low", "tail_recall_change_high"),
)

"""A study as text: what each idea is worth, what compression forgets, and how both were found."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

from harness.quality.arrivals import VALID_IMAGES, Steps, target_of
from harness.quality.facts import Tuned
from harness.quality.forgotten import ALARM, Forgets
from harness.quality.outcome import Outcome, target_training
from harness.quality.worth import Worth
from harness.report.sections import Section, as_lines
from harness.report.wording import UNKNOWN, percent, quantity, significant

NEVER = "never"
WORTH = ("idea", "backend", "arrived", "steps ×", "time to quality", "energy to quality", "time ×")
FORGETS = ("method", "level", "accuracy", "tail recall", "p", "PIE", "odds")


def worth_section(outcome: Outcome) -> Section:
    """A row for each learner and backend."""
    return Section("Time and energy to quality", WORTH, [_worth_cells(row) for row in outcome.worths], 2)


def _worth_cells(row: Worth) -> list[str]:
    shares = f"[{row.success_low:.2f}, {row.success_high:.2f}]"
    return [
        row.idea + (" (twin)" if row.idea == row.baseline else ""),
        row.backend,
        f"{row.reached} of {row.seeds} {shares}",
        steps_cell(row),
        time_cell(row),
        energy_cell(row),
        NEVER if row.steps is None else _times(row.time_ratio),
    ]


def steps_cell(row: Worth) -> str:
    """The idea's steps over the twin's, with the interval."""
    if row.steps is None:
        return NEVER
    return _times(row.steps_ratio, row.steps_ratio_low, row.steps_ratio_high)


def time_cell(row: Worth) -> str:
    """Seconds to the target, with the interval."""
    if row.steps is None:
        return NEVER
    return quantity(row.seconds, "s", row.seconds_low, row.seconds_high) + _open(row.seconds_low, row.seconds_high)


def energy_cell(row: Worth) -> str:
    """Joules to the target, with bounds and source."""
    if row.energy_j is None:
        return NEVER if row.steps is None else UNKNOWN
    return f"{quantity(row.energy_j, 'J', row.energy_low_j, row.energy_high_j)} {row.energy_source}"


def _open(low: float | None, high: float | None) -> str:
    return " (unbounded)" if high is None and low is not None else ""


def _times(value: float | None, low: float | None = None, high: float | None = None) -> str:
    if value is None:
        return UNKNOWN
    bounds = (
        f" [{significant(low, 2)}, {significant(high, 2)}]"
        if low is not None and high is not None
        else _open(low, high)
    )
    return f"{significant(value)}×{bounds}"


def forgets_section(rows: Sequence[Forgets], draw: str) -> Section:
    """A row for each level on one draw."""
    title = f"What compression forgets, {draw.replace('_', '-')} training images"
    return Section(title, FORGETS, [_forgets_cells(row) for row in rows if row.draw == draw], 2)


def _forgets_cells(row: Forgets) -> list[str]:
    odds = UNKNOWN if row.pie_odds is None else f"{significant(row.pie_odds, 2)}×"
    return [
        row.method,
        row.level,
        f"{100 * row.accuracy:.1f} % ({100 * row.accuracy_change:+.1f})",
        tail_cell(row),
        "<0.001" if row.p_holm < 0.001 else f"{row.p_holm:.3f}",
        percent(row.pie_share) if row.pie_share else "0 %",
        odds,
    ]


def tail_cell(row: Forgets) -> str:
    """The change of tail recall beyond that of accuracy, in points, with its interval."""
    return f"{100 * row.tail_recall_change:+.1f} pt [{100 * row.low:+.1f}, {100 * row.high:+.1f}]"


def notes(outcome: Outcome) -> list[str]:
    """How it was found and how sure it is, a sentence or two each."""
    out = []
    target = target_training(outcome.study)
    if target is not None:
        images = target_of(target)
        out.append(
            f"target: {images} of {VALID_IMAGES} validation images right ({100 * images / VALID_IMAGES:.1f} %), the "
            f"median over {len(target.seeds)} seeds of the best of {target.learner}, trained for {target.steps} steps "
            f"at its tuned rate (AlgoPerf's rule)."
        )
    out += [_tuning(outcome.tuned)] if outcome.tuned else []
    out += [_how_many(steps) for steps in outcome.steps]
    out += _validation(outcome)
    out += [f"{fact.key}: {fact.status}" + (f", {fact.reason}" if fact.reason else "") for fact in outcome.failed]
    for floor in outcome.floors:
        out.append(
            f"A/A control, {floor.draw.replace('_', '-')}: {floor.models} dense models halved {floor.splits} times, "
            f"{floor.alarms} of {floor.tests} tests below {ALARM:g} after Holm; two halves differ by up to "
            f"{100 * floor.tail_change:.1f} pt in tail recall, and {percent(floor.pie_share)} of the images are PIEs."
        )
    if outcome.forgets:
        out.append(
            "tail recall = recall of the three rarest classes minus the model's own accuracy, against dense models; p "
            "by Welch's test, Holm over ten classes. PIE = an image whose most frequent label changes; odds, of a PIE "
            "in the rare classes over the others. These are rare in the training images by our own draw: this is about "
            "frequency, not about fairness."
        )
    return out


def _tuning(tuned: Sequence[Tuned]) -> str:
    first = tuned[0]
    edges = [t.learner for t in tuned if t.rate in (min(t.rates), max(t.rates))]
    said = f"; at the edge of the grid: {', '.join(edges)}" if edges else ""
    return (
        f"tuned alike: learning rates {', '.join(f'{rate:g}' for rate in first.rates)}, {len(first.seeds)} trials each "
        f"of {first.steps} steps; taken: {', '.join(f'{t.learner} {t.rate:g}' for t in tuned)}{said}."
    )


def _how_many(steps: Steps) -> str:
    if steps.steps is None:
        return f"{steps.learner}: no run of {len(steps.arrived)} arrived within {steps.budget} steps."
    high = "not bounded" if steps.steps_high is None else f"{steps.steps_high:.0f}"
    held = f"{steps.held} held it for three evaluations"
    at = "" if steps.held_steps is None else f" ({steps.held_steps:.0f} steps)"
    return (
        f"{steps.learner}: {steps.steps:.0f} steps expected over all {len(steps.arrived)} runs (ERT, 95 % "
        f"{steps.steps_low or 0:.0f} to {high}; at most {steps.budget} each, seen every {steps.every}); {held}{at}; "
        f"{100 * steps.test_accuracy:.1f} % of the test images right at the end."
    )


def _validation(outcome: Outcome) -> list[str]:
    """How many trainings ran end to end, and how many of them as long as was foretold."""
    ran = sum(row.end_to_end for row in outcome.worths)
    never = sum(row.never for row in outcome.worths)
    alike = sum(row.alike for row in outcome.worths)
    told = sum(row.foretold for row in outcome.worths)
    inside = sum(row.inside for row in outcome.worths)
    if not ran:
        return []
    held = f"{inside} of the {told} that arrive in NumPy took as long as steps × seconds foretold (95 % of single runs)"
    said = (
        f"end to end: {ran} trainings from seeds that were not counted, of which {never} did not arrive, and {alike} "
        "saw the target, or never saw it, as NumPy did; "
        + (held if told else "of a step timed in one process no interval is told, to hold them to")
        + "."
    )
    beside = outcome.carried
    if beside is None:
        return [said]
    low, middle, high = (math.exp(beside.mean + sign * 2 * beside.spread) for sign in (-1, 0, 1))
    return [
        f"{said} A step of theirs took {significant(middle)} times what the measured one took (19 of 20 trainings: "
        f"{significant(low, 2)} to {significant(high, 2)}), since batch and parameters are new in each; what is "
        "foretold of a training has this from the others."
    ]


# -- laid out ----------------------------------------------------------------------------------------------------------
def tables(outcome: Outcome) -> list[Section]:
    """The tables of a study that have a row."""
    every = [worth_section(outcome), *(forgets_section(outcome.forgets, d) for d in ("long_tailed", "balanced"))]
    return [section for section in every if section.cells]


def terminal(outcome: Outcome, width: int) -> str:
    """All of it as plain text, tables as wide as they are and notes wrapped to `width`."""
    out: list[str] = []
    for section in tables(outcome):
        out += [*as_lines(section, width), ""]
    for note in notes(outcome):
        out += textwrap.wrap(note, width, subsequent_indent="  ", break_on_hyphens=False)
    return "\n".join(out) + "\n"

"""Two pictures of studies: tail recall against speed-up, and accuracy against seconds with success shares."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

from harness.figures.summary import Row
from harness.quality.arrivals import VALID_IMAGES, trainings
from harness.quality.columns import forgotten_of
from harness.quality.outcome import Outcome
from harness.quality.text import steps_cell, tail_cell, time_cell
from harness.report.wording import point_cell, speed_up_cell
from harness.web.vega import Chart, drawing, hued, log_axis, tooltip

_GROUP = "Quality"
_HEIGHT = 340
_APART = 9  # pixels between the marks of the times to quality, which all stand at the target


def tail_against_speed(rows: Sequence[Row], outcomes: Sequence[Outcome]) -> Iterator[Chart]:
    """A point for each measured row whose level was trained: how much faster, and what the rare classes lose."""
    values = []
    for row in rows:
        level, against = forgotten_of(row, outcomes), row.principal
        if level is None or against is None or not against.speed_up:
            continue
        values.append(
            {
                "what": f"{row.workload} ({point_cell(row)})", "where": row.backend,
                "method": level.method, "level": level.level,
                "speed": against.speed_up, "tail": 100 * level.tail_recall_change,
                "low": 100 * level.low, "high": 100 * level.high,
                "speed-up": speed_up_cell(against), "tail recall": tail_cell(level),
            }
        )  # fmt: skip
    if not values:
        return
    x = log_axis("speed", "speed-up over the dense twin", "~g")
    y: dict[str, Any] = {"field": "tail", "type": "quantitative", "title": "change of tail recall (points)"}
    colour = hued("where", [str(value["where"]) for value in values])
    layers = [
        {
            "mark": {"type": "rule", "strokeWidth": 1.5, "opacity": 0.3, "tooltip": None},
            "encoding": {"x": x, "y": y | {"field": "low"}, "y2": {"field": "high"}, "color": colour},
        },
        {
            "mark": {"type": "point", "filled": True, "size": 60, "opacity": 0.85},
            "encoding": {
                "x": x, "y": y, "color": colour,
                "shape": {"field": "method", "type": "nominal", "title": None},
                "tooltip": tooltip("what", "where", "level", "speed-up", "tail recall"),
            },
        },
    ]  # fmt: skip
    named = {
        (value["method"], value["level"]): value
        for value in sorted(values, key=lambda value: float(str(value["speed"])), reverse=True)
    }
    layers.append(  # each level is named once, at its slowest row
        {
            "data": {"values": list(named.values())},
            "mark": {"type": "text", "dy": -8, "tooltip": None},
            "encoding": {"x": x, "y": y | {"field": "high"}, "text": {"field": "level", "type": "nominal"}},
        }
    )
    note = (
        "A point a level: right is faster than the dense twin, low is more forgotten of the rare classes than accuracy "
        "loses. The bar is the interval over models and images. Frequency in the training images, not fairness."
    )
    title = "What a speed-up forgets"
    yield Chart(name="forgets", group=_GROUP, title=title, note=note, spec=drawing(values, _HEIGHT, layers))


def accuracy_against_time(outcomes: Sequence[Outcome]) -> Iterator[Chart]:
    """The median accuracy of the runs after so many seconds, in each framework; a mark where the target is expected."""
    curves: list[dict[str, Any]] = []
    marks: list[dict[str, Any]] = []
    for outcome in outcomes:
        for name, training in trainings(outcome.study.facts, "count").items():
            for row in (w for w in outcome.worths if w.idea == name):
                cost = outcome.costs[name, row.backend]
                who = f"{name}, {row.reached}/{row.seeds} arrived"
                for number in range(max(map(len, training.correct))):
                    # A run that ended has held the target: it stays where it was.
                    now = [100 * c[min(number, len(c) - 1)] / VALID_IMAGES for c in training.correct]
                    seconds = (number + 1) * training.every * cost.time_s
                    curves.append({"who": who, "where": row.backend, "seconds": seconds, "accuracy": median(now)})
                if row.seconds is not None:
                    marks.append(
                        {
                            "who": who, "where": row.backend, "seconds": row.seconds, "accuracy": 100 * row.target,
                            "low": row.seconds_low or row.seconds, "high": row.seconds_high or row.seconds,
                            "time": time_cell(row), "steps": steps_cell(row),
                        }
                    )  # fmt: skip
    if not curves:
        return
    x = log_axis("seconds", "seconds of training steps", "~s")
    y = {
        "field": "accuracy", "type": "quantitative", "title": "validation images right (%)",
        "scale": {"zero": False, "nice": True},
    }  # fmt: skip
    colour = hued("who", [str(value["who"]) for value in curves]) | {"legend": {"columns": 2}}  # long names
    layers: list[dict[str, Any]] = [
        {
            "mark": {"type": "line", "strokeWidth": 2, "opacity": 0.8},
            "encoding": {
                "x": x, "y": y, "color": colour,
                "strokeDash": {"field": "where", "type": "nominal", "title": None},
                "tooltip": tooltip("who", "where"),
            },
        }
    ]  # fmt: skip
    # Below one another at the bottom, where few lines are: at the target itself the intervals would cover each other.
    for number, mark in enumerate(reversed(marks)):
        one = {"data": {"values": [mark]}}
        at = {"y": {"value": _HEIGHT - _APART * (number + 1)}}
        layers += [
            one
            | {
                "mark": {"type": "rule", "strokeWidth": 2, "opacity": 0.6, "tooltip": None},
                "encoding": {"x": x | {"field": "low"}, "x2": {"field": "high"}, **at, "color": colour},
            },
            one
            | {
                "mark": {"type": "point", "filled": True, "size": 45},
                "encoding": {
                    "x": x, **at, "color": colour, "shape": {"field": "where", "type": "nominal", "title": None},
                    "tooltip": tooltip("who", "where", "time", "steps"),
                },
            },
        ]  # fmt: skip
    note = (
        "Lines are the median run. The marks below are the expected times to the target over all runs, those that "
        "never arrive counted, with their intervals; their height says nothing. Up and left is better."
    )
    title = "Accuracy against time"
    yield Chart(name="time-to-quality", group=_GROUP, title=title, note=note, spec=drawing(curves, _HEIGHT, layers))


def charts(rows: Sequence[Row], outcomes: Sequence[Outcome]) -> list[Chart]:
    """Both, where there is something to draw."""
    return [*tail_against_speed(rows, outcomes), *accuracy_against_time(outcomes)]

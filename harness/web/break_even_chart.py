"""Speed-up against an axis to break even on: a curve a place, and where each passes 1."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from harness.figures.findings import DENSITY, break_even_axes
from harness.figures.summary import Against, Row
from harness.web.record_details import same_point
from harness.web.vega import Chart, Drawer, Spec, Values, drawing, hued, log_axis, tooltip


def break_evens(drawer: Drawer) -> Iterator[Chart]:
    """Speed-up against an axis to break even on, with intervals, a curve a place; where each passes the line at 1."""
    curves: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in drawer.everything.rows:
        for axis in break_even_axes(row.workload):
            value = row.params.get(axis)
            if isinstance(value, int | float) and value > 0 and row.principal and row.principal.speed_up:
                point = same_point(row.params, without=axis)
                curves[row.workload, point, axis, row.mode, row.dtype].append(row)
    curves = {key: rows for key, rows in curves.items() if len({row.params[key[2]] for row in rows}) > 1}
    for number, ((workload, point, axis, mode, dtype), rows) in enumerate(curves.items(), 1):
        meets = [
            {"where": drawer.place(e.run, e.backend, e.device), "x": e.value, "low": e.low, "high": e.high, "one": 1}
            | {"finding": e.sentence}
            for e in drawer.everything.break_even
            if (e.workload, e.point, e.axis, e.mode, e.dtype) == (workload, point, axis, mode, dtype)
            and e.value is not None
        ]
        axes = [part for part in rows[0].label.split(", ") if part and not part.startswith(f"{axis}=")]
        title = ", ".join([workload, *axes, mode, *([dtype] if drawer.where.dtypes else [])])
        yield Chart(
            name=f"break-even-{number}" if len(curves) > 1 else "break-even",
            group="Break-even",
            title=f"Break-even of {title}",
            note=f"Above the dashed line the idea is faster. A diamond is the break-even {axis}, its bar the interval.",
            spec=drawing(
                [_along(axis, drawer, row, row.principal) for row in rows if row.principal],
                300,
                [_LINE_AT_ONE, *_curves(axis, drawer), *_crossings(drawer, meets)],
            ),
        )


_LINE_AT_ONE: Spec = {
    "data": {"values": [{"one": 1}]},
    "mark": {"type": "rule", "color": "@ink", "strokeDash": [5, 4]},
    "encoding": {"y": {"field": "one", "type": "quantitative"}},
}


def _curves(axis: str, drawer: Drawer) -> list[Spec]:
    """Intervals, lines and points of every place."""
    x = log_axis(axis, "density δ" if axis == DENSITY else axis, "~g")
    y = log_axis("value", "speed-up over the dense twin", "~g")
    colour = hued("where", drawer.places)
    tips = tooltip("where", "what", "path", "speed-up", "tax", "time")
    low = log_axis("low", y["title"], "~g")
    return [
        {
            "mark": {"type": "rule", "strokeWidth": 2, "opacity": 0.55},
            "encoding": {"x": x, "y": low, "y2": {"field": "high"}, "color": colour},
        },
        {"mark": {"type": "line", "strokeWidth": 2}, "encoding": {"x": x, "y": y, "color": colour}},
        {
            "mark": {"type": "point", "filled": True, "size": 55, "opacity": 1},
            "encoding": {"x": x, "y": y, "color": colour, "tooltip": tips},
        },
    ]


def _crossings(drawer: Drawer, meets: Values) -> list[Spec]:
    """Where each curve passes 1: a bar for the interval, a diamond for the value."""
    colour = hued("where", drawer.places)
    at_one = {"field": "one", "type": "quantitative"}
    return [
        {
            "data": {"values": meets},
            "mark": {"type": "rule", "strokeWidth": 5, "opacity": 0.35},
            "encoding": {
                "x": {"field": "low", "type": "quantitative"},
                "x2": {"field": "high"},
                "y": at_one,
                "color": colour,
            },
            "transform": [{"filter": "isValid(datum.low) && isValid(datum.high)"}],
        },
        {
            "data": {"values": meets},
            "mark": {"type": "point", "shape": "diamond", "size": 110, "fill": "@card", "opacity": 1},
            "encoding": {
                "x": {"field": "x", "type": "quantitative"},
                "y": at_one,
                "color": colour,
                "tooltip": tooltip("where", "finding"),
            },
        },
    ]


def _along(axis: str, drawer: Drawer, row: Row, against: Against) -> dict[str, Any]:
    figures = {
        axis: row.params[axis],
        "value": against.speed_up,
        "low": against.speed_up_low,
        "high": against.speed_up_high,
    }
    return drawer.facts(row) | figures

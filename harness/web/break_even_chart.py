"""Speed-up against an axis to break even on: a curve a place, and where each passes 1."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from harness.figures.break_even import DENSITY, BreakEven
from harness.report.wording import significant
from harness.web.vega import Chart, Drawer, Spec, Values, drawing, hued, log_axis, tooltip


def break_evens(drawer: Drawer) -> Iterator[Chart]:
    """Speed-up against an axis to break even on, with intervals, a curve a place; where each passes the line at 1."""
    sweeps: dict[tuple[str, ...], list[BreakEven]] = defaultdict(list)
    for found in drawer.everything.break_even:
        sweeps[found.workload, found.point, found.axis, found.mode, found.dtype].append(found)
    opens = {(facts["run"], facts["key"]): number for number, facts in enumerate(drawer.index.table)}
    for number, ((workload, point, axis, mode, dtype), several) in enumerate(sweeps.items(), 1):
        alike = [set(key[1].split(",")) for key in sweeps if key[0] == workload]
        axes = [part for part in point.split(",") if part not in set.intersection(*alike)]
        title = ", ".join([workload, *axes, mode, *([dtype] if drawer.where.dtypes else [])])
        yield Chart(
            name=f"break-even-{number}" if len(sweeps) > 1 else "break-even",
            group="Break-even",
            title=f"Break-even of {title}",
            note="Formulations that skip the zeros: above the dashed line they are faster than the dense twin. A "
            f"diamond is the break-even {axis}, its bar the interval.",
            spec=drawing(
                [mark for found in several for mark in _along(drawer, found, opens)],
                300,
                [_LINE_AT_ONE, *_curves(axis, drawer), *_crossings(drawer, _meets(drawer, several))],
            ),
        )


def _meets(drawer: Drawer, several: Sequence[BreakEven]) -> Values:
    """Where curves pass 1."""
    return [
        {"where": drawer.place(e.run, e.backend, e.device), "x": e.value, "low": e.low, "high": e.high, "one": 1}
        | {"finding": e.sentence}
        for e in several
        if e.value is not None
    ]


def _along(drawer: Drawer, found: BreakEven, opens: dict[tuple[str, str], int]) -> Values:
    """The points of one curve; the axis has a column of its own, whatever its name."""
    return [
        {
            "at": point.value,
            "value": 1 / point.time_ratio,
            "low": 1 / point.high,
            "high": 1 / point.low,
            "where": drawer.place(found.run, found.backend, found.device),
            "path": point.path,
            "speed-up": f"{significant(1 / point.time_ratio)}× [{significant(1 / point.high)}, "
            f"{significant(1 / point.low)}]",
            "open": opens.get((found.run, point.case)),
        }
        for point in found.curve
    ]


_LINE_AT_ONE: Spec = {
    "data": {"values": [{"one": 1}]},
    "mark": {"type": "rule", "color": "@ink", "strokeDash": [5, 4]},
    "encoding": {"y": {"field": "one", "type": "quantitative"}},
}


def _curves(axis: str, drawer: Drawer) -> list[Spec]:
    """Intervals, lines and points of every place."""
    x = log_axis("at", "density δ" if axis == DENSITY else axis, "~g")
    y = log_axis("value", "speed-up over the dense twin", "~g")
    colour = hued("where", drawer.places)
    tips = tooltip("where", "at", "path", "speed-up", at=axis)
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

"""The pictures as Vega-Lite specifications, made once from the summary and drawn by the page and by the static files.

Here are those of the summary: tax, break-even and ranks; `scatter_charts` has those with a mark for every case.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from harness.figures.summary import Against, Row
from harness.report.published import Published
from harness.report.wording import outcome_cell, significant
from harness.web import palette, scatter_charts
from harness.web.record_details import Index, same_point
from harness.web.vega import IN_ORDER, Chart, Drawer, Spec, drawing, hued, log_axis, tooltip

_LEVELS = [f"< {palette.TAX_STEPS[0]:g}", *(f"≥ {step:g}" for step in palette.TAX_STEPS)]
_MOST_ROWS = 40  # of a heat map, before a second one begins


def charts(published: Published, index: Index | None = None) -> list[Chart]:
    """Every picture that the records allow, in the order in which a page shows them."""
    drawer = Drawer(published, index)
    makers = (
        heat_maps,
        scatter_charts.rooflines,
        break_evens,
        scatter_charts.costs,
        scatter_charts.compilation,
        ranks,
        scatter_charts.distributions,
    )
    return [chart for make in makers for chart in make(drawer)]


# -- the heat map of the tax -------------------------------------------------------------------------------------------


def heat_maps(drawer: Drawer) -> Iterator[Chart]:
    """Ideas down, places across, the tax as colour and number; hatched words where there is none."""
    rows = drawer.summary.rows
    entries = list(dict.fromkeys(drawer.entry(row) for row in rows))
    for part, start in enumerate(range(0, len(entries), _MOST_ROWS)):
        shown = entries[start : start + _MOST_ROWS]
        order = {entry: number for number, entry in enumerate(shown)}
        values = [
            _heat(drawer, row, row.principal) | {"order": order[drawer.entry(row)]}
            for row in rows
            if drawer.entry(row) in order
        ]
        place = {
            "field": "where", "type": "nominal", "title": None, "sort": None,
            "axis": {"orient": "top", "labelAngle": 0, "domain": False, "ticks": False},
        }  # fmt: skip
        entry = {
            "field": "what", "type": "nominal", "title": None, "sort": IN_ORDER,
            "axis": {"domain": False, "ticks": False, "labelLimit": 330},
        }  # fmt: skip
        colour = {
            "field": "level", "type": "ordinal",
            "scale": {"domain": _LEVELS, "range": [f"@tax-{level}" for level in range(len(_LEVELS))]},
            "legend": {"title": "tax: what a useful FLOP costs here", "columns": 9, "symbolType": "square"},
        }  # fmt: skip
        known = [{"filter": "isValid(datum.level)"}]
        cells = {
            "transform": known,
            "mark": {"type": "rect", "stroke": "@card", "strokeWidth": 2, "cornerRadius": 4},
            "encoding": {"color": colour},
        }
        inks = [{"test": f"datum.level == '{level}'", "value": f"@ink-{k}"} for k, level in enumerate(_LEVELS)]
        numbers = {
            "transform": known,
            "mark": {"type": "text", "fontWeight": "bold"},
            "encoding": {"text": {"field": "text"}, "color": {"condition": inks, "value": "@ink"}},
        }
        words = {
            "transform": [{"filter": "!isValid(datum.level)"}],
            "mark": {"type": "text", "color": "@soft", "fontStyle": "italic", "fontSize": 10, "limit": 120},
            "encoding": {"text": {"field": "text"}},
        }
        tips = tooltip("what", "where", "path", "tax", "speed-up", "time", "outcome")
        shared = {"x": place, "y": entry, "tooltip": tips}
        spec = drawing(values, 26 * len(shown), [cells, numbers, words], encoding=shared)
        yield Chart(
            name="tax" if not part else f"tax-{part + 1}",
            group="Tax",
            title="What leaving the dense path costs",
            note=(
                "How many times dearer a useful FLOP is than in the dense twin: blue below 1, orange above. "
                "≈ marks a tie in time."
            ),
            spec=spec,
        )


def _heat(drawer: Drawer, row: Row, against: Against | None) -> dict[str, Any]:
    tax = against.tax if against else None
    tie = " ≈" if against and against.verdict == "tie" else ""
    text = f"{significant(tax)}{tie}" if tax is not None else (_worst(row) if row.path is None else "no twin")
    level = palette.tax_level(tax)
    return drawer.facts(row) | {
        "level": None if level is None else _LEVELS[level], "text": text, "outcome": outcome_cell(row),
    }  # fmt: skip


def _worst(row: Row) -> str:
    """The outcome of a row without an ok path, its count left out: `unsupported`."""
    return row.outcome.partition(" ")[0]


# -- break-even --------------------------------------------------------------------------------------------------------


def break_evens(drawer: Drawer) -> Iterator[Chart]:
    """Speed-up against density with intervals, a curve a place; the line at 1, and where each curve passes it."""
    curves: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in drawer.everything.rows:
        density = row.params.get("density")
        if isinstance(density, int | float) and density > 0 and row.principal and row.principal.speed_up:
            curves[row.workload, same_point(row.params, without="density"), row.mode, row.dtype].append(row)
    curves = {key: rows for key, rows in curves.items() if len({row.params["density"] for row in rows}) > 1}
    for number, ((workload, point, mode, dtype), rows) in enumerate(curves.items(), 1):
        values = [_dense_enough(drawer, row, row.principal) for row in rows if row.principal]
        meets = [
            {"where": drawer.place(e.run, e.backend, e.device), "x": e.density, "low": e.low, "high": e.high, "one": 1}
            | {"finding": e.sentence}
            for e in drawer.everything.break_even
            if (e.workload, e.point, e.mode, e.dtype) == (workload, point, mode, dtype) and e.density is not None
        ]
        x = log_axis("density", "density δ", "~g")
        y = log_axis("value", "speed-up over the dense twin", "~g")
        colour = hued("where", drawer.places)
        rule = {"data": {"values": [{"one": 1}]}, "mark": {"type": "rule", "color": "@ink", "strokeDash": [5, 4]}}
        layers = [
            rule | {"encoding": {"y": {"field": "one", "type": "quantitative"}}},
            {
                "mark": {"type": "rule", "strokeWidth": 2, "opacity": 0.55},
                "encoding": {"x": x, "y": log_axis("low", y["title"], "~g"), "y2": {"field": "high"}, "color": colour},
            },
            {
                "mark": {"type": "line", "strokeWidth": 2},
                "encoding": {"x": x, "y": y, "color": colour},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 55, "opacity": 1},
                "encoding": {
                    "x": x, "y": y, "color": colour,
                    "tooltip": tooltip("where", "what", "path", "speed-up", "tax", "time"),
                },
            },
            {
                "data": {"values": meets},
                "mark": {"type": "rule", "strokeWidth": 5, "opacity": 0.35},
                "encoding": {
                    "x": {"field": "low", "type": "quantitative"}, "x2": {"field": "high"},
                    "y": {"field": "one", "type": "quantitative"}, "color": colour,
                },
                "transform": [{"filter": "isValid(datum.low) && isValid(datum.high)"}],
            },
            {
                "data": {"values": meets},
                "mark": {"type": "point", "shape": "diamond", "size": 110, "fill": "@card", "opacity": 1},
                "encoding": {
                    "x": {"field": "x", "type": "quantitative"}, "y": {"field": "one", "type": "quantitative"},
                    "color": colour, "tooltip": tooltip("where", "finding"),
                },
            },
        ]  # fmt: skip
        axes = [part for part in rows[0].label.split(", ") if part and not part.startswith("density=")]
        title = ", ".join([workload, *axes, mode, *([dtype] if drawer.where.dtypes else [])])
        yield Chart(
            name=f"break-even-{number}" if len(curves) > 1 else "break-even",
            group="Break-even",
            title=f"Break-even of {title}",
            note="Above the dashed line the idea is faster. A diamond is the break-even density, its bar the interval.",
            spec=drawing(values, 300, layers),
        )


def _dense_enough(drawer: Drawer, row: Row, against: Against) -> dict[str, Any]:
    figures = {
        "density": row.params["density"],
        "value": against.speed_up,
        "low": against.speed_up_low,
        "high": against.speed_up_high,
    }
    return drawer.facts(row) | figures


# -- who holds the winning ticket --------------------------------------------------------------------------------------


def ranks(drawer: Drawer) -> Iterator[Chart]:
    """How the ranks of ideas by speed-up move between places: a line an idea, tied ideas beside one another."""
    moved = [shift for shift in drawer.summary.lottery if all(rank is not None for rank in shift.ranks.values())]
    if not moved:
        return
    places = list(moved[0].ranks)
    rows = [*drawer.everything.rows, *drawer.everything.dense]
    several = len({row.run for row in rows}) > 1
    known = {
        f"{row.backend} {row.device}" + (f" {row.run}" if several else ""): drawer.place(
            row.run, row.backend, row.device
        )
        for row in rows
    }
    names = [f"{shift.workload} ({shift.point}, {shift.mode})" for shift in moved]
    short = _shortest(drawer, names, [(shift.workload, shift.point, shift.mode, shift.dtype) for shift in moved])
    # Tied ideas share a rank and leave the following ones free: each gets a slot of its own there.
    slots: dict[str, list[int]] = {}
    for place in places:
        slots[place] = sorted(
            range(len(moved)), key=lambda k: (moved[k].ranks[place] or 0, -(moved[k].speed_ups[place] or 0))
        )
    values = [
        {
            "where": known.get(place, place), "slot": slots[place].index(k) + 1, "rank": moved[k].ranks[place],
            "what": short[k],
            "idea": moved[k].workload, "speed-up": f"{significant(moved[k].speed_ups[place] or 0)}×",
            "moves": str(moved[k].shift),
        }
        for k in range(len(moved)) for place in places
    ]  # fmt: skip
    x = {
        "field": "where", "type": "nominal", "sort": None, "title": None, "scale": {"type": "point", "padding": 0.15},
        "axis": {"orient": "top", "labelAngle": 0, "domain": False, "ticks": False, "grid": True},
    }  # fmt: skip
    scale = {"domain": [len(moved) + 0.6, 0.4], "nice": False, "zero": False}
    sides = []
    for side, place in (("left", places[0]), ("right", places[-1])):
        axis = {
            "orient": side, "values": list(range(1, len(moved) + 1)), "grid": False, "domain": False, "ticks": False,
            "labelExpr": f"{side}Names[datum.value - 1]", "labelLimit": 250, "title": None, "labelOverlap": False,
        }  # fmt: skip
        sides.append((axis, {"name": f"{side}Names", "value": [short[k] for k in slots[place]]}))
    colour = hued("idea", {row.workload for row in drawer.everything.rows}) | {"legend": None}

    def y(axis: Spec | None) -> Spec:
        return {"field": "slot", "type": "quantitative", "scale": scale, "axis": axis}

    layers = [
        {
            "mark": {"type": "line", "strokeWidth": 3, "opacity": 0.8},
            "encoding": {"x": x, "y": y(sides[0][0]), "color": colour, "detail": {"field": "what"}},
        },
        {
            "mark": {"type": "circle", "size": 420, "opacity": 1},
            "encoding": {
                "x": x,
                "y": y(sides[1][0]),
                "color": colour,
                "tooltip": tooltip("what", "where", "rank", "speed-up", "moves"),
            },
        },
        {
            "mark": {"type": "text", "color": "@card", "fontWeight": "bold", "tooltip": None},
            "encoding": {"x": x, "y": y(None), "text": {"field": "rank"}},
        },
    ]
    yield Chart(
        name="ranks",
        group="Ranks",
        title="How ranks by speed-up shift from place to place",
        note="1 is the idea with the largest speed-up there. Ideas with the same number cannot be told apart.",
        spec=drawing(
            values, 27 * len(moved) + 10, layers,
            params=[side[1] for side in sides], resolve={"axis": {"y": "independent"}},
        ),
    )  # fmt: skip


def _shortest(drawer: Drawer, names: Sequence[str], keys: Sequence[tuple[str, str, str, str]]) -> list[str]:
    """The name that the tables use for each point, where they have one."""
    known = {(row.workload, row.point, row.mode, row.dtype): drawer.entry(row) for row in drawer.summary.rows}
    return [known.get(key, name) for key, name in zip(keys, names, strict=True)]

"""Who holds the winning ticket: the ranks of ideas by speed-up in every place, and how they shift between places."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.figures.findings import Shift
from harness.report.wording import significant
from harness.web.vega import Chart, Drawer, Spec, drawing, hued, tooltip


def ranks(drawer: Drawer) -> Iterator[Chart]:
    """How the ranks of ideas by speed-up move between places: a line an idea, tied ideas beside one another."""
    moved = [shift for shift in drawer.summary.lottery if all(rank is not None for rank in shift.ranks.values())]
    if not moved:
        return
    names = [f"{shift.workload} ({shift.point}, {shift.mode})" for shift in moved]
    short = _shortest(drawer, names, [(shift.workload, shift.point, shift.mode, shift.dtype) for shift in moved])
    slots = _slots(moved)
    colour = hued("idea", {row.workload for row in drawer.everything.rows}) | {"legend": None}
    sides = _sides(short, slots)
    yield Chart(
        name="ranks",
        group="Ranks",
        title="How ranks by speed-up shift from place to place",
        note="1 is the idea with the largest speed-up there. Ideas with the same number cannot be told apart.",
        spec=drawing(
            _marks(drawer, moved, short, slots),
            27 * len(moved) + 10,
            _layers([axis for axis, _ in sides], len(moved), colour),
            params=[names for _, names in sides],
            resolve={"axis": {"y": "independent"}},
        ),
    )


def _slots(moved: Sequence[Shift]) -> dict[str, list[int]]:
    """In every place the ideas from the top; tied ones share a rank and leave the next free, so each has a slot."""
    return {
        place: sorted(range(len(moved)), key=lambda k: (moved[k].ranks[place] or 0, -(moved[k].speed_ups[place] or 0)))
        for place in moved[0].ranks
    }


def _marks(
    drawer: Drawer, moved: Sequence[Shift], short: Sequence[str], slots: Mapping[str, Sequence[int]]
) -> list[dict[str, Any]]:
    """An idea in a place."""
    rows = [*drawer.everything.rows, *drawer.everything.dense]
    several = len({row.run for row in rows}) > 1
    known = {
        f"{row.backend} {row.device}" + (f" {row.run}" if several else ""): drawer.place(
            row.run, row.backend, row.device
        )
        for row in rows
    }
    return [
        {
            "where": known.get(place, place),
            "slot": order.index(k) + 1,
            "rank": shift.ranks[place],
            "what": short[k],
            "idea": shift.workload,
            "speed-up": f"{significant(shift.speed_ups[place] or 0)}×",
            "moves": str(shift.shift),
        }
        for k, shift in enumerate(moved)
        for place, order in slots.items()
    ]


def _sides(short: Sequence[str], slots: Mapping[str, Sequence[int]]) -> list[tuple[Spec, Spec]]:
    """The axes left and right, and the parameters that hold their names: those of the first and of the last place."""
    places = list(slots)
    sides: list[tuple[Spec, Spec]] = []
    for side, place in (("left", places[0]), ("right", places[-1])):
        axis = {
            "orient": side, "values": list(range(1, len(short) + 1)), "grid": False, "domain": False, "ticks": False,
            "labelExpr": f"{side}Names[datum.value - 1]", "labelLimit": 250, "title": None, "labelOverlap": False,
        }  # fmt: skip
        sides.append((axis, {"name": f"{side}Names", "value": [short[k] for k in slots[place]]}))
    return sides


def _layers(axes: Sequence[Spec], count: int, colour: Spec) -> list[Spec]:
    """Lines, circles and the numbers in them."""
    x = {
        "field": "where", "type": "nominal", "sort": None, "title": None, "scale": {"type": "point", "padding": 0.15},
        "axis": {"orient": "top", "labelAngle": 0, "domain": False, "ticks": False, "grid": True},
    }  # fmt: skip
    scale = {"domain": [count + 0.6, 0.4], "nice": False, "zero": False}

    def y(axis: Spec | None) -> Spec:
        return {"field": "slot", "type": "quantitative", "scale": scale, "axis": axis}

    tips = tooltip("what", "where", "rank", "speed-up", "moves")
    return [
        {
            "mark": {"type": "line", "strokeWidth": 3, "opacity": 0.8},
            "encoding": {"x": x, "y": y(axes[0]), "color": colour, "detail": {"field": "what"}},
        },
        {
            "mark": {"type": "circle", "size": 420, "opacity": 1},
            "encoding": {"x": x, "y": y(axes[1]), "color": colour, "tooltip": tips},
        },
        {
            "mark": {"type": "text", "color": "@card", "fontWeight": "bold", "tooltip": None},
            "encoding": {"x": x, "y": y(None), "text": {"field": "rank"}},
        },
    ]


def _shortest(drawer: Drawer, names: Sequence[str], keys: Sequence[tuple[str, str, str, str]]) -> list[str]:
    """The name that the tables use for each point, where they have one."""
    known = {(row.workload, row.point, row.mode, row.dtype): drawer.entry(row) for row in drawer.summary.rows}
    return [known.get(key, name) for key, name in zip(keys, names, strict=True)]

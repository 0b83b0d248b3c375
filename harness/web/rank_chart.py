"""Who holds the winning ticket: the ranks of ideas by speed-up in every place, and how they shift between places."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.figures.lottery import Shift
from harness.report.wording import significant
from harness.web.vega import Chart, Drawer, Spec, drawing, hued, tooltip

# A rounded bar, wide enough for "10–12".
_OVAL = "M-0.8,-0.5A0.5,0.5,0,0,0,-0.8,0.5L0.8,0.5A0.5,0.5,0,0,0,0.8,-0.5Z"


def ranks(drawer: Drawer) -> Iterator[Chart]:
    """How the ranks of ideas by speed-up move between places: a line an idea, in the order of the speed-ups."""
    moved = [shift for shift in drawer.summary.lottery if shift.ranked]
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
        note="From the largest speed-up down. The numbers are the ranks that the measurements allow. A bold line is an "
        "idea whose rank surely moves: its ranks in two places have none in common.",
        spec=drawing(
            _marks(drawer, moved, short, slots),
            27 * len(moved) + 10,
            _layers([axis for axis, _ in sides], len(moved), colour),
            params=[names for _, names in sides],
            resolve={"axis": {"y": "independent"}},
        ),
    )


def _slots(moved: Sequence[Shift]) -> dict[str, list[int]]:
    """In every place the ideas from the largest speed-up down."""
    return {
        place: sorted(range(len(moved)), key=lambda k: -(moved[k].speed_ups[place] or 0)) for place in moved[0].ranks
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
            "rank": str(shift.ranks[place]),
            "what": short[k],
            "idea": shift.workload,
            "speed-up": f"{significant(shift.speed_ups[place] or 0)}×",
            "moves": f"by {shift.shift} at least" if shift.shift else "cannot tell" if shift.shift is None else "no",
            "moved": bool(shift.shift),
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
    """Lines, ovals and the ranks in them."""
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
            "mark": {"type": "line"},
            "encoding": {"x": x, "y": y(axes[0]), "color": colour, "detail": {"field": "what"}}
            | {
                name: {"condition": {"test": "datum.moved", "value": bold}, "value": thin}
                for name, bold, thin in (("strokeWidth", 4, 1.5), ("opacity", 0.9, 0.35))
            },
        },
        {
            "mark": {"type": "point", "shape": _OVAL, "filled": True, "size": 420, "opacity": 1},
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

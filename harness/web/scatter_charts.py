"""The charts with a mark for every case: roofline, time against memory and energy, compilation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.figures.ceilings import CEILINGS_ALONE, Ceiling
from harness.figures.summary import Row
from harness.report.wording import energy_cell, memory_cell, quantity, share_cell, significant, spread
from harness.stats.intervals import none_if_nan
from harness.web.vega import TWIN, Chart, Drawer, Spec, Values, drawing, hued, log_axis, tooltip

_MOST_CASES = 3000  # of one chart; past it only the best paths are drawn


# -- roofline ----------------------------------------------------------------------------------------------------------


def rooflines(drawer: Drawer) -> Iterator[Chart]:
    """Useful FLOP/s against intensity for every case that is ok, below the ceilings measured in the same run."""
    places: dict[tuple[str, str], list[int]] = defaultdict(list)
    for number, facts in enumerate(drawer.index.table):
        if facts["flop_per_s"] > 0 and facts["intensity"] > 0 and facts["workload"] not in CEILINGS_ALONE:
            places[facts["run"], facts["device"]].append(number)
    for order, ((run, device), numbers) in enumerate(places.items(), 1):
        shown = _within(drawer, numbers)
        values = [_case(drawer, number) for number in shown]
        lows = [value["intensity"] for value in values]
        ceilings = [c for c in drawer.summary.ceilings if (c.run, c.device) == (run, device)]
        roofs = list(_roofs(ceilings, min(lows), max(lows)))
        x = log_axis("intensity", "useful FLOP over least bytes (FLOP/byte)", "~g")
        y = log_axis("rate", "useful FLOP/s")
        layers: list[Spec] = [
            {
                "mark": {"type": "point", "filled": True, "size": 46, "opacity": 0.75},
                "encoding": {
                    "x": x, "y": y,
                    "color": hued("idea", [value["idea"] for value in values]),
                    "shape": {"field": "backend", "type": "nominal", "title": None},
                    "tooltip": tooltip("what", "backend", "path", "time", "rate reached"),
                },
            },
            {
                "data": {"values": roofs},
                "mark": {"type": "line", "strokeWidth": 2, "color": "@ink"},
                "encoding": {
                    "x": {"field": "intensity", "type": "quantitative"}, "y": {"field": "rate", "type": "quantitative"},
                    "strokeDash": {
                        "field": "ceiling", "type": "nominal", "title": "measured ceilings", "legend": {"columns": 3},
                    },
                    "tooltip": tooltip("ceiling", "by"),
                },
            },
        ]  # fmt: skip
        note = "Lines are what this machine reached in the same run, not a datasheet. Every point is a case that is ok."
        if len(shown) < len(numbers):
            note = f"Lines are measured in the same run. Of {len(numbers)} cases only the best paths are drawn."
        yield Chart(
            name="roofline" if len(places) == 1 else f"roofline-{order}",
            group="Roofline",
            title=f"Roofline of {device}{drawer.where.run(run)}",
            note=note,
            spec=drawing(values, 420, layers if roofs else layers[:1]),
        )


def _within(drawer: Drawer, numbers: Sequence[int]) -> Sequence[int]:
    """All of the cases, or the best paths only where they are too many to be seen."""
    if len(numbers) <= _MOST_CASES:
        return numbers
    rows = [*drawer.everything.rows, *drawer.everything.dense]
    best = {drawer.index.of(row)[0] for row in rows if row.path is not None}
    return [number for number in numbers if number in best][:_MOST_CASES]


def _case(drawer: Drawer, number: int) -> dict[str, Any]:
    facts = drawer.index.table[number]
    axes = ", ".join(f"{name}={value}" for name, value in facts["params"].items())
    return {
        "what": f"{facts['workload']} {facts['mode']} ({axes}) {facts['dtype']}",
        "idea": facts["workload"] if facts["twins"] else TWIN,
        "backend": facts["backend"],
        "where": drawer.place(facts["run"], facts["backend"], facts["device"]),
        "path": facts["path"],
        "intensity": facts["intensity"],
        "rate": facts["flop_per_s"],
        "rate reached": quantity(facts["flop_per_s"], "FLOP/s"),
        "time": quantity(facts["time_s"], "s", *_interval(facts)),
        "open": number,
    }


def _interval(facts: Mapping[str, Any]) -> tuple[float | None, float | None]:
    low, high = none_if_nan(facts["time_low_s"]), none_if_nan(facts["time_high_s"])
    return spread(low, high, facts["processes"])


def _roofs(ceilings: Sequence[Ceiling], left: float, right: float) -> Iterator[dict[str, Any]]:
    """The lines: each dense rate, and below it the fastest stream and that of the largest working set."""
    flat = [c for c in ceilings if c.kind == "matmul"]
    streams = [c for c in ceilings if c.kind == "bandwidth"]
    slopes = {id(c): c for c in (max(streams, key=lambda c: c.per_s), streams[-1])}.values() if streams else ()
    top = max((c.per_s for c in flat), default=None)
    ridges = [top / c.per_s for c in slopes] if top else []
    left, right = (
        min([left, *(ridge / 8 for ridge in ridges)]) / 1.3,
        max([right, *(2 * ridge for ridge in ridges)]) * 1.3,
    )
    for c in flat:
        name = f"{c.dtype} dense product, {quantity(c.per_s, 'FLOP/s')}"
        begin = min((c.per_s / slope.per_s for slope in slopes), default=left)
        for at in (begin, right):
            yield {"intensity": at, "rate": c.per_s, "ceiling": name, "by": c.path}
    for c in slopes:
        name = f"memory, {significant((c.working_set_bytes or 0) / 2**20)} MiB, {quantity(c.per_s, 'B/s')}"
        end = right if top is None else top / c.per_s
        for at in (left, end):
            yield {"intensity": at, "rate": at * c.per_s, "ceiling": name, "by": c.path}


# -- time against memory and energy ------------------------------------------------------------------------------------


def costs(drawer: Drawer) -> Iterator[Chart]:
    """The best paths of ideas and of their twins: time beside peak memory, and beside energy."""
    rows = [row for row in (*drawer.summary.rows, *drawer.summary.dense) if row.time_s]
    for name, title, field, unit in (
        ("memory", "Time against peak memory", "memory_bytes", "peak memory (B)"),
        ("energy", "Time against energy", "energy_j", "energy of a call (J)"),
    ):
        values = [_cost(drawer, row, field) for row in rows if (getattr(row, field) or 0) > 0]
        if not values:
            continue
        y, x = log_axis("value", unit), log_axis("seconds", "time of a call (s)")
        colour = hued("where", drawer.places)
        bars = {"mark": {"type": "rule", "strokeWidth": 1.5, "opacity": 0.3, "tooltip": None}}
        layers: list[Spec] = [
            bars | {"encoding": {"y": y, "x": log_axis("low", x["title"]), "x2": {"field": "high"}, "color": colour}},
            {
                "mark": {"type": "point", "filled": True, "size": 60, "opacity": 0.85},
                "encoding": {
                    "x": x, "y": y, "color": colour,
                    "shape": {"field": "kind", "type": "nominal", "title": None},
                    "tooltip": tooltip("what", "where", "path", "time", "memory", "energy", "share"),
                },
            },
        ]  # fmt: skip
        note = "Best paths; left and low is better. The bar is the interval of the time."
        if name == "energy":
            spread = log_axis("low_j", unit)
            between = bars | {"transform": [{"filter": "isValid(datum.low_j) && isValid(datum.high_j)"}]}
            layers[0] = between | {"encoding": {"x": x, "y": spread, "y2": {"field": "high_j"}, "color": colour}}
            layers[1]["encoding"]["shape"] = {"field": "source", "type": "nominal", "title": "energy"}
            note = (
                "Best paths; left and low is better. The bar has the bounds of the energy; sources are not comparable."
            )
        yield Chart(
            name=f"time-{name}", group="Time, memory, energy", title=title, note=note, spec=drawing(values, 340, layers)
        )


def _cost(drawer: Drawer, row: Row, field: str) -> dict[str, Any]:
    return drawer.facts(row) | {
        "seconds": row.time_s,
        "low": row.time_low_s,
        "high": row.time_high_s,
        "value": getattr(row, field),
        "low_j": row.energy_low_j or None,
        "high_j": row.energy_high_j or None,
        "source": row.energy_source,
        "kind": "idea" if row.against else TWIN,
        "memory": memory_cell(row),
        "energy": energy_cell(row),
        "share": share_cell(row),
    }


# -- compilation -------------------------------------------------------------------------------------------------------


def compilation(drawer: Drawer) -> Iterator[Chart]:
    """The first call, compilation included, against a later one: every compiled or graph case that is ok."""
    table = drawer.index.table
    numbers = [
        k for k, f in enumerate(table) if f["execution"] != "eager" and f["time_s"] > 0 and f["first_call_s"] > 0
    ]
    values: Values = []
    for number in _within(drawer, numbers):
        facts = table[number]
        cache = (
            f"{facts['execution']}, {facts['compile_cache']} cache" if facts["compile_cache"] else facts["execution"]
        )
        first = {"first": facts["first_call_s"], "seconds": facts["time_s"], "how": cache}
        values.append(_case(drawer, number) | first | {"first call": quantity(facts["first_call_s"], "s")})
    if not values:
        return
    spec = drawing(
        values,
        340,
        [
            {
                "mark": {"type": "point", "filled": True, "size": 46, "opacity": 0.7},
                "encoding": {
                    "x": log_axis("seconds", "time of a later call (s)"),
                    "y": log_axis("first", "first call, compilation included (s)"),
                    "color": hued("where", drawer.places),
                    "shape": {"field": "how", "type": "nominal", "title": None},
                    "tooltip": tooltip("what", "where", "path", "first call", "time"),
                },
            }
        ],
    )
    note = "High up, the first call is dear; the amortisation table says after how many calls it is paid back."
    yield Chart(name="compilation", group="Compilation", title="Compile time against run time", note=note, spec=spec)

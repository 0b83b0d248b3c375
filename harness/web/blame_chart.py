"""Where the tax comes from: each idea a bar from 1 to its tax, split into what is to blame, on a logarithmic axis."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from harness.report.blame_text import told
from harness.report.wording import significant
from harness.web.vega import IN_ORDER, Chart, Drawer, Spec, drawing, log_axis, tooltip

PARTS = ("hardware", "executed but not needed", "slow")
_COLOURS = ("@soft", "@tax-6", "@tax-4")
_MOST_BARS = 60


def blames(drawer: Drawer) -> Iterator[Chart]:
    """A bar for each idea and place of which the parts are known."""
    known = [(row, a) for row, a in told(drawer.summary.rows) if a.hardware_tax and a.software_tax]
    values: list[dict[str, Any]] = []
    for order, (row, against) in enumerate(known[:_MOST_BARS]):
        hardware, software = against.hardware_tax or 1.0, against.software_tax or 1.0
        ends = [1.0, hardware, hardware * (against.wasted or 1.0), hardware * software]
        facts = drawer.facts(row) | {"order": order}
        facts["bar"] = f"{facts['what']} · {facts['where']}"
        for part, start, end in zip(PARTS, ends, ends[1:], strict=False):
            if start != end:
                factor = f"{significant(end / start)}×"
                values.append(facts | {"part": part, "start": start, "end": end, "factor": factor})
    if values:
        yield Chart(
            name="blame",
            group="Tax",
            title="Where the tax comes from",
            note=(
                "From 1 to the tax: what the machine's measured ceilings ask for, what is executed without being "
                "needed, and what is left, the same work done slowly. The parts are factors. Where nothing was counted "
                "the last two are one. A part that makes the tax smaller runs back."
            ),
            spec=drawing(values, 18 * len({value["bar"] for value in values}) + 10, [_bars()]),
        )


def _bars() -> Spec:
    return {
        "mark": {"type": "bar", "height": 12},
        "encoding": {
            "x": log_axis("start", "tax, times what a useful FLOP costs in the dense twin"),
            "x2": {"field": "end"},
            "y": {"field": "bar", "type": "nominal", "title": None, "sort": IN_ORDER, "axis": {"labelLimit": 330}},
            "color": {
                "field": "part",
                "type": "nominal",
                "title": None,
                "scale": {"domain": list(PARTS), "range": list(_COLOURS)},
            },
            "tooltip": tooltip("what", "where", "path", "part", "factor", "tax", "speed-up", "time"),
        },
    }

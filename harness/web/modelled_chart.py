"""The picture of the break-even device: speed-up against the factor on one parameter, a line an idea; modelled."""

from __future__ import annotations

from collections.abc import Sequence

from harness.modelling.rows import FactorPoint
from harness.web.vega import Chart, Spec, hued, log_axis, tooltip

_HEIGHT = 240


def factors(device: str, points: Sequence[FactorPoint]) -> Chart | None:
    """A panel for each parameter that matters, on a modelled device; None where no parameter does."""
    if not points:
        return None
    ideas = sorted({point.idea for point in points})
    values = [point._asdict() for point in points]
    colour = hued("idea", ideas)
    x = log_axis("factor", "times as good as today", "~g")
    y = log_axis("speed_up", "modelled speed-up over the dense twin", "~g")
    layers: list[Spec] = [
        {
            "mark": {"type": "line", "strokeWidth": 2},
            "encoding": {"x": x, "y": y, "color": colour, "detail": {"field": "line"}, "tooltip": tooltip("line")},
        },
        {"mark": {"type": "rule", "color": "@ink", "strokeDash": [5, 4]}, "encoding": {"y": {"datum": 1}}},
    ]
    spec: Spec = {
        "data": {"values": values},
        "facet": {"field": "parameter", "type": "nominal", "title": None},
        "columns": 3,
        "spec": {"width": 240, "height": _HEIGHT, "layer": layers},
        "resolve": {"scale": {"y": "shared"}},
    }
    return Chart(
        name="break-even-device",
        group="What-if",
        title=f"Break-even device: what one parameter alone would do, from {device} (modelled)",
        note="Modelled, not measured. Above the dashed line an idea is faster than its dense twin.",
        spec=spec,
    )

"""The picture of a stored run: every idea's speed-up over its dense twin, a mark for each framework, as one SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from tools import docs_sources as sources

if TYPE_CHECKING:
    from harness.figures.summary import Row

WIDTH, LEFT, RIGHT, TOP, BAND, LANE = 860, 250, 34, 74, 44, 11
_STEPS = [step * 10.0**power for power in range(-4, 5) for step in (1, 2, 5)]
# Okabe and Ito's colours, which the colour-blind tell apart; each framework has a shape of its own, too.
SERIES = {"torch": ("PyTorch", "#d55e00"), "jax": ("JAX", "#0072b2"), "tensorflow": ("TensorFlow", "#009e73")}


def svg(name: str) -> str:
    """The SVG, the same bytes for the same records."""
    rows = [row for row in sources.summary(name).rows if row.workload != "dense_cnn" and row.backend in SERIES]
    ideas = list(dict.fromkeys((row.workload, row.label, row.mode) for row in rows))
    height = TOP + BAND * len(ideas) + 58
    ticks = _ticks(rows)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'font-family="system-ui, sans-serif" font-size="13" fill="#222222" role="img" '
        'aria-label="Speed-up of each idea over its dense twin">',
        f'<rect width="{WIDTH}" height="{height}" rx="6" fill="#ffffff"/>',
        '<text x="20" y="28" font-size="16" font-weight="600">Does the idea pay here? '
        "Time of the dense twin / time of the idea</text>",
        *_legend(),
        *_axis(ticks, height),
    ]
    for number, idea in enumerate(ideas):
        out += _idea(number, idea, [row for row in rows if (row.workload, row.label, row.mode) == idea], ticks)
    machine = sources.run(name).info.machine
    said = f"{machine['cpu']}, {machine['cores_usable']} cores; each by its best path; bars are 95 % intervals"
    out.append(f'<text x="20" y="{height - 14}" font-size="12" fill="#555555">{escape(said)}</text>')
    return "\n".join([*out, "</svg>"]) + "\n"


def chips() -> str:
    """The lottery across chips: the chart of that name, of all stored runs that were compiled for a chip."""
    from harness.report.published import Published
    from harness.web.charts import chips as drawn
    from harness.web.pictures import converter, static
    from harness.web.vega import Drawer

    records = [record for name in sources.compiled_for() for record in sources.run(name).records]
    (chart,) = drawn(Drawer(Published(summary=sources.across_chips(), records=records, runs=[])))
    return str(converter().vegalite_to_svg(static(chart))) + "\n"


def _ticks(rows: Sequence[Row]) -> list[float]:
    """1, 2 and 5 times powers of ten, as many as hold every value and every end of an interval."""
    twins = [row.principal for row in rows if row.principal is not None]
    found = [v for t in twins for v in (t.speed_up, t.speed_up_low, t.speed_up_high) if v is not None and v > 0]
    low, high = min([0.5, *found]), max([2.0, *found])
    first = max((k for k, step in enumerate(_STEPS) if step <= low), default=0)
    last = min((k for k, step in enumerate(_STEPS) if step >= high), default=len(_STEPS) - 1)
    return _STEPS[first : last + 1]


def _x(value: float, ticks: Sequence[float]) -> float:
    low, high = math.log(ticks[0]), math.log(ticks[-1])
    share = (math.log(value) - low) / (high - low)
    return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)


def _legend() -> list[str]:
    out, x = [], 20
    for title, colour in SERIES.values():
        out += [_mark(x + 5, 48, title, colour), f'<text x="{x + 16}" y="52">{title}</text>']
        x += 40 + 8 * len(title)
    return out


def _axis(ticks: Sequence[float], height: int) -> list[str]:
    bottom = height - 52
    out = []
    for tick in ticks:
        x = _x(tick, ticks)
        style = 'stroke="#222222" stroke-width="1.5"' if tick == 1 else 'stroke="#dddddd"'
        out.append(f'<line x1="{x}" y1="{TOP - 6}" x2="{x}" y2="{bottom}" {style}/>')
        out.append(f'<text x="{x}" y="{bottom + 16}" text-anchor="middle" font-size="12">{tick:g}×</text>')
    out.append(
        f'<text x="{_x(1, ticks) - 8}" y="{TOP - 10}" text-anchor="end" font-size="12">the dense path is faster</text>'
    )
    out.append(f'<text x="{_x(1, ticks) + 8}" y="{TOP - 10}" font-size="12">the idea is faster</text>')
    return out


def _idea(number: int, idea: tuple[str, str, str], rows: Sequence[Row], ticks: Sequence[float]) -> list[str]:
    top = TOP + BAND * number
    workload, label, mode = idea
    below = ", ".join(filter(None, (label, mode.replace("_", " "))))
    out = []
    if number % 2:
        out.append(f'<rect x="10" y="{top}" width="{WIDTH - 20}" height="{BAND}" fill="#000000" fill-opacity="0.035"/>')
    out.append(f'<text x="20" y="{top + 19}" font-weight="600">{escape(workload)}</text>')
    out.append(f'<text x="20" y="{top + 35}" font-size="12" fill="#555555">{escape(below)}</text>')
    for lane, backend in enumerate(SERIES):
        for row in rows:
            if row.backend == backend:
                out += _point(row, top + BAND / 2 + LANE * (lane - 1), ticks)
    return out


def _point(row: Row, y: float, ticks: Sequence[float]) -> list[str]:
    twin = row.principal
    title, colour = SERIES[row.backend]
    if twin is None or twin.speed_up is None:
        return []
    out = []
    if twin.speed_up_low is not None and twin.speed_up_high is not None:
        ends = f'x1="{_x(twin.speed_up_low, ticks)}" y1="{y}" x2="{_x(twin.speed_up_high, ticks)}" y2="{y}"'
        out.append(f'<line {ends} stroke="{colour}" stroke-width="2"/>')
    return [*out, _mark(_x(twin.speed_up, ticks), y, title, colour)]


def _mark(x: float, y: float, title: str, colour: str) -> str:
    """A circle, a square or a triangle of the same area."""
    if title == "PyTorch":
        return f'<circle cx="{x}" cy="{y}" r="4.5" fill="{colour}"/>'
    if title == "JAX":
        return f'<rect x="{x - 4:.1f}" y="{y - 4}" width="8" height="8" fill="{colour}"/>'
    points = f"{x:.1f},{y - 5} {x - 5:.1f},{y + 4} {x + 5:.1f},{y + 4}"
    return f'<polygon points="{points}" fill="{colour}"/>'

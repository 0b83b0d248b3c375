"""Pictures of a stored run as SVG: speed-ups over the dense twin, a mark for each framework."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, NamedTuple

from tools import docs_sources as sources

if TYPE_CHECKING:
    from harness.figures.summary import Row

WIDTH, LEFT, RIGHT, TOP, BAND, LANE = 860, 250, 34, 74, 44, 11
_STEPS = [step * 10.0**power for power in range(-4, 5) for step in (1, 2, 5)]
# Okabe and Ito's colours, which the colour-blind tell apart; each framework has a shape of its own, too.
SERIES = {"torch": ("PyTorch", "#d55e00"), "jax": ("JAX", "#0072b2"), "tensorflow": ("TensorFlow", "#009e73")}


class Mark(NamedTuple):
    """A speed-up over the dense twin in a framework, with its interval where there is one."""

    backend: str
    value: float
    low: float | None = None
    high: float | None = None


class Band(NamedTuple):
    """A line of the picture: what it is, what is said below that, and a mark for each framework."""

    title: str
    below: str
    marks: Sequence[Mark]


def svg(name: str) -> str:
    """Every idea of a stored run by its best path; the same bytes for the same records."""
    rows = [row for row in sources.summary(name).rows if row.workload != "dense_cnn" and row.backend in SERIES]
    bands = []
    for workload, label, mode in dict.fromkeys((row.workload, row.label, row.mode) for row in rows):
        several = [row for row in rows if (row.workload, row.label, row.mode) == (workload, label, mode)]
        below = ", ".join(filter(None, (label, mode.replace("_", " "))))
        bands.append(Band(workload, below, [mark for row in several for mark in _best(row)]))
    title = "Does the idea pay here? Time of the dense twin / time of the idea"
    label = "Speed-up of each idea over its dense twin"
    return _drawn(title, label, bands, f"{machine(name)}; each by its best path; bars are 95 % intervals")


def ways(name: str, workload: str) -> str:
    """Every way to write one idea, the fastest first: each by its faster execution, over the dense twin's best path."""
    twins = {
        (row.point, row.backend): (row.label, row.time_s * twin.speed_up)
        for row in sources.summary(name).rows
        if row.workload == workload and row.time_s and (twin := row.principal) is not None and twin.speed_up
    }
    best: dict[tuple[str, str], dict[str, Mark]] = {}
    for case in sources.cases(name):
        found = twins.get((case["point"], case["backend"]))
        if case["workload"] == workload and found and case["time_s"] == case["time_s"] and case["backend"] in SERIES:
            label, twin_s = found
            marks = best.setdefault((label, case["formulation"]), {})
            mark = Mark(case["backend"], twin_s / case["time_s"])
            marks[mark.backend] = max(mark, marks.get(mark.backend, mark), key=lambda mark: mark.value)
    order = sorted(best, key=lambda way: (way[0], -max(mark.value for mark in best[way].values())))
    bands = [Band(formulation, label, list(best[label, formulation].values())) for label, formulation in order]
    title = "Which way to write it pays here? Time of the dense twin / its time"
    return _drawn(title, f"Speed-up of each formulation of {workload} over its dense twin", bands, machine(name))


def machine(name: str) -> str:
    """The machine of a stored run, in words."""
    facts = sources.run(name).info.machine
    return f"{facts['cpu']}, {facts['cores_usable']} cores"


def _drawn(title: str, label: str, bands: Sequence[Band], said: str) -> str:
    height = TOP + BAND * len(bands) + 58
    ticks = _ticks([mark for band in bands for mark in band.marks])
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'font-family="system-ui, sans-serif" font-size="13" fill="#222222" role="img" '
        f'aria-label="{escape(label)}">',
        f'<rect width="{WIDTH}" height="{height}" rx="6" fill="#ffffff"/>',
        f'<text x="20" y="28" font-size="16" font-weight="600">{escape(title)}</text>',
        *_legend(),
        *_axis(ticks, height),
    ]
    for number, band in enumerate(bands):
        out += _band(number, band, ticks)
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


def _ticks(marks: Sequence[Mark]) -> list[float]:
    """1, 2 and 5 times powers of ten, as many as hold every value and every end of an interval."""
    found = [v for mark in marks for v in (mark.value, mark.low, mark.high) if v is not None and v > 0]
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


def _band(number: int, band: Band, ticks: Sequence[float]) -> list[str]:
    top = TOP + BAND * number
    out = []
    if number % 2:
        out.append(f'<rect x="10" y="{top}" width="{WIDTH - 20}" height="{BAND}" fill="#000000" fill-opacity="0.035"/>')
    out.append(f'<text x="20" y="{top + 19}" font-weight="600">{escape(band.title)}</text>')
    out.append(f'<text x="20" y="{top + 35}" font-size="12" fill="#555555">{escape(band.below)}</text>')
    for lane, backend in enumerate(SERIES):
        for mark in band.marks:
            if mark.backend == backend:
                out += _point(mark, top + BAND / 2 + LANE * (lane - 1), ticks)
    return out


def _best(row: Row) -> list[Mark]:
    """The mark of a row's best path; none without a twin."""
    twin = row.principal
    if twin is None or twin.speed_up is None:
        return []
    return [Mark(row.backend, twin.speed_up, twin.speed_up_low, twin.speed_up_high)]


def _point(mark: Mark, y: float, ticks: Sequence[float]) -> list[str]:
    title, colour = SERIES[mark.backend]
    out = []
    if mark.low is not None and mark.high is not None:
        ends = f'x1="{_x(mark.low, ticks)}" y1="{y}" x2="{_x(mark.high, ticks)}" y2="{y}"'
        out.append(f'<line {ends} stroke="{colour}" stroke-width="2"/>')
    return [*out, _mark(_x(mark.value, ticks), y, title, colour)]


def _mark(x: float, y: float, title: str, colour: str) -> str:
    """A circle, a square or a triangle of the same area."""
    if title == "PyTorch":
        return f'<circle cx="{x}" cy="{y}" r="4.5" fill="{colour}"/>'
    if title == "JAX":
        return f'<rect x="{x - 4:.1f}" y="{y - 4}" width="8" height="8" fill="{colour}"/>'
    points = f"{x:.1f},{y - 5} {x - 5:.1f},{y + 4} {x + 5:.1f},{y + 4}"
    return f'<polygon points="{points}" fill="{colour}"/>'

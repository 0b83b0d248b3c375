"""The samples of the best paths as shares of each case's own time: steady and scattered ones side by side."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

from harness.figures.summary import Row
from harness.report.wording import quantity, spread
from harness.stats.process_times import counted, process_centres
from harness.web.record_details import thinned
from harness.web.vega import IN_ORDER, Chart, Drawer, Spec, Values, drawing, hued, log_axis, tooltip

_MOST_SAMPLES = 50  # of a case in a picture, evenly spaced in order of size


def distributions(drawer: Drawer) -> Iterator[Chart]:
    """A chart a workload, a line a case."""
    by_workload: dict[str, list[tuple[Row, int]]] = defaultdict(list)
    for row in (*drawer.summary.rows, *drawer.summary.dense):
        numbers = drawer.index.of(row)
        if numbers and row.path is not None and row.time_s:
            by_workload[row.workload].append((row, numbers[0]))
    for number, (workload, cases) in enumerate(by_workload.items(), 1):
        marks, spans = _values(drawer, workload, cases)
        yield Chart(
            name=f"samples-{number:02d}-{_slug(workload)}",
            group="Samples",
            title=f"Samples of {workload}",
            note=(
                f"Each tick is a sample of the best path, at most {_MOST_SAMPLES} a case and evenly spaced by size; "
                "the diamond is the case's time, the dark bar its 95 % interval over processes."
            ),
            spec=drawing(marks, 20 * len(spans), _layers(drawer, spans)),
        )


def _values(drawer: Drawer, workload: str, cases: Sequence[tuple[Row, int]]) -> tuple[Values, Values]:
    """The samples, a mark each, and the cases with their times and intervals."""
    marks: Values = []
    spans: Values = []
    for row, k in cases:
        time = drawer.index.records[k].time
        if time is None or not row.time_s:
            continue
        facts = drawer.facts(row)
        name = f"{facts['where']}: {facts['what'].removeprefix(workload).strip()[1:-1]}"
        shared = {"case": name, "where": facts["where"], "order": len(spans)}
        processes = [process for _, process in counted(time)]
        samples = sorted(s for process in processes for s in process)
        marks += [shared | {"value": round(s / row.time_s, 4)} for s in thinned(samples, _MOST_SAMPLES)]
        spans.append(facts | shared | _span(row, row.time_s))
        spans[-1]["processes"] = ", ".join(quantity(s, "s") for s in process_centres(processes))
    return marks, spans


def _layers(drawer: Drawer, spans: Values) -> list[Spec]:
    """A tick a sample, below them the interval and the time."""
    y = {
        "field": "case",
        "type": "nominal",
        "sort": IN_ORDER,
        "title": None,
        "axis": {"grid": True, "labelLimit": 230},
    }
    x = log_axis("value", "sample over the time of the case", "~g")
    colour = hued("where", drawer.places) | {"legend": None}
    tips = tooltip("what", "where", "path", "time", "processes")
    return [
        {
            "mark": {"type": "tick", "thickness": 1.5, "opacity": 0.45, "size": 13, "tooltip": None},
            "encoding": {"x": x, "y": y, "color": colour},
        },
        {
            "data": {"values": spans},
            "mark": {"type": "rule", "strokeWidth": 3, "color": "@ink", "opacity": 0.75},
            "encoding": {
                "x": {"field": "low", "type": "quantitative"},
                "x2": {"field": "high"},
                "y": y,
                "tooltip": tips,
            },
        },
        {
            "data": {"values": spans},
            "mark": {"type": "point", "shape": "diamond", "filled": True, "size": 70, "color": "@ink"},
            "encoding": {"x": {"field": "one", "type": "quantitative"}, "y": y, "tooltip": tips},
        },
    ]


def _span(row: Row, time_s: float) -> dict[str, float | None]:
    low, high = spread(row.time_low_s, row.time_high_s, row.processes)
    return {"one": 1.0, "low": low / time_s if low else None, "high": high / time_s if high else None}


def _slug(text: str) -> str:
    """A name that is safe in a file's: nothing of a record's leaves its folder."""
    return re.sub(r"[^a-z0-9_]+", "-", text.lower()).strip("-")[:40]

"""The report as one HTML file: the lottery table, all figures, charts and the record behind every cell.

It opens from disk without a network and holds everything: data as JSON, the library of the charts as text that is run
when the first chart comes into view. What stands in the tables is made here, from the summary, by the same words as in
every other format; the page's scripts only sort, filter, open and draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import groupby, pairwise
from typing import Any

from msgspec.structs import replace

from harness.figures.summary import Summary
from harness.report.constants import constants, twins_line
from harness.report.notes import disturbed, footer
from harness.report.published import Published
from harness.report.sections import sections
from harness.report.wording import (
    NO_IDEA,
    NOTHING,
    READS,
    UNKNOWN,
    Where,
)
from harness.web import palette, report_tables, templates
from harness.web.charts import charts
from harness.web.packed import packed
from harness.web.pictures import converter
from harness.web.record_details import Index, details
from harness.web.vega import DARK, LIGHT, Chart, log_axis

PAGE_BYTES = 6_000_000  # of the whole file; a larger one is slow to open and refused by mail
_DETAILS_LEAST = 400_000
_SHOWN_ABOVE = ("Ideas against their dense twin", "Against their other twins", "Dense twins")
_OPEN_GROUPS = 3  # groups of charts that are open at first


def html(published: Published) -> str:
    """The whole page; the same bytes from the same records. UserError where a library that it needs is missing."""
    index = Index(published.records)
    made = charts(published, index)
    facts = _facts(published, index, made)
    drawings = templates.embed(
        packed(
            {
                "specs": [chart.spec | {"description": f"{chart.title}. {chart.note}"} for chart in made],
                "samples": _samples_spec(),
                "light": {"colours": LIGHT.colours, "config": LIGHT.config},
                "dark": {"colours": DARK.colours, "config": DARK.config},
            }
        )
    )
    template = templates.environment().get_template("report.html.j2")
    bare = template.render(facts, records="", drawings=drawings)
    room = max(PAGE_BYTES - len(bare.encode()), _DETAILS_LEAST)
    # Escaping inside a script makes some characters six bytes of what the budget counts as one.
    payload = details(index, budget=int(room * 0.95))
    for row in (*published.summary.rows, *published.summary.dense):
        numbers = index.of(row)
        if numbers and row.against:
            payload["records"][numbers[0]]["against"] = report_tables.all_against(row)
    return template.render(facts, records=templates.embed(packed(payload)), drawings=drawings)


@cache
def library() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script that sets `window.vegaEmbed`."""
    bundle: str = converter().javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return bundle


def _samples_spec() -> dict[str, Any]:
    """The samples of one record in the order of measurement, a colour a process; the page puts the values in."""
    y = log_axis("seconds", "seconds of a call")
    return {
        "width": "container",
        "height": 150,
        "mark": {"type": "point", "filled": True, "size": 14, "opacity": 0.7, "tooltip": None},
        "encoding": {
            "x": {"field": "n", "type": "quantitative", "title": "sample of its process", "scale": {"nice": False}},
            "y": y,
            "color": {
                "field": "process", "type": "nominal", "title": "process", "sort": None,
                "scale": {"range": [f"@hue-{k}" for k in range(7)]},
            },
        },
    }  # fmt: skip


def _facts(published: Published, index: Index, made: Sequence[Chart]) -> dict[str, Any]:
    """Everything that the template names, as text and plain values."""
    summary = published.summary
    where = Where([*summary.rows, *summary.dense])
    style, table, page = templates.stylesheet(), templates.asset("table.js"), templates.asset("report.js")
    code = library()
    machines = dict.fromkeys(str(run.machine.get("cpu") or "a machine without a name") for run in published.runs)
    grouped = [(name, list(of)) for name, of in groupby(enumerate(made), key=lambda pair: pair[1].group)]
    return {
        "title": "Hardware lottery: what leaving the dense path costs",
        "lead": " ".join(["; ".join(machines) if machines else "Records of an unnamed machine", *disturbed(summary)]),
        "policy": templates.policy(scripts=(table, page, code), styles=(style,)),
        "style": templates.inline(style),
        "table_script": templates.inline(table),
        "page_script": templates.inline(page),
        "library": templates.inline(code),
        "tiles": _tiles(summary),
        "nothing": NOTHING if not summary.records else None,
        "answer": summary.answer,
        "reads": READS if summary.rows else NO_IDEA,
        "constant": " ".join(filter(None, (constants(summary.rows), twins_line(summary.rows)))),
        "filters": report_tables.filters(summary, where, index),
        "scale": [f"< {palette.TAX_STEPS[0]:g}", *(f"≥ {step:g}" for step in palette.TAX_STEPS)],
        **report_tables.matrix(summary, where, index),
        "columns": report_tables.columns(where),
        "rows": [report_tables.line(row, where, index) for row in (*summary.rows, *summary.dense)],
        "groups": [
            (name, _captioned(of)) for name, of in grouped
        ],
        "open_groups": _OPEN_GROUPS,
        "sections": [s for s in sections(replace(summary, all_points=True)) if s.title not in _SHOWN_ABOVE],
        "notes": footer(summary) if summary.records else [],
        "runs": [
            {
                "name": f"{where.runs.get(run.run, '') if len(where.runs) > 1 else ''} {run.run}".strip(),
                "facts": [
                    ("started", run.started_at),
                    ("command", " ".join(run.command)),
                    *((name, UNKNOWN if value is None else value) for name, value in run.machine.items()),
                    *run.versions.items(),
                ],
            }
            for run in published.runs
        ],
        "count": summary.records,
    }  # fmt: skip


def _captioned(numbered: Sequence[tuple[int, Chart]]) -> list[dict[str, Any]]:
    """The charts of a group; a note that all share stands below the last."""
    out: list[dict[str, Any]] = [
        {
            "number": number,
            "title": chart.title,
            "note": chart.note,
            "caption": chart.note,
            "wide": chart.group == "Ranks",
        }
        for number, chart in numbered
    ]
    for chart, following in pairwise(out):
        chart["caption"] = "" if chart["note"] == following["note"] else chart["note"]
    return out


def _tiles(summary: Summary) -> list[tuple[str, str]]:
    places = {(row.run, row.backend, row.device) for row in (*summary.rows, *summary.dense)}
    tiles = [
        (str(summary.records), "cases"),
        *((str(count), status) for status, count in summary.outcomes.items()),
        (str(len({row.workload for row in summary.rows})), "ideas"),
        (str(len(places)), "backends and devices"),
    ]
    return tiles if summary.noise is None else [*tiles, (f"{summary.noise:.0%}", "A/A noise")]

"""The pictures as Vega-Lite specifications, made once from the summary and drawn by the page and by the static files.

Here is the list of them and the heat maps of the tax; the others have files of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from harness.figures.chips import ChipCell, chip_name
from harness.figures.summary import Against, Row
from harness.report import chips_text, modelled_rows_text
from harness.report.constants import axes_text, varying
from harness.report.published import Published
from harness.report.wording import outcome_cell, significant
from harness.web import palette, scatter_charts
from harness.web.blame_chart import blames
from harness.web.break_even_chart import break_evens
from harness.web.rank_chart import ranks
from harness.web.record_details import Index
from harness.web.sample_charts import distributions
from harness.web.vega import IN_ORDER, Chart, Drawer, Spec, drawing, tooltip

_LEVELS = [f"< {palette.TAX_STEPS[0]:g}", *(f"≥ {step:g}" for step in palette.TAX_STEPS)]
_MOST_ROWS = 40  # of a heat map, before a second one begins


def charts(published: Published, index: Index | None = None) -> list[Chart]:
    """Every picture that the records allow, in the order in which a page shows them."""
    drawer = Drawer(published, index)
    makers = (
        heat_maps,
        blames,
        scatter_charts.rooflines,
        break_evens,
        scatter_charts.costs,
        scatter_charts.compilation,
        ranks,
        chips,
        modelled,
        distributions,
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
        yield Chart(
            name="tax" if not part else f"tax-{part + 1}",
            group="Tax",
            title="What leaving the dense path costs",
            note=(
                "How many times dearer a useful FLOP is than in the dense twin: blue below 1, orange above. "
                "≈ marks a tie in time."
            ),
            spec=drawing(values, 26 * len(shown), _heat_layers(), encoding=_HEAT_AXES),
        )


def chips(drawer: Drawer) -> Iterator[Chart]:
    """Ideas down, chips across, the estimated tax as colour and number with the rank below it."""
    rows = drawer.summary.chips
    if not rows:
        return
    axes = varying(drawer.summary.estimates)
    values = []
    for order, row in enumerate(rows):
        label = axes_text(row.params, axes[row.workload])
        what = f"{row.workload} ({f'{label}, ' if label else ''}{row.mode})"
        for chip, cell in row.cells.items():
            values.append(_on_chip(cell) | {"what": what, "where": chip_name(chip), "order": order})
    tips = tooltip("what", "where", "path", "tax", "rank", "temporaries", "kernels", "refused")
    yield Chart(
        name="chips",
        group="Across chips",
        title="What leaving the dense path costs on each chip, by its compiler",
        note="Estimated: compiled for these chips and run on none. In brackets is the rank by estimated speed-up.",
        spec=drawing(values, 36 * len(rows), _heat_layers(2), encoding=_HEAT_AXES | {"tooltip": tips}),
    )


def modelled(drawer: Drawer) -> Iterator[Chart]:
    """Ideas down, devices that files describe across, through each framework; the modelled tax as colour and number."""
    rows = drawer.summary.modelled
    axes = varying(rows)
    values: list[dict[str, Any]] = []
    for row in rows:
        label, level = axes_text(row.params, axes[row.workload]), palette.tax_level(row.tax)
        cells = dict(zip(modelled_rows_text.NAMES, modelled_rows_text.cells(row, drawer.where), strict=True))
        told: dict[str, Any] = {name: cells[f"modelled {name}"] for name in ("path", "time", "tax", "speed-up")}
        values.append(
            told
            | {"bound by": cells["bound by"], "±": cells["±"]}
            | {
                "what": f"{row.workload} ({f'{label}, ' if label else ''}{row.mode})",
                "where": f"{row.device_name or row.device} {row.backend}{drawer.where.run(row.run)}",
                "level": None if level is None else _LEVELS[level],
                "text": row.outcome.partition(" ")[0] if row.tax is None else significant(row.tax),
            }
        )
    order = {what: number for number, what in enumerate(dict.fromkeys(value["what"] for value in values))}
    tips = tooltip("what", "where", "path", "time", "±", "speed-up", "tax", "bound by")
    if values:
        yield Chart(
            name="modelled",
            group="Modelled",
            title="What leaving the dense path would cost on devices that files describe (modelled)",
            note="Modelled, not measured: reckoned from executed work. ± is the error of each figure's class.",
            spec=drawing(
                [value | {"order": order[value["what"]]} for value in values],
                26 * len(order),
                _heat_layers(),
                encoding=_HEAT_AXES | {"tooltip": tips},
            ),
        )


def _on_chip(cell: ChipCell) -> dict[str, Any]:
    level = palette.tax_level(cell.tax)
    said = chips_text.tax(cell)
    figures = {title: told(cell) for title, told in chips_text.TABLES}
    return {
        "level": None if level is None else _LEVELS[level],
        "text": said.replace("×", "").split(" ", 1),  # a line each: many chips stand beside each other
        "path": f"{cell.backend} {cell.path}" if cell.path else "none compiled",
        "tax": said,
        "rank": "none" if cell.rank is None else str(cell.rank),
        "temporaries": figures["temporary bytes"],
        "kernels": figures["kernels"],
        "refused": figures["programs refused"],
        "open": None,
    }


_HEAT_AXES: Spec = {
    "x": {
        "field": "where", "type": "nominal", "title": None, "sort": None,
        "axis": {"orient": "top", "labelAngle": 0, "domain": False, "ticks": False},
    },
    "y": {
        "field": "what", "type": "nominal", "title": None, "sort": IN_ORDER,
        "axis": {"domain": False, "ticks": False, "labelLimit": 330},
    },
    "tooltip": tooltip("what", "where", "path", "tax", "speed-up", "time", "outcome"),
}  # fmt: skip


def _heat_layers(lines: int = 1) -> list[Spec]:
    """A coloured field and its number where the tax is known, on so many lines; words where it is not."""
    known = [{"filter": "isValid(datum.level)"}]
    colour = {
        "field": "level", "type": "ordinal",
        "scale": {"domain": _LEVELS, "range": [f"@tax-{level}" for level in range(len(_LEVELS))]},
        "legend": {"title": "tax: what a useful FLOP costs here", "columns": 5, "symbolType": "square"},
    }  # fmt: skip
    cells = {
        "transform": known,
        "mark": {"type": "rect", "stroke": "@card", "strokeWidth": 2, "cornerRadius": 4},
        "encoding": {"color": colour},
    }
    inks = [{"test": f"datum.level == '{level}'", "value": f"@ink-{k}"} for k, level in enumerate(_LEVELS)]
    numbers = {
        "transform": known,
        "mark": {"type": "text", "fontWeight": "bold", "dy": -6 * (lines - 1)},  # the first line is put in the middle
        "encoding": {"text": {"field": "text"}, "color": {"condition": inks, "value": "@ink"}},
    }
    words = {
        "transform": [{"filter": "!isValid(datum.level)"}],
        "mark": {"type": "text", "color": "@soft", "fontStyle": "italic", "fontSize": 10, "limit": 120},
        "encoding": {"text": {"field": "text"}},
    }
    return [cells, numbers, words]


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

"""What all charts are made with: the library and why it, the two themes, what a mark says, axes and colours.

Why Vega-Lite, through `vl-convert-python`: a chart is data that Python makes and tests can read, so the page, SVG, PNG
and PDF show the same figures by construction; the package carries the JavaScript (0.9 MB, a fifth of Plotly's whole
bundle) and draws static files without a browser; text is drawn as text, never as markup; and its expressions can run
through an interpreter, so that the page's policy needs no `eval`. Every number comes from the summary or the frame.

Colours that depend on light and dark stand as "@name" and are put in by `dressed`, or by the page.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.figures.summary import Row, Summary, summarise
from harness.report.published import Published
from harness.report.wording import (
    Where,
    point_cell,
    speed_up_cell,
    tax_cell,
    time_cell,
)
from harness.web import palette
from harness.web.record_details import Index

Spec = dict[str, Any]
Values = list[dict[str, Any]]

FONT = "Liberation Sans, Arial, Helvetica, sans-serif"  # metrics that are the same on every system
TWIN = "dense twin"
HUES = len(palette.CATEGORIES_LIGHT) - 1
_LABELLED = {"condition": {"test": "datum.label == ''", "value": 0.15}, "value": 1}  # lines of minor ticks stay faint


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One picture. `name` is its file's; `group` is the heading that it stands under; `note` says how to read it."""

    name: str
    group: str
    title: str
    note: str
    spec: Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Theme:
    """What `@name` stands for, and Vega's configuration, in light or in dark."""

    colours: Mapping[str, Any]
    config: Mapping[str, Any]


def _theme(
    ink: str, soft: str, line: str, card: str, tax: Sequence[str], inks: Sequence[str], hues: Sequence[str]
) -> Theme:
    text = {"labelFont": FONT, "titleFont": FONT, "labelFontSize": 11, "titleFontSize": 12, "titleFontWeight": "normal"}
    axis = {"labelColor": soft, "titleColor": ink, "gridColor": line, "domainColor": soft, "tickColor": soft}
    legend = {
        "orient": "top",
        "columns": 5,
        "labelColor": ink,
        "titleColor": soft,
        "titleLimit": 400,
        "labelLimit": 300,
    }
    stacked = {"layout": {"top": {"direction": "vertical", "anchor": "start", "margin": 6}}, "symbolOpacity": 1}
    symbols = {"symbolBaseFillColor": soft, "symbolBaseStrokeColor": soft}
    named = {"@ink": ink, "@soft": soft, "@line": line, "@card": card, "@twin": hues[-1]}
    return Theme(
        colours=named
        | {f"@tax-{level}": colour for level, colour in enumerate(tax)}
        | {f"@ink-{level}": colour for level, colour in enumerate(inks)}
        | {f"@hue-{number}": hue for number, hue in enumerate(hues[:-1])},
        config={
            "background": None,
            "font": FONT,
            "axis": axis | text | {"labelLimit": 260},
            "legend": legend | stacked | symbols | text,
            "view": {"stroke": line},
            "text": {"font": FONT, "fontSize": 11, "color": ink},
            "title": {"color": ink, "font": FONT, "fontSize": 14, "anchor": "start"},
        },
    )


LIGHT = _theme(
    "#1b1d21", "#5b6068", "#dcdad3", "#ffffff", palette.TAX_LIGHT, palette.TAX_INK_LIGHT, palette.CATEGORIES_LIGHT
)
DARK = _theme(
    "#e8e6e1", "#a3a7ae", "#353a41", "#1d2024", palette.TAX_DARK, palette.TAX_INK_DARK, palette.CATEGORIES_DARK
)


def dressed(spec: Any, theme: Theme) -> Any:
    """The specification with the theme's colours; the data are left as they are."""
    if isinstance(spec, dict):
        return {name: value if name == "values" else dressed(value, theme) for name, value in spec.items()}
    if isinstance(spec, list):
        return [dressed(value, theme) for value in spec]
    return theme.colours.get(spec, spec) if isinstance(spec, str) else spec


class Drawer:
    """Everything that the charts of a report need to know, looked up once."""

    def __init__(self, published: Published, index: Index | None = None) -> None:
        self.index = Index(published.records) if index is None else index
        self.summary = published.summary
        self.everything: Summary = summarise(self.index.records, all_points=True, noise=published.summary.noise)
        rows = [*self.everything.rows, *self.everything.dense]
        self.where = Where(rows)
        self.places = sorted({self.place(row.run, row.backend, row.device) for row in rows})

    def place(self, run: str, backend: str, device: str) -> str:
        """A backend with its device and run, as far as these differ between rows."""
        return backend + (f" {device}" if self.where.devices else "") + self.where.run(run)

    def entry(self, row: Row) -> str:
        """What a row is about, without where it ran."""
        return f"{row.workload} ({point_cell(row)}{f', {row.dtype}' if self.where.dtypes else ''})"

    def facts(self, row: Row) -> dict[str, Any]:
        """What a mark of a row shows when it is pointed at, and the record that it opens."""
        numbers = self.index.of(row)
        against = row.principal
        out: dict[str, Any] = {
            "what": self.entry(row),
            "where": self.place(row.run, row.backend, row.device),
            "path": row.path or "none is ok",
            "time": time_cell(row),
            "open": numbers[0] if numbers else None,
        }
        return out | ({"speed-up": speed_up_cell(against), "tax": tax_cell(against)} if against else {})


def tooltip(*fields: str, **titles: str) -> list[dict[str, str]]:
    """Fields that are text already, shown as they are, under their names or what `titles` calls them."""
    return [{"field": field, "type": "nominal", "title": titles.get(field, field)} for field in fields]


def log_axis(field: str, title: str, number: str = "~s", **scale: Any) -> Spec:
    """A logarithmic axis; 0 cannot stand on one."""
    return {
        "field": field,
        "type": "quantitative",
        "title": title,
        "scale": {"type": "log", "nice": False, "padding": 12} | scale,
        "axis": {"format": number, "labelOverlap": True, "gridOpacity": _LABELLED, "tickOpacity": _LABELLED},
    }


# The order of a category's names comes with the data: a list of names here would be written into an expression, and
# what stands in an expression must never be a record's text.
IN_ORDER = {"field": "order", "op": "min"}


def hued(field: str, names: Iterable[str], title: str | None = None) -> Spec:
    """A category's colour: the same name in the same order has the same one in every chart; the dense twin is grey."""
    domain = sorted(set(names) - {TWIN})
    hues = [f"@hue-{number % HUES}" for number in range(len(domain))]
    scale = (
        {"domain": [*domain, TWIN], "range": [*hues, "@twin"]} if TWIN in names else {"domain": domain, "range": hues}
    )
    return {"field": field, "type": "nominal", "title": title, "scale": scale}


def drawing(values: Values, height: Any, layers: Sequence[Spec], **more: Any) -> Spec:
    """Layers over the same values, as wide as what holds them."""
    return {
        "data": {"values": values},
        "width": "container",
        "height": height,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "layer": list(layers),
        **more,
    }

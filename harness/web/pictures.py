"""The charts as files for papers: SVG, PNG and PDF of the same specifications that the page draws.

The same records give the same bytes. Text is set in a face with the metrics of Arial; PDF embeds it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from backends.install import install_hint
from harness.errors import UserError
from harness.report.published import Published
from harness.web.charts import charts
from harness.web.vega import LIGHT, Chart, dressed

if TYPE_CHECKING:
    from types import ModuleType

_WIDTH = 620  # CSS pixels of the drawing, axes apart
_PIXELS_PER_INCH = 200


def converter() -> ModuleType:
    """The package that holds and runs Vega-Lite; UserError where it is missing."""
    try:
        import vl_convert
    except ImportError:
        raise UserError(
            f"charts need vl-convert-python, which is not installed; try: {install_hint('report')}"
        ) from None
    return vl_convert


# By a file's suffix, what makes its bytes of a specification.
DRAWN: Mapping[str, Callable[[dict[str, Any]], bytes]] = {
    ".svg": lambda spec: str(converter().vegalite_to_svg(spec)).encode(),
    ".png": lambda spec: bytes(converter().vegalite_to_png(spec, ppi=_PIXELS_PER_INCH)),
    ".pdf": lambda spec: bytes(converter().vegalite_to_pdf(spec)),
}


def svg(published: Published) -> Mapping[str, bytes]:
    """A file a chart, `NAME.svg`."""
    return _files(published, ".svg")


def png(published: Published) -> Mapping[str, bytes]:
    """A file a chart, `NAME.png`, at 200 pixels an inch."""
    return _files(published, ".png")


def pdf(published: Published) -> Mapping[str, bytes]:
    """A file a chart, `NAME.pdf`, with its fonts."""
    return _files(published, ".pdf")


def _files(published: Published, suffix: str) -> Mapping[str, bytes]:
    converter()
    draw = DRAWN[suffix]
    made = [*charts(published), *published.beside.charts]
    if not made:
        raise UserError(
            "there is no chart to draw: none of the records is of a case that is ok; see `hwlottery report`"
        )
    return {chart.name + suffix: draw(static(chart)) for chart in made}


def static(chart: Chart) -> dict[str, Any]:
    """The chart's specification for paper: light, on white, of a fixed width, with its title and no network."""
    spec: dict[str, Any] = dressed(chart.spec, LIGHT)
    return spec | {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "width": _WIDTH,
        "title": chart.title,
        "config": {**LIGHT.config, "background": "white"},
    }

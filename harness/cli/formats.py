"""The registry of report formats: one mapping from a format's name to the function that makes it.

It stands in the room of the command line because formats come from two rooms, `report` and `web`. Each function imports
its room when it is first called, so that a heavy format costs the others nothing. Unknown is "–" in the terminal, in
Markdown and LaTeX, nothing in CSV, null in JSON and Parquet; never 0.
"""

from __future__ import annotations

import gc
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec

from harness.figures import left_out
from harness.figures.summary import Row, Summary, summarise
from harness.records.record import Record
from harness.records.store import RunInfo, disturbances
from harness.report.published import Beside, Content, Published


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One format: what makes it, whether that is for a file or folder rather than a terminal, and its suffix.

    `cells`: whether it has what ran where even where only headline points were asked for.
    """

    render: Callable[[Published], Content]
    binary: bool
    suffix: str
    cells: bool = True


def render(
    records: Sequence[Record],
    format: str = "table",
    *,
    runs: Sequence[RunInfo] = (),
    all_points: bool = False,
    noise: float | None = None,
    beside: Callable[[Summary, Sequence[Row]], Beside] | None = None,
) -> Content:
    """The report of `records` in one of FORMATS; ValueError names those that exist.

    `runs` are the runs' own facts, where they are known. `noise` is the runs' A/A noise as a share: differences inside
    it are ties; without it, what their controls found. `beside` makes what other rooms add,
    from the summary and the rows of all points.
    """
    if format not in FORMATS:
        raise ValueError(f"there is no format {format!r}; the formats are {', '.join(FORMATS)}")
    not_tried = left_out.counts(run.left_out for run in runs)
    several = len(runs) > 1
    found = [f"{info.run}: {said}" if several else said for info in runs for said in disturbances(info)]
    with _collector_off():
        cells = all_points or FORMATS[format].cells
        summary = summarise(records, all_points=all_points, noise=noise, left_out=not_tried, cells=cells)
        summary = msgspec.structs.replace(summary, disturbed=found)
        more = Beside()
        if beside is not None:
            whole = summary if all_points else summarise(records, all_points=True, noise=noise)
            more = beside(summary, whole.rows)
        return FORMATS[format].render(Published(summary=summary, records=records, runs=runs, beside=more))


@contextmanager
def _collector_off() -> Iterator[None]:
    """A fifth of the time of a report went to walking its records again and again, of which none is garbage."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _table(published: Published) -> Content:
    from harness.report.sections import as_lines
    from harness.report.terminal import terminal

    width = shutil.get_terminal_size().columns
    more = ["\n".join(["", *as_lines(section, width), ""]) for section in published.beside.sections]
    return terminal(published.summary) + "".join(more)


def _markdown(published: Published) -> Content:
    from harness.report.markdown import markdown

    return markdown(published.summary, published.beside.sections)


def _csv(published: Published) -> Content:
    from harness.report.flat_table import csv

    return csv(published.summary, published.beside.columns)


def _latex(published: Published) -> Content:
    from harness.report.latex import latex

    return latex(published.summary, published.beside.sections)


def _parquet(published: Published) -> Content:
    from harness.report.flat_table import parquet

    return parquet(published.summary, published.beside.columns)


def _json(published: Published) -> Content:
    content = msgspec.to_builtins(published.summary) | dict(published.beside.data)
    return msgspec.json.format(msgspec.json.encode(content), indent=2).decode() + "\n"


def _pytest_benchmark(published: Published) -> Content:
    from harness.report.pytest_benchmark import pytest_benchmark

    return pytest_benchmark(published)


def _html(published: Published) -> Content:
    from harness.web.report_page import html

    return html(published)


def _picture(suffix: str) -> Callable[[Published], Content]:
    def make(published: Published) -> Content:
        from harness.web import pictures

        return {"svg": pictures.svg, "png": pictures.png, "pdf": pictures.pdf}[suffix](published)

    return make


FORMATS: Mapping[str, Format] = {
    "table": Format(render=_table, binary=False, suffix=".txt"),
    "markdown": Format(render=_markdown, binary=False, suffix=".md", cells=False),
    "csv": Format(render=_csv, binary=False, suffix=".csv"),
    "json": Format(render=_json, binary=False, suffix=".json"),
    "latex": Format(render=_latex, binary=False, suffix=".tex", cells=False),
    "parquet": Format(render=_parquet, binary=True, suffix=".parquet"),
    "pytest-benchmark": Format(render=_pytest_benchmark, binary=False, suffix=".json"),
    "html": Format(render=_html, binary=True, suffix=".html"),
    "svg": Format(render=_picture("svg"), binary=True, suffix=".svg"),
    "png": Format(render=_picture("png"), binary=True, suffix=".png"),
    "pdf": Format(render=_picture("pdf"), binary=True, suffix=".pdf"),
}

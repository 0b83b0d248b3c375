"""Prints a summary: one mapping from a format's name to the room that makes it.

Unknown is "–" in the terminal, in Markdown and LaTeX, nothing in CSV, null in JSON and Parquet; never 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import cast

import msgspec

from harness.record import Record
from harness.store import RunInfo
from harness.table import Summary, summarise

Content = str | bytes | Mapping[str, bytes]  # a mapping is a folder of files: relative name → content


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """All that a report may print: the figures, and the records and runs that they were made from."""

    summary: Summary
    records: Sequence[Record]
    runs: Sequence[RunInfo]


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One format: what makes it, whether that is for a file or folder rather than a terminal, and its suffix."""

    render: Callable[[Published], Content]
    binary: bool
    suffix: str


def render(
    records: Sequence[Record],
    format: str = "table",
    *,
    runs: Sequence[RunInfo] = (),
    all_points: bool = False,
    noise: float | None = None,
) -> Content:
    """The report of `records` in one of FORMATS; ValueError names those that exist.

    `runs` are the runs' own facts, where they are known. `noise` is the runs' A/A noise as a share: differences inside
    it are ties; without it, what their controls found.
    """
    if format not in FORMATS:
        raise ValueError(f"there is no format {format!r}; the formats are {', '.join(FORMATS)}")
    summary = summarise(records, all_points=all_points, noise=noise)
    return FORMATS[format].render(Published(summary=summary, records=records, runs=runs))


def _later(room: str, name: str) -> Callable[[Published], Content]:
    """The function `name` of the module `room`, imported when it is first called: heavy formats cost others nothing."""

    def make(published: Published) -> Content:
        return cast(Callable[[Published], Content], getattr(import_module(room), name))(published)

    return make


def _of_summary(room: str, name: str) -> Callable[[Published], Content]:
    """The same for a function of the summary alone."""

    def make(published: Published) -> Content:
        return cast(Callable[[Summary], Content], getattr(import_module(room), name))(published.summary)

    return make


def _as_json(published: Published) -> str:
    return msgspec.json.format(msgspec.json.encode(published.summary), indent=2).decode() + "\n"


FORMATS: Mapping[str, Format] = {
    "table": Format(render=_of_summary("harness.terminal", "terminal"), binary=False, suffix=".txt"),
    "markdown": Format(render=_of_summary("harness.markdown", "markdown"), binary=False, suffix=".md"),
    "csv": Format(render=_of_summary("harness.tabular", "csv"), binary=False, suffix=".csv"),
    "json": Format(render=_as_json, binary=False, suffix=".json"),
    "latex": Format(render=_of_summary("harness.latex", "latex"), binary=False, suffix=".tex"),
    "parquet": Format(render=_of_summary("harness.tabular", "parquet"), binary=True, suffix=".parquet"),
    "pytest-benchmark": Format(
        render=_later("harness.pytest_format", "pytest_benchmark"), binary=False, suffix=".json"
    ),
    "html": Format(render=_later("harness.page", "html"), binary=True, suffix=".html"),
    "svg": Format(render=_later("harness.pictures", "svg"), binary=True, suffix=".svg"),
    "png": Format(render=_later("harness.pictures", "png"), binary=True, suffix=".png"),
    "pdf": Format(render=_later("harness.pictures", "pdf"), binary=True, suffix=".pdf"),
}

"""Where the time of a case went, as cells of text: the same for a terminal and for a page."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Sequence

from harness.records.text import shorten
from harness.records.traces import CaseTrace, TraceRow
from harness.report.sections import Section, as_lines
from harness.report.wording import quantity

TITLE = "Where the time went"
NAMES = ("class", "operation", "time", "share", "runs")
ON_PAGE = ("class", "operation", "time in a call", "share", "runs in a call")
MOST_ROWS = 15  # that are shown; the file has all
SLOWED = 1.5  # times as long as without the profiler: then shares are those of another case
_OPEN = "https://ui.perfetto.dev"
_WIDE = 40  # characters of an operation's name that a terminal of 80 columns bears


def section(trace: CaseTrace) -> Section:
    """The table of a page."""
    return Section(f"{TITLE}: {trace.case}; {_calls(trace)}", ON_PAGE, _cells(trace), labels=2)


def _cells(trace: CaseTrace, most: int | None = None) -> list[list[str]]:
    """The longest operations, and the others as one row; names no longer than `most`."""
    calls, rest = trace.traced_calls, trace.rows[MOST_ROWS:]
    shown = [(row.kind, row.op, row.time_s, row.share, row.calls) for row in trace.rows[:MOST_ROWS]]
    if rest:
        sums = (sum(getattr(row, name) for row in rest) for name in ("time_s", "share", "calls"))
        shown.append(("", f"{len(rest)} more", *sums))
    return [
        [kind, shorten(name, most or len(name)), quantity(time_s / calls, "s"), f"{share:.1%}", f"{runs / calls:.3g}"]
        for kind, name, time_s, share, runs in shown
    ]


def by_class(rows: Sequence[TraceRow]) -> str:
    """The share of each class, the largest first."""
    shares: dict[str, float] = defaultdict(float)
    for row in rows:
        shares[row.kind] += row.share
    return ", ".join(f"{kind} {share:.1%}" for kind, share in sorted(shares.items(), key=lambda pair: -pair[1]))


def _calls(trace: CaseTrace) -> str:
    """How many calls were profiled and what the profiler cost."""
    calls, call_s = trace.traced_calls, trace.window_s / trace.traced_calls
    slow = ": it slows this case, and most what is short" * (call_s > SLOWED * trace.untraced_call_s)
    return (
        f"{calls} call{'s' * (calls > 1)} under {trace.profiler}, {quantity(call_s, 's')} each, and "
        f"{quantity(trace.untraced_call_s, 's')} without it{slow}"
    )


def lines(trace: CaseTrace, width: int) -> list[str]:
    """The trace in a terminal."""
    title = textwrap.wrap(f"{TITLE}: {trace.case}", width, subsequent_indent="  ", break_on_hyphens=False)
    table = as_lines(Section("", NAMES, _cells(trace, _WIDE), labels=2), width)[1:]
    below = [
        f"By class: {by_class(trace.rows)}.",
        f"{_calls(trace)}. time and runs: of one call. launch/idle: what no operation covers.",
    ]
    return [*title, *table, *(line for said in below for line in textwrap.wrap(said, width, subsequent_indent="  "))]


def opens(file: object) -> str:
    """Where the file was written, and what opens it."""
    return f"written: {file}, for {_OPEN} or chrome://tracing"

"""Where the time of a case went, as cells of text: the same for a terminal and for a page."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Sequence

from harness.records.traces import Trace, TraceRow
from harness.report.sections import Section, as_lines
from harness.report.wording import quantity

TITLE = "Where the time went"
NAMES = ("class", "operation", "time", "share", "runs")
MOST_ROWS = 15  # that are shown; the file has all
SLOWED = 1.5  # times as long as without the profiler: then shares are those of another case
_OPEN = "https://ui.perfetto.dev"
_WIDE = 56  # characters of an operation's name that a table bears


def section(trace: Trace) -> Section:
    """The table of a trace: the longest operations, and the others as one row."""
    shown = list(trace.rows[:MOST_ROWS])
    rest = trace.rows[MOST_ROWS:]
    cells = [_cells(row, trace.traced_calls) for row in shown]
    if rest:
        of = sum(row.time_s for row in rest) / trace.traced_calls
        share, runs = sum(row.share for row in rest), sum(row.calls for row in rest) / trace.traced_calls
        cells.append(["", f"{len(rest)} more", quantity(of, "s"), f"{share:.1%}", f"{runs:g}"])
    return Section(f"{TITLE}: {trace.case}", NAMES, cells, labels=2)


def _cells(row: TraceRow, calls: int) -> list[str]:
    name = row.op if len(row.op) <= _WIDE else f"{row.op[: _WIDE - 1]}…"
    return [row.kind, name, quantity(row.time_s / calls, "s"), f"{row.share:.1%}", f"{row.calls / calls:g}"]


def by_class(rows: Sequence[TraceRow]) -> str:
    """The share of each class, the largest first."""
    shares: dict[str, float] = defaultdict(float)
    for row in rows:
        shares[row.kind] += row.share
    return ", ".join(f"{kind} {share:.1%}" for kind, share in sorted(shares.items(), key=lambda pair: -pair[1]))


def reads(trace: Trace) -> str:
    """How the table is read, in a sentence or two."""
    calls, before_s = trace.traced_calls, trace.untraced_call_s
    call_s = trace.window_s / calls
    slow = call_s > SLOWED * before_s
    return (
        f"{calls} call{'s' * (calls > 1)} under {trace.profiler}, {quantity(call_s, 's')} each, and "
        f"{quantity(before_s, 's')} without it{': it slows this case, and most what is short' * slow}. time and runs: "
        "of one call. launch/idle: what no operation covers."
    )


def lines(trace: Trace, width: int) -> list[str]:
    """The trace in a terminal."""
    whole = section(trace)
    wrapped = textwrap.wrap(whole.title, width, subsequent_indent="  ", break_on_hyphens=False)
    table = as_lines(whole, width)[1:]
    below = [f"By class: {by_class(trace.rows)}.", reads(trace)]
    return [*wrapped, *table, *(line for said in below for line in textwrap.wrap(said, width, subsequent_indent="  "))]


def opens(file: object) -> str:
    """Where the file was written, and what opens it."""
    return f"written: {file}, for {_OPEN} or chrome://tracing"

"""Where the time of one case went, by its framework's own profiler: a file of its own, beside a run or anywhere.

No part of the record of the case: a profiler slows what it watches, and a trace is made when somebody asks for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import msgspec

from harness.errors import UserError
from harness.records.disk import why
from harness.records.record import Case

FOLDER = "traces"  # of a run
CHROME = ".trace.json.gz"  # Chrome's and Perfetto's file, beside the table
MOST_BYTES = 4 << 20  # of a table


class TraceRow(msgspec.Struct, frozen=True, kw_only=True):
    """One operation: over all traced calls its seconds, how often it ran, and its share of them.

    Where several operations ran at a time they share it equally, so that the seconds of all rows add up to the window's
    and their shares to 1. The row of class `launch/idle` is what no operation covers; its `calls` are the traced ones.
    """

    op: str
    kind: str = msgspec.field(name="class")
    time_s: float
    share: float
    calls: int


class CaseTrace(msgspec.Struct, frozen=True, kw_only=True):
    """What one profiled process of a case showed, the longest first in `rows`.

    `window_s` are the seconds of all `traced_calls`, from each call until its outputs were ready. `untraced_call_s` is
    the median of calls in the same process before the profiler was on, which tells what it costs; it is no figure of
    the case. `file` is the name of Chrome's and Perfetto's file in the same folder.
    """

    rows: list[TraceRow]
    case: Case
    profiler: str
    versions: dict[str, str]
    threads: int
    traced_calls: int
    window_s: float
    untraced_call_s: float
    started_at: str
    file: str


def stem(case: Case) -> str:
    """The name of the files of a case's trace, without their suffixes."""
    return case.key


def store(trace: CaseTrace, folder: Path) -> Path:
    """Write the table; UserError where that cannot be."""
    path = folder / f"{stem(trace.case)}.json"
    try:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(trace), indent=2) + b"\n")
    except OSError as error:
        raise UserError(f"{path} cannot be written ({why(error)}); name another folder with -o") from None
    return path


def traces_of(run: Path) -> Iterator[CaseTrace | str]:
    """The tables in a run's folder, by the names of their files; a sentence in place of one that cannot be read."""
    for path in sorted((run / FOLDER).glob("*.json")):
        try:
            if path.stat().st_size > MOST_BYTES:
                yield f"{path} is left out: it is larger than a table of a trace is"
                continue
            trace = msgspec.json.decode(path.read_bytes(), type=CaseTrace)
        except (OSError, msgspec.MsgspecError) as error:
            yield f"{path} is left out: it is no table of a trace ({error})"
            continue
        if trace.traced_calls < 1 or not all(math.isfinite(row.time_s) for row in trace.rows):
            yield f"{path} is left out: it has no traced call, or a time that is no number"
            continue
        yield trace

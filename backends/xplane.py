"""What JAX's and TensorFlow's profilers both write, planes with lines of events, read for operations.

A plane is the host or a device, a line of it a thread or a stream. The reader of the file is each framework's own.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from backends.profiling import CALL, ProfiledOperation

DEVICE = "/device:"  # how the name of a device's plane begins
PROGRAM_LINE = "XLA Ops"  # of a TPU: beside it stand lines that repeat it by step and by program
STREAM = "Stream"  # how a line of a GPU begins
_GRAPH_NODE = re.compile(r"[^:]*:(\w+)")
_END = "end: "  # XLA's mark of when a kernel that it started was done: long after, where threads of a pool run it
_LOCAL = "EagerLocalExecute: "
_RUN = "KernelAndDeviceFunc::Run"
# What calls a function, an XLA program or a branch, or hands over a value: what runs inside has events of its own.
_CALLERS = re.compile(
    r"__\w+|(Stateful|Stateless)?(PartitionedCall|While|If|Case)|_?Xla\w+|_(Arg|Retval|DeviceArg|DeviceRetval)|NoOp"
    r"|(Ref)?(Enter|Exit|Merge|Switch|NextIteration|LoopCond)"
)


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a line, in nanoseconds."""

    plane: str
    line: str
    name: str
    start_ns: int
    end_ns: int
    stats: Mapping[str, Any]


def calls(events: Iterable[Event]) -> list[tuple[int, int]]:
    """The marked calls, in their order."""
    return sorted((e.start_ns, e.end_ns) for e in events if e.name == CALL)


def operations(events: Sequence[Event], *, on_host: bool) -> list[ProfiledOperation]:
    """The operations of an accelerator's planes, or those of the host's threads."""
    return list(_of_host(events) if on_host else _of_device(events))


def _of_host(events: Sequence[Event]) -> Iterator[ProfiledOperation]:
    """Kernels of XLA's programs, nodes of TensorFlow's graphs, and its eager operations."""
    ends = {(e.name.removeprefix(_END), e.stats.get("_c")): e.start_ns for e in events if e.name.startswith(_END)}
    for (plane, line), found in groupby(events, key=lambda event: (event.plane, event.line)):
        if plane.startswith(DEVICE):
            continue
        # In the order of their beginning, and what holds others first.
        for event, eager in _with_eager(sorted(found, key=lambda event: (event.start_ns, -event.end_ns))):
            module = event.stats.get("hlo_module", "")
            node = None if module or "hlo_op" in event.stats else _GRAPH_NODE.fullmatch(event.name)
            name = event.stats.get("hlo_op") or (node[1] if node else eager)
            if name and not (_CALLERS.fullmatch(name) and not module):
                done = ends.get((event.name, event.stats.get("_p")), 0)
                goes_on = done > event.end_ns  # while its thread starts the next
                track = f"{line} {name}" if goes_on else line
                yield ProfiledOperation(str(name), event.start_ns, max(event.end_ns, done), track, str(module))


def _with_eager(events: Iterable[Event]) -> Iterator[tuple[Event, str]]:
    """Each event of a thread, with the name of the eager operation that it is the kernel of, if any."""
    within: Event | None = None
    for event in events:
        if event.name.startswith(_LOCAL):
            within = event
        is_kernel = event.name == _RUN and within is not None and event.end_ns <= within.end_ns
        yield event, within.name.removeprefix(_LOCAL) if within is not None and is_kernel else ""


def _of_device(events: Iterable[Event]) -> Iterator[ProfiledOperation]:
    """What a device ran: the line of a TPU that has its operations, or the streams of a GPU."""
    found = [event for event in events if event.plane.startswith(DEVICE)]
    programs = {event.plane for event in found if event.line == PROGRAM_LINE}
    for event in found:
        if event.line == PROGRAM_LINE or (event.plane not in programs and event.line.startswith(STREAM)):
            module, about = event.stats.get("hlo_module", ""), event.stats.get("tf_op", "")
            name = event.stats.get("hlo_op") or event.name.partition(" = ")[0].removeprefix("%")
            track = f"{event.plane} {event.line}"
            yield ProfiledOperation(str(name), event.start_ns, event.end_ns, track, str(module), str(about))


def write_chrome(events: Iterable[Event], file: Path) -> None:
    """Events as Chrome's Trace Event Format, a process a plane and a thread a line; microseconds, gzipped."""
    planes: dict[str, int] = {}
    lines: dict[tuple[str, str], int] = {}
    out: list[dict[str, Any]] = []
    for event in events:
        pid = planes.setdefault(event.plane, len(planes) + 1)
        tid = lines.setdefault((event.plane, event.line), len(lines) + 1)
        out.append(
            {
                "ph": "X", "pid": pid, "tid": tid, "name": event.name, "ts": event.start_ns / 1e3,
                "dur": (event.end_ns - event.start_ns) / 1e3, "args": {k: str(v) for k, v in event.stats.items()},
            }
        )  # fmt: skip
    names = [{"ph": "M", "pid": pid, "name": "process_name", "args": {"name": name}} for name, pid in planes.items()]
    names += [
        {"ph": "M", "pid": planes[plane], "tid": tid, "name": "thread_name", "args": {"name": line}}
        for (plane, line), tid in lines.items()
    ]
    with gzip.open(file, "wt", encoding="utf-8") as stream:
        json.dump({"displayTimeUnit": "ns", "traceEvents": [*names, *out]}, stream)

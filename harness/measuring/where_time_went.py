"""From what a profiler saw to the table of a trace: each moment of the calls goes to the operations that ran then.

On one thread or stream an operation inside another counts and the outer one does not, so that nothing counts twice.
Operations on several threads at a time share it equally. What no operation covers is launching and waiting.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

from backends.profiling import Profile, ProfiledOperation, Program
from harness.measuring import hlo_text
from harness.measuring.operation_classes import (
    IDLE,
    OTHER,
    SPARSE,
    class_of_name,
    class_of_opcodes,
    plain_kernel,
    starts_others,
)
from harness.records.text import shorten
from harness.records.traces import TraceRow

NANO = 1e-9
_CALL = -1
_GRAPH = re.compile(r"^graph_\d+_(?=cpp_)")  # Inductor's number of the graph, of which a case has one
_MOST_NAME = 160  # characters of an operation's name


class Label(NamedTuple):
    """What a row of the table is of."""

    op: str
    kind: str


Labelled = tuple[Label, ProfiledOperation]


def rows(profile: Profile) -> list[TraceRow]:
    """The table of a profile, the longest operation first; what no operation covers is a row like the others."""
    return table(profile.calls, labelled(profile))


def window_s(calls: Iterable[tuple[int, int]]) -> float:
    """Seconds of the calls."""
    return sum(end - start for start, end in calls) * NANO


def table(calls: Sequence[tuple[int, int]], operations: Iterable[Labelled]) -> list[TraceRow]:
    """Every nanosecond of the calls, first and last of each, given to what ran in it; ValueError without a call.

    Calls follow one another. Sums are exact: rows take fractions of whole nanoseconds, which add up to all of them.
    """
    whole = sum(end - start for start, end in calls)
    if whole <= 0:
        raise ValueError("a trace needs a call that takes time")
    seen = list(operations)
    spent, covered = _spent(calls, seen)
    counts = Counter(label for label, o in seen if any(o.start_ns < end and o.end_ns > start for start, end in calls))
    spent[Label(IDLE, IDLE)] = Fraction(whole - covered)
    counts[Label(IDLE, IDLE)] = len(calls)
    made = [
        TraceRow(op=label.op, kind=label.kind, time_s=float(ns) * NANO, share=float(ns / whole), calls=counts[label])
        for label, ns in spent.items()
        if ns or label.kind == IDLE
    ]
    return sorted(made, key=lambda row: (-row.time_s, row.op))


def _spent(calls: Sequence[tuple[int, int]], operations: Sequence[Labelled]) -> tuple[dict[Label, Fraction], int]:
    """Nanoseconds of each label within the calls, and of all of them together."""
    # What begins or ends at each moment: a call, or the operation of this number.
    events = [(at, begins, _CALL) for call in calls for at, begins in zip(call, (True, False), strict=True)]
    for number, (_, operation) in enumerate(operations):
        events += [(operation.start_ns, True, number), (operation.end_ns, False, number)]
    events.sort(key=lambda event: event[0])
    shared: dict[tuple[Label, int], int] = defaultdict(int)
    covered, before, within = 0, 0, 0
    tracks: dict[str, set[int]] = defaultdict(set)
    running: dict[str, Label] = {}  # the innermost operation of each track that has one
    for at, begins, number in events:
        if within and at > before:
            covered += (at - before) if running else 0
            for label in running.values():
                shared[label, len(running)] += at - before
        before = at
        if number == _CALL:
            within += 1 if begins else -1
            continue
        track = operations[number][1].track
        (tracks[track].add if begins else tracks[track].discard)(number)
        if tracks[track]:
            inner = max(tracks[track], key=lambda k: (operations[k][1].start_ns, -operations[k][1].end_ns, k))
            running[track] = operations[inner][0]
        else:
            running.pop(track, None)
    spent: dict[Label, Fraction] = defaultdict(Fraction)
    for (label, several), ns in shared.items():
        spent[label] += Fraction(ns, several)
    return spent, covered


# -- names -------------------------------------------------------------------------------------------------------------


def labelled(profile: Profile) -> list[Labelled]:
    """The operations of a profile with what their rows are called and their class; loops and branches are left out."""
    programs: dict[str, dict[str, frozenset[str]]] = defaultdict(dict)
    for name, program in profile.programs:
        programs[name] |= _instructions(program)
    several = len({operation.program for operation in profile.operations}) > 1
    known: dict[tuple[str, str, str], Label | None] = {}
    out = []
    for operation in profile.operations:
        key = (operation.program, operation.name, operation.about)
        if key not in known:
            known[key] = _label(operation, programs.get(operation.program, {}), several=several)
        label = known[key]
        if label is not None:
            out.append((label, operation))
    return out


def _label(operation: ProfiledOperation, program: Mapping[str, frozenset[str]], *, several: bool) -> Label | None:
    """A name, with what it is of in brackets; None of what only starts others.

    Of several programs each is named: in eager JAX every operation is a program.
    """
    opcodes = program.get(operation.name)
    if opcodes is not None and starts_others(opcodes):
        return None
    kind = class_of_opcodes(opcodes) if opcodes is not None else class_of_name(operation.name)
    of = [operation.about, operation.program.removeprefix("jit_").strip("_") if several else ""]
    about = next((told for words in of if words and (told := class_of_name(words)) != OTHER), OTHER)
    name = " ".join([_GRAPH.sub("", plain_kernel(operation.name)), *(f"[{words}]" for words in of if words)])
    return Label(shorten(name, _MOST_NAME), about if kind == OTHER or about == SPARSE else kind)


def _instructions(program: Program) -> Mapping[str, frozenset[str]]:
    """The opcodes inside each instruction of a program, by its name."""
    if not isinstance(program, str):
        return program
    module = hlo_text.read(program)
    out = {}
    for instructions in module.computations.values():
        for instruction in instructions:
            inside = {instruction.opcode if instruction.target is None else f"custom-call {instruction.target}"}
            for called in instruction.called:
                inside |= module.opcodes(called)
            out[instruction.name] = frozenset(inside)
    return out

"""What a compiler says of a program that is not run, and how much of the program that covers.

XLA's cost model gives FLOP, bytes and the seconds of an ideal chip. The optimised program gives more for some of its
instructions: the cycles that the compiler itself reckoned with when it chose how to emit them. Loops over gathered and
scattered rows carry none, so the sum says nothing alone; how much is uncovered, and of what kind, stands beside it.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from backends.aot import Program
from harness.machine import hardware
from harness.records.record import Estimate

# Names for what is already there, and transfers that run beside the work: no instruction of the core's.
_NAMES = ("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "iota", "partition-id")
_TRANSFERS = ("copy-start", "copy-done", "slice-start", "slice-done", "async-start", "async-update", "async-done")
_FREE = frozenset((*_NAMES, *_TRANSFERS))
_HEAVY = frozenset(("fusion", "while", "conditional", "call", "custom-call", "reduce", "dot", "convolution", "sort"))
_FREE_CALLS = frozenset(("ConcatBitcast", "AllocateBuffer", "Sharding"))
_RESOLUTION_S = 6e-8
_TELLING = (
    "while",
    "scatter",
    "gather",
    "sort",
    "dynamic-update-slice",
    "dynamic-slice",
    "convolution",
    "dot",
    "reduce",
)
_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
_CALLED = re.compile(r"\b(?:calls|to_apply|body)=%?([\w.\-]+)")
_TARGET = re.compile(r'custom_call_target="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Cycles:
    """The estimate in an optimised program: cycles of `covered` instructions; `uncovered` counts the others by kind."""

    cycles: int
    covered: int
    uncovered: dict[str, int]

    @property
    def share(self) -> float | None:
        """Covered instructions of all that do work; None of none."""
        total = self.covered + sum(self.uncovered.values())
        return self.covered / total if total else None


def cycles(hlo: str) -> Cycles:
    """Add up the entry computation of an optimised HLO module as text; called computations stand for their caller.

    A loop is uncovered as a whole: the program does not say how often it turns.
    """
    computations, entry = _computations(hlo)
    total = covered = 0
    uncovered: Counter[str] = Counter()
    for opcode, scalar, line in _instructions(computations.get(entry, ())):
        found = _CYCLES.search(line)
        if found:
            total += int(found[1])
            covered += 1
        elif not _is_free(opcode, scalar, line):
            uncovered[_kind(opcode, line, computations)] += 1
    return Cycles(total, covered, dict(uncovered.most_common()))


def _computations(hlo: str) -> tuple[dict[str, list[str]], str]:
    """Lines of each computation by its name, and the entry's name."""
    out: dict[str, list[str]] = {}
    entry, lines = "", None
    for line in hlo.splitlines():
        header = _HEADER.match(line)
        if header:
            lines = out.setdefault(header[2], [])
            entry = header[2] if header[1] else entry
        elif line.startswith("}"):
            lines = None
        elif lines is not None:
            lines.append(line.strip())
    return out, entry


def _instructions(lines: Iterable[str]) -> Iterable[tuple[str, bool, str]]:
    """Opcode, whether the result is one number, and the line, of each `%name = type opcode(…)`."""
    for line in lines:
        _, found, rest = line.partition(" = ")
        if not found:
            continue
        type_, rest = _split_type(rest)
        yield rest.partition("(")[0], "[]" in type_ and not type_.startswith("("), line


def _split_type(text: str) -> tuple[str, str]:
    """The type in front, which is one word or a tuple in parentheses, and what follows it."""
    if not text.startswith("("):
        type_, _, rest = text.partition(" ")
        return type_, rest
    depth = 0
    for i, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if not depth:
            return text[: i + 1], text[i + 2 :]
    return text, ""


def _is_free(opcode: str, scalar: bool, line: str) -> bool:
    if opcode == "custom-call":
        target = _TARGET.search(line)
        return target is not None and target[1] in _FREE_CALLS
    return opcode in _FREE or (scalar and opcode not in _HEAVY)


def _kind(opcode: str, line: str, computations: dict[str, list[str]]) -> str:
    """What an instruction is: a fusion or loop by the most telling of what is inside."""
    called = _CALLED.search(line)
    if called is None or opcode not in ("fusion", "while", "call"):
        target = _TARGET.search(line)
        return f"{opcode} {target[1]}" if opcode == "custom-call" and target else opcode
    inside = _opcodes(called[1], computations, set())
    telling = next((name for name in _TELLING if name in inside), None)
    return f"{opcode} of {telling}" if telling else opcode


def _opcodes(name: str, computations: dict[str, list[str]], seen: set[str]) -> set[str]:
    if name in seen:
        return set()
    seen.add(name)
    out = set()
    for opcode, _, line in _instructions(computations.get(name, ())):
        out.add(opcode)
        for called in _CALLED.findall(line):
            out |= _opcodes(called, computations, seen)
    return out


def optimal_s(program: Program) -> float | None:
    """Seconds of XLA's ideal chip; None where its cost model does not know some instruction that does work.

    The model adds −1 for every custom call. Those that only name or reserve memory take no time, and their −1 is taken
    back; the sum is a float32, so near −1 it says nothing finer than _RESOLUTION_S, and less than 50 of that is None.
    """
    value = program.cost.get("optimal_seconds")
    if value is None or value >= 0:
        return value
    targets = _TARGET.findall(program.hlo)
    unknown = math.ceil(-value)
    if unknown > len(targets) or not _FREE_CALLS.issuperset(targets):
        return None
    known = value + unknown
    return known if known >= 50 * unknown * _RESOLUTION_S else None


def estimate(program: Program, chip: str) -> Estimate:
    """The facts of a compiled program; a figure that the compiler does not give, or marks unknown by −1, is None."""
    reckoned = cycles(program.hlo)
    needed = (
        program.argument_bytes + program.output_bytes - program.alias_bytes + program.temp_bytes + program.code_bytes
    )
    memory = hardware.chip_memory_bytes(chip)

    def known(name: str) -> float | None:
        value = program.cost.get(name, -1.0)
        return value if value >= 0 else None

    return Estimate(
        route=program.route,
        chip=chip,
        trace_s=program.trace_s,
        compile_s=program.compile_s,
        flop=known("flops"),
        bytes_accessed=known("bytes accessed"),
        optimal_s=optimal_s(program),
        argument_bytes=program.argument_bytes,
        output_bytes=program.output_bytes,
        temp_bytes=program.temp_bytes,
        code_bytes=program.code_bytes,
        fits=None if memory is None else needed <= memory,
        cycles=reckoned.cycles if reckoned.covered else None,
        covered_share=reckoned.share,
        uncovered=reckoned.uncovered,
        compiler=program.compiler,
    )

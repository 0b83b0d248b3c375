"""What a compiler says of a program that is not run, and how much of the program that covers.

XLA's cost model gives FLOP, bytes and the seconds of an ideal chip. The optimised program gives more for some of its
instructions: the cycles that the compiler itself reckoned with when it chose how to emit them. Loops over gathered and
scattered rows carry none, so the sum says nothing alone; how much is uncovered, and of what kind, stands beside it.

That is a TPU's. Of a GPU that is not there XLA says nothing but the program and its bytes: FLOP, bytes and seconds are
added up over its kernels (`gpu_kernels.py`).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

from backends.ahead import Program
from backends.gpu_cards import GPU_CARDS, LAUNCH_S
from harness.machine import hardware
from harness.measuring import gpu_kernels, hlo_text
from harness.measuring.hlo_text import NAMES, Instruction
from harness.records.record import Estimate, EstimatedKernel

# Transfers that run beside the work: no instruction of the core's.
_TRANSFERS = ("copy-start", "copy-done", "slice-start", "slice-done", "async-start", "async-update", "async-done")
_FREE = frozenset((*NAMES, *_TRANSFERS))
_HEAVY = frozenset(("fusion", "while", "conditional", "call", "custom-call", "reduce", "dot", "convolution", "sort"))
_FREE_CALLS = frozenset(("ConcatBitcast", "AllocateBuffer", "Sharding"))
_RESOLUTION_S = 6e-8
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')


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
    module = hlo_text.read(hlo)
    total = covered = 0
    uncovered: Counter[str] = Counter()
    for instruction in module.main:
        found = _CYCLES.search(instruction.line)
        if found:
            total += int(found[1])
            covered += 1
        elif not _is_free(instruction):
            uncovered[module.kind(instruction)] += 1
    return Cycles(total, covered, dict(uncovered.most_common()))


def _is_free(instruction: Instruction) -> bool:
    if instruction.opcode == "custom-call":
        return instruction.target in _FREE_CALLS
    return instruction.opcode in _FREE or (instruction.is_one_number and instruction.opcode not in _HEAVY)


def optimal_s(program: Program) -> float | None:
    """Seconds of XLA's ideal chip; None where its cost model does not know some instruction that does work.

    The model adds −1 for every custom call. Those that only name or reserve memory take no time, and their −1 is taken
    back; the sum is a float32, so near −1 it says nothing finer than _RESOLUTION_S, and less than 50 of that is None.
    """
    value = program.cost.get("optimal_seconds")
    if value is None or value >= 0:
        return value
    targets = hlo_text.TARGET.findall(program.hlo)
    unknown = math.ceil(-value)
    if unknown > len(targets) or not _FREE_CALLS.issuperset(targets):
        return None
    known = value + unknown
    return known if known >= 50 * unknown * _RESOLUTION_S else None


def estimate(program: Program, chip: str) -> Estimate:
    """The facts of a compiled program; a figure that the compiler does not give, or marks unknown by −1, is None."""
    needed = (
        program.argument_bytes + program.output_bytes - program.alias_bytes + program.temp_bytes + program.code_bytes
    )
    memory = hardware.chip_memory_bytes(chip)
    figures = _of_card(program, chip) if chip in GPU_CARDS else _of_cost_model(program)
    return Estimate(
        route=program.route,
        chip=chip,
        trace_s=program.trace_s,
        compile_s=program.compile_s,
        argument_bytes=program.argument_bytes,
        output_bytes=program.output_bytes,
        temp_bytes=program.temp_bytes,
        code_bytes=program.code_bytes,
        fits=None if memory is None else needed <= memory,
        compiler=program.compiler,
        **figures,
    )


def _of_cost_model(program: Program) -> dict[str, Any]:
    """The figures of a TPU's program."""
    reckoned = cycles(program.hlo)

    def known(name: str) -> float | None:
        value = program.cost.get(name, -1.0)
        return value if value >= 0 else None

    return {
        "flop": known("flops"),
        "bytes_accessed": known("bytes accessed"),
        "optimal_s": optimal_s(program),
        "cycles": reckoned.cycles if reckoned.covered else None,
        "covered_share": reckoned.share,
        "uncovered": reckoned.uncovered,
        "kernels": reckoned.covered + sum(reckoned.uncovered.values()),
    }


def _of_card(program: Program, card: str) -> dict[str, Any]:
    """The figures of a GPU's program, added up over its kernels."""
    found = gpu_kernels.of_program(hlo_text.read(program.hlo))
    known = hardware.of_chip(card)
    if known is None or known.bandwidth_bytes_per_s is None:
        raise ValueError(f"the hardware table has no rates of {card}")
    rates = gpu_kernels.Rates(
        {str(dtype): rate for dtype, rate in known.peak_flop_per_s.items()}, known.bandwidth_bytes_per_s, LAUNCH_S
    )
    told = [
        EstimatedKernel(
            what=kernel.what,
            count=kernel.count,
            flop=kernel.work.flop,
            bytes=kernel.work.bytes,
            time_s=rates.seconds(kernel.work),
            known=kernel.work.known,
        )
        for kernel in gpu_kernels.grouped(found.kernels)
    ]
    uncovered: Counter[str] = Counter()
    for kernel in told:
        if not kernel.known:
            uncovered[kernel.what] += kernel.count
    launches = found.launches
    return {
        "flop": sum(kernel.count * kernel.flop for kernel in told),
        "bytes_accessed": sum(kernel.count * kernel.bytes for kernel in told),
        "optimal_s": sum(kernel.count * (kernel.time_s + rates.launch_s) for kernel in told) if told else None,
        "cycles": None,
        "covered_share": 1 - uncovered.total() / launches if launches else None,
        "uncovered": dict(uncovered.most_common()),
        "kernels": launches,
        "libraries": dict(found.libraries.most_common()),
        "launch_s": rates.launch_s,
        "kernels_told": told,
        "loops": found.loops,
    }

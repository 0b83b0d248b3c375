"""The kernels of a GPU program that was compiled and not run: FLOP and bytes of each, from its operands.

XLA has no cost analysis for a card that is not there, so the optimised program itself is read. Every instruction of the
entry that does work is one kernel; a loop counts as often as it is known to turn. Of a kernel are counted

- products 2·|out|·K, in a Triton fusion, cuBLAS, cuDNN or cuSPARSE alike, by the precision that the program asks for;
- one FLOP for each value that an arithmetic operation gives, and for each that a reduction or a scatter takes in;
- the bytes of its operands read once and of its results written once; where it only gathers or slices from an operand,
  the bytes that it gathers, each time; where it scatters into one, those that it adds, read and written.

So caches are perfect for whatever is read whole, and no help to what is gathered.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from harness.measuring import hlo_work
from harness.measuring.hlo_text import NAMES, Instruction, Module
from harness.measuring.hlo_work import KernelWork

# Kept in one kernel with another, or moved beside the work.
_FREE = frozenset((*NAMES, "copy-done", "async-done", "async-update", "opt-barrier", "add-dependency", "domain"))
_FREE_CALLS = frozenset(("AllocateBuffer", "Sharding", "annotate_device_placement"))
_TURNS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_FUSION_KIND = re.compile(r'"kind":"(__\w+)"')
_LIBRARIES = ("__cublas", "__cudnn", "cusparse_", "__cub", "cusolver_", "__triton", "__cufft")


@dataclass(frozen=True, slots=True)
class ProgramKernel:
    """One instruction of a program that launches: what it is, its work, and how often it is launched."""

    what: str
    work: KernelWork
    count: int


@dataclass(slots=True)
class Kernels:
    """All of a program. `libraries` counts calls of libraries and Triton's kernels by their name in the program.

    `loops` has a sentence for each loop that gathers or scatters: a kernel that was not found for what was asked.
    """

    kernels: list[ProgramKernel] = field(default_factory=list)
    libraries: Counter[str] = field(default_factory=Counter)
    loops: list[str] = field(default_factory=list)

    @property
    def launches(self) -> int:
        """Kernels launched."""
        return sum(kernel.count for kernel in self.kernels)


def of_program(module: Module) -> Kernels:
    """The kernels of a program's entry, and of the computations that it calls or repeats."""
    found = Kernels()
    _add(module, module.main, 1, found)
    return found


def _add(module: Module, instructions: Sequence[Instruction], times: int, into: Kernels) -> None:
    known = {instruction.name: instruction for instruction in instructions}
    for instruction in instructions:
        if instruction.opcode in _FREE or (instruction.opcode == "custom-call" and instruction.target in _FREE_CALLS):
            continue
        if instruction.opcode in ("call", "async-start") and instruction.called:
            _add(module, module.computations.get(instruction.called[0], ()), times, into)
        elif instruction.opcode == "while":
            _add_loop(module, instruction, times, into)
        else:
            into.kernels.append(
                ProgramKernel(module.kind(instruction), hlo_work.of_kernel(instruction, known, module), times)
            )
            library = _library(instruction)
            if library is not None:
                into.libraries[library] += times


def _add_loop(module: Module, loop: Instruction, times: int, into: Kernels) -> None:
    """The body of a loop, as often as it turns; once, and one more kernel of unknown work, where nobody says."""
    turns = _TURNS.search(loop.line)
    what = module.kind(loop)
    if what.endswith(("gather", "scatter", "slice")):
        into.loops.append(f"a {what} turns {turns[1] if turns else 'an unknown number of'} times")
    for body in loop.called:
        _add(module, module.computations.get(body, ()), times * int(turns[1] if turns else 1), into)
    if turns is None:
        into.kernels.append(ProgramKernel(what, KernelWork(known=False), times))


def _library(instruction: Instruction) -> str | None:
    """The name by which a library or Triton is called; None of a kernel that XLA makes itself."""
    name = instruction.target
    if instruction.opcode == "fusion":
        kind = _FUSION_KIND.search(instruction.line)
        name = kind[1] if kind else None
    return name if name is not None and name.startswith(_LIBRARIES) else None


# -- time --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rates:
    """What a card does at most: FLOP/s by dtype, bytes/s, and the seconds that a kernel costs beyond its work."""

    flop_per_s: Mapping[str, float]
    bytes_per_s: float
    launch_s: float

    def seconds(self, work: KernelWork) -> float:
        """The longer of arithmetic and traffic; of a kernel whose arithmetic is unknown the traffic's."""
        plain = self.flop_per_s["float64" if work.double else "float32"]
        compute = work.other_flop / plain
        for precision, flop in work.products.items():
            compute += flop / self.flop_per_s.get(precision, self.flop_per_s["float32"])
        return max(compute, work.bytes / self.bytes_per_s)


def grouped(kernels: Sequence[ProgramKernel]) -> Iterator[ProgramKernel]:
    """The kernels with those that are alike told once, in the order in which they first come."""
    counts: dict[tuple[object, ...], list[ProgramKernel]] = {}
    for kernel in kernels:
        work = kernel.work
        key = (kernel.what, tuple(sorted(work.products.items())), work.other_flop, work.bytes, work.known)
        counts.setdefault(key, []).append(kernel)
    for alike in counts.values():
        yield ProgramKernel(alike[0].what, alike[0].work, sum(kernel.count for kernel in alike))

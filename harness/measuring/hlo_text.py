"""XLA's optimised programs as text: computations, instructions, and the shapes of their results.

`%name = type opcode(operands), attributes`, one a line; a type is a shape such as `f32[8,16]{1,0}` or several in
parentheses. Only what an estimate needs is read, whatever else a version prints.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

# Names for what is already there: nothing is launched for them and no byte moves.
NAMES = frozenset(
    (
        "parameter",
        "constant",
        "tuple",
        "get-tuple-element",
        "bitcast",
        "after-all",
        "iota",
        "partition-id",
        "replica-id",
    )
)
# What says most of a fusion or a loop that has it inside, the most telling first.
_TELLING = (
    *("while", "scatter", "gather", "sort", "dynamic-update-slice", "dynamic-slice"),
    *("convolution", "dot", "reduce"),
)
_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_SHAPE = re.compile(r"\b([a-z]\w*)\[([\d,]*)\]")
_COMMENT = re.compile(r"/\*.*?\*/")
_CALLED = re.compile(r"\b(?:calls|to_apply|body)=%?([\w.\-]+)")
TARGET = re.compile(r'custom_call_target="([^"]*)"')
_BITS = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Shape:
    """A dtype by XLA's name (`f32`, `pred`) and the extents of an array of it."""

    dtype: str
    dims: tuple[int, ...]

    @property
    def size(self) -> int:
        """Values."""
        return math.prod(self.dims)

    @property
    def bytes(self) -> int:
        """Bytes of all values; one whose dtype has no number of bits in its name (`pred`) takes a byte."""
        if self.dtype == "token":
            return 0
        bits = _BITS.search(self.dtype)
        return math.ceil(self.size * (int(bits[0]) if bits else 8) / 8)

    @property
    def is_float(self) -> bool:
        """Whether its values are floating-point or complex numbers."""
        return self.dtype.startswith(("f", "bf", "c"))


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction: `shapes` has its results, `operands` the names of what it takes, `line` all that is said."""

    name: str
    opcode: str
    shapes: tuple[Shape, ...]
    operands: tuple[str, ...]
    line: str
    tuple_: bool
    root: bool

    @property
    def target(self) -> str | None:
        """What a custom call calls."""
        found = TARGET.search(self.line)
        return found[1] if found else None

    @property
    def called(self) -> list[str]:
        """The computations that it applies, calls or repeats."""
        return _CALLED.findall(self.line)

    @property
    def is_one_number(self) -> bool:
        """Whether its result is a single value."""
        return not self.tuple_ and len(self.shapes) == 1 and not self.shapes[0].dims


@dataclass(frozen=True, slots=True)
class Module:
    """A program: its computations by name, each the instructions in their order, and the entry's name."""

    computations: Mapping[str, Sequence[Instruction]] = field(default_factory=dict)
    entry: str = ""

    @property
    def main(self) -> Sequence[Instruction]:
        """The entry's instructions."""
        return self.computations.get(self.entry, ())

    def opcodes(self, name: str) -> set[str]:
        """The opcodes in a computation and in all that it calls."""
        return {instruction.opcode for instruction in self._within(name, set())}

    def kind(self, instruction: Instruction) -> str:
        """What it is: a custom call by its target, a fusion or loop by the most telling of what is inside."""
        if instruction.opcode == "custom-call" and instruction.target:
            return f"custom-call {instruction.target}"
        if instruction.opcode not in ("fusion", "while", "call") or not instruction.called:
            return instruction.opcode
        inside = self.opcodes(instruction.called[0])
        telling = next((name for name in _TELLING if name in inside), None)
        return f"{instruction.opcode} of {telling}" if telling else instruction.opcode

    def _within(self, name: str, seen: set[str]) -> Iterator[Instruction]:
        if name in seen:
            return
        seen.add(name)
        for instruction in self.computations.get(name, ()):
            yield instruction
            for called in instruction.called:
                yield from self._within(called, seen)


def read(hlo: str) -> Module:
    """The module or modules of a text; of several entries the last counts."""
    computations: dict[str, list[Instruction]] = {}
    entry, into = "", None
    for line in hlo.splitlines():
        header = _HEADER.match(line)
        if header:
            into = computations.setdefault(header[2], [])
            entry = header[2] if header[1] else entry
        elif line.startswith("}"):
            into = None
        elif into is not None:
            instruction = _instruction(line.strip())
            if instruction is not None:
                into.append(instruction)
    return Module(computations, entry)


def _instruction(line: str) -> Instruction | None:
    named, found, rest = line.partition(" = ")
    if not found:
        return None
    type_, rest = _split_type(rest)
    opcode, _, rest = rest.partition("(")
    first = named.removeprefix("ROOT ").strip().removeprefix("%")
    return Instruction(
        name=first,
        opcode=opcode,
        shapes=shapes(type_),
        operands=() if opcode in ("constant", "parameter") else _operands(rest),
        line=line,
        tuple_=type_.startswith("("),
        root=named.startswith("ROOT "),
    )


def shapes(text: str) -> tuple[Shape, ...]:
    """The shapes that a text names."""
    return tuple(
        Shape(dtype, tuple(int(extent) for extent in dims.split(",") if extent)) for dtype, dims in _SHAPE.findall(text)
    )


def _split_type(text: str) -> tuple[str, str]:
    """The type in front, which is one word or a tuple in parentheses, and what follows it."""
    if not text.startswith("("):
        type_, _, rest = text.partition(" ")
        return type_, rest
    end = _closing(text[1:])
    return text[: end + 2], text[end + 3 :]


def _closing(text: str) -> int:
    """Where the parenthesis closes that was opened before `text`; its length where none does."""
    depth = 1
    for i, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if not depth:
            return i
    return len(text)


def _operands(text: str) -> tuple[str, ...]:
    """The names before the parenthesis closes; a version may print each one's type before it."""
    inside = _COMMENT.sub("", text[: _closing(text)])
    found, depth, start = [], 0, 0
    for i, character in enumerate(inside + ","):
        depth += (character in "([{") - (character in ")]}")
        if character == "," and not depth:
            found.append(inside[start:i])
            start = i + 1
    return tuple(words[-1].removeprefix("%") for words in map(str.split, found) if words)

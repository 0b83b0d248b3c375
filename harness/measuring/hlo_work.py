"""FLOP and bytes of one kernel of an optimised program, counted from the shapes of its operands and results."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from harness.measuring.hlo_text import Instruction, Module, Shape

# One FLOP a value of the result.
_ARITHMETIC = frozenset(
    (
        *("add", "subtract", "multiply", "divide", "maximum", "minimum", "negate", "abs", "sign", "power", "remainder"),
        *("exponential", "exponential-minus-one", "log", "log-plus-one", "logistic", "tanh", "tan", "sine", "cosine"),
        *("sqrt", "rsqrt", "cbrt", "atan2", "erf", "floor", "ceil", "clamp"),
        *("round-nearest-even", "round-nearest-afz"),
    )
)
# KernelWork that no formula here knows.
_UNKNOWN = frozenset(
    (
        *("sort", "fft", "cholesky", "triangular-solve", "rng", "rng-bit-generator", "topk", "conditional"),
        "select-and-scatter",
    )
)
_VIEWS = ("bitcast", "reshape")
_CONTRACTING = re.compile(r"lhs_contracting_dims=\{([\d,]*)\}")
_CUBLAS_CONTRACTING = re.compile(r'"lhs_contracting_dimensions":\[([^\]]*)\]')
_PRECISION = re.compile(r"operand_precision\W+(\w+)")
_ALGORITHM = re.compile(r"algorithm=dot_f32_f32_f32\b|algorithm=ALG_DOT_F32_F32_F32\b")
_WINDOW = re.compile(r"window=\{size=([\dx]+)")
_LABELS = re.compile(r"dim_labels=\w+_(\w+)->")
_BY_DTYPE = {"f64": "float64", "f16": "float16", "bf16": "bfloat16", "c64": "float32", "c128": "float64"}


@dataclass(frozen=True, slots=True)
class KernelWork:
    """FLOP of products by the precision that they are made in, other FLOP, and bytes; `double` is that of float64.

    `known` says that all arithmetic is counted; bytes are known always.
    """

    products: Mapping[str, float] = field(default_factory=dict)
    other_flop: float = 0.0
    bytes: int = 0
    known: bool = True
    double: bool = False

    @property
    def flop(self) -> float:
        """All of it."""
        return sum(self.products.values()) + self.other_flop


@dataclass(slots=True)
class _Count:
    products: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    other: float = 0.0
    known: bool = True


def of_kernel(instruction: Instruction, around: Mapping[str, Instruction], module: Module) -> KernelWork:
    """The work of one kernel; `around` has the instructions of its computation by name."""
    count = _Count()
    operands = [_result(around.get(name)) for name in instruction.operands]
    if instruction.opcode == "custom-call":
        moved = _library_call(instruction, operands, count)
    elif instruction.opcode == "fusion" and instruction.called:
        inside = module.computations.get(instruction.called[0], ())
        _arithmetic(inside, module, count)
        moved = _fusion_bytes(inside, operands)
    else:
        _operation(instruction, around, count)
        moved = _plain_bytes(instruction, operands)
    double = any(shape.dtype in ("f64", "c128") for shape in instruction.shapes)
    return KernelWork(dict(count.products), count.other, moved, count.known, double)


def _result(instruction: Instruction | None) -> tuple[Shape, ...]:
    return () if instruction is None else instruction.shapes


def _bytes(shapes: Sequence[Shape]) -> int:
    return sum(shape.bytes for shape in shapes)


# -- arithmetic --------------------------------------------------------------------------------------------------------


def _arithmetic(instructions: Sequence[Instruction], module: Module, count: _Count) -> None:
    known = {instruction.name: instruction for instruction in instructions}
    for instruction in instructions:
        if instruction.opcode in ("fusion", "call") and instruction.called:
            _arithmetic(module.computations.get(instruction.called[0], ()), module, count)
        else:
            _operation(instruction, known, count)


def _operation(instruction: Instruction, around: Mapping[str, Instruction], count: _Count) -> None:
    """Add the FLOP of one operation, which is no fusion."""
    opcode = instruction.opcode
    given = [_result(around.get(name)) for name in instruction.operands]
    floats = any(shape.is_float for shape in instruction.shapes)
    if opcode == "dot" and given and given[0]:
        contracted = _CONTRACTING.search(instruction.line)
        axes = [int(axis) for axis in contracted[1].split(",") if axis] if contracted else []
        depth = math.prod(given[0][0].dims[axis] for axis in axes)
        _product(instruction, 2.0 * instruction.shapes[0].size * depth, count)
    elif opcode == "convolution" and len(given) > 1 and given[1]:
        _product(instruction, _convolution(instruction, instruction.shapes[0], given[1][0]), count)
    elif opcode in _UNKNOWN:
        count.known = False
    elif opcode == "reduce" and floats and given:
        count.other += sum(shape.size for shape in given[0])
    elif opcode == "reduce-window" and floats:
        window = _WINDOW.search(instruction.line)
        taps = math.prod(int(extent) for extent in window[1].split("x")) if window else 1
        count.other += instruction.shapes[0].size * taps
    elif opcode == "scatter" and floats and given:
        count.other += sum(shape.size for shape in given[-1]) if instruction.called else 0
    elif opcode in _ARITHMETIC and floats:
        count.other += instruction.shapes[0].size


def _convolution(instruction: Instruction, out: Shape, filters: Shape) -> float:
    """2·|out|·(values of a filter that make one of them): all filters over the output channels that they give."""
    labels = _LABELS.search(instruction.line)
    channels = filters.dims[labels[1].index("o")] if labels and "o" in labels[1] else filters.dims[-1]
    return 2.0 * out.size * filters.size / channels


def _product(instruction: Instruction, flop: float, count: _Count, dtype: str = "") -> None:
    precision = _made_in(instruction, dtype or instruction.shapes[0].dtype)
    if precision is None:
        count.known = False
    else:
        count.products[precision] += flop


def _made_in(instruction: Instruction, dtype: str) -> str | None:
    """The precision of a product by the names of the hardware table; None of one that it has no rate for."""
    if dtype == "f32":
        asked = _PRECISION.search(instruction.line)
        exact = (asked is not None and asked[1].lower() == "highest") or _ALGORITHM.search(instruction.line)
        return "float32" if exact else "tf32"
    return _BY_DTYPE.get(dtype)


# -- libraries ---------------------------------------------------------------------------------------------------------


def _library_call(call: Instruction, operands: Sequence[Sequence[Shape]], count: _Count) -> int:
    """Add a library call's FLOP, and give its bytes: those of its operands and its first result.

    Its other results are its workspace, but of those that gather.
    """
    target = call.target or ""
    given = [shapes[0] for shapes in operands if shapes]
    out = call.shapes[0]
    moved = _bytes(given) + out.bytes
    if target.startswith("__cublas") and len(given) >= 2:
        contracted = _CUBLAS_CONTRACTING.search(call.line)
        axes = [int(axis.strip(' "')) for axis in contracted[1].split(",") if axis.strip(' "')] if contracted else []
        _product(call, 2.0 * out.size * math.prod(given[0].dims[axis] for axis in axes), count)
    elif target.startswith("__cudnn$conv") and len(given) >= 2:
        # A gradient makes as many products as the convolution whose gradient it is.
        result, filters = {
            "__cudnn$convBackwardInput": (given[0], given[1]),
            "__cudnn$convBackwardFilter": (given[1], out),
        }.get(target, (out, given[1]))
        _product(call, _convolution(call, result, filters), count)
    elif target.startswith("cusparse_") and "_mat" in target and len(given) >= 4:
        # Of the dense operand it takes a row for every non-zero.
        columns = given[3].dims[1] if len(given[3].dims) > 1 else 1
        gathered = given[0].size * columns
        _product(call, 2.0 * gathered, count)
        moved += gathered * given[3].bytes // max(given[3].size, 1) - given[3].bytes
    else:
        count.known = False
    return moved


# -- bytes -------------------------------------------------------------------------------------------------------------


def _plain_bytes(instruction: Instruction, operands: Sequence[Sequence[Shape]]) -> int:
    """Of an operation that stands by itself."""
    if instruction.opcode in ("gather", "dynamic-slice", "slice") and operands:
        return 2 * _bytes(instruction.shapes) + sum(map(_bytes, operands[1:]))
    if instruction.opcode == "dynamic-update-slice" and len(operands) > 1:
        return 2 * _bytes(operands[1])
    if instruction.opcode == "scatter" and operands:
        return 3 * _bytes(operands[-1]) + sum(map(_bytes, operands[1:-1]))
    return sum(map(_bytes, operands)) + _bytes(instruction.shapes)


def _fusion_bytes(inside: Sequence[Instruction], operands: Sequence[Sequence[Shape]]) -> int:
    """What a fusion reads of its operands, and what it writes."""
    known = {instruction.name: instruction for instruction in inside}
    users: dict[str, list[tuple[Instruction, int]]] = {}
    for instruction in inside:
        for place, name in enumerate(instruction.operands):
            users.setdefault(name, []).append((instruction, place))
    total = 0
    for instruction in inside:
        if instruction.opcode == "parameter":
            total += _read(instruction, users)
    root = next((instruction for instruction in inside if instruction.root), None)
    if root is None:
        return total + sum(map(_bytes, operands))
    parts = [known[name] for name in root.operands if name in known] if root.opcode == "tuple" else [root]
    return total + sum(_written(part, known) for part in parts)


def _read(parameter: Instruction, users: Mapping[str, Sequence[tuple[Instruction, int]]]) -> int:
    """Bytes that a fusion reads of one operand: all of it once, or what it takes out of it."""
    taken = 0
    waiting = [parameter]
    while waiting:
        for user, place in users.get(waiting.pop().name, ()):
            if user.opcode in _VIEWS and not user.root:
                waiting.append(user)
                continue
            part = _taken(user, place)
            if part is None:
                return _bytes(parameter.shapes)
            taken += part
    return taken


def _taken(user: Instruction, place: int) -> int | None:
    """What an operation takes out of the operand at `place`, bytes; None where it is all of it."""
    if place:
        return None
    if user.opcode in ("gather", "dynamic-slice", "slice"):
        return _bytes(user.shapes)
    return 0 if user.opcode in ("scatter", "dynamic-update-slice") else None  # counted where it is written


def _written(part: Instruction, known: Mapping[str, Instruction]) -> int:
    """Bytes of one result: of a scatter those that are read, added and written, of an update those that are written."""
    source = part
    while source.opcode in _VIEWS and source.operands and source.operands[0] in known:
        source = known[source.operands[0]]
    given = [_result(known.get(name)) for name in source.operands]
    if source.opcode == "scatter" and given[-1:]:
        return 2 * _bytes(given[-1])
    if source.opcode == "dynamic-update-slice" and len(given) > 1:
        return _bytes(given[1])
    return _bytes(part.shapes)

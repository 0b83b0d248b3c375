"""What a device file may hold: every number with its unit, its range, where it comes from, its default.

Numbers are in SI units without prefixes: FLOP/s, bytes, bytes/s, s, W; energies of one operation in pJ. What is left
out is not known: a computation that needs it gets no figure. What a value left out stands for is said at its section.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta

DTYPES = ("float64", "float32", "tf32", "bfloat16", "float16", "int8", "float8", "int4")
DeviceKind: TypeAlias = Literal["cpu", "gpu", "tpu", "prototype"]
ModelledDtype: TypeAlias = Literal["float64", "float32", "tf32", "bfloat16", "float16", "int8", "float8", "int4"]

PACKS = "assumed: how the libraries of processors multiply (Goto & van de Geijn 2008)"  # the source of matmul.packs


def _number(low: float, high: float, unit: str, description: str, source: str) -> Any:
    about = f"{description} Unit: {unit}. From: {source}."
    return Meta(ge=low, le=high, description=about, extra_json_schema={"unit": unit, "source": source})


CALIBRATED = "calibrate"
_RATE = "a datasheet's dense figure, or calibrate"
FlopRate = Annotated[float, _number(1e6, 1e21, "FLOP/s", "Operations a second.", _RATE)]
PerSecond = Annotated[float, _number(1.0, 1e18, "1/s", "How many a second.", CALIBRATED)]
Bandwidth = Annotated[float, _number(1e6, 1e18, "bytes/s", "Bytes a second.", _RATE)]
Size = Annotated[float, _number(1.0, 1e18, "bytes", "A size in memory.", "a datasheet")]
Seconds = Annotated[float, _number(0.0, 10.0, "s", "A time that each costs; 0 is free.", CALIBRATED)]
Picojoules = Annotated[float, _number(0.0, 1e9, "pJ", "Energy of one.", "a paper of the technology")]
Watts = Annotated[float, _number(0.0, 1e6, "W", "Power.", "a datasheet")]
Factor = Annotated[float, _number(1e-6, 1e9, "1", "How many times as much.", "the author of the file")]
Count = Annotated[int, Meta(ge=1, le=2**31, description="A whole number.", extra_json_schema={"unit": "1"})]
Share = Annotated[float, _number(1e-9, 1.0, "1", "Which part of a rate is reached.", CALIBRATED)]
Ratio = Annotated[float, _number(1.0, 1e6, "1", "How many times as fast as dense.", "a datasheet")]
SparsePattern = Annotated[
    str, Meta(pattern=r"^(any|[1-9][0-9]{0,3}:[1-9][0-9]{0,3})$", description="keep:of, such as 2:4; or any.")
]
Text = Annotated[str, Meta(min_length=1, max_length=2000)]
Key = Annotated[
    str,
    Meta(pattern=r"^[A-Za-z][A-Za-z0-9_.:\[\]]{0,99}$", description="A key of this file, such as gather.rows_per_s."),
]


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A table of the file."""


class SmallProduct(_Section, frozen=True, kw_only=True):
    """Of a product whose shortest side is `side`: the `share` of the rate of large products that it reaches."""

    side: Count
    share: Share


class ShareOfBytes(_Section, frozen=True, kw_only=True):
    """Of what reads `bytes`, or gathers its rows of as many: the `share` of a rate that it reaches."""

    bytes: Size
    share: Share


class MatmulUnit(_Section, frozen=True, kw_only=True):
    """Dense products. `rate`: FLOP/s by dtype. `tile` [m, n, k]: sides are rounded up to it; [1, 1, 1] by default.

    `sparse`: by which factor a product is faster where keep of every `of` values are not zero; `any`: at most, where
    zeros stand anywhere and the operation multiplies with them. `packs` (false by default): operands of one product by
    itself are copied into an order of the unit's own before it multiplies, as the libraries of processors do (Goto &
    van de Geijn 2008, "Anatomy of High-Performance Matrix Multiplication"), so that this traffic comes on top of the
    arithmetic. `small`, of many products in one call, and `thin`, of one by itself, go from the shortest side up: they
    are curves straight in logarithms between sides, and the whole rate beyond (without one everywhere). `vector`: the
    share of the memory's bandwidth that a product with a vector reaches, by the bytes of both (1 without it).
    """

    rate: dict[ModelledDtype, FlopRate] = {}
    tile: tuple[Count, Count, Count] | None = None
    sparse: dict[SparsePattern, Ratio] = {}
    packs: bool | None = None
    small: list[SmallProduct] = []
    thin: list[SmallProduct] = []
    vector: list[ShareOfBytes] = []


class VectorUnit(_Section, frozen=True, kw_only=True):
    """Arithmetic that is no dense product: elementwise, reductions. Without `rate` only bandwidth limits it."""

    rate: dict[ModelledDtype, FlopRate] = {}


class MemoryLevel(_Section, frozen=True, kw_only=True):
    """What holds a working set of at most `bytes`: `read` and `write` (as `read` where left out) in bytes/s."""

    bytes: Size
    read: Bandwidth
    write: Bandwidth | None = None
    pj_per_byte: Picojoules | None = None


class MemorySystem(_Section, frozen=True, kw_only=True):
    """`levels` from the smallest working set up: a curve, straight in logarithms between them.

    `capacity`: bytes of all of it; a call that touches more has no figure.
    """

    levels: list[MemoryLevel] = []
    capacity: Size | None = None


class GatherUnit(_Section, frozen=True, kw_only=True):
    """Rows read by an index. A row narrower than `line_bytes` (64 by default) costs a line."""

    rows_per_s: PerSecond | None = None
    line_bytes: Size | None = None


class ScatterUnit(_Section, frozen=True, kw_only=True):
    """Rows added up by an index; `conflict` (1 by default) is how many times as long where rows meet."""

    rows_per_s: PerSecond | None = None
    conflict: Factor | None = None


class StoredProducts(_Section, frozen=True, kw_only=True):
    """One kind of product with a stored sparse matrix: values or blocks a second, FLOP/s with the rows that they meet.

    `far` from the smallest table up: the share of `rate` where rows are gathered of so many bytes, a curve straight in
    logarithms between them (the whole rate everywhere without it).
    """

    values_per_s: PerSecond | None = None
    rate: dict[ModelledDtype, FlopRate] = {}
    far: list[ShareOfBytes] = []


class SparseUnit(StoredProducts, frozen=True, kw_only=True):
    """Products with a stored sparse matrix. `bag`: weighted embedding bags; `vector`: products with a vector. What one
    of these does not give is as of all others.
    """

    bag: StoredProducts = StoredProducts()
    vector: StoredProducts = StoredProducts()


class SelectUnit(_Section, frozen=True, kw_only=True):
    """Sorting and choosing: comparisons a second; `lookups_per_s`: rows of 16 bytes and less that are gathered."""

    sort_per_s: PerSecond | None = None
    lookups_per_s: PerSecond | None = None


class LaunchCosts(_Section, frozen=True, kw_only=True):
    """Seconds before anything is computed: of an operation by itself, of a compiled program, of each further kernel
    within one (free where left out).
    """

    op_s: Seconds | None = None
    program_s: Seconds | None = None
    kernel_s: Seconds | None = None


class DeviceLimits(_Section, frozen=True, kw_only=True):
    """`static_shapes`: only compiled programs run. `pipelined`: the kernels of a program run at the same time, each of
    the device's parts as long as its own work takes. Both are false by default.
    """

    static_shapes: bool | None = None
    pipelined: bool | None = None


class EnergyCosts(_Section, frozen=True, kw_only=True):
    """Picojoules of a FLOP by dtype and of a launch, and the power that is drawn all the time. Bytes: by level."""

    pj_per_flop: dict[ModelledDtype, Picojoules] = {}
    pj_per_launch: Picojoules | None = None
    idle_w: Watts | None = None


class FrameworkPart(_Section, frozen=True, kw_only=True):
    """What one framework reaches on the device where that differs: its own software, not the device."""

    matmul: MatmulUnit = MatmulUnit()
    vector: VectorUnit = VectorUnit()
    memory: MemorySystem = MemorySystem()
    gather: GatherUnit = GatherUnit()
    scatter: ScatterUnit = ScatterUnit()
    sparse: SparseUnit = SparseUnit()
    select: SelectUnit = SelectUnit()
    launch: LaunchCosts = LaunchCosts()


class ModelDevice(FrameworkPart, frozen=True, kw_only=True):
    """A device as its file describes it.

    `base` names another file, whose values hold where this one gives none; `factor` multiplies values, by dotted keys.
    Both are worked in when the file is read. `backend` has a table for each framework; what is said for all, on top of
    a base, holds for each of them. `sources` and `intervals`: of a dotted key where its value is from, and [low, high].
    """

    name: Text
    kind: DeviceKind
    source: Text
    note: Text | None = None
    base: Text | None = None
    factor: dict[Key, Factor] = {}
    limits: DeviceLimits = DeviceLimits()
    energy: EnergyCosts = EnergyCosts()
    backend: dict[Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,39}$")], FrameworkPart] = {}
    sources: dict[Key, Text] = {}
    intervals: dict[Key, tuple[float, float]] = {}


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a device file."""
    schema: dict[str, Any] = msgspec.json.schema(ModelDevice)
    return schema

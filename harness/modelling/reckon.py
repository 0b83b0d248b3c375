"""The model: what the kernels of calls take on a device, term by term.

    time of a kernel   = max(matmul, vector, memory, gather, scatter, sparse, select)
    time of a call     = Σ kernels + launches           pipelined: max over the terms of Σ kernels, + launches
    matmul             = FLOP of sides rounded up to the tile / rate, divided by the sparse ratio where one applies; the
                         rate is less where a side is short
    a unit that packs  : a product of matrices takes matmul + memory, and memory has its operands once more: they are
                         copied, then multiplied. A product with a vector needs no copy: it reaches a share of the
                         bandwidth
    memory             = bytes / bandwidth of the working set: of operands what the call touches, of what was made just
                         before what the kernel itself touches
    gather, scatter    = rows / rows_per_s, or their bytes in whole lines / bandwidth, whichever is longer
    sparse             = stored values / values_per_s or FLOP / rate, whichever is longer; the rate is less where the
                         rows are gathered of a large table
    energy             = FLOP · pJ + bytes · pJ of the level + launches · pJ + idle power · time

A term whose rate the device does not give is unknown (NaN) where it is needed, and so is the call's time.
"""

from __future__ import annotations

from math import nan
from typing import NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from backends.ops import Execution
from harness.modelling.device_parts import Floats, bandwidth, curve, part_for, stored_unit
from harness.modelling.device_schema import FrameworkPart, ModelDevice
from harness.modelling.kernel_table import KernelTable
from harness.modelling.kernels import Call, StoredForm

TERMS = ("matmul", "vector", "memory", "gather", "scatter", "sparse", "select", "launch")
MATMUL, MEMORY = TERMS.index("matmul"), TERMS.index("memory")
# The parameter of a device file that each term is the time of: what a break-even multiplies.
PARAMETERS = {
    "matmul": "matmul.rate",
    "vector": "vector.rate",
    "memory": "memory.levels",
    "gather": "gather.rows_per_s",
    "scatter": "scatter.rows_per_s",
    "sparse": "sparse",
    "select": "select",
    "launch": "launch",
}
LINE_BYTES = 64.0
VECTOR = 1.5  # a product whose shortest side is below is one with a vector
TABLE_ROW = 16.0  # bytes: a narrower row is an entry of a small table


class Reckoned(NamedTuple):
    """Seconds of each of several calls, their parts by term (calls, terms), and joules (NaN where not known)."""

    time_s: Floats
    terms_s: Floats
    energy_j: Floats


class Terms:
    """What each kernel would take by each term alone on a device, through one framework's software or none.

    `scaled(term, factor)` is the whole reckoned anew with that one term `factor` times as fast.
    """

    def __init__(self, table: KernelTable, device: ModelDevice, backend: str | None = None) -> None:
        self._table, self._device = table, device
        part = part_for(device, backend)
        self._pipelined = bool(device.limits.pipelined)
        self._packed = _packed(table, part) & (not self._pipelined)
        columns = [
            _matmul(table, part),
            _vector(table, part),
            _memory(table, part) + np.where(self._packed, _copied(table, part), 0.0),
            _rows(table, part, "gather"),
            _rows(table, part, "scatter"),
            _sparse(table, part),
            _select(table, part),
        ]
        self._kernels: Floats = np.stack(columns, axis=1)
        self._launch = _launch(table, part, device)
        self._energy = _energy(table, part, device)

    def times(self, term: str | None = None, factor: float = 1.0) -> Floats:
        """Seconds of every call; with `term`, as if that one were `factor` times as fast."""
        kernels, launch = self._kernels, self._launch / (factor if term == "launch" else 1.0)
        if term is not None and term != "launch":
            kernels = kernels.copy()
            kernels[:, TERMS.index(term)] /= factor
        if self._pipelined:
            return np.asarray(self._table.summed(kernels).max(axis=1, initial=0.0) + launch)
        return np.asarray(self._table.summed(self._longest(kernels)) + launch)

    def _longest(self, kernels: Floats) -> Floats:
        """Of each kernel the longest term; of a product that is packed first, both of its own one after the other."""
        both = np.where(self._packed, kernels[:, MATMUL] + kernels[:, MEMORY], 0.0)
        return np.asarray(np.maximum(kernels.max(axis=1, initial=0.0), both))

    def reckoned(self) -> Reckoned:
        """Every call, its parts by the term that binds each kernel, and its energy."""
        time, parts = self.times(), self._kernels
        if not self._pipelined:
            binds = np.nan_to_num(parts).argmax(axis=1)
            chosen = np.zeros_like(parts)
            rows = np.arange(len(parts))
            chosen[rows, binds] = parts[rows, binds]
            both = self._packed & np.isin(binds, (MATMUL, MEMORY))
            chosen[both, MATMUL], chosen[both, MEMORY] = parts[both, MATMUL], parts[both, MEMORY]
            parts = chosen
        terms = np.concatenate([self._table.summed(parts), self._launch[:, None]], axis=1)
        idle = self._device.energy.idle_w
        return Reckoned(time, terms, self._energy + (nan if idle is None else idle) * time)


def missing(device: ModelDevice, backend: str | None, call: Call, execution: Execution, dtype: str) -> str | None:
    """The first key that a call needs and the device does not give; None where it has all."""
    part = part_for(device, backend)
    if dtype not in part.matmul.rate and any(k.matmul_flop for k in call.kernels):
        return f"matmul.rate.{dtype}"
    stored = [stored_unit(part, form) for form in dict.fromkeys(k.form for k in call.kernels if k.stored)]
    wanted = {
        "gather.rows_per_s": (part.gather.rows_per_s, any(k.gathered_rows and not k.stored for k in call.kernels)),
        "scatter.rows_per_s": (part.scatter.rows_per_s, any(k.scattered_rows for k in call.kernels)),
        "sparse.values_per_s": (None, any(unit.values_per_s is None for unit in stored)),
        f"sparse.rate.{dtype}": (None, any(dtype not in unit.rate for unit in stored)),
        "select.sort_per_s": (part.select.sort_per_s, any(k.select_flop for k in call.kernels)),
        "launch.op_s": (part.launch.op_s, execution == "eager"),
        "launch.program_s": (part.launch.program_s, execution != "eager"),
    }
    if part.memory.capacity is not None and call.touched_bytes > part.memory.capacity:
        return f"memory.capacity of {call.touched_bytes:g} bytes"
    if execution == "eager" and device.limits.static_shapes:
        return "limits.static_shapes = false"
    return next((key for key, (value, needed) in wanted.items() if needed and value is None), None)


# -- terms -------------------------------------------------------------------------------------------------------------
def _over(amount: Floats, rate: Floats | float) -> Floats:
    """amount / rate; 0 where there is nothing to do, whatever the rate."""
    return np.where(amount > 0, amount / np.asarray(rate, np.float64), 0.0)


def _matmul(table: KernelTable, part: FrameworkPart) -> Floats:
    tile = part.matmul.tile
    flop = table.matmul_flop
    if tile is not None:
        sides = table.sides[:, 1:]
        padded = np.ceil(sides / np.array([tile[0], tile[1], tile[2]])) * np.array([tile[0], tile[1], tile[2]])
        waste = np.where(np.isnan(sides).any(axis=1), 1.0, (padded / sides).prod(axis=1))
        flop = flop * waste
    rates = table.by_dtype(dict(part.matmul.rate)) * _share_of_short_sides(table, part)
    return _over(flop, rates) / _sparse_ratio(table, part)[table.owner]


def _share_of_short_sides(table: KernelTable, part: FrameworkPart) -> Floats:
    """The part of the matmul rate that products with a short side reach; of those with a vector memory decides."""
    shortest = np.nan_to_num(table.sides[:, 1:].min(axis=1, initial=np.inf), nan=np.inf)
    many = [(s.side, s.share) for s in part.matmul.small]
    single = [(s.side, s.share) for s in part.matmul.thin]
    reached = np.where(table.sides[:, 0] > 1, curve(many, shortest, 1.0), curve(single, shortest, 1.0))
    return np.where(shortest < VECTOR, 1.0, reached)


def _sparse_ratio(table: KernelTable, part: FrameworkPart) -> Floats:
    """How many times as fast the products of each call are for the zeros that they multiply with."""
    sparse = part.matmul.sparse
    out = np.minimum(table.zeros, sparse.get("any", 1.0))
    for number, asked in enumerate(table.asked):
        if asked.structure is not None and asked.zeros > 1:
            keep, of = asked.structure
            out[number] = max(out[number], sparse.get(f"{keep}:{of}", 1.0))
    return np.asarray(out)


def _vector(table: KernelTable, part: FrameworkPart) -> Floats:
    if not part.vector.rate:
        return np.zeros_like(table.other_flop)  # bandwidth alone limits it
    return _over(table.other_flop, table.by_dtype(dict(part.vector.rate)))


def _memory(table: KernelTable, part: FrameworkPart) -> Floats:
    memory = part.memory
    far, near = bandwidth(memory, table.call_set), bandwidth(memory, table.own_set)
    moved = table.held / far + table.fresh / near + table.written / bandwidth(memory, table.own_set, write=True)
    reached = curve([(point.bytes, point.share) for point in part.matmul.vector], table.own_set)
    return np.asarray(moved / np.where(_with_a_vector(table), reached, 1.0))


def _with_a_vector(table: KernelTable) -> npt.NDArray[np.bool_]:
    """Whether the kernel is a product of which one side is a vector."""
    shortest = table.sides[:, 1:3].min(axis=1, initial=np.inf)  # NaN of what is no product
    return np.asarray((table.matmul_flop > 0) & (shortest < VECTOR))


def _packed(table: KernelTable, part: FrameworkPart) -> npt.NDArray[np.bool_]:
    """Whether the kernel is one product of matrices whose operands are copied first; of many small ones none is."""
    single = ~(table.sides[:, 0] > 1)
    return np.asarray(bool(part.matmul.packs) & (table.matmul_flop > 0) & single & ~_with_a_vector(table))


def _copied(table: KernelTable, part: FrameworkPart) -> Floats:
    """What it takes to write the operands of a product once more."""
    return np.asarray((table.held + table.fresh) / bandwidth(part.memory, table.own_set, write=True))


def _rows(table: KernelTable, part: FrameworkPart, unit: str) -> Floats:
    gathers = unit == "gather"
    rows = table.gathered_rows if gathers else table.scattered_rows
    rows = np.where(table.stored > 0, 0.0, rows) if gathers else rows  # the sparse unit's own gathers are its affair
    size = table.gathered_bytes if gathers else table.scattered_bytes
    width = np.where(rows > 0, size / np.maximum(rows, 1.0), 0.0)
    rate: Floats | float = (part.gather.rows_per_s if gathers else part.scatter.rows_per_s) or nan
    if gathers and part.select.lookups_per_s is not None:
        rate = np.where(width <= TABLE_ROW, np.fmax(rate, part.select.lookups_per_s), rate)
    line = part.gather.line_bytes or LINE_BYTES
    lines = rows * np.ceil(width / line) * line
    conflict = 1.0 if gathers else (part.scatter.conflict or 1.0)
    return np.asarray(np.maximum(_over(rows, rate) * conflict, lines / bandwidth(part.memory, table.gathered_from)))


def _sparse(table: KernelTable, part: FrameworkPart) -> Floats:
    out = np.zeros_like(table.stored)
    for form in get_args(StoredForm):
        unit = stored_unit(part, form)
        reached = curve([(far.bytes, far.share) for far in unit.far], table.gathered_from)
        products = _over(table.sparse_flop, table.by_dtype(dict(unit.rate)) * reached)
        found = np.maximum(_over(table.stored, unit.values_per_s or nan), products)
        out = np.where(table.forms == form, found, out)
    return out


def _select(table: KernelTable, part: FrameworkPart) -> Floats:
    return _over(table.select_flop, part.select.sort_per_s or nan)


def _launch(table: KernelTable, part: FrameworkPart, device: ModelDevice) -> Floats:
    """Eager: each operation. Compiled or a graph: the program, and each kernel behind the first."""
    costs, static = part.launch, bool(device.limits.static_shapes)
    op, program = (nan if cost is None else cost for cost in (costs.op_s, costs.program_s))
    kernel = costs.kernel_s or 0.0
    out = np.empty(len(table.asked))
    for number, asked in enumerate(table.asked):
        count = len(asked.call.kernels)
        if asked.execution == "eager":
            out[number] = nan if static else count * op
        else:
            out[number] = program + max(0, count - 1) * kernel
        if part.memory.capacity is not None and asked.call.touched_bytes > part.memory.capacity:
            out[number] = nan
    return out


def _energy(table: KernelTable, part: FrameworkPart, device: ModelDevice) -> Floats:
    """Joules without the idle power; NaN where a figure that is needed is not given."""
    costs = device.energy
    per_flop = table.by_dtype(dict(costs.pj_per_flop))
    flop = table.matmul_flop + table.other_flop + table.sparse_flop + table.select_flop
    levels = part.memory.levels
    sizes = np.log([level.bytes for level in levels])
    per_byte = np.array([nan if level.pj_per_byte is None else level.pj_per_byte for level in levels])
    far = np.interp(np.log(table.call_set), sizes, per_byte)
    near = np.interp(np.log(table.own_set), sizes, per_byte)
    moved = table.held * far + (table.fresh + table.written) * near
    joules = table.summed(np.where(flop > 0, flop * per_flop, 0.0) + moved) * 1e-12
    return np.asarray(joules + table.launches * (nan if costs.pj_per_launch is None else costs.pj_per_launch) * 1e-12)

"""The kernels of many calls as columns of numbers, so that a device is reckoned for all of them at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from typing import Any

import numpy as np

from backends.ops import Execution
from harness.modelling.device_parts import Floats
from harness.modelling.kernels import Call


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A call to reckon, as one framework executes it.

    `zeros` is executed over useful FLOP where the formulation multiplies with zeros that may stand anywhere, else 1;
    `structure` is (keep, of) where they stand in groups.
    """

    call: Call
    execution: Execution
    dtype: str
    zeros: float = 1.0
    structure: tuple[int, int] | None = None


class KernelTable:
    """A column for each fact of a kernel; `owner` is the number of the call that a kernel is of."""

    def __init__(self, asked: Sequence[Asked]) -> None:
        self.asked = list(asked)
        counts = [len(a.call.kernels) for a in asked]
        self.starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self.owner = np.repeat(np.arange(len(asked)), counts)
        kernels = [k for a in asked for k in a.call.kernels]

        def column(name: str) -> Floats:
            return np.array([getattr(k, name) for k in kernels], np.float64)

        self.matmul_flop, self.other_flop = column("matmul_flop"), column("other_flop")
        self.sparse_flop, self.select_flop, self.stored = column("sparse_flop"), column("select_flop"), column("stored")
        self.held, self.fresh, self.written = column("held_bytes"), column("fresh_bytes"), column("written_bytes")
        self.gathered_rows, self.gathered_bytes = column("gathered_rows"), column("gathered_bytes")
        self.scattered_rows, self.scattered_bytes = column("scattered_rows"), column("scattered_bytes")
        self.forms = np.array([k.form for k in kernels], str)
        self.gathered_from = np.maximum(column("gathered_from"), 1.0)
        self.own_set = np.maximum(self.held + self.fresh + self.written, 1.0)
        self.call_set = np.maximum(np.array([a.call.touched_bytes for a in asked], np.float64), 1.0)[self.owner]
        self.sides = np.array([k.sides or (nan,) * 4 for k in kernels], np.float64).reshape(-1, 4)
        self.dtypes = [a.dtype for a in asked]
        self.zeros = np.array([a.zeros for a in asked], np.float64)
        self.launches = np.array(counts, np.float64)

    def summed(self, values: Floats) -> Floats:
        """The sum over the kernels of each call; `values` (kernels,) or (kernels, terms)."""
        out = np.zeros((len(self.asked), *values.shape[1:]))
        filled = self.starts[:-1] < self.starts[1:]
        if filled.any():
            out[filled] = np.add.reduceat(values, self.starts[:-1][filled], axis=0)
        return out

    def by_dtype(self, rates: dict[Any, float]) -> Floats:
        """A rate for each kernel by the dtype of its call; NaN where it is not known."""
        return np.array([rates.get(dtype, nan) for dtype in self.dtypes], np.float64)[self.owner]

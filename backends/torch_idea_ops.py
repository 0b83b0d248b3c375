"""PyTorch's operators that only some ideas need: low-bit products, grouped products, scans and branches.

Imports PyTorch: only an opened backend imports this file.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch._higher_order_ops import associative_scan, scan

from backends.ops import QUANTIZED_KINDS, Array, HostArray, Matrix, Ops, Unsupported

_ALIGNED_BYTES = 16  # of each row that grouped_mm and the products of float8 take
_INT4_GROUPS = (32, 64, 128, 256)
_UNROLLED = 8  # steps of a scan that a compiler is given one by one; of more it is given one, and a loop

_library = torch.library.Library("hwlottery", "FRAGMENT")
# oneDNN's int8 product as one call in a compiled graph: Inductor's own lowering takes packed weights as constants only.
_library.define("int8_linear(Tensor x, Tensor weights, int rows) -> Tensor")


def _int8_linear(x: Array, weights: Array, rows: int) -> Array:
    """X of int8 times packed weights, as float32.

    PyTorch packs weights for unsigned values with a middle. For signed ones oneDNN has but a reference kernel then,
    3500 times as slow (its log says `ref_int8:any`), so they are moved by 128: of int8 the upper bit is turned. Where a
    processor has no VNNI, sums of unsigned products could saturate, and they stay as they are.
    """
    ones, zeros = _ones(rows)
    middle = 0
    if torch.cpu._is_vnni_supported():
        x, middle = torch.bitwise_xor(x, -128).view(torch.uint8), 128
    return torch.ops.onednn.qlinear_pointwise(
        x, 1.0, middle, weights, ones, zeros, None, 1.0, 0, torch.float32, "none", [], ""
    )


_library.impl("int8_linear", _int8_linear, "CPU")
_library.impl("int8_linear", _int8_linear, "MkldnnCPU")
torch.library.register_fake(
    "hwlottery::int8_linear",
    lambda x, weights, rows: x.new_empty((x.shape[0], rows), dtype=torch.float32),
    lib=_library,
)


class Packed(NamedTuple):
    """Weights as one of PyTorch's packed products reads them."""

    kind: str
    weights: Array
    scales: Array  # of int4: scales and zeros, (groups, M, 2); of int8 none
    group: int  # of int8 the rows of the weights


class TorchIdeaOps(Ops):
    """The optional operations that PyTorch has."""

    framework = "PyTorch"

    def round(self, x: Array) -> Array:
        return torch.round(x)

    def argsort(self, x: Array) -> Array:
        return torch.argsort(x, dim=-1, stable=True)

    def take_along_axis(self, x: Array, indices: Array, axis: int) -> Array:
        return torch.gather(x, axis, indices if indices.dtype is torch.int64 else indices.long())

    def cumsum(self, x: Array, axis: int) -> Array:
        return torch.cumsum(x, axis, dtype=x.dtype)

    def nonzero(self, x: Array) -> Array:
        return torch.nonzero(x).squeeze(1)

    def scatter(self, x: Array, indices: Array, length: int) -> Array:
        places = indices if indices.dtype is torch.int64 else indices.long()
        return x.new_zeros((length, *x.shape[1:])).index_copy_(0, places, x)

    def multiply_add(self, x: Array, y: Array, z: Array) -> Array:
        return torch.addcmul(z, x, y)

    def embedding_bag(self, table: Array, rows: Array, weights: Array | None = None) -> Array:
        # torch.nn.functional's own checks cost more than the sums of a small bag
        starts = torch.arange(0, rows.numel(), rows.shape[1], dtype=rows.dtype, device=rows.device)
        shares = None if weights is None else weights.reshape(-1)
        return torch.embedding_bag(table, rows.reshape(-1), starts, False, 0, False, shares)[0]

    def popcount(self, x: Array) -> Array:
        raise Unsupported("module 'torch' has no attribute 'bitwise_count': PyTorch has no population count")

    def bitcast(self, x: Array, dtype: str) -> Array:
        return x.view(getattr(torch, dtype))

    # -- low-bit products -------------------------------------------------------------------------------------------
    def matmul_int8(self, a: Array, b: Array) -> Array:
        try:
            return torch._int_mm(a, b)
        except RuntimeError as error:  # of a GPU: more than 16 rows, multiples of 8
            raise _refusal(error) from error

    def scaled_matmul(self, a: Array, b: Array, scale_a: Array, scale_b: Array) -> Array:
        try:
            return torch._scaled_mm(a, b, scale_a=scale_a, scale_b=scale_b, out_dtype=torch.float32)
        except RuntimeError as error:
            raise _refusal(error) from error

    def quantized_weights(self, q: HostArray, scales: HostArray, kind: str, rows: int) -> Matrix:
        if self.device.kind != "cpu":
            raise Unsupported(f"PyTorch's packed products ({', '.join(QUANTIZED_KINDS)}) are offered here for the CPU")
        if kind == "int8":
            weights = self.asarray(q.astype(np.int8))
            return Packed(kind, torch.ops.onednn.qlinear_prepack(weights, [rows, q.shape[1]]), weights[:0], len(q))
        if kind == "weight_only_int8":
            if scales.shape[1] != 1:
                raise Unsupported("torch._weight_int8pack_mm takes one scale a row of the weights")
            return Packed(kind, self.asarray(q.astype(np.int8)), self.asarray(np.ascontiguousarray(scales[:, 0])), 0)
        return self._int4(q, scales)

    def _int4(self, q: HostArray, scales: HostArray) -> Matrix:
        group = q.shape[1] // scales.shape[1]
        if group not in _INT4_GROUPS or len(q) % 16 or q.shape[1] % 2:
            raise Unsupported(
                f"torch._weight_int4pack_mm_for_cpu takes groups of {', '.join(map(str, _INT4_GROUPS))} and multiples "
                f"of 16 rows, not groups of {group} in {q.shape[0]}×{q.shape[1]}"
            )
        # its values are 0 … 15 about a middle of 8, and `zeros` is what the middle stands for
        weights = torch._convert_weight_to_int4pack_for_cpu(self.asarray(q.astype(np.int32) + 8), 1)
        both = np.stack([scales.T, np.zeros_like(scales.T)], axis=-1)
        return Packed("weight_only_int4", weights, self.asarray(np.ascontiguousarray(both)), group)

    def quantized_matmul(self, x: Array, weights: Matrix) -> Array:
        if weights.kind == "weight_only_int8":
            return torch._weight_int8pack_mm(x, weights.weights, weights.scales)
        if weights.kind == "weight_only_int4":
            return torch._weight_int4pack_mm_for_cpu(x, weights.weights, weights.group, weights.scales)
        if torch.compiler.is_compiling():
            return torch.ops.hwlottery.int8_linear(x, weights.weights, weights.group)
        return _int8_linear(x, weights.weights, weights.group)

    def widened_matmul(self, a: Array, b: Array) -> Array:
        try:
            return torch.mm(a, b, out_dtype=torch.float32)
        except RuntimeError as error:
            raise _refusal(error) from error

    # -- weights laid out ahead --------------------------------------------------------------------------------------
    def packed_weights(self, w: HostArray, rows: int) -> Matrix:
        """What `torch.compile` does to a linear layer when it freezes a model: oneDNN's own layout, the same way."""
        if self.device.kind != "cpu" or w.dtype != np.float32 or not torch.backends.mkldnn.is_available():
            raise Unsupported("PyTorch lays weights out ahead by oneDNN only: float32, on the CPU")
        return torch.ops.mkldnn._reorder_linear_weight(self.asarray(np.ascontiguousarray(w.T)), rows)

    def packed_matmul(self, x: Array, weights: Matrix, relu: bool = False) -> Array:
        return torch.ops.mkldnn._linear_pointwise(x, weights, None, "relu" if relu else "none", [], "")

    # -- many small products ----------------------------------------------------------------------------------------
    def grouped_matmul(self, x: Array, w: Array, sizes: Array) -> Array:
        for array in (x, w):
            if array.shape[-1] * array.element_size() % _ALIGNED_BYTES:
                raise Unsupported(
                    f"strides should be multiple of {_ALIGNED_BYTES} bytes (torch.nn.functional.grouped_mm)"
                )
        offsets = torch.cumsum(sizes, 0, dtype=torch.int32)
        try:
            return torch.nn.functional.grouped_mm(x, w, offs=offsets)
        except RuntimeError as error:
            raise _refusal(error) from error

    def causal_attention(self, q: Array, k: Array, v: Array) -> Array:
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)

    # -- steps in time, and branches --------------------------------------------------------------------------------
    def scan(
        self, fn: Callable[[Any, Any], tuple[Any, Any]], carry: tuple[Array, ...], xs: tuple[Array, ...]
    ) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        if torch.compiler.is_compiling() and xs[0].shape[0] > _UNROLLED:
            carry, ys = scan(lambda kept, x: _apart(tuple(kept), *fn(tuple(kept), tuple(x))), carry, xs)
            return tuple(carry), tuple(ys)
        ys = []
        for slices in zip(*(x.unbind(0) for x in xs), strict=True):  # all at once: a third of the time of indexing
            carry, y = fn(carry, slices)
            ys.append(y)
        return carry, tuple(torch.stack(several) for several in zip(*ys, strict=True))

    def associative_scan(
        self, fn: Callable[[Any, Any], Any], xs: tuple[Array, ...], axis: int = 0
    ) -> tuple[Array, ...]:
        mode = "pointwise" if self.device.kind == "cuda" and torch.compiler.is_compiling() else "generic"
        made: tuple[Array, ...] = tuple(
            associative_scan(lambda left, right: tuple(fn(left, right)), xs, axis, combine_mode=mode)
        )
        return made

    def cond(self, predicate: Array, true: Callable[..., Any], false: Callable[..., Any], *operands: Array) -> Any:
        if torch.compiler.is_compiling():
            return torch.cond(predicate, true, false, operands)
        return true(*operands) if bool(predicate) else false(*operands)

    def switch(self, index: Array, branches: Sequence[Callable[..., Any]], *operands: Array) -> Any:
        if torch.compiler.is_compiling():
            return super().switch(index, branches, *operands)
        return branches[int(index)](*operands)


def _apart(before: tuple[Array, ...], carry: Any, ys: Any) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """The same, a copy of what stands in two places: `scan` refuses one array as carry and result."""
    taken = (*before, *carry)
    return tuple(carry), tuple(y.clone() if any(y is other for other in taken) else y for y in ys)


@functools.cache
def _ones(length: int) -> tuple[Array, Array]:
    """Scales and zero points that leave the sums as they are."""
    return torch.ones(length), torch.zeros(length, dtype=torch.int32)


def _refusal(error: RuntimeError) -> Unsupported | RuntimeError:
    words = str(error).splitlines()[0] if str(error) else type(error).__name__
    refused = (
        isinstance(error, NotImplementedError) or "xpected" in words or "must be" in words or "needs to be" in words
    )
    return Unsupported(words) if refused or "not supported" in words or "only supports" in words else error

"""A block-sparse weight matrix times a dense one: A (M×K, a share δ of its b×b blocks) · B (K×N), and its SGD step.

Blocks are kept by their Frobenius norm in a layer trained on the digits, or uniformly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from backends.ops import CSR, Array, HostArray, Matrix, Ops
from workloads.base import Axis, Formulation, Inputs, Mode, Params, Point, Twin, Work, Workload
from workloads.common import patterns, sparse
from workloads.common.patterns import Pattern
from workloads.common.sparse import Products, by_columns, summed_over_columns, transpose


def inputs(params: Params, seed: int) -> Inputs:
    """`a` (blocks, b, b) with `a_indices` and `a_indptr` (int32, in units of blocks), `b` (k, n), `target` (m, n)."""
    m, k, _ = sparse.shape(params)
    density, block = float(params["density"]), int(params["block"])
    rng = np.random.default_rng([seed, 1])
    patterns.blocks(m, k, block)  # refuse a block that does not divide before training a layer
    if params["pattern"] == "magnitude":
        weights = patterns.trained_weights(m, k, seed)
        pattern = patterns.magnitude_blocks(weights, density, block)
        values = patterns.take_blocks(weights, pattern, block)
    else:
        pattern = patterns.uniform_blocks(m, k, density, block, rng)
        values = sparse.scaled_normal((len(pattern.indices), block, block), params, rng)
    return {**patterns.sparse_inputs(values, pattern), **sparse.dense_inputs(params, seed)}


def reference(x: Inputs, params: Params, mode: Mode) -> Mapping[str, HostArray]:
    """By dense products of A with its zeros; gradients are taken in the blocks."""
    pattern, block = _pattern(x, params), int(params["block"])
    return sparse.reference(_dense(x, params), lambda full: patterns.take_blocks(full, pattern, block), x, mode)


def work(params: Params, mode: Mode, itemsize: int) -> Work:
    """Forward 2·nb·b²·N FLOP and nb(b²e+4) + 4(M/b+1) + e(KN+MN) bytes; the step's are in `sparse.work`."""
    m, k, _ = sparse.shape(params)
    block = int(params["block"])
    rows, columns = patterns.blocks(m, k, block)
    count = patterns.non_zeros(rows, columns, float(params["density"]))
    return sparse.work(params, mode, itemsize, values=count * block**2, indices=count, rows=rows)


def twins(params: Params, mode: Mode) -> Sequence[Twin]:
    """The same shape dense (its useful FLOP are δ of the twin's), and a narrower dense one of equal parameters."""
    return sparse.same_shape(params, mode), sparse.narrower("equal_parameters", params, mode)


def _pattern(x: Inputs, params: Params) -> Pattern:
    m, k, _ = sparse.shape(params)
    return Pattern(x["a_indices"], x["a_indptr"], patterns.blocks(m, k, int(params["block"])))


def _dense(x: Inputs, params: Params) -> HostArray:
    m, k, _ = sparse.shape(params)
    block, pattern = int(params["block"]), _pattern(x, params)
    dense = np.zeros((m, k), x["a"].dtype)
    tiles = dense.reshape(m // block, block, k // block, block)
    tiles[pattern.rows, :, pattern.indices, :] = x["a"]
    return dense


def _unrolled(x: Inputs, params: Params) -> tuple[CSR, HostArray]:
    """The same matrix as scalar CSR, and the permutation (nnz,) with `csr.values == a.ravel()[permutation]`."""
    m, k, _ = sparse.shape(params)
    block, pattern = int(params["block"]), _pattern(x, params)
    within = np.arange(block, dtype=np.int64)
    rows = pattern.rows[:, None, None] * np.int64(block) + within[:, None]
    columns = pattern.indices[:, None, None] * np.int64(block) + within
    flat = (rows * k + columns).ravel()
    order = np.argsort(flat)
    indptr = np.searchsorted(flat[order], np.arange(m + 1, dtype=np.int64) * k).astype(np.int32)
    return CSR(x["a"].ravel()[order], (flat[order] % k).astype(np.int32), indptr, (m, k)), order


# -- forward -----------------------------------------------------------------------------------------------------------


def _native(format: str) -> sparse.Prepare:
    def prepare(ops: Ops, x: Inputs, params: Params) -> Sequence[Array | Matrix]:
        return [ops.sparse(_unrolled(x, params)[0], format, int(params["block"])), ops.asarray(x["b"])]

    return prepare


def _bmm(ops: Ops, rows: int, values: Array, segments: Array, columns: Array, b: Array) -> Array:
    """A batched product of every block with its b rows of B, summed by block row: (rows·block, n)."""
    count, block, _ = values.shape

    def product(part: Array) -> Array:
        n = part.shape[1]
        picked = ops.take(ops.reshape(part, (part.shape[0] // block, block, n)), columns)
        return ops.reshape(ops.segment_sum(ops.matmul(values, picked), segments, rows), (rows * block, n))

    return by_columns(ops, b, count * block, product)


def _prepare_bmm(ops: Ops, x: Inputs, params: Params) -> Sequence[Array]:
    pattern = _pattern(x, params)
    return [ops.asarray(v) for v in (x["a"], pattern.rows, pattern.indices, x["b"])]


def _forward_bmm(ops: Ops, params: Params, *operands: Array) -> Array:
    return _bmm(ops, int(params["m"]) // int(params["block"]), *operands)


def _ell_values(x: Inputs, params: Params) -> HostArray:
    """Block rows padded to the longest and laid side by side: (m/b, b, longest·b)."""
    ell, block = sparse.padded(_pattern(x, params)), int(params["block"])
    tiles = np.where(ell.filled[..., None, None], x["a"][ell.slots], np.zeros((), x["a"].dtype))
    return np.ascontiguousarray(tiles.transpose(0, 2, 1, 3)).reshape(len(tiles), block, -1)


def _prepare_ell(ops: Ops, x: Inputs, params: Params) -> Sequence[Array]:
    ell = sparse.padded(_pattern(x, params))
    return [ops.asarray(v) for v in (_ell_values(x, params), ell.columns.ravel(), x["b"])]


def _picked(ops: Ops, rows: int, block: int, columns: Array, b: Array) -> Array:
    """The rows of B that each padded block row meets, (rows, longest·block, n)."""
    tiles = ops.reshape(b, (b.shape[0] // block, block, b.shape[1]))
    return ops.reshape(ops.take(tiles, columns), (rows, columns.shape[0] // rows * block, b.shape[1]))


def _ell(ops: Ops, params: Params, values: Array, columns: Array, b: Array) -> Array:
    rows, block, wide = values.shape

    def product(part: Array) -> Array:
        y = ops.matmul(values, _picked(ops, rows, block, columns, part))
        return ops.reshape(y, (rows * block, part.shape[1]))

    return by_columns(ops, b, rows * wide, product)


# -- train step --------------------------------------------------------------------------------------------------------


def _blocks_back(ops: Ops, values: Array, order: Array) -> Array:
    """The blocks of the transpose: in its order, each transposed."""
    return ops.permute_dims(ops.take(values, order), (0, 2, 1))


def _outer(ops: Ops, block: int, rows: Array, columns: Array) -> Callable[[Array, Array], Array]:
    """∂Y·Bᵀ in the blocks only, a batched product of b rows of ∂Y with b rows of B for each: (blocks, b, b)."""

    def product(dy: Array, b: Array) -> Array:
        n = b.shape[1]
        left = ops.take(ops.reshape(dy, (dy.shape[0] // block, block, n)), rows)
        right = ops.take(ops.reshape(b, (b.shape[0] // block, block, n)), columns)
        return ops.matmul(left, ops.permute_dims(right, (0, 2, 1)))

    return lambda dy, b: summed_over_columns(dy, b, rows.shape[0] * block, product)


def _prepare_bsr(ops: Ops, x: Inputs, params: Params) -> Sequence[Array | Matrix]:
    pattern, block, csr = _pattern(x, params), int(params["block"]), _unrolled(x, params)[0]
    _, order = pattern.transposed()
    matrices = [ops.sparse(m, "bsr", block) for m in (csr, csr.transposed()[0])]
    return [*matrices, *(ops.asarray(v) for v in (order, pattern.rows, pattern.indices))]


def _bsr_products(native: bool) -> Callable[..., Products]:
    def products(
        ops: Ops, params: Params, a: Matrix, flipped: Matrix, order: Array, rows: Array, columns: Array
    ) -> Products:
        def backward(values: Array, dy: Array) -> Array:
            return ops.sparse_matmul(ops.sparse_with_values(flipped, _blocks_back(ops, values, order)), dy)

        def sampled(dy: Array, b: Array) -> Array:
            return ops.sampled_matmul(a, dy, b)

        return Products(
            lambda values, b: ops.sparse_matmul(ops.sparse_with_values(a, values), b),
            sampled if native else _outer(ops, int(params["block"]), rows, columns),
            backward,
        )

    return products


def _prepare_unrolled(format: str) -> sparse.Prepare:
    def rest(ops: Ops, x: Inputs, params: Params) -> Sequence[Array | Matrix]:
        csr = _unrolled(x, params)[0]
        flipped, order = csr.transposed()
        flat = csr.rows * np.int64(csr.shape[1]) + csr.indices
        if csr.shape[0] * csr.shape[1] > 2**31 - 1:
            raise ValueError(f"positions in {csr.shape[0]}×{csr.shape[1]} do not fit int32; use bsr or gather_bmm")
        matrices = [ops.sparse(m, format) for m in (csr, flipped)]
        return [*matrices, *(ops.asarray(v) for v in (order, flat.astype(np.int32)))]

    return rest


def _unrolled_products(ops: Ops, params: Params, a: Matrix, flipped: Matrix, order: Array, flat: Array) -> Products:
    def sampled(dy: Array, b: Array) -> Array:
        full = ops.matmul(dy, transpose(ops, b))
        return ops.take(ops.reshape(full, (full.shape[0] * full.shape[1],)), flat)

    def backward(values: Array, dy: Array) -> Array:
        return ops.sparse_matmul(ops.sparse_with_values(flipped, ops.take(values, order)), dy)

    return Products(lambda values, b: ops.sparse_matmul(ops.sparse_with_values(a, values), b), sampled, backward)


def _restore_unrolled(a: HostArray, x: Inputs, params: Params) -> HostArray:
    out = np.empty_like(a)
    out[_unrolled(x, params)[1]] = a
    return out.reshape(x["a"].shape)


def _prepare_bmm_step(ops: Ops, x: Inputs, params: Params) -> Sequence[Array]:
    pattern = _pattern(x, params)
    flipped, order = pattern.transposed()
    host = (pattern.rows, pattern.indices, flipped.rows, flipped.indices, order)
    return [ops.asarray(v) for v in host]


def _bmm_products(
    ops: Ops, params: Params, rows: Array, columns: Array, flipped_rows: Array, flipped_columns: Array, order: Array
) -> Products:
    m, k, _ = sparse.shape(params)
    block = int(params["block"])
    return Products(
        lambda values, b: _bmm(ops, m // block, values, rows, columns, b),
        _outer(ops, block, rows, columns),
        lambda values, dy: _bmm(ops, k // block, _blocks_back(ops, values, order), flipped_rows, flipped_columns, dy),
    )


def _prepare_ell_step(ops: Ops, x: Inputs, params: Params) -> Sequence[Array]:
    """Columns and mask of the padded rows; the same of the transpose's, and where its blocks stand in the first."""
    pattern, block = _pattern(x, params), int(params["block"])
    flipped, order = pattern.transposed()
    ell, back = sparse.padded(pattern), sparse.padded(flipped)
    places = np.flatnonzero(ell.filled).astype(np.int32)[order][back.slots]
    dtype = x["a"].dtype
    mask = np.repeat(ell.filled.astype(dtype), block, axis=1)[:, None, :]
    back_mask = back.filled.astype(dtype).reshape(-1, 1, 1)
    return [ops.asarray(v) for v in (ell.columns.ravel(), mask, back.columns.ravel(), back_mask, places.ravel())]


def _ell_products(
    ops: Ops, params: Params, columns: Array, mask: Array, back_columns: Array, back_mask: Array, places: Array
) -> Products:
    m, k, _ = sparse.shape(params)
    block = int(params["block"])
    rows, back_rows = m // block, k // block
    longest, back_longest = columns.shape[0] // rows, back_columns.shape[0] // back_rows

    def sampled(dy: Array, b: Array) -> Array:
        def product(left: Array, right: Array) -> Array:
            picked = _picked(ops, rows, block, columns, right)
            tiles = ops.reshape(left, (rows, block, left.shape[1]))
            return ops.matmul(tiles, ops.permute_dims(picked, (0, 2, 1)))

        return summed_over_columns(dy, b, rows * longest * block, product) * mask

    def backward(values: Array, dy: Array) -> Array:
        tiles = ops.permute_dims(ops.reshape(values, (rows, block, longest, block)), (0, 2, 3, 1))
        tiles = ops.take(ops.reshape(tiles, (rows * longest, block, block)), places) * back_mask
        tiles = ops.permute_dims(ops.reshape(tiles, (back_rows, back_longest, block, block)), (0, 2, 1, 3))
        return _ell(ops, params, ops.reshape(tiles, (back_rows, block, back_longest * block)), back_columns, dy)

    return Products(lambda values, b: _ell(ops, params, values, columns, b), sampled, backward)


def _restore_ell(a: HostArray, x: Inputs, params: Params) -> HostArray:
    ell, block = sparse.padded(_pattern(x, params)), int(params["block"])
    tiles = a.reshape(len(a), block, -1, block).transpose(0, 2, 1, 3)
    blocks: HostArray = tiles[ell.filled]
    return blocks


def _prepare_mask(ops: Ops, x: Inputs, params: Params) -> Sequence[Array]:
    return [ops.asarray(_dense({**x, "a": np.ones_like(x["a"])}, params))]


def _step(note: str, rest: sparse.Prepare, products: Callable[..., Products], unrolled: bool = False) -> Formulation:
    if unrolled:
        return sparse.train_step(note, lambda x, p: _unrolled(x, p)[0].values, rest, products, _restore_unrolled)
    return sparse.train_step(note, lambda x, p: x["a"], rest, products)


# -- presets -----------------------------------------------------------------------------------------------------------


def _params(m: int, k: int, n: int, density: float, block: int, pattern: str = "magnitude") -> Params:
    return {"m": m, "k": k, "n": n, "density": density, "block": block, "pattern": pattern}


def _sizes(m: int, k: int, n: int, blocks: Sequence[int]) -> tuple[Point, ...]:
    return tuple(Point(_params(m, k, n, 0.1, b), group=f"{m}x{k} n={n} b={b}") for b in blocks)


def _ladder(side: int, n: int, block: int, steps: Sequence[int]) -> tuple[Point, ...]:
    """Wider and sparser with the same number of parameters: (side·g)² at density 1/g²."""
    return tuple(
        Point(_params(side * g, side * g, n, 1 / g**2, block), group=f"ladder {side * g} n={n} b={block}")
        for g in steps
    )


WORKLOAD = Workload(
    name="block_sparse",
    title="block-sparse product",
    source="Gray, Radford and Kingma 2017, GPU Kernels for Block-Sparse Weights",
    axes={
        **sparse.AXES,
        "block": Axis(help="side of the blocks; divides m and k", low=1, high=1e4),
        "pattern": Axis(help="which blocks stay", kind=str, choices=("magnitude", "uniform")),
    },
    presets={
        "smoke": (
            Point(_params(64, 48, 8, 0.3, 8)),
            Point(_params(64, 48, 8, 0.3, 8, "uniform")),
            Point(_params(64, 48, 8, 0.3, 8), "train_step"),
        ),
        "quick": (
            *_sizes(1024, 1024, 128, (8, 16, 32)),
            *(
                Point(_params(1024, 1024, 128, d, 16), survey=False, headline=False, group="1024x1024 n=128 b=16")
                for d in (0.5, 0.3, 0.2, 0.05)
            ),
            Point(_params(1024, 1024, 128, 0.1, 16), "train_step", group="train 1024x1024 n=128 b=16"),
        ),
        "standard": (
            *_ladder(2560, 64, 32, (1, 2, 4, 8)),
            Point(_params(5120, 5120, 64, 0.25, 32), "train_step", group="train 5120x5120 n=64 b=32"),
        ),
        "full": _sizes(3072, 768, 50432, (16, 32, 64)),
    },
    inputs=inputs,
    reference=reference,
    formulations={
        "forward": {
            "bsr": sparse.forward_step("the framework's own block product", _native("bsr"), sparse.native_product),
            "csr": sparse.forward_step(
                "the blocks unrolled, the framework's own CSR product", _native("csr"), sparse.native_product
            ),
            "bag": sparse.forward_step(
                "the blocks unrolled, a weighted embedding bag for each row of A", _native("bag"), sparse.native_product
            ),
            "gather_bmm": sparse.forward_step(
                "one batched product of every block with its rows of B, summed over block rows",
                _prepare_bmm,
                _forward_bmm,
            ),
            "ell_bmm": sparse.forward_step(
                "block rows padded to the longest and laid side by side, one batched product for each block row",
                _prepare_ell,
                _ell,
            ),
            "masked_dense": sparse.forward_step(
                "A stored with its zeros, the dense product",
                lambda ops, x, params: [ops.asarray(_dense(x, params)), ops.asarray(x["b"])],
                lambda ops, params, a, b: ops.matmul(a, b),
            ),
        },
        "train_step": {
            "bsr": _step("block products, the framework's own sampled product", _prepare_bsr, _bsr_products(True)),
            "bsr_bmm": _step(
                "block products; the gradient of A by a batched product for each block",
                _prepare_bsr,
                _bsr_products(False),
            ),
            "csr_dense_sample": _step(
                "unrolled CSR; the gradient of A dense, then taken in the blocks",
                _prepare_unrolled("csr"),
                _unrolled_products,
                True,
            ),
            "bag_dense_sample": _step(
                "unrolled embedding bags; the gradient of A dense, then taken in the blocks",
                _prepare_unrolled("bag"),
                _unrolled_products,
                True,
            ),
            "gather_bmm": _step("batched products of gathered blocks throughout", _prepare_bmm_step, _bmm_products),
            "ell_bmm": sparse.train_step(
                "padded block rows and block columns side by side, a mask on the padding's gradient",
                _ell_values,
                _prepare_ell_step,
                _ell_products,
                _restore_ell,
            ),
            "masked_dense": sparse.train_step(
                "A stored with its zeros, dense products, a mask on the gradient",
                _dense,
                _prepare_mask,
                sparse.dense_products,
                lambda a, x, params: patterns.take_blocks(a, _pattern(x, params), int(params["block"])),
            ),
        },
    },
    work=work,
    twins=twins,
)

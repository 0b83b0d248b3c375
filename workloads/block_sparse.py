"""A block-sparse weight matrix times a dense one: A (M×K, a share δ of its b×b blocks) · B (K×N), and its SGD step.

Blocks are kept by their Frobenius norm in a layer trained on the digits, or uniformly, or are a user's matrix's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from backends.ops import HostArray
from workloads.base import Axis, Definition, Inputs, Mode, Parameters, Params, Point, Twin, Work
from workloads.common import block_products, block_rows, block_steps, patterns, sparse, structure
from workloads.common.matrix_names import OF_FILE, load


def inputs(p: Parameters, seed: int) -> Inputs:
    """`a` (blocks, b, b) with `a_indices` and `a_indptr` (int32, in units of blocks), `b` (k, n), `target` (m, n)."""
    m, k, _ = sparse.shape(p)
    density, block = p.density, p.block
    rng = np.random.default_rng([seed, 1])
    patterns.blocks(m, k, block)  # refuse a block that does not divide before training a layer
    if p.pattern == "magnitude":
        weights = patterns.trained_weights(m, k, seed)
        pattern = patterns.magnitude_blocks(weights, density, block)
        values = patterns.take_blocks(weights, pattern, block)
    elif p.pattern == "uniform":
        pattern = patterns.uniform_blocks(m, k, density, block, rng)
        values = sparse.scaled_normal((len(pattern.indices), block, block), p, rng)
    else:
        matrix = load(p.pattern)
        pattern, own = structure.in_blocks(matrix, block)
        if matrix.pattern.shape != (m, k) or len(pattern.indices) != patterns.non_zeros(*pattern.shape, density):
            found = (
                f"{pattern.shape[0]}×{pattern.shape[1]} blocks of {block}×{block}, {len(pattern.indices)} of them full"
            )
            raise ValueError(
                f"{p.pattern} is {found}, the axes say {m}×{k} with density {density:g}; give the file's own"
            )
        values = sparse.scaled_normal((len(pattern.indices), block, block), p, rng) if own is None else own
    return {**patterns.sparse_inputs(values, pattern), **sparse.dense_inputs(p, seed)}


def reference(x: Inputs, p: Parameters, mode: Mode) -> Mapping[str, HostArray]:
    """By dense products of A with its zeros; gradients are taken in the blocks."""
    pattern, block = block_products.block_pattern(x, p), p.block
    return sparse.reference(
        block_products.with_zeros(x, p), lambda full: patterns.take_blocks(full, pattern, block), x, mode
    )


def work(p: Parameters, mode: Mode, itemsize: int) -> Work:
    """Forward 2·nb·b²·N FLOP and nb(b²e+4) + 4(M/b+1) + e(KN+MN) bytes; the step's are in `sparse.work`."""
    m, k, _ = sparse.shape(p)
    block = p.block
    rows, columns = patterns.blocks(m, k, block)
    count = patterns.non_zeros(rows, columns, p.density)
    return sparse.work(p, mode, itemsize, values=count * block**2, indices=count, rows=rows)


def twins(p: Parameters, mode: Mode) -> Sequence[Twin]:
    """The same shape dense (its useful FLOP are δ of the twin's), and a narrower dense one of equal parameters."""
    return sparse.same_shape(p, mode), sparse.narrower("equal_parameters", p, mode)


# -- presets -----------------------------------------------------------------------------------------------------------


def _params(m: int, k: int, n: int, density: float, block: int, pattern: str = "magnitude") -> Params:
    return {"m": m, "k": k, "n": n, "density": density, "block": block, "pattern": pattern}


def _sizes(m: int, k: int, n: int, blocks: Sequence[int]) -> tuple[Point, ...]:
    return tuple(Point(_params(m, k, n, 0.1, b), group=f"{m}x{k} n={n} b={b}") for b in blocks)


def _ladder(side: int, n: int, block: int, steps: Sequence[int]) -> tuple[Point, ...]:
    """Wider and sparser with the same number of parameters: (side·g)² at density 1/g²; surveyed at g = 2."""
    return tuple(
        Point(_params(side * g, side * g, n, 1 / g**2, block), survey=g == 2, group=f"ladder {side} n={n} b={block}")
        for g in steps
    )


WORKLOAD = Definition(
    name="block_sparse",
    title="block-sparse product",
    source="Gray, Radford and Kingma 2017, GPU Kernels for Block-Sparse Weights",
    leaves_out="zeros",
    axes={
        **sparse.AXES,
        "block": Axis(help="side of the blocks; divides m and k", low=1, high=1e4),
        "pattern": Axis(help="which blocks stay", kind=str, choices=("magnitude", "uniform"), further=OF_FILE),
    },
    presets={
        "smoke": (
            Point(_params(64, 48, 8, 0.3, 8)),
            Point(_params(64, 48, 8, 0.3, 8, "uniform")),
            Point(_params(64, 48, 8, 0.3, 8), "train_step"),
        ),
        "ideas": (Point(_params(1024, 1024, 128, 0.1, 16), group="1024x1024 n=128"),),
        "quick": (
            *(
                Point(_params(1024, 1024, 128, 0.1, b), survey=b == 16, group="1024x1024 n=128 b=16")
                for b in (8, 16, 32)
            ),
            *(
                Point(_params(1024, 1024, 128, d, 16), survey=False, headline=False, group="1024x1024 n=128 b=16")
                for d in (0.5, 0.3, 0.2, 0.05)
            ),
        ),
        "standard": (
            *_ladder(2560, 64, 32, (1, 2, 4, 8)),
            # surveyed at a quarter of it
            Point(_params(2560, 2560, 64, 0.25, 32), "train_step", headline=False, group="train 5120x5120 n=64 b=32"),
            Point(_params(5120, 5120, 64, 0.25, 32), "train_step", survey=False, group="train 5120x5120 n=64 b=32"),
        ),
        "full": _sizes(3072, 768, 50432, (16, 32, 64)),
    },
    inputs=inputs,
    reference=reference,
    formulations={
        "forward": {
            "bsr": sparse.native_step("the framework's own block product", block_products.native("bsr")),
            "csr": sparse.native_step(
                "the blocks unrolled, the framework's own CSR product", block_products.native("csr")
            ),
            "bag": sparse.native_step(
                "the blocks unrolled, a weighted embedding bag for each row of A", block_products.native("bag")
            ),
            "gather_bmm": sparse.forward_step(
                "a batched product of every block with its rows of B, summed",
                block_products.prepare_bmm,
                block_products.forward_bmm,
            ),
            "ell_bmm": sparse.forward_step(
                "block rows padded to the longest, one product for each block row",
                block_products.prepare_ell,
                block_products.ell_product,
            ),
            "equal_rows_bmm": sparse.forward_step(
                "block rows by their length, a batched product for each length: neither padded nor summed",
                block_products.prepare_equal_rows,
                block_products.equal_rows_product,
            ),
            "masked_dense": sparse.marked_multiplies_zeros(
                sparse.forward_step(
                    "A stored with its zeros, the dense product",
                    lambda ops, x, p: [ops.asarray(block_products.with_zeros(x, p)), ops.asarray(x["b"])],
                    lambda ops, p, a, b: ops.matmul(a, b),
                )
            ),
        },
        "train_step": {
            "bsr": block_steps.step(
                "block products, the framework's own sampled product",
                block_steps.prepare_bsr,
                block_steps.bsr_products(True),
            ),
            "bsr_bmm": block_steps.step(
                "block products; the gradient of A by a batched product for each block",
                block_steps.prepare_bsr,
                block_steps.bsr_products(False),
            ),
            "csr_dense_sample": block_steps.step(
                "unrolled CSR; the gradient of A dense, then taken",
                block_steps.prepare_unrolled("csr"),
                block_steps.unrolled_products,
                True,
            ),
            "bag_dense_sample": block_steps.step(
                "unrolled embedding bags; the gradient of A dense, then taken",
                block_steps.prepare_unrolled("bag"),
                block_steps.unrolled_products,
                True,
            ),
            "csr_bmm": block_steps.step(
                "unrolled CSR; the gradient of A by a batched product for each block",
                block_steps.prepare_unrolled_blocks("csr"),
                block_steps.unrolled_block_products,
            ),
            "bag_bmm": block_steps.step(
                "unrolled embedding bags; the gradient of A by a batched product for each block, added within it "
                "where the framework can",
                block_steps.prepare_unrolled_blocks("bag"),
                block_steps.unrolled_block_products,
            ),
            "autodiff_bsr": sparse.autodiff_step(
                "block product, the framework's own differentiation: PyTorch has none for it",
                lambda x, p: x["a"],
                block_steps.prepare_matrix,
                block_steps.matrix_product,
            ),
            "autodiff_bmm": sparse.autodiff_step(
                "batched products of gathered blocks, the framework's own differentiation",
                lambda x, p: x["a"],
                block_steps.prepare_places,
                block_steps.bmm_product,
            ),
            "autodiff_equal_rows": block_steps.equal_rows_step(
                "block rows by their length, a batched product for each, the framework's own differentiation"
            ),
            "gather_bmm": block_steps.step(
                "batched products of gathered blocks throughout",
                block_steps.prepare_bmm_step,
                block_steps.bmm_products,
            ),
            "ell_bmm": sparse.train_step(
                "padded block rows and columns, a mask on the padding's gradient",
                block_products.ell_values,
                block_rows.prepare_ell_step,
                block_rows.ell_products,
                block_rows.restore_ell,
            ),
            "masked_dense": sparse.marked_multiplies_zeros(
                sparse.train_step(
                    "A stored with its zeros, dense products, a mask on the gradient",
                    block_products.with_zeros,
                    block_steps.prepare_mask,
                    sparse.dense_products,
                    lambda a, x, p: patterns.take_blocks(a, block_products.block_pattern(x, p), p.block),
                )
            ),
        },
    },
    work=work,
    twins=twins,
)

"""Which entries of a weight matrix stay: magnitude pruning of a layer that was really trained, and uniform choice.

Where a magnitude pattern differs from a uniform one is in how uneven its rows are, and that decides which formulation
wins. The layer is trained with weight decay for that reason: without it a wide layer keeps its random initial weights,
and pruning them gives a uniform pattern under another name. The larger the layer, the less each weight is moved by
learning, so the decay grows with its size. At density 0.1 the coefficient of variation of the row lengths is 0.31 at
1024×1024 (uniform: 0.09), 0.19 at 7680×2560 (0.06) and 0.13 at 10752×3584 (0.05); the pruned layers of ResNet-50 and
a Transformer in the Deep Learning Matrix Collection have 0.24…0.65 at about that density.
"""

from __future__ import annotations

import hashlib
import math
from functools import cache
from typing import NamedTuple

import numpy as np
import threadpoolctl

from backends.csr import rows_of
from backends.ops import CSR, HostArray
from workloads.common import digits

STEPS, BATCH = 300, 32


class Pattern(NamedTuple):
    """The non-zeros of a matrix, or of a matrix of blocks, without values: CSR in units of entries or of blocks.

    `indices` (nnz,) int32, increasing in each row; `indptr` (rows+1,) int32; `shape` (rows, columns) in those units.
    """

    indices: HostArray
    indptr: HostArray
    shape: tuple[int, int]

    @property
    def rows(self) -> HostArray:
        """Row of each non-zero, (nnz,) int32."""
        return rows_of(self.indptr)

    @property
    def flat(self) -> HostArray:
        """Position of each non-zero in the row-major matrix, (nnz,) int64."""
        return self.rows.astype(np.int64) * self.shape[1] + self.indices

    @property
    def longest(self) -> int:
        """Non-zeros of the fullest row."""
        return int(np.diff(self.indptr).max())

    def transposed(self) -> tuple[Pattern, HostArray]:
        """The transpose, and the permutation (nnz,) int32 that puts values into its order."""
        index = np.arange(len(self.indices), dtype=np.int32)
        csr, order = CSR(index, self.indices, self.indptr, self.shape).transposed()
        return Pattern(csr.indices, csr.indptr, csr.shape), order


def non_zeros(rows: int, columns: int, density: float) -> int:
    """round(density·rows·columns), the number that every formula here uses; ValueError where nothing would be left."""
    kept = round(density * rows * columns)
    if not 1 <= kept <= rows * columns:
        raise ValueError(
            f"density {density:g} of a {rows}×{columns} matrix keeps {kept} entries; it must keep 1…{rows * columns}"
        )
    return kept


def blocks(rows: int, columns: int, block: int) -> tuple[int, int]:
    """Rows and columns in blocks; ValueError where the block does not divide both."""
    if rows % block or columns % block:
        raise ValueError(f"block {block} must divide both sides of the matrix, found {rows}×{columns}")
    return rows // block, columns // block


class _Layer(NamedTuple):
    """First layer after training: weights = kept · initial(seed) + change · basis; accuracy is on the training set."""

    kept: float
    change: HostArray  # (rows, 65)
    accuracy: float


def _initial(rows: int, columns: int, seed: int) -> HostArray:
    rng = np.random.default_rng([seed, rows, columns])
    return rng.standard_normal((rows, columns), dtype=np.float32) * np.float32(1 / np.sqrt(columns))


def _coordinates(columns: int) -> tuple[HostArray, HostArray]:
    """Images as coordinates (1797, 65) and their basis (65, columns) float32: the product is the standardised batch."""
    raw, resampling = digits.pixels(), digits.resampling(columns)
    size = len(raw) * columns
    mean = float(np.sum(raw.sum(axis=0) @ resampling)) / size
    square = float(np.sum((raw @ (resampling @ resampling.T)) * raw)) / size  # without forming the batch
    deviation = max(square - mean**2, 0.0) ** 0.5 or 1.0
    coordinates = np.concatenate([raw / deviation, np.full((len(raw), 1), -mean / deviation)], axis=1)
    basis = np.concatenate([resampling, np.ones((1, columns))])
    return coordinates.astype(np.float32), basis.astype(np.float32)


def _decay(rows: int, columns: int) -> float:
    """Share of every weight that one step takes away: 0.006 at 1024×1024, growing as the eighth root of the size."""
    return min(0.01, 0.006 * math.sqrt(math.sqrt(math.sqrt(rows * columns / 2**20))))


def _rate(columns: int) -> float:
    """Learning rate: beyond 2048 inputs it falls with their number, since the largest stable one does."""
    return 0.1 * min(1.0, 2048 / columns)


@cache
def _trained(rows: int, columns: int, seed: int) -> _Layer:
    """Train columns → rows → 10 (relu, softmax cross-entropy) by plain SGD with weight decay, float32.

    Every image lies in a space of 65 dimensions (64 pixels and a constant), so every gradient of the first layer does
    too: its change is kept as (rows, 65) coordinates. That is the same SGD, exactly, and makes 10752×3584 a matter of
    seconds. Only this small part is cached, so that no large matrix stays in memory beside what is measured.
    """
    coordinates, basis = _coordinates(columns)
    label = digits.classes()
    target = np.eye(digits.CLASSES, dtype=np.float32)[label]
    other_coordinates = coordinates @ (basis @ basis.T)
    first = _initial(rows, columns, seed) @ basis.T  # the layer seen from the 65 dimensions
    rng = np.random.default_rng([seed, rows, columns, 1])
    second = rng.standard_normal((digits.CLASSES, rows), dtype=np.float32) * np.float32(1 / np.sqrt(rows))
    change, kept = np.zeros_like(first), 1.0
    keep, rate = 1 - _decay(rows, columns), _rate(columns)
    # products this small gain nothing from threads, and wait long for each other on a busy machine
    with threadpoolctl.ThreadpoolController().select(internal_api="openblas").limit(limits=1):
        for _ in range(STEPS):
            batch = rng.integers(0, len(coordinates), BATCH)
            x = coordinates[batch]
            before = x @ first.T
            hidden = np.maximum(before, 0)
            d_scores = (_softmax(hidden @ second.T) - target[batch]) / BATCH
            d_before = np.where(before > 0, d_scores @ second, 0)
            second = keep * second - rate * (d_scores.T @ hidden)
            first = keep * first - rate * (d_before.T @ other_coordinates[batch])
            change = keep * change - rate * (d_before.T @ x)
            kept *= keep
    scores = np.maximum(coordinates @ first.T, 0) @ second.T
    return _Layer(kept, change, float((scores.argmax(axis=1) == label).mean()))


def _softmax(scores: HostArray) -> HostArray:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    out: HostArray = powers / powers.sum(axis=1, keepdims=True)
    return out


def accuracy(rows: int, columns: int, seed: int) -> float:
    """Share of the 1797 digits that the trained network names correctly."""
    return _trained(rows, columns, seed).accuracy


def trained_weights(rows: int, columns: int, seed: int) -> HostArray:
    """First layer (rows, columns) float64 of a network trained on the digits, before any pruning."""
    layer = _trained(rows, columns, seed)
    weights = _initial(rows, columns, seed)
    weights *= np.float32(layer.kept)
    weights += layer.change @ _coordinates(columns)[1]
    return weights.astype(np.float64)


def _pattern(kept: HostArray, rows: int, columns: int) -> Pattern:
    kept = np.sort(kept)
    indptr = np.searchsorted(kept, np.arange(rows + 1, dtype=np.int64) * columns).astype(np.int32)
    return Pattern((kept % columns).astype(np.int32), indptr, (rows, columns))


def _largest(score: HostArray, kept: int) -> Pattern:
    return _pattern(np.argpartition(score, -kept, axis=None)[-kept:], score.shape[0], score.shape[1])


def magnitude(weights: HostArray, density: float) -> Pattern:
    """The round(density·size) entries of largest magnitude over the whole matrix (Gale et al. 2019 prune this way)."""
    rows, columns = weights.shape
    return _largest(np.abs(weights), non_zeros(rows, columns, density))


def uniform(rows: int, columns: int, density: float, rng: np.random.Generator) -> Pattern:
    """round(density·rows·columns) entries, each set of that size equally likely."""
    kept = non_zeros(rows, columns, density)
    return _pattern(rng.choice(rows * columns, kept, replace=False, shuffle=False), rows, columns)


def magnitude_blocks(weights: HostArray, density: float, block: int) -> Pattern:
    """The blocks of largest Frobenius norm, round(density · number of blocks) of them, in units of blocks."""
    rows, columns = blocks(weights.shape[0], weights.shape[1], block)
    tiles = weights.reshape(rows, block, columns, block)
    squares: HostArray = np.einsum("ibjc,ibjc->ij", tiles, tiles)
    return _largest(squares, non_zeros(rows, columns, density))


def uniform_blocks(rows: int, columns: int, density: float, block: int, rng: np.random.Generator) -> Pattern:
    """round(density · number of blocks) blocks, each set of that size equally likely, in units of blocks."""
    block_rows, block_columns = blocks(rows, columns, block)
    return uniform(block_rows, block_columns, density, rng)


def take(weights: HostArray, pattern: Pattern) -> HostArray:
    """The values of a dense matrix at a pattern of entries, (nnz,)."""
    return weights[pattern.rows, pattern.indices]


def take_blocks(weights: HostArray, pattern: Pattern, block: int) -> HostArray:
    """The values of a dense matrix at a pattern of blocks, (blocks, block, block)."""
    rows, columns = pattern.shape
    return weights.reshape(rows, block, columns, block)[pattern.rows, :, pattern.indices, :]


def sparse_inputs(values: HostArray, pattern: Pattern) -> dict[str, HostArray]:
    """A sparse operand as named host arrays: `a`, `a_indices`, `a_indptr`."""
    return {"a": values, "a_indices": pattern.indices, "a_indptr": pattern.indptr}


def fingerprint(pattern: Pattern) -> str:
    """Twelve hexadecimal digits that name a pattern, the same on every machine."""
    return hashlib.sha256(pattern.indptr.tobytes() + pattern.indices.tobytes()).hexdigest()[:12]

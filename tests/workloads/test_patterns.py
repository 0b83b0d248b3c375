"""Sparsity patterns: exact counts, the right entries, and a layer behind them that has really learnt."""

import time

import numpy as np
import pytest

from workloads.common import digits, patterns


def _well_formed(pattern):
    assert pattern.indices.dtype == pattern.indptr.dtype == np.int32
    assert pattern.indptr[0] == 0
    assert pattern.indptr[-1] == len(pattern.indices)
    assert (np.diff(pattern.flat) > 0).all(), "sorted, none twice"
    assert pattern.indices.min() >= 0
    assert pattern.indices.max() < pattern.shape[1]


@pytest.mark.parametrize("density", [0.01, 0.1, 1 / 3, 1.0])
def test_magnitude_keeps_the_largest(density):
    """Exactly round(density·size) entries, every one at least as large as any that is dropped."""
    weights = np.random.default_rng(0).standard_normal((37, 29))
    pattern = patterns.magnitude(weights, density)
    _well_formed(pattern)
    kept = np.zeros(weights.shape, bool)
    kept[pattern.rows, pattern.indices] = True
    assert kept.sum() == round(density * 37 * 29) == len(pattern.indices)
    assert kept.all() or np.abs(weights[kept]).min() >= np.abs(weights[~kept]).max()
    assert np.array_equal(patterns.take(weights, pattern), weights[kept])


def test_magnitude_with_ties_keeps_the_exact_number():
    """Equal weights do not change the count."""
    assert len(patterns.magnitude(np.ones((10, 10)), 0.37).indices) == 37


@pytest.mark.parametrize("density", [0.01, 0.5, 1.0])
def test_uniform_keeps_the_exact_number(density):
    """Exactly round(density·size) entries, none twice, and another draw is another pattern."""
    rng = np.random.default_rng(1)
    first, second = (patterns.uniform(50, 40, density, rng) for _ in range(2))
    _well_formed(first)
    assert len(first.indices) == round(density * 2000)
    assert density == 1.0 or patterns.fingerprint(first) != patterns.fingerprint(second)


def test_uniform_is_uniform():
    """Over many draws every entry comes equally often (five standard deviations)."""
    rng = np.random.default_rng(2)
    times = np.zeros(60)
    for _ in range(500):
        times[patterns.uniform(6, 10, 0.25, rng).flat] += 1
    assert abs(times - 125).max() < 5 * np.sqrt(500 * 0.25 * 0.75)


def test_blocks_by_norm_by_hand():
    """Of four 2×2 blocks, half stay: those of largest Frobenius norm, even without the largest entry."""
    weights = np.array([[3.0, 0, 2, 2], [0, 0, 2, 2], [1, 1, 2, 2], [1, 1, 2, 1]])
    pattern = patterns.magnitude_blocks(weights, 0.5, 2)  # squares: 9, 16, 4, 13
    assert pattern.shape == (2, 2)
    assert pattern.indices.tolist() == [1, 1]
    assert pattern.indptr.tolist() == [0, 1, 2]
    assert np.array_equal(patterns.take_blocks(weights, pattern, 2), [[[2, 2], [2, 2]], [[2, 2], [2, 1]]])


def test_uniform_blocks_count():
    """Exactly round(density · number of blocks)."""
    pattern = patterns.uniform_blocks(64, 96, 0.3, 8, np.random.default_rng(0))
    _well_formed(pattern)
    assert pattern.shape == (8, 12)
    assert len(pattern.indices) == round(0.3 * 96)


def test_transposed_pattern():
    """The transpose's rows are the columns, and the permutation carries values over."""
    pattern = patterns.uniform(7, 9, 0.4, np.random.default_rng(3))
    values = np.arange(1.0, 1 + len(pattern.indices))
    transpose, order = pattern.transposed()
    dense, flipped = np.zeros((7, 9)), np.zeros((9, 7))
    dense[pattern.rows, pattern.indices] = values
    flipped[transpose.rows, transpose.indices] = values[order]
    assert np.array_equal(flipped, dense.T)
    _well_formed(transpose)


@pytest.mark.parametrize(("rows", "columns", "density"), [(4, 4, 0.01), (4, 4, 1.5)])
def test_a_density_that_keeps_nothing_or_too_much_is_refused(rows, columns, density):
    """The message has the density, the shape and the range."""
    with pytest.raises(ValueError, match=r"density .* of a 4×4 matrix keeps \d+ entries; it must keep 1…16"):
        patterns.non_zeros(rows, columns, density)


def test_a_block_that_does_not_divide_is_refused():
    """Both sides must be multiples of the block."""
    with pytest.raises(ValueError, match="block 8 must divide both sides of the matrix, found 64×50"):
        patterns.blocks(64, 50, 8)


def test_the_layer_has_learnt():
    """256×1024: 97 % of the digits named correctly after training; chance is 10 %."""
    assert patterns.accuracy(256, 1024, 0) > 0.95


def test_the_pruned_layer_still_works():
    """A tenth of the weights, by magnitude, carries the network; a uniform tenth carries less of the layer's norm."""
    weights = patterns.trained_weights(256, 1024, 0)
    pattern = patterns.magnitude(weights, 0.1)
    kept = np.linalg.norm(patterns.take(weights, pattern)) / np.linalg.norm(weights)
    other = patterns.uniform(256, 1024, 0.1, np.random.default_rng(0))
    assert kept > 0.6
    assert np.linalg.norm(patterns.take(weights, other)) / np.linalg.norm(weights) < 0.4


def test_pruning_by_magnitude_is_not_uniform_under_another_name():
    """Row lengths vary at least twice as much as those of a uniform pattern of the same density."""

    def variation(pattern):
        lengths = np.diff(pattern.indptr)
        return lengths.std() / lengths.mean()

    pruned = patterns.magnitude(patterns.trained_weights(512, 512, 0), 0.1)
    assert variation(pruned) > 2 * variation(patterns.uniform(512, 512, 0.1, np.random.default_rng(0)))


def test_the_coordinates_are_the_standardised_batch():
    """Coordinates times basis is every image, resized and standardised."""
    coordinates, basis = patterns._coordinates(100)
    raw = digits.pixels() @ digits.resampling(100)
    assert np.allclose(coordinates @ basis, (raw - raw.mean()) / raw.std(), atol=1e-4)


def test_training_in_coordinates_is_plain_sgd():
    """The same steps on the full matrix give the same weights."""
    rows, columns, seed = 20, 100, 5
    coordinates, basis = patterns._coordinates(columns)
    images = (coordinates @ basis).astype(np.float64)
    label = digits.classes()
    rng = np.random.default_rng([seed, rows, columns, 1])
    second = rng.standard_normal((10, rows), dtype=np.float32) / np.sqrt(rows)
    first = patterns._initial(rows, columns, seed).astype(np.float64)
    rate, keep = patterns._rate(columns), 1 - patterns._decay(rows, columns)
    for _ in range(patterns.STEPS):
        batch = rng.integers(0, len(images), patterns.BATCH)
        x = images[batch]
        hidden = np.maximum(x @ first.T, 0)
        d = patterns._softmax(hidden @ second.T)
        d[np.arange(patterns.BATCH), label[batch]] -= 1
        d /= patterns.BATCH
        gradient = ((d @ second) * (hidden > 0)).T @ x
        second = keep * second - rate * d.T @ hidden
        first = keep * first - rate * gradient
    found = patterns.trained_weights(rows, columns, seed)
    assert np.linalg.norm(found - first) < 1e-3 * np.linalg.norm(first)


def test_weights_are_the_same_each_time_and_differ_by_seed():
    """Same seed, same layer; the second call is quick, since training is kept for the process."""
    first = patterns.trained_weights(300, 200, 1)
    start = time.perf_counter()
    second = patterns.trained_weights(300, 200, 1)
    assert time.perf_counter() - start < 1
    assert np.array_equal(first, second)
    assert first.dtype == np.float64
    assert not np.allclose(first, patterns.trained_weights(300, 200, 2))


def test_take_refuses_nothing_silently():
    """Values of a pattern are those of its own entries: a pattern of another matrix gives others."""
    weights = np.arange(12.0).reshape(3, 4)
    pattern = patterns.Pattern(np.array([1, 3], np.int32), np.array([0, 1, 1, 2], np.int32), (3, 4))
    assert patterns.take(weights, pattern).tolist() == [1.0, 11.0]
    assert pattern.longest == 1
    assert patterns.sparse_inputs(np.ones(2), pattern).keys() == {"a", "a_indices", "a_indptr"}

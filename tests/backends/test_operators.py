"""sort, argmax, topk and take of every framework against NumPy's, eager and compiled."""

from __future__ import annotations

import numpy as np
import pytest
from _opened import BACKENDS, opened

from backends.ops import Unsupported

RNG = np.random.default_rng(7)
DISTINCT = RNG.permuted(np.arange(60, dtype=np.float32).reshape(3, 4, 5), axis=2)
TIED = RNG.integers(0, 3, (6, 9)).astype(np.float32)


@pytest.fixture(params=sorted(BACKENDS))
def ops(request):
    return opened(request.param)


@pytest.fixture(params=["eager", "compiled"])
def run(request, ops):
    """Calls a function of arrays in this execution and copies what it returns to the host."""

    def call(fn, *hosts):
        args = [ops.asarray(x) for x in hosts]
        try:
            outputs = ops.compile(fn, request.param, args).call(*args)
        except Unsupported as refusal:
            pytest.skip(str(refusal))
        return [ops.to_numpy(x) for x in outputs]

    return call


@pytest.mark.parametrize("axis", [-1, 0, 1])
@pytest.mark.parametrize("descending", [False, True])
def test_sort_puts_values_in_order(ops, run, axis, descending):
    (found,) = run(lambda x: (ops.sort(x, axis, descending),), DISTINCT)
    expected = np.sort(DISTINCT, axis)
    assert found.dtype == np.float32
    assert np.array_equal(found, np.flip(expected, axis) if descending else expected)


@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_argmax_finds_the_greatest_value(ops, run, axis):
    (found,) = run(lambda x: (ops.argmax(x, axis),), DISTINCT)
    assert found.dtype in (np.int32, np.int64)
    assert np.array_equal(found, DISTINCT.argmax(axis))


def test_argmax_of_equal_values_is_the_first_but_in_tensorflow(ops, run):
    (found,) = run(lambda x: (ops.argmax(x, 1),), TIED)
    if ops.framework == "TensorFlow":
        assert np.array_equal(np.take_along_axis(TIED, found[:, None], 1)[:, 0], TIED.max(1))
    else:
        assert np.array_equal(found, TIED.argmax(1))


@pytest.mark.parametrize("k", [1, 2, 5])
def test_topk_gives_the_greatest_values_first_and_where_they_are(ops, run, k):
    values, positions = run(lambda x: ops.topk(x, k), DISTINCT)
    assert values.dtype == np.float32
    assert positions.dtype in (np.int32, np.int64)
    assert np.array_equal(values, -np.sort(-DISTINCT, -1)[..., :k])
    assert np.array_equal(positions, np.argsort(-DISTINCT, -1)[..., :k])


@pytest.mark.parametrize("k", [1, 4, 9])
def test_topk_of_equal_values_names_each_position_once(ops, run, k):
    """Which of them come is defined for JAX and TensorFlow only: the first ones."""
    values, positions = run(lambda x: ops.topk(x, k), TIED)
    assert np.array_equal(values, -np.sort(-TIED, -1)[..., :k])
    assert np.array_equal(np.take_along_axis(TIED, positions, -1), values)
    assert all(len(set(row)) == k for row in positions.tolist())
    if ops.framework in ("JAX", "TensorFlow"):
        assert np.array_equal(positions, np.argsort(-TIED, -1, kind="stable")[..., :k])


@pytest.mark.parametrize("k", [1, 5, 12])
def test_the_kth_greatest_of_a_vector_has_no_dimension(ops, run, k):
    values = np.resize(DISTINCT.reshape(-1), 12)
    (found,) = run(lambda x: (ops.kth_greatest(x, k),), values)
    assert found.shape == ()
    assert found == np.sort(values)[-k]


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("shape", [(2,), (2, 3), (2, 1, 2), ()])
def test_take_puts_the_shape_of_the_indices_in_the_place_of_the_axis(ops, run, axis, shape):
    indices = RNG.integers(0, 3, shape)
    positions = ops.positions(np.asarray(indices))
    (found,) = run(lambda x: (ops.take(x, positions, axis),), DISTINCT)
    expected = np.take(DISTINCT, indices, axis)
    assert found.shape == expected.shape
    assert np.array_equal(found, expected)


def test_take_of_topk_gathers_rows_in_one_program(ops, run):
    """As top-k attention does: positions of several dimensions, found in the program that reads by them."""
    rows = RNG.standard_normal((5, 7)).astype(np.float32)
    scores = DISTINCT[0]  # 4 × 5
    (found,) = run(lambda s, r: (ops.take(r, ops.topk(s, 2)[1], 0),), scores, rows)
    assert np.array_equal(found, rows[np.argsort(-scores, -1)[:, :2]])


@pytest.mark.parametrize("name", ["torch", "jax", "tensorflow"])
def test_the_gradient_of_take_adds_into_what_was_read_twice(name):
    ops = opened(name)
    indices = ops.positions(np.array([[1, 1], [0, 2]]))
    gradients = ops.value_and_grad(lambda x: ops.sum(ops.take(x, indices, 0)), [0])(ops.asarray(DISTINCT[0]))[1]
    assert np.array_equal(ops.to_numpy(gradients[0]), np.array([1, 2, 1, 0], np.float32)[:, None] * np.ones(5))

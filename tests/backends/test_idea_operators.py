"""The operators that only some ideas need, of every framework against NumPy's, eager and compiled."""

from __future__ import annotations

from contextlib import nullcontext

import ml_dtypes
import numpy as np
import pytest
from _opened import BACKENDS, opened

from backends.ops import CSR, Unsupported

RNG = np.random.default_rng(3)
X = RNG.standard_normal((6, 8)).astype(np.float32)
FULL = RNG.integers(-127, 128, (16, 64)).astype(np.int8)  # the whole range: a kernel that saturates shows here
WEIGHTS = RNG.integers(-127, 128, (32, 64)).astype(np.int8)

TRACED = {"test_int8_products_have_exact_sums", "test_one_branch_is_taken"}  # by torch.compile, at seconds each


@pytest.fixture(params=sorted(BACKENDS))
def ops(request):
    return opened(request.param)


@pytest.fixture(params=["eager", "compiled"])
def run(request, ops):
    """Calls a function of arrays in this execution and copies what it returns to the host."""
    if request.param == "compiled" and ops.framework == "PyTorch" and request.function.__name__ not in TRACED:
        pytest.skip("torch.compile takes seconds for each: tried where it goes a way of its own")
    return lambda fn, *hosts: called(ops, request.param, fn, *hosts)


@pytest.fixture
def eager(ops):
    """Where a compiler would take seconds and say nothing new."""
    return lambda fn, *hosts: called(ops, "eager", fn, *hosts)


def called(ops, execution, fn, *hosts):
    try:
        args = [ops.asarray(x) for x in hosts]
        outputs = ops.compile(fn, execution, args).call(*args)
    except Unsupported as refusal:
        pytest.skip(str(refusal))
    return [ops.to_numpy(x) for x in outputs]


def test_standard_operators_give_numpy_s_numbers(ops, run):
    halves = (X * 4).round() / 2  # whole numbers and halves: ties
    order = np.argsort(X, -1, kind="stable")

    def step(x, h):
        at = ops.argsort(x)
        taken = ops.take_along_axis(x, at, 1), ops.take_along_axis(x, at[:2, :] // 2, 0)
        return ops.round(h), at, *taken, ops.cumsum(x, 0), ops.cumsum(x, 1)

    rounded, at, along, down, rows, columns = run(step, X, halves)
    assert np.array_equal(rounded, np.round(halves))
    assert np.array_equal(at, order)
    assert np.array_equal(along, np.sort(X, -1))
    assert np.array_equal(down, np.take_along_axis(X, order[:2] // 2, 0))
    assert np.allclose(rows, np.cumsum(X, 0), atol=1e-6)
    assert np.allclose(columns, np.cumsum(X, 1), atol=1e-6)
    assert {a.dtype.name for a in (rounded, along, down, rows, columns)} == {"float32"}


def test_equal_values_keep_their_order(ops, eager):
    tied = RNG.integers(0, 3, 50).astype(np.int32)
    (at,) = eager(lambda x: (ops.argsort(x),), tied)
    assert np.array_equal(at, np.argsort(tied, kind="stable"))


def test_bits_are_numpy_s(ops, eager):
    bytes_, words = RNG.integers(0, 256, 40).astype(np.uint8), RNG.integers(-(2**31), 2**31, 40).astype(np.int32)

    def step(b, w, x):
        return ops.bitwise_right_shift(b, 3), ops.bitwise_right_shift(w, 5), b & (b ^ 5), ops.bitcast(x, "int32")

    shifted, signed, both, bits = eager(step, bytes_, words, X)
    assert np.array_equal(shifted, bytes_ >> 3)
    assert np.array_equal(signed, words >> 5)
    assert np.array_equal(both, bytes_ & (bytes_ ^ 5))
    assert np.array_equal(bits, X.view(np.int32))


def test_set_bits_are_counted(ops, run):
    bytes_, words = RNG.integers(0, 256, 40).astype(np.uint8), RNG.integers(-(2**31), 2**31, 40).astype(np.int32)
    of_bytes, of_words = run(lambda b, w: (ops.popcount(b), ops.popcount(w)), bytes_, words)
    assert of_bytes.dtype == of_words.dtype == np.int32
    assert np.array_equal(of_bytes, np.bitwise_count(bytes_))
    assert np.array_equal(of_words, np.bitwise_count(words.view(np.uint32)))


def test_nonzero_finds_the_places_in_order(ops, eager):
    (at,) = eager(lambda x: (ops.nonzero(x > 0),), X[0])
    assert np.array_equal(at, np.nonzero(X[0] > 0)[0])


def test_a_partition_has_the_places_of_each_label_in_order(ops, eager):
    labels = np.array([2, 0, 2, 3, 0], np.int32)
    parts = eager(lambda x: tuple(ops.partition(x, 4)), labels)
    assert [p.tolist() for p in parts] == [[1, 4], [], [0, 2], [3]]


def test_rows_are_scattered_to_their_places(ops, run):
    places = np.array([5, 0, 7, 2, 3, 8], np.int32)
    rows, numbers = run(lambda x, n, at: (ops.scatter(x, at, 9), ops.scatter(n, at, 9)), X, places * 10, places)
    expected, tens = np.zeros((9, 8), np.float32), np.zeros(9, np.int32)
    expected[places], tens[places] = X, places * 10
    assert np.array_equal(rows, expected)
    assert np.array_equal(numbers, tens)
    assert (rows.dtype.name, numbers.dtype.name) == ("float32", "int32")


def test_nonzero_is_refused_where_shapes_must_be_known():
    for name in ("jax", "tensorflow"):
        framework = opened(name)
        args = [framework.asarray(X[0])]
        with pytest.raises(Unsupported, match="must be"):
            framework.compile(lambda x, framework=framework: (framework.nonzero(x > 0),), "compiled", args).call(*args)


# -- low-bit products --------------------------------------------------------------------------------------------------


def test_int8_products_have_exact_sums(ops, run):
    exact = FULL.astype(np.int64) @ WEIGHTS.T.astype(np.int64)
    both = run(lambda a, b: (ops.matmul_int8(a, b), ops.matmul_int8(a[:1], b)), FULL, np.ascontiguousarray(WEIGHTS.T))
    for found, expected in zip(both, (exact, exact[:1]), strict=True):
        assert found.dtype == np.int32
        assert np.array_equal(found, expected)


def test_int8_products_take_a_transposed_view(ops, run):
    (found,) = run(lambda a, b: (ops.matmul_int8(a, ops.permute_dims(b, (1, 0))),), FULL, WEIGHTS)
    assert np.array_equal(found, FULL.astype(np.int64) @ WEIGHTS.T.astype(np.int64))


def test_scaled_float8_products_are_those_of_their_values(ops, run):
    a, b = (RNG.standard_normal(shape).astype(ml_dtypes.float8_e4m3fn) for shape in ((16, 64), (32, 64)))
    rows, columns = RNG.random((16, 1)).astype(np.float32), RNG.random((1, 32)).astype(np.float32)

    def step(a, b, rows, columns):
        return (ops.scaled_matmul(a, ops.permute_dims(b, (1, 0)), rows, columns),)

    (found,) = run(step, a, b, rows, columns)
    exact = (a.astype(np.float64) @ b.astype(np.float64).T) * rows * columns
    assert found.dtype == np.float32
    assert np.allclose(found, exact, atol=1e-4 * np.abs(exact).max())


@pytest.mark.parametrize(("kind", "group"), [("weight_only_int8", 64), ("weight_only_int4", 32), ("int8", 64)])
def test_packed_products_are_those_of_the_weights(ops, kind, group):
    most = 7 if kind.endswith("4") else 127
    q = RNG.integers(-most, most + 1, (32, 64)).astype(np.int8)
    scales = RNG.random((32, 64 // group)).astype(np.float32)
    x = FULL if kind == "int8" else RNG.standard_normal((16, 64)).astype(np.float32)
    weights = q.astype(np.float64) * (1 if kind == "int8" else np.repeat(scales, group, 1))
    exact = x.astype(np.float64) @ weights.T
    try:
        packed = ops.quantized_weights(q, scales, kind, len(x))
        found = ops.to_numpy(ops.quantized_matmul(ops.asarray(x), packed))
    except Unsupported as refusal:
        pytest.skip(str(refusal))
    assert found.dtype == np.float32
    assert np.array_equal(found, exact) if kind == "int8" else np.allclose(found, exact, atol=1e-2 * abs(exact).max())


def test_what_packs_are_refused_is_said():
    torch = opened("torch")
    with pytest.raises(Unsupported, match="groups of 32, 64, 128, 256"):
        torch.quantized_weights(WEIGHTS, np.ones((32, 4), np.float32), "weight_only_int4", 16)
    with pytest.raises(Unsupported, match="one scale a row"):
        torch.quantized_weights(WEIGHTS, np.ones((32, 4), np.float32), "weight_only_int8", 16)


def test_sums_of_bfloat16_products_are_not_rounded_to_it(ops, run):
    a, b = FULL.astype(ml_dtypes.bfloat16), np.ascontiguousarray(WEIGHTS.T).astype(ml_dtypes.bfloat16)
    (found,) = run(lambda a, b: (ops.widened_matmul(a, b),), a, b)
    assert found.dtype == np.float32
    assert np.array_equal(found, FULL.astype(np.int64) @ WEIGHTS.T.astype(np.int64))


@pytest.mark.parametrize("relu", [False, True])
def test_products_of_packed_floats_are_those_of_the_floats(ops, relu):
    x, w = (RNG.standard_normal(shape).astype(np.float32) for shape in ((16, 64), (64, 35)))
    try:
        packed = ops.packed_weights(w, len(x))
    except Unsupported as refusal:
        pytest.skip(str(refusal))
    for rows in (16, 5):  # fewer than it was laid out for are as right
        found = ops.to_numpy(ops.packed_matmul(ops.asarray(x[:rows]), packed, relu))
        assert np.allclose(found, np.maximum(x[:rows] @ w, 0 if relu else -np.inf), atol=1e-4)


def test_floats_are_packed_in_float32_only():
    with pytest.raises(Unsupported, match="by oneDNN only: float32, on the CPU"):
        opened("torch").packed_weights(np.ones((8, 8)), 8)


@pytest.mark.parametrize("format", ["cusparselt", "cutlass"])
def test_two_of_four_is_refused_on_the_cpu_in_the_framework_s_words(ops, format):
    indptr = np.arange(0, 64 * 32 + 1, 32, dtype=np.int32)
    indices = np.tile(np.arange(64).reshape(16, 4)[:, :2].ravel(), 64).astype(np.int32)
    csr = CSR(RNG.standard_normal(64 * 32).astype(np.float32), indices, indptr, (64, 64))
    with pytest.raises(
        Unsupported, match=r"Only CUDA tensors are currently supported|formats? |csr and coo|sparse format"
    ):
        ops.sparse(csr, format)


@pytest.mark.parametrize("name", sorted(BACKENDS))
@pytest.mark.parametrize("weighted", [False, True])
def test_an_embedding_bag_sums_the_rows_that_it_is_told(name, weighted):
    """Eager and compiled, but for what has no such kernel: that says so in its own words."""
    ops = opened(name)
    table, rows = RNG.standard_normal((7, 5)).astype(np.float32), np.array([[0, 6, 6], [3, 1, 0]], np.int32)
    weights = RNG.standard_normal((2, 3)).astype(np.float32)
    host = [table, rows, weights] if weighted else [table, rows]
    expected = (table[rows] * (weights[:, :, None] if weighted else 1)).sum(1)
    operands = [ops.asarray(v) for v in host]
    for execution in BACKENDS[name].executions:
        refused = "has no embedding bag" if name in ("jax", "array_api_strict") else None
        if name == "tensorflow" and (weighted or execution == "compiled"):
            refused = "No registered 'SparseSegmentSum'" if execution == "compiled" else "takes no weights"
        with pytest.raises(Unsupported, match=refused) if refused else nullcontext():
            call = ops.compile(lambda *xs: (ops.embedding_bag(*xs),), execution, operands).call
            assert np.allclose(ops.to_numpy(call(*operands)[0]), expected, atol=1e-5)


def test_multiply_add_is_a_product_and_a_sum(ops, eager):
    x, y, z = (RNG.standard_normal((3, 4)).astype(np.float32) for _ in range(3))
    (found,) = eager(lambda x, y, z: (ops.multiply_add(x, y, z),), x, y, z)
    assert np.allclose(found, x * y + z, atol=1e-6)


# -- groups, steps and branches ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(4, 0, 16), (20, 0, 0), (6, 7, 7)])
def test_grouped_products_are_one_of_each_group(ops, eager, sizes):
    x, w = (RNG.standard_normal(shape).astype(np.float32) for shape in ((20, 8), (3, 8, 4)))
    (found,) = eager(lambda x, w, s: (ops.grouped_matmul(x, w, s),), x, w, np.array(sizes, np.int32))
    parts = np.split(x, np.cumsum(sizes)[:-1])
    exact = np.concatenate([part @ matrix for part, matrix in zip(parts, w, strict=True)])
    assert np.allclose(found, exact, atol=1e-5)


def test_a_grouped_product_of_odd_rows_is_refused_in_pytorch_s_words():
    torch = opened("torch")
    x, w = torch.asarray(X[:, :5]), torch.asarray(np.ones((2, 5, 3), np.float32))
    with pytest.raises(Unsupported, match="multiple of 16 bytes"):
        torch.grouped_matmul(x, w, torch.asarray(np.array([2, 4], np.int32)))


def test_a_grouped_product_whose_data_type_is_checked_before_it_is_compiled_is_refused_in_pytorch_s_words():
    """What runs eagerly: the compiler's own description of the operator takes bfloat16 only."""
    torch = opened("torch")
    x, w = (torch.asarray(RNG.standard_normal(s).astype(np.float32)) for s in ((8, 16), (2, 16, 8)))
    operands = [x, w, torch.asarray(np.array([3, 5], np.int32))]
    assert torch.grouped_matmul(*operands).shape == (8, 8)
    with pytest.raises(Unsupported, match=r"Expected inputs of BF16 type.*_grouped_mm, compiled"):
        torch.compile(lambda *found: (torch.grouped_matmul(*found),), "compiled", operands).call(*operands)


def test_attention_looks_at_no_later_step(ops, eager):
    q, k, v = (RNG.standard_normal((2, 3, 5, 4)).astype(np.float32) for _ in range(3))
    (found,) = eager(lambda q, k, v: (ops.causal_attention(q, k, v),), q, k, v)
    scores = np.einsum("bhtw,bhjw->bhtj", q, k) / 2
    shares = np.exp(scores) * np.tri(5)
    assert np.allclose(found, shares / shares.sum(3, keepdims=True) @ v, atol=1e-5)


def test_scan_goes_step_by_step(ops, run):
    def step(x, start):
        (last,), (ys, doubled) = ops.scan(
            lambda c, x: ((c[0] * 0.5 + x[0],), (c[0] + x[0], x[0] * 2.0)), (start,), (x,)
        )
        return last, ys, doubled

    last, ys, doubled = run(step, X, X[0])
    carry, expected = X[0], []
    for x in X:
        expected.append(carry + x)
        carry = carry * np.float32(0.5) + x
    assert np.allclose(last, carry, atol=1e-6)
    assert np.allclose(ys, expected, atol=1e-6)
    assert np.allclose(doubled, 2 * X)


def test_an_associative_scan_is_a_scan(ops, run):
    def step(a, b):
        return ops.associative_scan(lambda left, right: (left[0] * right[0], left[1] * right[0] + right[1]), (a, b), 0)

    decay = (1 / (1 + np.exp(-X))).astype(np.float32)
    _, found = run(step, decay, X)
    carry, expected = np.zeros(8), []
    for a, b in zip(decay, X, strict=True):
        carry = carry * a + b
        expected.append(carry)
    assert np.allclose(found, expected, atol=1e-5)


def test_one_branch_is_taken(ops, run):
    def step(x, at):
        halved = ops.cond(ops.sum(x) > 1e6, lambda x: (x * 2.0,), lambda x: (x / 2.0,), x)
        branches = [lambda x, k=k: (x + float(k),) for k in range(3)]
        return *halved, *ops.switch(at, branches, x)

    halved, added = run(step, X, np.array(2, np.int32))
    assert np.array_equal(halved, X / 2)
    assert np.allclose(added, X + 2)

"""The counting rules: one for every operator of `Ops`, and what cannot be counted says why."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from backends.counting.arrays import CountedArray, NotCounted
from backends.counting.counting_ops import RUNNING, CountingOps
from backends.counting.totals import Buffer, Operation, fused, one_by_one
from backends.ops import CSR, Ops


def without_rule(operators, rules):
    """The public operators of a class of `Ops` that the rules do not have a method of their own for."""
    named = {name for cls in operators.__mro__ for name in vars(cls) if not name.startswith("_")}
    callables = {name for name in named if callable(getattr(operators, name, None))}
    own = {name for cls in rules.__mro__[: rules.__mro__.index(Ops)] for name in vars(cls)}
    return sorted(callables - RUNNING - own)


def test_every_operator_has_a_counting_rule():
    assert without_rule(Ops, CountingOps) == []


def test_an_operator_without_a_rule_is_seen():
    class Grown(Ops):
        def fourier_transform(self, x): ...

    assert without_rule(Grown, CountingOps) == ["fourier_transform"]
    assert set(dir(Ops)) >= RUNNING


@pytest.fixture
def ops():
    return CountingOps()


def array(ops, *shape, dtype="float32"):
    return ops.asarray(np.zeros(shape, dtype))


def test_a_view_moves_nothing_and_a_reshape_of_a_transposed_one_copies(ops):
    x = array(ops, 4, 6)
    assert ops.reshape(x, (24,)).shape == (24,)
    assert ops.expand_dims(x[1:3, ...], 0).shape == (1, 2, 6)
    assert ops.trace.operations == []
    ops.reshape(ops.permute_dims(x, (1, 0)), (-1,))
    assert [o.name for o in ops.trace.operations] == ["copy"]
    assert one_by_one(ops.trace.operations).bytes == 2 * 96
    ops.reshape(ops.permute_dims(array(ops, 4, 1, 6), (1, 0, 2)), (24,))  # an axis of length 1 may move freely
    assert len(ops.trace.operations) == 1


def test_numbers_on_either_side_and_broadcasting(ops):
    x, column = array(ops, 4, 6), array(ops, 4, 1)
    for made in (2.0 - x, x / 2, 1.0 / x, -x, x**2, np.float64(3) * x, x * column, column + x):
        assert isinstance(made, CountedArray)
        assert made.shape == (4, 6)
    assert (x > 0).dtype == np.bool_
    assert ops.where(x > 0, x, 0.0).dtype == np.float32
    assert sum(o.other_flop for o in ops.trace.operations[:8]) == 8 * 24


def test_a_source_is_read_once_by_one_operation(ops):
    x = array(ops, 8)
    square = x * x
    assert one_by_one(ops.trace.operations).bytes == 32 + 32
    assert square.buffer in ops.trace.operations


def test_compiled_fuses_a_chain_with_the_reduction_behind_it_and_drops_what_nobody_needs(ops):
    x, y = array(ops, 8, 4), array(ops, 8, 4)
    ops.exp(y)  # nobody needs it
    out = ops.sum((x + y) * 2.0, 1)
    assert one_by_one(ops.trace.operations).launches == 4
    compiled = fused(ops.trace.operations, {out.buffer})
    assert (compiled.launches, compiled.bytes, compiled.other_flop) == (1, 2 * 128 + 32, 32 + 32 + 24)


def test_compiled_does_not_fuse_across_a_product_nor_what_two_go_on_from(ops):
    x = array(ops, 4, 4)
    y = ops.exp(x)
    out = ops.matmul(y, x), ops.sum(y)
    assert fused(ops.trace.operations, {o.buffer for o in out}).launches == 3


def test_a_result_that_is_an_output_is_written_though_another_operation_reads_it(ops):
    y = ops.exp(array(ops, 4))
    z = y * 2.0
    assert fused(ops.trace.operations, {z.buffer}).written_bytes == 16
    assert fused(ops.trace.operations, {y.buffer, z.buffer}).written_bytes == 32


def test_gathers_and_scatters_by_rows_and_their_width(ops):
    x, at = array(ops, 10, 3), array(ops, 6, dtype="int32")
    ops.segment_sum(ops.take(x, at), at, 10)
    work = one_by_one(ops.trace.operations)
    assert (work.gathered_rows, work.gathered_bytes) == (6, 6 * 12)
    assert (work.scattered_rows, work.scattered_bytes) == (6, 6 * 12)


@pytest.mark.parametrize(
    ("format", "gathered", "scattered", "places"),
    [("csr", 3, 0, 3 + 4), ("bag", 3, 0, 3 + 4), ("csc", 0, 3, 3 + 5), ("coo", 3, 3, 6)],
)
def test_sparse_formats_by_what_they_reach(ops, format, gathered, scattered, places):
    csr = CSR(np.ones(3, np.float32), np.int32([0, 2, 1]), np.int32([0, 2, 3, 3]), (3, 4))
    ops.sparse_matmul(ops.sparse(csr, format), array(ops, 4, 2))
    work = one_by_one(ops.trace.operations)
    assert (work.gathered_rows, work.scattered_rows, work.other_flop) == (gathered, scattered, 12)
    assert work.bytes == 4 * (3 + places + 8 + 6)


def test_an_embedding_bag_and_a_product_with_a_vector_are_named_apart(ops):
    csr = CSR(np.ones(3, np.float32), np.int32([0, 2, 1]), np.int32([0, 2, 3, 3]), (3, 4))
    for format, b in (("csr", array(ops, 4, 2)), ("bag", array(ops, 4, 2)), ("csr", array(ops, 4))):
        ops.sparse_matmul(ops.sparse(csr, format), b)
    ops.sparse_matmul_transposed(ops.sparse(csr, "bag"), array(ops, 3, 2))
    names = [o.name for o in ops.trace.operations]
    assert names == ["sparse_matmul", "embedding_bag", "sparse_vector", "sparse_matmul"]


def test_weights_of_an_embedding_bag_are_read_and_multiplied(ops):
    table, rows = array(ops, 7, 5), array(ops, 2, 3, dtype="int32")
    ops.embedding_bag(table, rows)
    ops.embedding_bag(table, rows, array(ops, 2, 3))
    plain, weighted = (one_by_one([o]) for o in ops.trace.operations)
    assert (plain.other_flop, weighted.other_flop) == (2 * 2 * 5, 2 * 2 * 5 + 2 * 3 * 5)
    assert (plain.bytes, weighted.bytes - plain.bytes) == (4 * (2 * 3 * 5 + 2 * 3 + 2 * 5), 4 * 2 * 3)


def test_blocks_are_stored_whole(ops):
    csr = CSR(np.ones(3, np.float32), np.int32([0, 1, 3]), np.int32([0, 1, 2, 3, 3]), (4, 4))
    matrix = ops.sparse(csr, "bsr", 2)
    assert (matrix.count, matrix.stored) == (2, 8)
    ops.sparse_matmul(matrix, array(ops, 4, 3))
    assert one_by_one(ops.trace.operations).matmul_flop == 2 * 8 * 3


def test_gradients_run_through_what_leads_to_the_loss_alone(ops):
    w, x, side = array(ops, 3, 4), array(ops, 5, 3), array(ops, 5, 4)

    def loss(w, x):
        y = ops.matmul(x, w)
        ops.exp(y)
        return ops.sum(ops.relu(y + side)), y

    (value, aux), (gradient,) = ops.value_and_grad(loss, (0,), has_aux=True)(w, x)
    assert (value.shape, gradient.shape) == ((), (3, 4))
    assert not aux.differentiated
    names = [o.name for o in ops.trace.operations]
    assert names == ["matmul", "exp", "add", "relu", "sum", "relu_grad", "matmul"]


def test_the_gradient_of_every_operator_has_the_shape_of_its_input(ops):
    ids = array(ops, 4, dtype="int32")
    through = {
        "maximum": lambda x: ops.maximum(x, 0.0),
        "max": lambda x: ops.max(x, 1, True),
        "mean": lambda x: ops.sum(x / x, (0, 1)),
        "softmax": lambda x: ops.softmax(x, 1),
        "log": lambda x: ops.log(ops.sqrt(ops.exp(x))),
        "softplus": lambda x: ops.softplus(2.0 / x),
        "concat": lambda x: ops.concat([x, x], 1),
        "stack": lambda x: ops.stack([x, x], 0),
        "take": lambda x: ops.take(x, ids, 1),
        "segment": lambda x: ops.segment_sum(x, ids, 2),
        "slice": lambda x: x[1:3, ...] ** 2,
        "where": lambda x: ops.where(x > 0, x, 0.0),
        "cast": lambda x: ops.astype(x, "bfloat16"),
        "einsum": lambda x: ops.einsum("ij,kj->ik", x, x),
        "vector": lambda x: ops.matmul(x, ops.reshape(x[:1, ...], (6,))),
        "pool": lambda x: ops.max_pool2d(ops.reshape(x, (1, 4, 6, 1)), 2, layout="nhwc"),
        "mean_pool": lambda x: ops.avg_pool2d(ops.reshape(x, (1, 1, 4, 6)), 2, layout="nchw"),
        "topk": lambda x: ops.topk(x, 2)[0],
        "sort": lambda x: ops.sort(x),
    }
    for name, apply in through.items():
        value, (gradient,) = ops.value_and_grad(lambda x, f=apply: ops.sum(f(x)), (0,))(array(ops, 4, 6))
        assert (value.shape, gradient.shape) == ((), (4, 6)), name


def test_low_bit_and_grouped_products(ops):
    a, b = array(ops, 4, 8, dtype="int8"), array(ops, 8, 2, dtype="int8")
    assert ops.matmul_int8(a, b).dtype == np.int32
    assert one_by_one(ops.trace.operations).bytes == 32 + 16 + 4 * 8
    for kind, weights in (("int8", 64), ("weight_only_int8", 64 + 32), ("weight_only_int4", 32 + 32)):
        ops.trace.operations.clear()
        packed = ops.quantized_weights(np.zeros((8, 8), np.int8), np.zeros((8, 1), np.float32), kind, 4)
        assert ops.quantized_matmul(array(ops, 4, 8), packed).shape == (4, 8)
        work = one_by_one(ops.trace.operations)
        assert (work.matmul_flop, work.bytes) == (2 * 4 * 8 * 8, 128 + weights + 128)
    ops.trace.operations.clear()
    packed = ops.packed_weights(np.zeros((8, 2), np.float32), 4)
    assert ops.packed_matmul(array(ops, 4, 8), packed, relu=True).shape == (4, 2)
    work = one_by_one(ops.trace.operations)
    assert (work.matmul_flop, work.other_flop, work.bytes) == (2 * 4 * 8 * 2, 4 * 2, 4 * (32 + 16 + 8))
    ops.trace.operations.clear()
    a, b = (array(ops, *shape, dtype=ml_dtypes.bfloat16) for shape in ((4, 8), (8, 2)))
    assert ops.widened_matmul(a, b).dtype == np.float32
    assert one_by_one(ops.trace.operations).bytes == 2 * (32 + 16) + 4 * 8
    ops.trace.operations.clear()
    x, w, sizes = array(ops, 6, 4), array(ops, 3, 4, 2), array(ops, 3, dtype="int32")
    loss = lambda x, w: ops.sum(ops.grouped_matmul(x, w, sizes))  # noqa: E731
    _, gradients = ops.value_and_grad(loss, (0, 1))(x, w)
    assert [g.shape for g in gradients] == [(6, 4), (3, 4, 2)]
    assert one_by_one(ops.trace.operations).matmul_flop == 3 * 2 * 6 * 4 * 2


def test_a_scan_is_its_steps_and_no_chain_goes_from_one_into_the_next(ops):
    start, xs = array(ops, 8), array(ops, 5, 8)
    (last,), (ys,) = ops.scan(lambda c, x: ((c[0] * 0.5 + x[0],), (x[0],)), (start,), (xs,))
    assert (last.shape, ys.shape) == ((8,), (5, 8))
    assert one_by_one(ops.trace.operations).launches == 5 * 2 + 1
    assert fused(ops.trace.operations, {last.buffer}).launches == 5
    (_, found) = ops.value_and_grad(
        lambda x: ops.sum(ops.scan(lambda c, x: ((c[0] * x[0],), ()), (start,), (x,))[0][0]), (0,)
    )(xs)
    assert found[0].shape == (5, 8)


@pytest.mark.parametrize("length", [1, 2, 5, 8])
def test_an_associative_scan_combines_about_twice_as_often_as_there_are_values(ops, length):
    (found,) = ops.associative_scan(lambda a, b: (a[0] + b[0],), (array(ops, length),))
    assert found.shape == (length,)
    assert one_by_one(ops.trace.operations).other_flop <= 2 * length


def test_a_branch_counts_where_all_are_the_same_work(ops):
    x, flag = array(ops, 8), array(ops)
    (out,) = ops.cond(flag > 0, lambda x: (x * 2.0,), lambda x: (x * 3.0,), x)
    assert out.shape == (8,)
    assert one_by_one(ops.trace.operations).launches == 2  # the comparison and one branch
    with pytest.raises(NotCounted, match="not the same work"):
        ops.switch(flag, [lambda x: (x,), lambda x: (ops.exp(x),)], x)


def test_a_scatter_writes_all_and_reaches_a_row_for_each_index(ops):
    x, at = array(ops, 3, 4), array(ops, 3, dtype="int32")
    assert ops.scatter(x, at, 9).shape == (9, 4)
    work = one_by_one(ops.trace.operations)
    assert (work.bytes, work.scattered_rows, work.scattered_bytes) == (4 * (12 + 3 + 36), 3, 4 * 12)
    assert (work.matmul_flop, work.other_flop) == (0, 0)
    _, (gradient,) = ops.value_and_grad(lambda x: ops.sum(ops.scatter(x, at, 9)), (0,))(x)
    assert gradient.shape == (3, 4)


def test_bits_and_positions(ops):
    x = array(ops, 4, dtype="int32")
    assert ((x & 3).dtype, (x >> 1).dtype, ops.popcount(x).dtype) == (np.int32,) * 3
    assert ((x // 2).shape, (x % 2).dtype) == ((4,), np.int32)
    assert ops.bitcast(x, "float32").buffer is x.buffer
    y = array(ops, 4, 6)
    at = ops.argsort(y)
    assert ops.take_along_axis(y, at[:2, ...], 0).shape == (2, 6)
    assert ops.cumsum(ops.round(y), 1).shape == (4, 6)
    with pytest.raises(NotCounted, match="depends on more than shapes"):
        ops.nonzero(x)
    with pytest.raises(NotCounted, match="depends on more than shapes"):
        ops.partition(x, 2)


def test_what_depends_on_values_or_speaks_a_frameworks_own_words_is_not_counted(ops):
    x = array(ops, 3, 3)
    for ask in (
        lambda: bool(x > 0),
        lambda: float(ops.sum(x)),
        lambda: ops.to_numpy(x),
        lambda: np.asarray(x),
        lambda: [*x],
        lambda: x.view_as(x),
        lambda: x[x > 0],
        lambda: ops.matmul(x, array(ops, 2, 2)),
        lambda: x + np.zeros((3, 3)),
        lambda: ops.einsum("ii->i", x),
        lambda: ops.einsum("ij,jk->j", x, x),
        lambda: ops.reshape(x, (4,)),
        lambda: ops.value_and_grad(lambda x: x * 2.0, (0,))(x),
        lambda: ops.value_and_grad(lambda x: ops.sum(ops.sgd_step(x, x, 0.1)), (0,))(x),
    ):
        with pytest.raises(NotCounted, match=r"\w+ \w+"):
            ask()


def test_an_operation_reads_no_more_of_a_source_than_there_is():
    buffer = Buffer(100)
    twice = Operation(bytes=10, name="concat", kind="copy", reads=((buffer, 80), (buffer, 80)))
    assert one_by_one([twice]).bytes == 110

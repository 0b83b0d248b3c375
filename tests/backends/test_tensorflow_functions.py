"""Gradients, graphs and calls of the TensorFlow adapter: traced once, called quickly, nothing held outside."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from backends.discovery import backends
from backends.ops import Device

pytestmark = pytest.mark.skipif(importlib.util.find_spec("tensorflow") is None, reason="tensorflow is not installed")
BACKEND = backends()[0]["tensorflow"]
ROOT = Path(__file__).parents[2]
EXECUTIONS = ("eager", "graph", "compiled")


@pytest.fixture(scope="module")
def ops():
    return BACKEND.open(Device("cpu"))


@pytest.fixture(scope="module")
def tf(ops):
    import tensorflow

    return tensorflow


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_value_and_grad(ops, execution):
    """Gradients of the arguments asked for, aux passed through, zeros for one that the loss does not use."""
    rng = np.random.default_rng(2)
    x, table = rng.standard_normal((4, 3)), rng.standard_normal((6, 3))
    ids = np.array([0, 2, 2, 5], np.int32)
    unused = np.ones(2)

    def loss(x, ids, table, unused):
        rows = ops.take(table, ids)
        return ops.sum(x * rows + ops.stop_gradient(x) * x), rows

    def fn(*args):
        (value, rows), grads = ops.value_and_grad(loss, (0, 2, 3), has_aux=True)(*args)
        plain, (dx,) = ops.value_and_grad(lambda *a: loss(*a)[0], (0,))(*args)
        return value, rows, *grads, plain, dx

    args = tuple(map(ops.asarray, (x, ids, table, unused)))
    value, rows, dx, dtable, dunused, plain, dx_again = map(ops.to_numpy, ops.compile(fn, execution, args).call(*args))
    expected = np.zeros_like(table)
    np.add.at(expected, ids, x)
    np.testing.assert_allclose([value, plain], np.sum(x * table[ids] + x * x))
    np.testing.assert_array_equal(rows, table[ids])
    np.testing.assert_allclose(dx, table[ids] + x)  # only one of the two factors of x·x carries a gradient
    np.testing.assert_array_equal(dx, dx_again)
    np.testing.assert_allclose(dtable, expected)
    np.testing.assert_array_equal(dunused, np.zeros(2))


@pytest.mark.parametrize("execution", EXECUTIONS)
@pytest.mark.parametrize("last", [3, 5])
def test_segment_sum_keeps_empty_segments(ops, execution, last):
    """The result has `num_segments` rows also where the last segments have none, and a gradient."""
    ids = np.array([0, 0, 2, last], np.int32)
    x = np.arange(8.0).reshape(4, 2)
    expected = np.zeros((6, 2))
    np.add.at(expected, ids, x)

    def fn(x, ids):
        def loss(x):
            y = ops.segment_sum(x, ids, 6)
            return ops.sum(y * y), y

        (_, y), (dx,) = ops.value_and_grad(loss, (0,), has_aux=True)(x)
        return ops.reshape(y, (12,)), dx

    args = (ops.asarray(x), ops.asarray(ids))
    y, dx = map(ops.to_numpy, ops.compile(fn, execution, args).call(*args))
    np.testing.assert_array_equal(y.reshape(6, 2), expected)
    np.testing.assert_array_equal(dx, 2 * expected[ids])


@pytest.mark.parametrize("execution", ["graph", "compiled"])
def test_calls_do_not_trace(ops, execution):
    """Python runs once, in `compile`; a call that would trace again is counted by `traces`."""
    seen = []
    a = ops.asarray(np.ones((2, 2), np.float32))

    def fn(a):
        seen.append(1)
        return (a * 2.0,)

    compiled = ops.compile(fn, execution, (a,))
    assert compiled.trace_s > 0
    assert (compiled.compile_s is not None) == (execution == "compiled")
    assert compiled.flags["call"] != "ConcreteFunction", "the quick call was not found"
    for _ in range(3):
        (y,) = compiled.call(a)
    assert (len(seen), compiled.traces()) == (1, 0)
    np.testing.assert_array_equal(ops.to_numpy(y), 2 * np.ones((2, 2)))


@pytest.mark.parametrize("compiled", [False, True])
def test_quick_call_gives_what_the_concrete_function_gives(ops, tf, compiled):
    """Arguments in order, captured tensors appended, and the public call where outputs are not a flat tuple."""
    from backends.tensorflow_calls import direct_call

    big = ops.asarray(np.arange(400, dtype=np.float32).reshape(20, 20))  # too large to be folded in: a captured input
    a, b = ops.asarray(np.ones((20, 20), np.float32)), ops.asarray(np.full((20, 20), 3, np.float32))
    concrete = tf.function(lambda a, b: (a - b + big, a), autograph=False, jit_compile=compiled)
    concrete = concrete.get_concrete_function(a, b)
    assert concrete.captured_inputs
    call, how = direct_call(tf, concrete, (a, b), compiled)
    assert how != "ConcreteFunction"
    for found, expected in zip(call(a, b), concrete(a, b), strict=True):
        np.testing.assert_array_equal(found.numpy(), expected.numpy())
    nested = tf.function(lambda a, b: {"y": (a, b)}, autograph=False).get_concrete_function(a, b)
    assert direct_call(tf, nested, (a, b), compiled) == (nested, "ConcreteFunction")


def test_traces_counts_a_second_trace(ops, tf, monkeypatch):
    """A framework that traces behind the call is seen: `traces` reads TensorFlow's own count."""
    made = []
    real = tf.function

    def remember(*args, **kwargs):
        made.append(real(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr(tf, "function", remember)
    a = ops.asarray(np.ones((2, 2), np.float32))
    compiled = ops.compile(lambda a: (a + 1.0,), "graph", (a,))
    assert compiled.traces() == 0
    made[0](ops.asarray(np.ones((3, 3), np.float32)))
    assert compiled.traces() == 1


def test_constants_stay_inside_the_graph(ops, tf):
    """Shapes, axes and orders are constants of the graph, not inputs: otherwise nothing could be folded into them."""
    x = ops.asarray(np.ones((4, 6), np.float32))

    def fn(x):
        ops.permute_dims(x, (1, 0))  # makes the eager constants, if there are any

        def loss(x):
            y = ops.matmul(ops.permute_dims(x, (1, 0)), x)
            return ops.sum(ops.max(ops.expand_dims(ops.reshape(y, (6, 6)), 0), 1))

        return ops.value_and_grad(loss, (0,))(x)

    fn(x)
    assert not tf.function(fn, autograph=False).get_concrete_function(x).captured_inputs


OPERANDS = """
import numpy as np
import backends.tensorflow_backend as adapter
from backends.ops import Device
ops = adapter.BACKEND.open(Device("cpu"))
import tensorflow as tf
arrays = [np.ones((1 << 20) + 4 * number, np.float32) for number in range(24)]
in_use = lambda: tf.config.experimental.get_memory_info("CPU:0")["current"]
before = in_use()
tensors = [ops.asarray(array) for array in arrays]
print((in_use() - before) / sum(array.nbytes for array in arrays))
"""


def test_every_operand_is_known_to_the_allocator_wherever_its_array_lies(tmp_path):
    """24 operands, laid as a worker's malloc lays them; of TensorFlow's own constants half were unknown."""
    keeping = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30)}
    env = {**os.environ, **BACKEND.environ(Device("cpu"), 1, tmp_path), **keeping, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", OPERANDS], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) >= 1, "share of their bytes that the allocator knows of"


@pytest.mark.parametrize(("compiled", "expected"), [(False, "StatefulPartitionedCall"), (True, "ConcreteFunction")])
def test_a_version_without_the_quick_call_is_called_in_public(ops, tf, monkeypatch, compiled, expected):
    from tensorflow.python.eager import execute

    from backends.tensorflow_calls import direct_call

    a = ops.asarray(np.ones((8, 8), np.float32))
    concrete = tf.function(lambda a: (a + 1,), autograph=False, jit_compile=compiled).get_concrete_function(a)
    assert direct_call(tf, concrete, (a,), compiled)[1] == "execute"
    monkeypatch.delattr(execute, "execute")
    call, how = direct_call(tf, concrete, (a,), compiled)
    assert how == expected
    monkeypatch.undo()
    assert np.array_equal(ops.to_numpy(call(a)[0]), np.full((8, 8), 2))

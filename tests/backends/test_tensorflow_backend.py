"""The TensorFlow adapter: waiting, refusals and sparse formats, each seen saying no where it can."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from backends.discovery import backends
from backends.ops import CSR, Device, Unsupported

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


def _random_csr(rng, rows=24, columns=16, density=0.3):
    dense = rng.standard_normal((rows, columns)).astype(np.float32) * (rng.random((rows, columns)) < density)
    dense[-1] = 0  # an empty last row
    indptr = np.concatenate([[0], np.cumsum(np.count_nonzero(dense, axis=1))]).astype(np.int32)
    r, c = np.nonzero(dense)
    return CSR(dense[r, c], c.astype(np.int32), indptr, dense.shape), dense


PRELOAD = """
import json, os, sys
import backends.tensorflow_backend as adapter
from backends.ops import Device
facts = {"lazy": "tensorflow" not in sys.modules}
import numpy as np, scipy.linalg
before = len(os.listdir("/proc/self/task"))
import importlib
for name in adapter.BACKEND.preload:
    importlib.import_module(name)
from tensorflow.python.eager import context
facts["new_threads"] = len(os.listdir("/proc/self/task")) - before
facts["runtime"] = context.context_safe() is not None
facts["keras"] = any(name.startswith("keras") for name in sys.modules)
facts["codes"] = []
for number in range(4):
    child = os.fork()
    if child == 0:
        ops = adapter.BACKEND.open(Device("cpu"))
        a = ops.asarray(np.eye(8, dtype=np.float32))
        x, w = ops.asarray(np.ones((1, 6, 6, 2), np.float32)), ops.filters(np.ones((3, 3, 2, 4), np.float32))
        y = ops.conv2d(x, w, stride=1, padding=1, layout="nhwc")
        (z,) = ops.compile(lambda a: (a @ a,), "compiled", (a,)).call(a)
        json.dump(ops.settings(), open(sys.argv[1], "w"))
        os._exit(0 if float(ops.to_numpy(z).sum()) == 8 and float(ops.to_numpy(y).max()) == 18 else 1)
    facts["codes"].append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(json.dumps({**facts, "settings": json.load(open(sys.argv[1]))}))
"""


@pytest.fixture(scope="module")
def preloaded(tmp_path_factory):
    """Facts of a new interpreter with the adapter's environment for one thread, and of the children it forked."""
    if not Path("/proc/self/task").exists():
        pytest.skip("counts threads in /proc")
    folder = tmp_path_factory.mktemp("cache")
    base = {k: v for k, v in os.environ.items() if not k.startswith(("TF_", "XLA_"))}
    env = {**base, **BACKEND.environ(Device("cpu"), 1, folder), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PRELOAD, str(folder / "settings.json")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]) | {"cache": folder}


def test_preload_starts_no_runtime(preloaded):
    """The adapter imports no TensorFlow; that import starts no thread, no runtime and no Keras; forks then compute."""
    assert preloaded["lazy"]
    assert (preloaded["new_threads"], preloaded["runtime"], preloaded["keras"]) == (0, False, False)
    assert preloaded["codes"] == [0, 0, 0, 0]


def test_environment_reaches_the_framework(preloaded):
    """Threads, oneDNN and TF32 are read back from TensorFlow as they were set, and XLA fills the compile cache."""
    found = preloaded["settings"]
    assert (found["threads"], found["inter_op_threads"], found["tf32"]) == (1, 1, False)
    assert found["onednn"] in (True, None)
    assert list(preloaded["cache"].rglob("*.pb"))


def test_wait_blocks_until_the_output_is_computed(ops, tf, monkeypatch):
    """With an asynchronous executor the call returns early; `wait` does not return before the product is there."""
    assert ops.settings()["synchronous"], "the CPU is not told to compute before it returns, and is not waited for"
    monkeypatch.setattr(ops, "_synchronous", False)
    from tensorflow.python.eager import context, executor

    a = ops.asarray(np.random.default_rng(0).standard_normal((1200, 1200)).astype(np.float32))
    ops.wait([ops.matmul(a, a)])
    with context.executor_scope(executor.new_executor(enable_async=True)):
        start = time.perf_counter()
        products = [ops.matmul(a, a) for _ in range(8)]
        launched = time.perf_counter() - start
        ops.wait(products)
        waited = time.perf_counter() - start
        for product in products:
            ops.to_numpy(product)
        copied = time.perf_counter() - start
    assert launched < 0.5 * waited, "the executor was not asynchronous: nothing was tested"
    assert waited > 0.7 * copied


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_cpu_calls_have_computed_when_they_return(ops, execution, monkeypatch):
    """A timed call on the CPU leaves nothing to wait for, seen with the wait that a GPU gets."""
    monkeypatch.setattr(ops, "_synchronous", False)
    a = ops.asarray(np.ones((1200, 1200), np.float32))
    call = ops.compile(lambda a: (ops.matmul(a, ops.matmul(a, a)),), execution, (a,)).call
    ops.wait(call(a))
    start = time.perf_counter()
    outputs = call(a)
    called = time.perf_counter() - start
    ops.wait(outputs)
    assert time.perf_counter() - start - called < 0.2 * called


@pytest.mark.parametrize("text", ["cuda:7", "tpu:7"])
def test_absent_device_is_unsupported_in_tensorflows_words(ops, text):
    """A device that is not there is Unsupported, and the message names it."""
    with pytest.raises(Unsupported, match=r"GPU:7|TPU:7"):
        BACKEND.open(Device.parse(text))


def test_devices_begin_with_the_cpu():
    """The host is always there."""
    assert BACKEND.devices()[0] == Device("cpu")


def test_asarray_copies(ops):
    """A host array changed afterwards does not change the tensor, whatever its size."""
    for n in (1, 3, 1 << 18):
        host = np.zeros(n, np.float32)
        tensor = ops.asarray(host)
        host[:] = 7
        assert not ops.to_numpy(tensor).any()


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16", "int32"])
def test_round_trip_keeps_dtype_shape_and_values(ops, dtype, tmp_path):
    """Every dtype comes back as it went, also from a read-only memory map and from a transposed view."""
    import ml_dtypes

    kind = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    host = np.arange(12).reshape(3, 4).astype(kind)
    host.tofile(tmp_path / "array")
    mapped = np.memmap(tmp_path / "array", kind, "r", shape=(3, 4))
    for given in (host, mapped, host.T, kind.type(3) * np.ones((), kind)):
        tensor = ops.asarray(given)
        ops.wait([tensor])
        back = ops.to_numpy(tensor)
        assert (back.dtype, np.shape(back)) == (kind, given.shape)
        np.testing.assert_array_equal(back, given)


@pytest.mark.parametrize("columns", [1, 5])
@pytest.mark.parametrize("execution", ["eager", "graph"])
@pytest.mark.parametrize("format", ["csr", "coo"])
def test_sparse_products_agree_with_dense(ops, format, execution, columns):
    """As an operand of the call, with its own and with other values, and as a part of a gradient."""
    rng = np.random.default_rng(1)
    csr, dense = _random_csr(rng)
    b = rng.standard_normal((16, columns)).astype(np.float32)
    other = rng.standard_normal(csr.values.shape).astype(np.float32)
    matrix = ops.sparse(csr, format)

    def loss(values, b):
        y = ops.sparse_matmul(ops.sparse_with_values(matrix, values), b)
        return ops.sum(y * y) * 0.5, y

    gradients = ops.value_and_grad(loss, (0, 1), has_aux=True)

    def fn(a, b, other):
        (_, y), grads = gradients(other, b)
        return ops.sparse_matmul(a, b), ops.sparse_values(a), y, *grads

    args = (matrix, ops.asarray(b), ops.asarray(other))
    ops.wait(args)  # as when a conversion is timed
    assert args[0].shape == (24, 16)
    product, values, y, dvalues, db = map(ops.to_numpy, ops.compile(fn, execution, args).call(*args))
    changed = csr._replace(values=other).dense()
    np.testing.assert_allclose(product, dense @ b, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(values, csr.values)
    np.testing.assert_allclose(y, changed @ b, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(db, changed.T @ (changed @ b), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(dvalues, ((changed @ b) @ b.T)[csr.rows, csr.indices], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("format", ["csc", "bsr", "bag"])
def test_other_sparse_formats_name_those_that_exist(ops, format):
    """A format TensorFlow has not is Unsupported, and the message says which it has."""
    with pytest.raises(Unsupported, match=rf"csr and coo, not {format}"):
        ops.sparse(_random_csr(np.random.default_rng(0))[0], format)


@pytest.mark.parametrize("format", ["csr", "coo"])
def test_xla_refuses_sparse_products_in_its_words(ops, format):
    """`compile` raises Unsupported with the name of the operation that XLA lacks."""
    matrix = ops.sparse(_random_csr(np.random.default_rng(0))[0], format)
    b = ops.asarray(np.ones((16, 2), np.float32))
    with pytest.raises(Unsupported, match=r"(?i)unsupported|variant") as refusal:
        ops.compile(lambda a, b: (ops.sparse_matmul(a, b),), "compiled", (matrix, b))
    assert "Sparse" in str(refusal.value)


def test_half_precision_csr_is_refused_in_tensorflows_words(ops):
    """CSRSparseMatrix has no float16; the message says what it has."""
    csr, _ = _random_csr(np.random.default_rng(0))
    with pytest.raises(Unsupported, match="allowed values"):
        ops.sparse(csr._replace(values=csr.values.astype(np.float16)), "csr")


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_mistakes_are_not_refusals(ops, tf, execution):
    """A wrong shape is an error of the caller and stays TensorFlow's own exception."""
    a = ops.asarray(np.ones((3, 2), np.float32))
    with pytest.raises((tf.errors.InvalidArgumentError, ValueError)):
        ops.compile(lambda a: (ops.matmul(a, a),), execution, (a,)).call(a)


def test_running_out_of_memory_is_not_a_refusal(tf):
    """ResourceExhaustedError passes through, so that a worker can call it what it is."""
    from backends.tensorflow_calls import refusal

    assert refusal(tf, tf.errors.ResourceExhaustedError(None, None, "OOM: not supported")) is None
    assert refusal(tf, tf.errors.InvalidArgumentError(None, None, "Matrix size-incompatible")) is None
    words = "compile graph __inference_f_7[_XlaMustCompile=true] on XLA: Where (No registered kernel){{node Where}}"
    said = str(refusal(tf, tf.errors.InvalidArgumentError(None, None, words)))
    assert said == "compile graph on XLA: Where (No registered kernel)"
    words = "{{function_node f}} Conv2D only supports NHWC. [Op:Conv2D] name: "
    assert str(refusal(tf, tf.errors.InvalidArgumentError(None, None, words))) == "Conv2D only supports NHWC."

"""What the conformance test cannot see of the JAX adapter: waiting, refusals, sparse kernels, gradients."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from backends.jax_backend import BACKEND
from backends.ops import CSR, Device, Unsupported

jax = pytest.importorskip("jax")

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def ops():
    return BACKEND.open(Device("cpu"))


@pytest.fixture
def csr():
    rng = np.random.default_rng(0)
    dense = np.where(rng.random((24, 40)) < 0.2, rng.standard_normal((24, 40)), 0).astype("float32")
    dense[3] = 0  # an empty row
    return CSR(
        dense[dense != 0],
        np.nonzero(dense)[1].astype(np.int32),
        np.concatenate([[0], np.cumsum((dense != 0).sum(1))]).astype(np.int32),
        dense.shape,
    )


def python(code: str, **environ: str) -> str:
    """Run code in a new interpreter and return what it printed."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, **environ},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def environ(device: str, cache: Path, threads: int = 1) -> dict[str, str]:
    return dict(BACKEND.environ(Device.parse(device), threads, cache))


# -- laziness and the process ------------------------------------------------------------------------------------------
def test_importing_the_adapter_imports_no_jax():
    """The adapter's file can be read, and its facts and environment had, where JAX is not installed."""
    code = (
        "import sys; from pathlib import Path\n"
        "from backends.jax_backend import BACKEND; from backends.ops import Device\n"
        "BACKEND.environ(Device('cpu'), 1, Path('.')); print('jax' in sys.modules, 'jaxlib' in sys.modules)"
    )
    assert python(code).split() == ["False", "False"]


def test_preload_starts_nothing_and_a_forked_child_can_compile(tmp_path):
    """After the preload no XLA client and no thread exists; a forked child compiles and runs on the threads set."""
    code = """
import importlib, json, os
from pathlib import Path
from backends.jax_backend import BACKEND
from backends.ops import Device
tasks = lambda: len(os.listdir("/proc/self/task")) if Path("/proc/self/task").exists() else 1
before = tasks()
for name in BACKEND.preload:
    importlib.import_module(name)
import jax._src.xla_bridge
started = jax._src.xla_bridge.backends_are_initialized()
print(json.dumps({"started": started, "threads": tasks() - before}), flush=True)
child = os.fork()
if child == 0:
    import numpy as np
    ops = BACKEND.open(Device("cpu"))
    a = ops.asarray(np.ones((8, 8), "float32"))
    (y,) = ops.compile(lambda a: (ops.matmul(a, a),), "compiled", [a]).call(a)
    print(json.dumps({"y": float(ops.to_numpy(y)[0, 0]), **ops.settings()}), flush=True)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
    threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    parent, child = map(json.loads, python(code, **threads, **environ("cpu", tmp_path)).splitlines())
    assert parent == {"started": False, "threads": 0}
    assert child["y"] == 8
    assert child["threads"] in (1, None)
    assert child["platform"] == "cpu"
    assert child["matmul_precision"] == "highest"
    assert child["compilation_cache"]
    assert any((tmp_path / "jax").iterdir()), "nothing was written into the compile cache"


# -- devices -----------------------------------------------------------------------------------------------------------
def test_devices_include_the_host_once():
    """The host is one device, named as a user names it."""
    assert [str(d) for d in BACKEND.devices()].count("cpu") == 1


@pytest.mark.parametrize("device", ["cuda", "tpu"])
def test_an_absent_device_is_unsupported_with_words(device, tmp_path):
    """JAX raises a bare AssertionError or a RuntimeError when its only platform is absent; both become a sentence."""
    code = f"""
from backends.jax_backend import BACKEND
from backends.ops import Device, Unsupported
try:
    BACKEND.open(Device({device!r}))
except Unsupported as refusal:
    print(type(refusal.__cause__).__name__, refusal, sep="|")
else:
    print("present|")
"""
    cause, _, words = python(code, **environ(device, tmp_path)).strip().partition("|")
    if cause == "present":
        pytest.skip(f"this machine has a {device} device")
    assert cause in ("AssertionError", "RuntimeError")
    start = f"JAX has no {device} device here: "
    assert words.startswith(start)
    assert len(words) > len(start) + 10


def test_a_device_beyond_the_last_and_an_unknown_platform_are_unsupported():
    """An index that does not exist and a platform that JAX never has are refused in words."""
    with pytest.raises(Unsupported, match="found 1 of kind cpu"):
        BACKEND.open(Device("cpu", 7))


# -- transfer and waiting ----------------------------------------------------------------------------------------------
def test_wait_waits_for_every_output(ops):
    """Whichever place the slow output has, wait returns only when it is ready; the call alone returns long before."""
    a = ops.asarray(np.ones((2048, 2048), "float32"))
    b = ops.asarray(np.ones((4, 4), "float32"))
    ops.wait([ops.matmul(a, a), b + 1])  # compiles both
    for slow in (0, 1):
        start = time.perf_counter()
        product = ops.matmul(a, a)
        outputs = [product, b + 1] if slow == 0 else [b + 1, product]
        called = time.perf_counter() - start
        assert not product.is_ready(), "the product was too small to tell waiting from returning"
        ops.wait(outputs)
        waited = time.perf_counter() - start
        assert all(output.is_ready() for output in outputs)
        ops.to_numpy(product)
        copied = time.perf_counter() - start
        assert called < 0.5 * waited
        assert copied < 1.5 * waited


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "int32"])
def test_arrays_come_back_as_they_went(ops, dtype):
    """Shape, dtype and every value survive the way to the device and back."""
    import ml_dtypes

    name = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    x = (np.arange(12) - 5).reshape(3, 4).astype(name)
    back = ops.to_numpy(ops.asarray(x))
    assert back.dtype == name
    np.testing.assert_array_equal(back.astype("float64"), x.astype("float64"))


def test_float64_stays_float64_and_float32_beside_it_too(tmp_path):
    """The first 64-bit array switches JAX's x64 on; before that it is off; Python scalars do not widen float32."""
    code = """
import numpy as np
from backends.jax_backend import BACKEND
from backends.ops import Device
ops = BACKEND.open(Device("cpu"))
ops.asarray(np.ones(3, "float32"))
print(ops.settings()["x64"], end=" ")
x = ops.asarray(np.full(3, 1 / 3))
y = ops.asarray(np.ones(3, "float32")) * 0.5
print(ops.settings()["x64"], x.dtype, y.dtype, float(ops.to_numpy(x)[0]) == 1 / 3)
"""
    assert python(code, **environ("cpu", tmp_path)).split() == ["False", "True", "float64", "float32", "True"]


def test_asarray_copies(ops):
    """Writing into the host array afterwards does not reach the device, aligned for a zero-copy hand-over or not."""
    memory = np.zeros(4096 + 64, np.uint8)
    offset = -memory.ctypes.data % 64
    x = memory[offset : offset + 4096].view("float32")
    array = ops.asarray(x)
    x[:] = 7
    assert not ops.to_numpy(array).any()


@pytest.mark.parametrize("shape", [(), (0, 3), (7, 11, 13)])
@pytest.mark.parametrize("dtype", ["float32", "int32", "bfloat16", "bool"])
def test_asarray_compiles_nothing(ops, shape, dtype):
    """Every shape would have a program of its own to copy it, 60 ms of compilation each."""
    from backends.jax_compile import compilations_since

    compiled = compilations_since()
    x = np.ones(shape).astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    array = ops.asarray(x)
    assert (array.shape, array.dtype, compiled()) == (shape, x.dtype, 0)
    assert array.devices() == {ops._device}
    np.testing.assert_array_equal(ops.to_numpy(array), x)


# -- sparse ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("execution", ["eager", "compiled"])
@pytest.mark.parametrize("format", ["csr", "coo"])
def test_sparse_products_agree_with_the_dense_ones(ops, csr, format, execution):
    """Product, product with other values, and sampled product equal NumPy's dense ones, in the order of the CSR."""
    rng = np.random.default_rng(1)
    b, x, y = (rng.standard_normal(s).astype("float32") for s in ((40, 7), (24, 5), (40, 5)))

    def run(a, b, x, y):
        doubled = ops.sparse_with_values(a, 2 * ops.sparse_values(a))
        return ops.sparse_matmul(a, b), ops.sparse_matmul(doubled, b), ops.sampled_matmul(a, x, y)

    args = [ops.sparse(csr, format), *map(ops.asarray, (b, x, y))]
    product, doubled, sampled = map(ops.to_numpy, ops.compile(run, execution, args).call(*args))
    np.testing.assert_allclose(product, csr.dense() @ b, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(doubled, 2 * csr.dense() @ b, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(sampled, (x @ y.T)[csr.rows, csr.indices], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("format", ["csr", "coo"])
def test_sparse_products_differentiate(ops, csr, format):
    """Gradients of the stored values and of the dense operand agree with the dense ones."""
    a = ops.sparse(csr, format)
    b = np.random.default_rng(1).standard_normal((40, 7)).astype("float32")

    def loss(values, b):
        y = ops.sparse_matmul(ops.sparse_with_values(a, values), b)
        return ops.sum(y * y) * 0.5

    _, (values, dense) = ops.value_and_grad(loss, (0, 1))(ops.sparse_values(a), ops.asarray(b))
    y = csr.dense() @ b
    np.testing.assert_allclose(ops.to_numpy(values), (y @ b.T)[csr.rows, csr.indices], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(ops.to_numpy(dense), csr.dense().T @ y, rtol=1e-4, atol=1e-4)


def test_a_compiled_csr_product_runs_the_kernel_and_holds_no_constants(ops, csr):
    """The matrix is an argument, not folded into the program, and the program is XLA's sparse kernel, not a scatter."""
    args = [ops.sparse(csr, "csr"), ops.asarray(np.ones((40, 7), "float32"))]
    program = ops.compile(lambda a, b: (ops.sparse_matmul(a, b),), "compiled", args).call.as_text()
    assert "custom-call" in program
    assert "scatter" not in program
    assert "constant(" not in program
    baked = ops.compile(lambda b: (ops.sparse_matmul(args[0], b),), "compiled", args[1:]).call.as_text()
    assert "constant(" in baked, "the check above cannot see a folded matrix"


@pytest.mark.parametrize("format", ["csc", "bsr", "bag"])
def test_other_formats_are_refused_by_name(ops, csr, format):
    """The refusal names the formats that exist."""
    with pytest.raises(Unsupported, match=f"csr and coo, not for {format}"):
        ops.sparse(csr, format)


def test_a_csr_product_that_would_quietly_be_a_coo_product_is_refused(ops, csr):
    """No kernel for bfloat16, and none for mixed dtypes: JAX would run its COO product under the name of CSR."""
    with pytest.raises(Unsupported, match="no CSR kernel for float16 on cpu"):
        ops.sparse(csr._replace(values=csr.values.astype("float16")), "csr")
    with pytest.raises(TypeError, match="float32 and the dense operand is float16"):
        ops.sparse_matmul(ops.sparse(csr, "csr"), ops.asarray(np.ones((40, 7), "float16")))


# -- gradients and pooling ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("execution", ["eager", "compiled"])
def test_value_and_grad_with_and_without_aux(ops, execution):
    """Gradients follow argnums; aux comes beside the loss and carries no gradient."""
    w, x = (ops.asarray(np.array(v, "float32")) for v in ([1.0, -2.0, 0.0], [3.0, 4.0, 5.0]))

    def loss(w, x):
        hidden = ops.relu(w * x)
        return ops.sum(hidden) + ops.sum(ops.stop_gradient(w * w)), hidden

    def run(w, x):
        (value, hidden), grads = ops.value_and_grad(loss, (0, 1), has_aux=True)(w, x)
        again, (only,) = ops.value_and_grad(lambda w, x: loss(w, x)[0], (1,))(w, x)
        return value, hidden, *grads, again, only

    out = [ops.to_numpy(o).tolist() for o in ops.compile(run, execution, [w, x]).call(w, x)]
    assert out == [8.0, [3.0, 0.0, 0.0], [3.0, 0.0, 0.0], [1.0, 0.0, 0.0], 8.0, [1.0, 0.0, 0.0]]


def test_relu_does_not_hide_a_nan(ops):
    """A value that is not a number is still none after relu, so that the oracle sees it."""
    assert np.isnan(ops.to_numpy(ops.relu(ops.asarray(np.array([np.nan, -1], "float32"))))).tolist() == [True, False]


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
def test_pooling_gradients(ops, layout, size):
    """Where windows have one maximum it takes the gradient; a mean shares it; in both layouts and for any size."""
    x = np.random.default_rng(0).permutation(2 * 6 * 6 * 3).reshape(2, 6, 6, 3).astype("float32")
    windows = x.reshape(2, 6 // size, size, 6 // size, size, 3)
    largest = windows == windows.max((2, 4), keepdims=True)
    order = (0, 3, 1, 2) if layout == "nchw" else (0, 1, 2, 3)
    for pool, expected in (
        (ops.max_pool2d, largest.reshape(x.shape).astype("float32")),
        (ops.avg_pool2d, np.full(x.shape, 1 / size**2, "float32")),
    ):
        given = ops.asarray(np.ascontiguousarray(x.transpose(order)))
        gradient = ops.value_and_grad(lambda x, pool=pool: ops.sum(pool(x, size, layout=layout)), (0,))
        (grad,) = ops.compile(lambda x, gradient=gradient: gradient(x)[1], "compiled", [given]).call(given)
        np.testing.assert_allclose(ops.to_numpy(grad), expected.transpose(order), rtol=1e-6)

"""The PyTorch adapter: transfers, layouts, sparse formats, and the words of its refusals."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from backends.ops import CSR, EXECUTIONS, SPARSE_FORMATS, Device, Unsupported
from backends.torch_backend import BACKEND

torch = pytest.importorskip("torch", reason=BACKEND.install)

from backends import torch_device  # noqa: E402
from backends.torch_ops import TorchOps  # noqa: E402 - it imports PyTorch, which may be absent


@pytest.fixture(scope="module")
def ops():
    return BACKEND.open(Device("cpu"))


# These compile to see what the adapter says, not how fast the code is: without the probes for vector instructions and
# without precompiled headers the C++ compiler takes 2 s instead of 13.
_QUICK = {"TORCHINDUCTOR_VEC_ISA_OK": "0", "TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS": "0"}


def _csr(rng, rows=16, columns=24, density=0.3):
    dense = np.where(rng.random((rows, columns)) < density, rng.standard_normal((rows, columns)), 0).astype(np.float32)
    dense[3] = 0  # an empty row
    row, column = np.nonzero(dense)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=rows))]).astype(np.int32)
    return CSR(dense[row, column], column.astype(np.int32), indptr, dense.shape)


def test_making_the_backend_imports_no_framework():
    """`import backends.torch_backend` and everything that `run` reads from BACKEND leave torch unimported."""
    code = (
        "import sys; from pathlib import Path; from backends.torch_backend import BACKEND;"
        "from backends.ops import Device;"
        "BACKEND.environ(Device('cpu'), 2, Path('cache')); print('torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert found.stdout.strip() == "False", found.stderr


def test_a_forked_child_multiplies_and_compiles_after_the_preload(tmp_path):
    """The preload starts no thread of PyTorch's; behind it a forked child uses both of its threads and the compiler."""
    code = """
import importlib, os, sys
import numpy
threads = lambda: len(os.listdir("/proc/self/task"))
before = threads()
for name in sys.argv[1:]:
    importlib.import_module(name)
assert threads() == before, f"{before} threads before the preload, {threads()} after"
import torch
assert not torch.cuda.is_initialized()
child = os.fork()
if child == 0:
    status = 1
    try:
        torch.set_num_threads(2)
        x = torch.ones(256, 256)
        assert float((x @ x)[0, 0]) == 256
        assert threads() > 1
        f = torch.compile(lambda x: torch.relu(x) + 1, fullgraph=True)
        assert float(f(x)[0, 0]) == 2
        status = 0
    finally:
        os._exit(status)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    environ = {"PATH": os.environ["PATH"], **_QUICK, **BACKEND.environ(Device("cpu"), 2, tmp_path)}
    root = Path(__file__).parents[2]
    found = subprocess.run(
        [sys.executable, "-c", code, *BACKEND.preload],
        cwd=root,
        env=environ,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert found.returncode == 0, found.stderr


@pytest.mark.parametrize(("device", "words"), [("cuda:63", "cuda"), ("tpu", "torch_tpu")])
def test_an_absent_device_is_refused_in_words(device, words):
    """A device that is not here is Unsupported and the message names it."""
    with pytest.raises(Unsupported, match=words):
        BACKEND.open(Device.parse(device))


def test_devices_begin_with_the_cpu():
    """The CPU is always there."""
    assert BACKEND.devices()[0] == Device("cpu")


def test_settings_are_read_back(ops):
    """Settings are what PyTorch answers, not what was asked: TF32 off, full precision, the number of threads."""
    settings = ops.settings()
    assert settings["threads"] == torch.get_num_threads()
    assert settings["tf32"] is False
    assert settings["float32_matmul_precision"] == "highest"
    assert all(value is None or isinstance(value, str | int | float | bool) for value in settings.values())


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int32", "bfloat16"])
@pytest.mark.parametrize("shape", [(), (3, 5)])
def test_host_arrays_come_back_as_they_went(ops, dtype, shape):
    """Shape, dtype and every bit survive the round trip, bfloat16 too, from a read-only array, without a warning."""
    ml_dtypes = pytest.importorskip("ml_dtypes")
    host = (np.arange(15).reshape(3, 5) / 8 - 1).astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    host = host[1, 2] if shape == () else host[:, ::-1]
    host = np.asarray(host)
    host.setflags(write=False)
    there = ops.asarray(host)
    back = ops.to_numpy(there)
    assert str(there.dtype) == f"torch.{dtype}"
    assert back.shape == shape
    assert back.dtype == host.dtype
    np.testing.assert_array_equal(back.astype(np.float64), host.astype(np.float64))


def test_asarray_copies(ops):
    """A later change of the host array, or of what came back, does not reach the device."""
    host = np.zeros(3, np.float32)
    there = ops.asarray(host)
    host[:] = 1
    ops.to_numpy(there)[:] = 2
    assert ops.to_numpy(there).tolist() == [0, 0, 0]


def test_wait_synchronises_a_device_that_runs_ahead(ops, monkeypatch):
    """On CUDA the device that was opened is synchronised, for matrices too; the CPU has nothing to wait for."""
    asked = []
    monkeypatch.setattr(torch.cuda, "synchronize", asked.append)
    ops.wait([ops.zeros((2,), "float32"), ops.sparse(_csr(np.random.default_rng(1)), "bag")])
    assert asked == []
    elsewhere = object.__new__(TorchOps)  # no GPU is needed to see whom it asks
    monkeypatch.setattr(torch._C, "_cuda_synchronize", lambda: asked.append("the current device"), raising=False)
    elsewhere._wait = torch_device.waiting("cuda", torch.device("cuda", 1))
    elsewhere.wait([ops.zeros((2,), "float32")])
    assert asked == ["the current device"]
    monkeypatch.setattr(torch, "zeros", lambda *_, **__: None)
    monkeypatch.setattr(torch.cuda, "set_device", asked.append)
    torch_device.opened(Device("cuda", 1))
    assert asked[1:] == [torch.device("cuda", 1)], "and it is the current one"


def test_channels_last_is_a_view(ops):
    """The layout nhwc costs no copy: maps and filters are channels_last memory, before and after an update."""
    rng = np.random.default_rng(0)
    x = ops.asarray(rng.standard_normal((2, 6, 6, 4)).astype(np.float32))
    w = ops.filters(rng.standard_normal((3, 3, 4, 8)).astype(np.float32))
    assert w.shape == (3, 3, 4, 8)
    assert w.permute(3, 2, 0, 1).is_contiguous(memory_format=torch.channels_last)
    assert x.permute(0, 3, 1, 2).is_contiguous(memory_format=torch.channels_last)
    y = ops.conv2d(x, w, stride=1, padding=1, layout="nhwc")
    assert y.is_contiguous()
    for pool in (ops.max_pool2d, ops.avg_pool2d):
        assert pool(y, 2, layout="nhwc").is_contiguous()

    def loss(w, x):
        return ops.sum(ops.max_pool2d(ops.relu(ops.conv2d(x, w, stride=1, padding=1, layout="nhwc")), 2, layout="nhwc"))

    _, (g,) = ops.value_and_grad(loss, (0,))(w, x)
    assert g.stride() == w.stride()
    assert (w - 0.1 * g).stride() == w.stride()


def test_channels_first_stays_channels_first(ops):
    """The layout nchw computes on (n, c, h, w) memory: filters do not turn the network channels_last on the way."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 6, 6, 4)).astype(np.float32)
    w = ops.filters(rng.standard_normal((3, 3, 4, 8)).astype(np.float32))
    last = ops.conv2d(ops.asarray(x), w, stride=2, padding=1, layout="nhwc")
    first = ops.conv2d(ops.asarray(x.transpose(0, 3, 1, 2)), w, stride=2, padding=1, layout="nchw")
    assert first.is_contiguous()
    assert ops.max_pool2d(first, 3, layout="nchw").is_contiguous()
    np.testing.assert_allclose(ops.to_numpy(first).transpose(0, 2, 3, 1), ops.to_numpy(last), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("columns", [1, 7])
@pytest.mark.parametrize("format", [f for f in SPARSE_FORMATS if f not in ("cusparselt", "cutlass")])  # CUDA's
def test_sparse_formats_agree_with_dense(ops, format, columns):
    """Each format multiplies like the dense matrix, and keeps its pattern under other values."""
    csr = _csr(np.random.default_rng(1))
    b = np.random.default_rng(2).standard_normal((csr.shape[1], columns)).astype(np.float32)
    a = ops.sparse(csr, format, block=4)
    np.testing.assert_allclose(
        ops.to_numpy(ops.sparse_matmul(a, ops.asarray(b))), csr.dense() @ b, rtol=1e-5, atol=1e-5
    )
    values = ops.sparse_values(a)
    if format == "bsr":
        assert values.shape[1:] == (4, 4)
        assert ops.to_numpy(ops.sum(values)) == pytest.approx(csr.values.sum(), abs=1e-4)
    else:
        np.testing.assert_array_equal(ops.to_numpy(values), csr.values)
    other = ops.sparse_with_values(a, values * values)
    found = ops.to_numpy(ops.sparse_matmul(other, ops.asarray(b)))
    np.testing.assert_allclose(found, csr.dense() ** 2 @ b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("format", ["csr", "bag"])
def test_new_values_share_the_pattern(ops, format):
    """`sparse_with_values` copies neither the pattern nor the values."""
    a = ops.sparse(_csr(np.random.default_rng(1)), format)
    values = ops.sparse_values(a) * 2
    other = ops.sparse_with_values(a, values)
    indices = (lambda m: m.indices) if format == "bag" else (lambda m: m.col_indices())
    assert indices(a).data_ptr() == indices(other).data_ptr()
    assert ops.sparse_values(other).data_ptr() == values.data_ptr()


@pytest.mark.parametrize("format", ["csr", "bag", "coo", "csc", "bsr"])
def test_sampled_matmul_is_pytorchs_own_or_a_refusal(ops, format):
    """(x·yᵀ) at the non-zeros, in the order of the values; a layout without it is refused in PyTorch's words."""
    csr, rng = _csr(np.random.default_rng(1)), np.random.default_rng(3)
    x, y = (rng.standard_normal((n, 5)).astype(np.float32) for n in csr.shape)
    a = ops.sparse(csr, format, block=4)
    if format in ("csr", "bag"):
        found = ops.to_numpy(ops.sampled_matmul(a, ops.asarray(x), ops.asarray(y)))
        np.testing.assert_allclose(found, (x @ y.T)[csr.rows, csr.indices], rtol=1e-5, atol=1e-5)
    else:
        with pytest.raises(Unsupported, match=r"(?i)sparse"):
            ops.sampled_matmul(a, ops.asarray(x), ops.asarray(y))


@pytest.mark.parametrize("format", ["csr", "bag"])
@pytest.mark.parametrize("columns", [1, 7])
def test_gradients_reach_sparse_values_and_the_dense_operand(ops, format, columns):
    """Through `sparse_with_values`, the gradient of the values is the sampled product, of B the transposed one."""
    csr = _csr(np.random.default_rng(1))
    a = ops.sparse(csr, format)
    b = np.random.default_rng(2).standard_normal((csr.shape[1], columns)).astype(np.float32)

    def loss(values, b):
        return ops.sum(ops.sparse_matmul(ops.sparse_with_values(a, values), b))

    _, (dv, db) = ops.value_and_grad(loss, (0, 1))(ops.sparse_values(a), ops.asarray(b))
    np.testing.assert_allclose(ops.to_numpy(dv), b.sum(1)[csr.indices], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(ops.to_numpy(db), csr.dense().sum(0)[:, None].repeat(columns, 1), rtol=1e-5, atol=1e-5)


def test_unknown_formats_and_executions_are_refused_by_name(ops):
    """The message names what was asked and what there is."""
    csr = _csr(np.random.default_rng(1))
    with pytest.raises(Unsupported, match="csr, csc, coo, bsr, bag, cusparselt, cutlass, not ellpack"):
        ops.sparse(csr, "ellpack")
    assert "graph" in EXECUTIONS
    with pytest.raises(Unsupported, match="graph"):
        ops.compile(lambda x: (x,), "graph", ())


def test_blocks_must_divide(ops):
    """A block that does not divide the matrix is an error in words, not a wrong matrix."""
    with pytest.raises(ValueError, match="5×5 do not divide a matrix of 16×24"):
        ops.sparse(_csr(np.random.default_rng(1)), "bsr", block=5)


@pytest.mark.parametrize("shape", [(9,), (9, 4), (400,)])
def test_segment_sum_adds_rows(ops, shape):
    """Sorted ids, an empty segment in the middle and one at the end; short and long vectors, and rows."""
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    ids = np.sort(np.random.default_rng(0).choice(np.array([0, 1, 3], np.int32), shape[0]))
    expected = np.zeros((5, *shape[1:]), np.float32)
    np.add.at(expected, ids, x)
    np.testing.assert_array_equal(ops.to_numpy(ops.segment_sum(ops.asarray(x), ops.asarray(ids), 5)), expected)


def test_take_has_a_gradient(ops):
    """Rows taken twice get both gradients, from int32 indices."""
    indices = ops.asarray(np.array([2, 0, 2], np.int32))
    value, (g,) = ops.value_and_grad(lambda x: ops.sum(ops.take(x, indices)), (0,))(ops.asarray(np.ones((3, 2))))
    assert float(value) == 6
    assert ops.to_numpy(g).tolist() == [[1, 1], [0, 0], [2, 2]]

"""Gradients and `torch.compile` of the PyTorch adapter, and the words of their refusals."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

from backends.ops import CSR, Device, Unsupported
from backends.torch_backend import BACKEND

torch = pytest.importorskip("torch", reason=BACKEND.install)


@pytest.fixture(scope="module")
def ops():
    return BACKEND.open(Device("cpu"))


@pytest.fixture
def inductor_cache(tmp_path, monkeypatch):
    from torch._inductor import config

    for name, value in BACKEND.environ(Device("cpu"), 1, tmp_path).items():
        monkeypatch.setenv(name, value)
    with config.patch({"cpp.vec_isa_ok": False, "cpp_cache_precompile_headers": False, "compile_threads": 1}):
        yield


def _csr(rng, rows=16, columns=24, density=0.3):
    dense = np.where(rng.random((rows, columns)) < density, rng.standard_normal((rows, columns)), 0).astype(np.float32)
    dense[3] = 0  # an empty row
    row, column = np.nonzero(dense)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=rows))]).astype(np.int32)
    return CSR(dense[row, column], column.astype(np.int32), indptr, dense.shape)


def _hand(w, x):
    """The loss Σ relu(x·w)², its hidden layer and its gradient."""
    h = np.maximum(x @ w, 0)
    return np.sum(h * h), h, x.T @ (2 * h)


def _loss(ops):
    def loss(w, x):
        h = ops.relu(ops.matmul(x, w))
        return ops.sum(h * h), {"h": (h, [h * 2])}

    return loss


def test_value_and_grad_agrees_with_the_hand_gradient(ops):
    """Loss, aux and gradient are right, carry no history, and work where gradients have been switched off."""
    rng = np.random.default_rng(0)
    w, x = rng.standard_normal((4, 3)), rng.standard_normal((5, 4))
    with torch.no_grad():
        (value, aux), (g,) = ops.value_and_grad(_loss(ops), (0,), has_aux=True)(ops.asarray(w), ops.asarray(x))
    for found, expected in zip((value, aux["h"][0], g), _hand(w, x), strict=True):
        assert not found.requires_grad
        np.testing.assert_allclose(ops.to_numpy(found), expected)
    assert not aux["h"][1][0].requires_grad


def test_stop_gradient_and_an_unused_argument_get_zeros(ops):
    """As in JAX: no path to the loss is a gradient of zeros."""
    x = ops.asarray(np.ones(3))
    _, (dx, dy) = ops.value_and_grad(lambda x, y: ops.sum(x * ops.stop_gradient(y)), (0, 1))(x, x)
    assert ops.to_numpy(dx).tolist() == [1, 1, 1]
    assert ops.to_numpy(dy).tolist() == [0, 0, 0]


def test_eager_is_the_function_itself(ops):
    """No wrapper stands in the timed path."""

    def fn(x):
        return (x,)

    assert ops.compile(fn, "eager", ()).call is fn


@pytest.mark.usefixtures("inductor_cache")
def test_compiled_differentiates_counts_traces_and_tells_what_it_did(ops):
    """Gradients inside one graph are right; the same shapes never retrace, others are counted; flags tell the rest."""
    rng = np.random.default_rng(0)
    w, x = rng.standard_normal((4, 3)), rng.standard_normal((5, 4))
    gradient = ops.value_and_grad(_loss(ops), (0,), has_aux=True)

    def step(w, x):
        (value, aux), (g,) = gradient(w, x)
        return value, aux["h"][0], g

    compiled = ops.compile(step, "compiled", ())
    assert compiled.traces() == 0
    assert compiled.flags == {}
    args = ops.asarray(w), ops.asarray(x)
    for found, expected in zip(compiled.call(*args), _hand(w, x), strict=True):
        np.testing.assert_allclose(ops.to_numpy(found), expected)
    assert compiled.traces() == 1
    compiled.call(*args)
    assert compiled.traces() == 1
    assert compiled.flags["generated_kernels"] > 0
    assert compiled.flags["inductor_fallback"] is None
    assert compiled.flags["inductor_cache"] == "cold"
    compiled.call(args[0], args[1][:3])
    assert compiled.traces() == 2, "a planted second shape went unseen"


@pytest.mark.usefixtures("inductor_cache")
def test_compiled_product_admits_that_it_is_eagers(ops):
    """Inductor makes nothing of a lone product: the flag says that the library call is the one of eager."""
    x = ops.asarray(np.ones((4, 4), np.float32))
    compiled = ops.compile(lambda x: (ops.matmul(x, x),), "compiled", ())
    compiled.call(x)
    assert compiled.flags["library_calls"] == 1
    assert "library calls of eager" in str(compiled.flags["inductor_fallback"])


@pytest.mark.usefixtures("inductor_cache")
def test_a_scan_of_many_steps_is_compiled_as_one_loop(ops):
    """Not step by step; the setting that such a loop needs holds for it alone, and it is traced once."""

    def step(x):
        (last,), (ys,) = ops.scan(lambda c, xs: ((c[0] * 0.5 + xs[0],), (c[0] - xs[0],)), (x[0] * 0.0,), (x,))
        return last, ys

    x = ops.asarray(np.random.default_rng(2).standard_normal((64, 3)).astype(np.float32))
    compiled = ops.compile(step, "compiled", ())
    for found, expected in zip(compiled.call(x), step(x), strict=True):
        np.testing.assert_allclose(ops.to_numpy(found), ops.to_numpy(expected), atol=1e-6)
    traces = compiled.traces()
    compiled.call(x)
    assert compiled.traces() == traces
    assert 0 < compiled.flags["generated_kernels"] < 16
    assert not torch._dynamo.config.capture_scalar_outputs


def test_compiled_refusals_are_one_line_and_errors_stay_errors(ops):
    """A sparse tensor and a break of the graph are Unsupported in PyTorch's words; a wrong shape is its own error."""
    a = ops.sparse(_csr(np.random.default_rng(1)), "csr")
    b = ops.asarray(np.ones((24, 2), np.float32))
    with pytest.raises(Unsupported, match=r"^[^\n]*does not support sparse Tensors[^\n]*$"):
        ops.compile(lambda a, b: (ops.sparse_matmul(a, b),), "compiled", ()).call(a, b)
    with pytest.raises(Unsupported, match=r"^[^\n]+$"):
        ops.compile(lambda b: (b * float(torch.randn(()).item()) if b.sum() > 0 else b,), "compiled", ()).call(b)
    with pytest.raises(Exception, match=r"size|shape|dim") as refused:
        ops.compile(lambda b: (ops.matmul(b, b),), "compiled", ()).call(b)
    assert not isinstance(refused.value, Unsupported)


@pytest.mark.usefixtures("inductor_cache")
def test_a_missing_compiler_is_a_refusal_and_a_warning_is_not(ops, monkeypatch):
    """Without a C++ compiler `compiled` is Unsupported; what else breaks inside the compiler keeps its own name."""
    from torch._inductor import compile_fx
    from torch._inductor.exc import InvalidCxxCompiler

    x = ops.asarray(np.ones(3, np.float32))

    def fails_with(error):
        def compile_fx_inner(*args, **kwargs):
            raise error

        monkeypatch.setattr(compile_fx, "compile_fx", compile_fx_inner)
        return ops.compile(lambda x: (x + 1,), "compiled", ()).call

    with pytest.raises(Unsupported, match=r"No working C\+\+ compiler found"):
        fails_with(InvalidCxxCompiler())(x)
    with pytest.raises(MemoryError):
        fails_with(MemoryError("out of memory"))(x)
    with pytest.raises(torch._dynamo.exc.BackendCompilerFailed, match="a broken promise"):
        fails_with(DeprecationWarning("a broken promise"))(x)


def test_headers_of_kernels_are_precompiled_into_the_cache_and_not_among_temporary_files(monkeypatch, tmp_path):
    codecache = importlib.import_module("torch._inductor.codecache")
    for name in ("_HEADER_DIR", "_HEADER_LOCK_DIR"):
        monkeypatch.setattr(codecache, name, getattr(codecache, name))  # to be put back
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    importlib.reload(importlib.import_module("backends.torch_preload"))
    assert Path(codecache._HEADER_DIR) == tmp_path / "precompiled_headers"
    assert Path(codecache._HEADER_LOCK_DIR).is_relative_to(tmp_path)

"""The operators over the array API standard, and einsum by matrix products."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest
from _opened import BACKENDS, opened

from backends.array_api_ops import ArrayApiOps, namespace
from backends.einsum import einsum
from backends.ops import CSR, Device, Unsupported

RNG = np.random.default_rng(3)


def array(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


class Strict(ArrayApiOps):
    """NumPy's namespace through the standard's words alone, without what NumPy has beyond it."""

    framework = "Strict"

    def wait(self, outputs): ...


@pytest.fixture(params=["numpy", "array_api_strict", "torch"])
def ops(request):
    """The same operators over three libraries."""
    for module in (request.param, "array_api_compat"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    return Strict(namespace(request.param), Device("cpu"))


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
@pytest.mark.parametrize(("stride", "padding", "kernel"), [(1, 0, 1), (1, 1, 3), (2, 1, 3), (2, 0, 2), (3, 2, 3)])
def test_conv2d_is_numpys(ops, layout, stride, padding, kernel):
    x, w = array(2, 7, 8, 3), array(kernel, kernel, 3, 4)
    x = x if layout == "nhwc" else x.transpose(0, 3, 1, 2).copy()
    asked = {"stride": stride, "padding": padding, "layout": layout}
    found = ops.to_numpy(ops.conv2d(ops.asarray(x), ops.asarray(w), **asked))
    expected = opened("numpy").conv2d(x, w, **asked)
    assert found.shape == expected.shape
    assert np.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
def test_pools_are_over_windows(ops, layout):
    x = array(2, 4, 6, 3) if layout == "nhwc" else array(2, 3, 4, 6)
    first, second = (slice(None),) * (1 if layout == "nhwc" else 2), (slice(None),) * (1 if layout == "nhwc" else 0)
    taps = [x[(*first, slice(i, None, 2), slice(j, None, 2), *second)] for i in range(2) for j in range(2)]
    on_device = ops.asarray(x)
    assert np.array_equal(ops.to_numpy(ops.max_pool2d(on_device, 2, layout=layout)), np.max(taps, 0))
    assert np.allclose(ops.to_numpy(ops.avg_pool2d(on_device, 2, layout=layout)), np.mean(taps, 0), atol=1e-6)


EQUATIONS = {
    "ij,jk->ik": [(2, 3), (3, 4)],
    "ml,mln->mn": [(3, 2), (3, 2, 4)],
    "bid,ijde->bije": [(2, 3, 4), (3, 5, 4, 2)],
    "nxykcij,kcojl->nxyoil": [(2, 3, 3, 4, 2, 2, 2), (4, 2, 3, 2, 2)],
    "ij,ij->": [(2, 3), (2, 3)],
    "i,j->ji": [(2,), (3,)],
    "ij->j": [(2, 3)],
    "ijk->kij": [(2, 3, 4)],
    "ij,jk,kl->il": [(2, 3), (3, 4), (4, 5)],
    "ai, bi -> b": [(3, 4), (2, 4)],
}


@pytest.mark.parametrize("equation", EQUATIONS)
def test_einsum_is_numpys(ops, equation):
    xs = [array(*shape) for shape in EQUATIONS[equation]]
    found = ops.to_numpy(ops.einsum(equation, *(ops.asarray(x) for x in xs)))
    expected = np.einsum(equation, *xs)
    assert found.shape == expected.shape
    assert np.allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("equation", ["ij,jk", "ii->i", "...i->i", "i,j->ii"])
def test_an_einsum_that_it_cannot_read_is_refused(equation):
    with pytest.raises(ValueError, match="must read like 'ij,jk->ik'"):
        einsum(opened("numpy"), equation, [array(2, 2)] * 2)
    with pytest.raises(ValueError, match="names 2 operands, found 1"):
        einsum(opened("numpy"), "ij,jk->ik", [array(2, 2)])


def test_a_dtype_that_the_library_lacks_is_unsupported():
    ops = opened("array_api_strict")
    for call in (lambda: ops.asarray(np.ones(2, np.float16)), lambda: ops.zeros((2,), "bfloat16")):
        with pytest.raises(Unsupported, match=r"array-api-strict has no dtype b?float16"):
            call()


def test_array_api_strict_runs_where_it_is_asked_for_and_on_the_cpu_only():
    backend = BACKENDS["array_api_strict"]
    assert not backend.default
    assert opened("array_api_strict").settings()["threads"] >= 1
    with pytest.raises(Unsupported, match="array-api-strict runs on cpu only, not on cuda"):
        backend.open(Device("cuda"))


def test_a_namespace_is_the_wrapped_one_where_there_is_one(monkeypatch):
    pytest.importorskip("array_api_compat")
    assert namespace("numpy").__name__ == "array_api_compat.numpy"
    monkeypatch.setitem(sys.modules, "array_api_compat.numpy", None)
    assert namespace("numpy").__name__ == "numpy"
    assert namespace("json").__name__ == "json"
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        namespace("no_such_library")


def test_numpy_refuses_a_dtype_in_which_it_does_not_compute():
    """Its operations widen arrays of ml_dtypes, so that what is measured would be another dtype's."""
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="numpy has no other bfloat16")
    with pytest.raises(Unsupported, match="no dtype bfloat16"):
        opened("numpy").asarray(np.ones(4, ml_dtypes.bfloat16))
    csr = CSR(np.ones(1, np.float16), np.zeros(1, np.int32), np.array([0, 1], np.int32), (1, 1))
    with pytest.raises(Unsupported, match="float16"):
        opened("numpy").sparse(csr, "csr")

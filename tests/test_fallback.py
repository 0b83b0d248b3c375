"""What a framework runs in place of what was asked: each detector on a case known to fall back, and on one that does not."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from backends.ops import CSR, Device

SEED = 7


def _csr(rows=32, columns=32, density=0.2):
    rng = np.random.default_rng(SEED)
    dense = np.where(rng.random((rows, columns)) < density, rng.standard_normal((rows, columns)), 0).astype(np.float32)
    row, column = np.nonzero(dense)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=rows))]).astype(np.int32)
    return CSR(dense[row, column], column.astype(np.int32), indptr, dense.shape)


def _open(name):
    backend = importlib.import_module(f"backends.{name}_backend").BACKEND
    pytest.importorskip(backend.module, reason=backend.install)
    return backend.open(Device("cpu"))


def _kinds(found):
    return {one.kind for one in found}


# -- PyTorch ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def torch_ops():
    return _open("torch")


@pytest.fixture
def quick_inductor():
    from torch._inductor import config

    with config.patch({"cpp.vec_isa_ok": False, "cpp_cache_precompile_headers": False, "compile_threads": 1}):
        yield


def test_a_sparse_product_of_pytorch_is_not_densified_and_the_gradient_of_its_values_is(torch_ops):
    """PyTorch makes the whole matrix dense to find the gradient of a CSR's values, and does not say so."""
    a, b = torch_ops.sparse(_csr(), "csr"), torch_ops.asarray(np.ones((32, 4), np.float32))
    product = torch_ops.compile(lambda a, b: (torch_ops.sparse_matmul(a, b),), "eager", [a, b])
    assert product.fallbacks([a, b]) == []

    def loss(values, b):
        return torch_ops.sum(torch_ops.sparse_matmul(torch_ops.sparse_with_values(a, values), b))

    gradient = torch_ops.value_and_grad(loss, (0,))
    values = torch_ops.sparse_values(a)
    (found,) = torch_ops.compile(lambda v, b: gradient(v, b)[1], "eager", [values, b]).fallbacks([values, b])
    assert found.kind == "densified"
    assert "32, 32" in found.what


def test_work_on_another_device_than_asked_is_named_operator_by_operator(torch_ops):
    """Seen from a device that is not the host, everything that runs on the host has been moved there."""
    from backends import torch_fallback

    x = torch_ops.asarray(np.ones((4, 4), np.float32))
    (found,) = torch_fallback.elsewhere(lambda x: (x @ x,), [x], "cuda")
    assert found.kind == "host"
    assert "aten.mm.default ran on cpu" in found.what
    assert torch_fallback.elsewhere(lambda x: (x @ x,), [x], "cpu") == []


def test_a_value_read_back_counts_as_the_host_on_an_accelerator_only(torch_ops):
    from backends import torch_fallback

    x = torch_ops.asarray(np.ones((4,), np.float32))
    assert _kinds(torch_fallback.of_call(lambda x: (x * float(x.sum()),), [x], "cuda")) == {"host"}
    assert torch_fallback.of_call(lambda x: (x * float(x.sum()),), [x], "cpu") == []
    assert torch_fallback.of_call(lambda x: (x * x.sum(),), [x], "cuda") == []


def test_an_operator_without_a_lowering_is_seen_in_the_code_of_inductor(torch_ops, quick_inductor):
    """`embedding_bag` has none: a compiled `bag` runs the kernel of eager, while a relu is generated."""
    a, b = torch_ops.sparse(_csr(), "bag"), torch_ops.asarray(np.ones((32, 4), np.float32))
    made = torch_ops.compile(lambda a, b: (torch_ops.sparse_matmul(a, b) * 2,), "compiled", [a, b])
    made.call(a, b)
    (found,) = made.fallbacks([a, b])
    assert found.kind == "uncompiled"
    assert "aten._embedding_bag" in found.what

    plain = torch_ops.compile(lambda x: (torch_ops.relu(x) + 1,), "compiled", [b])
    plain.call(b)
    assert plain.fallbacks([b]) == []


def test_a_function_of_which_nothing_was_compiled_is_said_to_have_run_as_it_is(torch_ops, quick_inductor):
    """A function that returns its arguments leaves no graph; so does one that is skipped."""
    x = torch_ops.asarray(np.ones((4,), np.float32))
    made = torch_ops.compile(lambda x: (x,), "compiled", [x])
    made.call(x)
    assert _kinds(made.fallbacks([x])) == {"uncompiled"}


def test_generated_code_for_the_host_counts_on_an_accelerator_only():
    pytest.importorskip("torch")
    from backends import torch_fallback

    source = "cpp_fused_relu_0 = async_compile.cpp_pybinding(['float*'], '''...''')\nextern_kernels.mm(a, b, out=c)\n"
    assert _kinds(torch_fallback.of_code([source], "cuda", 1)) == {"host"}
    assert torch_fallback.of_code([source], "cpu", 1) == []

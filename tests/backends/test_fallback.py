"""What a framework ran in place of what was asked: each detector where it is known to, and where it does not."""

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
    return {fallback.kind for fallback in found}


# -- PyTorch ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def torch_ops():
    return _open("torch")


@pytest.fixture
def quick_inductor():
    from torch._functorch import config as autograd
    from torch._inductor import config

    # without caches, which may hold code for the vectors that are switched off here
    settings = {"cpp.vec_isa_ok": False, "cpp_cache_precompile_headers": False, "compile_threads": 1}
    with config.patch({**settings, "fx_graph_cache": False}), autograd.patch(enable_autograd_cache=False):
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


def test_a_low_bit_product_of_pytorch_is_looked_for_in_the_log_of_onednn(torch_ops):
    """What oneDNN's log names is what was asked; a product of float8 that it does not name ran in plain loops."""
    import torch

    a, b = (torch_ops.asarray(np.ones((32, 64), np.int8)) for _ in range(2))
    seen = importlib.import_module("backends.torch_fallback")
    log = seen.onednn_log(lambda a, b: torch._int_mm(a, b.t()), [a, b])
    found = torch_ops.compile(lambda a, b: (torch_ops.matmul_int8(a, b.t()),), "eager", [a, b]).fallbacks([a, b])
    assert ("_s8" in log) == (found == [])
    float8 = [x.float().to(torch.float8_e4m3fn) for x in (a, b)]
    ones = [torch.ones(32, 1), torch.ones(1, 32)]

    def scaled(a, b, rows, columns):
        return (torch_ops.scaled_matmul(a, b.t(), rows, columns),)

    log = seen.onednn_log(scaled, [*float8, *ones])
    found = torch_ops.compile(scaled, "eager", [*float8, *ones]).fallbacks([*float8, *ones])
    assert ("_f8" in log) == (found == [])
    if found:
        assert found == [("substituted", "aten::_scaled_mm ran without oneDNN, by PyTorch's own loops")]


def test_a_packed_product_of_pytorch_is_no_reference_kernel_of_onednn(torch_ops, monkeypatch):
    """Of signed values with weights that are packed for unsigned ones oneDNN has a reference only, and it shows."""
    import torch

    if not torch.cpu._is_vnni_supported():
        pytest.skip("this processor has no VNNI")
    q = np.random.default_rng(0).integers(-127, 128, (32, 64))
    operands = [torch_ops.asarray(q.astype(np.int8)), torch_ops.quantized_weights(q, np.ones((32, 1)), "int8", 32)]

    def run():
        return torch_ops.compile(lambda x, w: (torch_ops.quantized_matmul(x, w),), "eager", operands)

    (y,) = run().call(*operands)
    assert (torch_ops.to_numpy(y) == q @ q.T).all()
    assert run().fallbacks(operands) == []
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: False)
    assert ("substituted", "oneDNN ran its reference kernel, ref_int8:any") in run().fallbacks(operands)


def test_a_grouped_product_of_pytorch_is_a_loop_on_the_cpu(torch_ops):
    x, w = torch_ops.asarray(np.ones((8, 8), np.float32)), torch_ops.asarray(np.ones((2, 8, 4), np.float32))
    operands = [x, w, torch_ops.asarray(np.array([3, 5], np.int32))]
    run = torch_ops.compile(lambda x, w, s: (torch_ops.grouped_matmul(x, w, s),), "eager", operands)
    (found,) = run.fallbacks(operands)
    assert found == ("substituted", "aten::_grouped_mm is a loop of aten::mm here, one a group")


def test_attention_of_pytorch_without_a_fused_kernel_is_substituted(torch_ops):
    """Its kernel for the CPU, and the same by way of two products and a softmax."""
    from torch.nn import attention

    operands = [torch_ops.asarray(np.ones((1, 2, 8, 16), np.float32)) for _ in "qkv"]
    run = torch_ops.compile(lambda q, k, v: (torch_ops.causal_attention(q, k, v),), "eager", operands)
    assert run.fallbacks(operands) == []
    with attention.sdpa_kernel(attention.SDPBackend.MATH):
        (found,) = run.fallbacks(operands)
    assert found.kind == "substituted"
    assert "two products and a softmax" in found.what


# -- JAX --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def jax_ops():
    return _open("jax")


@pytest.mark.parametrize("execution", ["eager", "compiled"])
def test_a_sparse_product_of_jax_keeps_its_kernel_and_a_dense_copy_is_seen(jax_ops, execution):
    a, b = jax_ops.sparse(_csr(), "csr"), jax_ops.asarray(np.ones((32, 4), np.float32))
    kept = jax_ops.compile(lambda a, b: (jax_ops.sparse_matmul(a, b),), execution, [a, b])
    assert kept.fallbacks([a, b]) == []
    dense = jax_ops.compile(lambda a, b: (jax_ops.matmul(a.todense(), b),), execution, [a, b])
    (found,) = dense.fallbacks([a, b])
    assert found == ("densified", "bcsr_todense")


def test_a_product_that_jax_quietly_lowers_without_its_kernel_is_substituted(jax_ops):
    """A BCSR product of two dtypes leaves the kernel without a word, one of bfloat16 with a warning."""
    from jax.experimental import sparse

    a, b = jax_ops.sparse(_csr(), "csr"), jax_ops.asarray(np.ones((32, 4), np.float32))

    def product(a, b):
        return (sparse.bcsr_dot_general(a, b, dimension_numbers=(((1,), (0,)), ((), ()))),)

    mixed = [a, jax_ops.astype(b, "bfloat16")]
    (found,) = jax_ops.compile(product, "eager", mixed).fallbacks(mixed)
    assert found.kind == "substituted"
    assert "1 of 1 bcsr_dot_general have no sparse kernel" in found.what
    half = [sparse.BCSR((jax_ops.astype(a.data, "bfloat16"), a.indices, a.indptr), shape=a.shape), mixed[1]]
    (found,) = jax_ops.compile(product, "eager", half).fallbacks(half)
    assert "Falling back to default implementation" in found.what


def test_what_xla_makes_of_low_bit_and_grouped_products_is_read_in_its_program(jax_ops):
    """Int8 keeps its kernel for several rows; float8 is converted, and a grouped product is dense."""
    a, b = jax_ops.asarray(np.ones((16, 64), np.int8)), jax_ops.asarray(np.ones((64, 32), np.int8))
    kept = jax_ops.compile(lambda a, b: (jax_ops.matmul_int8(a, b),), "eager", [a, b])
    assert kept.fallbacks([a, b]) == []
    float8 = [jax_ops.astype(x, "float8_e4m3fn") for x in (a, b)]
    rows, columns = jax_ops.asarray(np.ones((16, 1), np.float32)), jax_ops.asarray(np.ones((1, 32), np.float32))
    operands = [*float8, rows, columns]
    (found,) = jax_ops.compile(lambda *x: (jax_ops.scaled_matmul(*x),), "compiled", operands).fallbacks(operands)
    assert found == ("substituted", "XLA converts float8 operands to float32")
    operands = [jax_ops.asarray(np.ones(shape, np.float32)) for shape in ((8, 8), (2, 8, 4))]
    operands.append(jax_ops.asarray(np.array([3, 5], np.int32)))
    (found,) = jax_ops.compile(lambda *x: (jax_ops.grouped_matmul(*x),), "compiled", operands).fallbacks(operands)
    assert found.kind == "densified"


def test_a_callback_of_jax_is_work_of_the_host(jax_ops):
    import jax

    x = jax_ops.asarray(np.ones((4,), np.float32))

    def through_python(x):
        return (jax.pure_callback(lambda y: y, jax.ShapeDtypeStruct(x.shape, x.dtype), x),)

    assert _kinds(jax_ops.compile(through_python, "compiled", [x]).fallbacks([x])) == {"host"}


def test_results_of_jax_on_another_platform_are_seen(jax_ops):
    from backends import jax_fallback

    x = jax_ops.asarray(np.ones((4,), np.float32))
    assert _kinds(jax_fallback.of_outputs((x,), "gpu")) == {"host"}
    assert jax_fallback.of_outputs((x,), "cpu") == []


# -- TensorFlow -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tensorflow_ops():
    return _open("tensorflow")


@pytest.mark.parametrize("execution", ["eager", "graph"])
def test_a_sparse_product_of_tensorflow_stays_sparse_and_a_dense_copy_is_seen(tensorflow_ops, execution):
    import tensorflow as tf

    ops = tensorflow_ops
    a, b = ops.sparse(_csr(), "coo"), ops.asarray(np.ones((32, 4), np.float32))
    kept = ops.compile(lambda a, b: (ops.sparse_matmul(a, b),), execution, [a, b])
    assert kept.fallbacks([a, b]) == []

    def through_dense(a, b):
        dense = tf.sparse.to_dense(tf.sparse.SparseTensor(a.coordinates, a.values, a.shape))
        return (ops.matmul(dense, b),)

    (found,) = ops.compile(through_dense, execution, [a, b]).fallbacks([a, b])
    assert found == ("densified", "SparseToDense")


@pytest.mark.parametrize("how", ["executed", "placed"])
def test_floats_that_tensorflow_moves_to_the_host_are_seen(tensorflow_ops, how):
    """Seen from a GPU, a product that ran on the CPU was moved there; a shape's integers live there by design."""
    import tensorflow as tf

    from backends import tensorflow_fallback

    x = tensorflow_ops.asarray(np.ones((4, 4), np.float32))
    ran = getattr(tensorflow_fallback, how)(tf, lambda x: (tf.linalg.matmul(x, x), tf.shape(x)), [x])
    (found,) = tensorflow_fallback.of_operations(ran, "cuda")
    assert found.kind == "host"
    assert "MatMul" in found.what
    assert tensorflow_fallback.of_operations(ran, "cpu") == []
    shapes = getattr(tensorflow_fallback, how)(tf, lambda x: (tf.shape(x) + 1,), [x])
    assert tensorflow_fallback.of_operations(shapes, "cuda") == []


def test_python_inside_a_graph_of_tensorflow_is_work_of_the_host(tensorflow_ops):
    import tensorflow as tf

    x = tensorflow_ops.asarray(np.ones((4,), np.float32))

    def through_python(x):
        return (tf.numpy_function(lambda y: y, [x], tf.float32),)

    assert _kinds(tensorflow_ops.compile(through_python, "graph", [x]).fallbacks([x])) == {"host"}


def test_a_function_that_xla_does_not_compile_is_told_from_one_that_it_does(tensorflow_ops):
    import tensorflow as tf

    from backends import tensorflow_fallback

    x = tensorflow_ops.asarray(np.ones((4, 4), np.float32))
    made = tensorflow_ops.compile(lambda x: (tensorflow_ops.relu(x),), "compiled", [x])
    assert made.fallbacks([x]) == []
    plain = tf.function(lambda x: (tf.nn.relu(x),), autograph=False).get_concrete_function(x)
    assert _kinds(tensorflow_fallback.of_function(plain)) == {"uncompiled"}

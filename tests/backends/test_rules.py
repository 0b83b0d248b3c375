"""Rules that have one home: the size of an item, devices that are only compiled for, and hints of installing."""

from __future__ import annotations

import re
from pathlib import Path

import ml_dtypes  # noqa: F401 - teaches NumPy the name bfloat16
import numpy as np
import pytest
from _opened import BACKENDS, opened

from backends import install
from backends.device import Device, is_ahead_of_time
from backends.dtypes import ITEM_BYTES, itemsize
from backends.install import install_hint
from backends.ops import Ops, Unsupported

ROOT = Path(install.__file__).parent.parent


@pytest.mark.parametrize("dtype", sorted(ITEM_BYTES))
def test_an_item_is_as_large_as_numpys(dtype):
    assert itemsize(dtype) == np.dtype(dtype).itemsize


def test_an_unknown_dtype_is_one_sentence():
    with pytest.raises(ValueError, match=r"^dtype 'float31' is not one of float64, float32, .*bool$"):
        itemsize("float31")


def test_devices_that_are_compiled_for_and_not_run():
    assert Device.parse("tpu-aot:v5e").ahead_of_time
    assert not Device.parse("tpu:1").ahead_of_time
    assert Device.parse("gpu-aot:H100").ahead_of_time
    assert is_ahead_of_time("tpu-aot:v5e")
    assert is_ahead_of_time("gpu-aot:B200")
    for text in (
        "cpu",
        "tpu",
        "cuda:1",
        "tpu-aot",
        "tpu-aotic:v5e",
        "tpu-aot:v99",
        "gpu-aot",
        "gpu-aot:v5e",
        "tpu-aot:H100",
    ):
        assert not is_ahead_of_time(text)


COPIES = (
    re.compile(r"startswith\(.[tg]pu-aot|== .[tg]pu-aot"),
    re.compile(r""""float64": 8"""),
    re.compile(r"hwlottery\["),
)
HOMES = {"device.py", "dtypes.py"}


def copies(source: str) -> list[str]:
    return [found for pattern in COPIES for found in pattern.findall(source)]


def test_no_file_has_a_rule_of_its_own():
    files = [f for room in ("backends", "workloads", "harness") for f in sorted((ROOT / room).rglob("*.py"))]
    assert {f.name: copies(f.read_text()) for f in files if f.name not in HOMES and copies(f.read_text())} == {}


def test_a_rule_of_its_own_is_seen():
    assert copies('device.startswith("tpu-aot")') == ['startswith("tpu-aot']
    assert copies('device == "gpu-aot"') == ['== "gpu-aot']
    assert copies('{"float64": 8, "float32": 4}') == ['"float64": 8']
    assert copies('pip install "hwlottery[torch]"') == ["hwlottery["]


# -- hints of installing -----------------------------------------------------------------------------------------------


def test_a_checkout_is_installed_from_its_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    assert install_hint("torch") == 'python -m pip install -e ".[torch]"'
    monkeypatch.chdir(tmp_path)
    assert install_hint("torch") == f'python -m pip install -e "{ROOT}[torch]"'


def test_without_a_checkout_the_packages_are_named_and_never_our_own_name(monkeypatch, tmp_path):
    monkeypatch.setattr(install, "ROOT", tmp_path)
    requirements = [
        "numpy>=2.0",
        "torch>=2.11; extra == 'torch'",
        'jax>=0.10; extra == "jax"',
        "hwlottery[torch,jax]; extra == 'all'",
    ]
    monkeypatch.setattr(install.importlib.metadata, "requires", lambda name: requirements)
    assert install_hint("torch") == 'python -m pip install "torch>=2.11"'
    assert install_hint("all") == 'python -m pip install "torch>=2.11" "jax>=0.10"'
    with pytest.raises(ValueError, match="has no extra named 'gold'"):
        install_hint("gold")


# -- what a new backend gets for nothing -------------------------------------------------------------------------------

CORE = {
    *("asarray", "to_numpy", "wait", "astype", "reshape", "permute_dims", "expand_dims", "concat", "stack", "zeros"),
    *("sum", "max", "exp", "log", "sqrt", "where", "maximum", "take", "matmul"),
}


def test_a_backend_needs_the_core_only():
    assert Ops.__abstractmethods__ == CORE
    assert all(f"`{name}`" in (Ops.__doc__ or "") for name in CORE)


def strangers(kind):
    """Public methods of an adapter that no workload could ask for: of one whose name in `Ops` changed, for example."""
    return {name for name in dir(kind) if not name.startswith("_") and callable(getattr(kind, name))} - set(dir(Ops))


@pytest.mark.parametrize("name", sorted(BACKENDS))
def test_an_adapter_has_no_method_that_ops_has_not(name):
    assert strangers(type(opened(name))) <= {"dtype"}


def test_a_method_that_ops_has_not_is_seen():
    assert strangers(type("FormerOps", (CoreOnlyOps,), {"descend": lambda self, w: w})) == {"descend"}


class CoreOnlyOps(Ops):
    """The core by NumPy, written out as somebody would who begins."""

    framework = "Mine"
    device = Device("cpu")
    asarray = staticmethod(np.array)
    to_numpy = staticmethod(np.asarray)
    reshape, expand_dims, concat, stack = map(staticmethod, (np.reshape, np.expand_dims, np.concatenate, np.stack))
    permute_dims, zeros, take, matmul = map(staticmethod, (np.transpose, np.zeros, np.take, np.matmul))
    exp, log, sqrt, where, maximum = map(staticmethod, (np.exp, np.log, np.sqrt, np.where, np.maximum))

    def wait(self, outputs): ...

    def astype(self, x, dtype):
        return x.astype(dtype)

    def sum(self, x, axis=None, keepdims=False):
        return np.sum(x, axis=axis, keepdims=keepdims)

    def max(self, x, axis, keepdims=False):
        return np.max(x, axis=axis, keepdims=keepdims)


def test_what_it_lacks_says_which_framework_which_operation_and_what_to_do():
    ops, x = CoreOnlyOps(), np.ones((2, 2), np.float32)
    refused = {
        "conv2d": lambda: ops.conv2d(x, x, stride=1, padding=0, layout="nhwc"),
        "max_pool2d": lambda: ops.max_pool2d(x, 2, layout="nhwc"),
        "avg_pool2d": lambda: ops.avg_pool2d(x, 2, layout="nhwc"),
        "einsum": lambda: ops.einsum("ij->ji", x),
        "sort": lambda: ops.sort(x),
        "argmax": lambda: ops.argmax(x, 0),
        "topk": lambda: ops.topk(x, 1),
        "sparse format csr": lambda: ops.sparse(None, "csr"),
        "sparse product": lambda: ops.sparse_matmul(x, x),
        "transposed sparse product": lambda: ops.sparse_matmul_transposed(x, x),
        "sparse values": lambda: ops.sparse_values(x),
        "sparse operand with other values": lambda: ops.sparse_with_values(x, x),
        "sampled product": lambda: ops.sampled_matmul(x, x, x),
        "segment_sum": lambda: ops.segment_sum(x, x, 2),
        "round": lambda: ops.round(x),
        "argsort": lambda: ops.argsort(x),
        "take_along_axis": lambda: ops.take_along_axis(x, x, 0),
        "cumsum": lambda: ops.cumsum(x, 0),
        "nonzero, whose result has a length that only its values tell,": lambda: ops.nonzero(x[0]),
        "embedding bag": lambda: ops.embedding_bag(x, x),
        "scatter": lambda: ops.scatter(x, x, 2),
        "popcount": lambda: ops.popcount(x),
        "bitcast": lambda: ops.bitcast(x, "int32"),
        "int8 product with int32 sums": lambda: ops.matmul_int8(x, x),
        "product of scaled float8 operands": lambda: ops.scaled_matmul(x, x, x, x),
        "packed product of kind int8": lambda: ops.quantized_weights(x, x, "int8", 1),
        "product of packed weights": lambda: ops.quantized_matmul(x, x),
        "bfloat16 product with float32 sums": lambda: ops.widened_matmul(x, x),
        "float weights that are packed ahead": lambda: ops.packed_weights(x, 1),
        "product of packed float weights": lambda: ops.packed_matmul(x, x),
        "grouped product": lambda: ops.grouped_matmul(x, x, x),
        "attention": lambda: ops.causal_attention(x, x, x),
        "scan": lambda: ops.scan(lambda c, x: (c, x), (x,), (x,)),
        "associative scan": lambda: ops.associative_scan(lambda a, b: a, (x,)),
        "branch that is chosen in the call": lambda: ops.switch(x, [abs, abs], x),
        "automatic differentiation": lambda: ops.value_and_grad(lambda x: x, [0]),
    }
    for operation, call in refused.items():
        with pytest.raises(Unsupported) as refusal:
            call()
        words = f"Mine has no {operation} here: write a formulation for this framework in its own words"
        assert str(refusal.value) == words
    with pytest.raises(Unsupported, match="Mine has no compiler; execution graph would be a no-op"):
        ops.compile(lambda x: (x,), "graph", [x])


def test_the_rest_has_defaults_that_are_right():
    ops, x = CoreOnlyOps(), np.linspace(-3, 3, 12, dtype=np.float32).reshape(3, 4)
    exponentials = np.exp(x) / np.exp(x).sum(1, keepdims=True)
    assert np.allclose(ops.softmax(x, 1), exponentials)
    assert np.allclose(ops.log_softmax(x, 1), np.log(exponentials), atol=1e-6)
    assert np.allclose(ops.softplus(np.float32([-100, 0, 100])), [0, np.log(2), 100])
    assert np.array_equal(ops.relu(x), np.maximum(x, 0))
    assert np.array_equal(ops.relu_grad(x, x), np.where(x > 0, x, 0))
    assert ops.positions(np.array([1])).dtype == np.int32
    assert np.array_equal(ops.filters(x), x)
    assert ops.stop_gradient(x) is x
    assert ops.settings() == {}
    assert ops.flush_cache() is False
    assert ops.device_s(lambda: (x,), []) is ops.device_peak_bytes() is None
    assert ops.compile(lambda x: (x + 1,), "eager", [x]).call(x)[0].dtype == np.float32


def test_a_framework_with_gradients_must_say_how_they_stop():
    class Differentiable(CoreOnlyOps):
        def value_and_grad(self, fn, argnums, has_aux=False): ...

    with pytest.raises(Unsupported, match="has no stop_gradient here"):
        Differentiable().stop_gradient(np.ones(1))

"""Dense products of PyTorch by oneDNN: where they are taken, and that values and gradients are the product's."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from backends.ops import Device
from backends.torch_backend import BACKEND

torch = pytest.importorskip("torch", reason=BACKEND.install)
pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this PyTorch has no oneDNN: it cannot take its products"
)


@pytest.fixture(scope="module")
def products():
    BACKEND.open(Device("cpu"))
    from backends import torch_products

    return torch_products


@pytest.fixture
def ops(products, monkeypatch):
    """An adapter on a CPU on which oneDNN is the faster, whatever this one is."""
    monkeypatch.setattr(products, "faster", lambda: True)
    return BACKEND.open(Device("cpu"))


@pytest.fixture
def called(products, monkeypatch):
    """Shapes of every product that oneDNN was given in eager."""
    shapes = []
    real = products._product

    def watched(a, b):
        shapes.append((tuple(a.shape), tuple(b.shape)))
        return real(a, b)

    monkeypatch.setattr(products, "_product", watched)
    return shapes


def _pair(a, b):
    rng = np.random.default_rng(0)
    return [torch.tensor(rng.standard_normal(shape).astype(np.float32)) for shape in (a, b)]


def _close(found, expected):
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("machine", "capability", "taken"),
    [
        ("AuthenticAMD", "AVX512", True),
        ("GenuineIntel", "AVX512", False),
        ("AuthenticAMD", "AVX2", False),
        (None, "AVX512", False),
    ],
)
def test_onednn_is_taken_where_mkl_has_narrower_code(products, monkeypatch, tmp_path, machine, capability, taken):
    """AVX-512 on a CPU that says it is not Intel's; one that says nothing keeps PyTorch's own choice."""
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\n" + (f"vendor_id\t: {machine}\n" if machine else ""))
    monkeypatch.setattr(products, "CPUINFO", info)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    products._vendor.cache_clear()
    assert products.faster() is taken
    products._vendor.cache_clear()


def test_the_settings_name_the_library(ops, products, monkeypatch):
    assert ops.settings()["float32_matmul_library"] == "onednn"
    monkeypatch.setattr(products, "faster", lambda: False)
    other = BACKEND.open(Device("cpu"))
    assert other.settings()["float32_matmul_library"] is None
    assert other.matmul is torch.matmul


@pytest.mark.parametrize("turned", [(False, False), (True, False), (False, True), (True, True)])
def test_a_product_however_its_operands_lie(ops, called, turned):
    a, b = _pair((200, 150), (150, 130))
    expected = a.double().numpy() @ b.double().numpy()
    a, b = (x.t().contiguous().t() if turn else x for x, turn in zip((a, b), turned, strict=True))
    _close(ops.matmul(a, b), expected)
    assert called == [((200, 150), (150, 130))]


def test_a_column_is_multiplied_so_from_a_smaller_matrix_on(ops, called):
    """Its time is that of reading the matrix."""
    a, b = _pair((800, 700), (700, 1))
    _close(ops.matmul(a, b), a.double().numpy() @ b.double().numpy())
    ops.matmul(a[:, :300], b[:300])
    assert called == [((800, 700), (700, 1))]


def test_more_axes_on_the_left(ops, called):
    a, b = _pair((4, 50, 150), (150, 130))
    found = ops.matmul(a, b)
    assert found.shape == (4, 50, 130)
    _close(found, a.double().numpy() @ b.double().numpy())
    assert len(called) == 1


@pytest.mark.parametrize(
    ("a", "b", "dtype"),
    [
        ((16, 16), (16, 16), torch.float32),
        ((200, 150), (150,), torch.float32),
        ((8, 64, 64), (8, 64, 64), torch.float32),
        ((200, 150), (150, 130), torch.float64),
        ((200, 150), (150, 130), torch.bfloat16),
    ],
)
def test_what_does_not_suit_is_pytorchs_own(ops, called, a, b, dtype):
    x, y = (t.to(dtype) for t in _pair(a, b))
    assert torch.equal(ops.matmul(x, y), torch.matmul(x, y))
    assert not called


@pytest.mark.parametrize("execution", ["eager", "compiled"])
def test_gradients_are_those_of_the_product(ops, execution):
    a, b = _pair((200, 150), (150, 130))
    twice = 2 * (a.double().numpy() @ b.double().numpy())
    gradients = ops.value_and_grad(lambda a, b: ops.sum(ops.matmul(a, b) ** 2), (0, 1))

    def step(a, b):
        value, (to_a, to_b) = gradients(a, b)
        return value, to_a, to_b

    _, to_a, to_b = ops.compile(step, execution, (a, b)).call(a, b)
    _close(to_a, twice @ b.double().numpy().T)
    _close(to_b, a.double().numpy().T @ twice)


def test_a_gradient_of_one_operand_takes_one_product(ops, called):
    a, b = _pair((200, 150), (150, 130))
    ops.value_and_grad(lambda b: ops.sum(ops.matmul(a, b)), (0,))(b)
    assert called == [((200, 150), (150, 130)), ((150, 200), (200, 130))]


def test_a_compiled_graph_calls_onednn_for_large_products_only(products):
    """Of a graph as the compiler hands it over, one product is rewritten and one is not."""
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.proxy_tensor import make_fx

    def both(a, b, c):
        return torch.mm(a, b), torch.mm(c, c)

    with FakeTensorMode():
        traced = make_fx(both)(torch.empty(200, 150), torch.empty(150, 130), torch.empty(16, 16))
    products.Rewrite()(traced.graph)
    targets = [node.target for node in traced.graph.nodes if node.op == "call_function"]
    assert targets == [torch.ops.hwlottery.product.default, torch.ops.aten.mm.default]


def test_the_compiler_is_given_the_rewriting(ops, monkeypatch):
    """As an option of the graph, so that a cached graph without it is another."""
    given = []
    monkeypatch.setattr(torch, "compile", lambda fn, **options: given.append(options["options"]) or fn)
    ops.compile(lambda a: (a,), "compiled", (torch.zeros(1),))
    assert isinstance(given[0]["post_grad_custom_pre_pass"], ops._products.Rewrite)


def test_a_step_along_a_product(ops, called):
    w, left, right = (
        torch.tensor(np.random.default_rng(0).standard_normal(s).astype(np.float32))
        for s in ((200, 130), (200, 150), (150, 130))
    )
    expected = w.double().numpy() - 0.1 * (left.double().numpy() @ right.double().numpy())
    _close(ops.sgd_step_along(w, left, right, 0.1), expected)
    assert len(called) == 1
    small = torch.ones(4, 4)
    _close(ops.sgd_step_along(small, small, small, 0.5), np.full((4, 4), -1.0))
    assert len(called) == 1


def test_another_device_keeps_its_own_products(monkeypatch):
    """On CUDA cuBLAS multiplies: the module is not even asked."""
    from backends import torch_device, torch_ops, torch_products

    monkeypatch.setattr(torch_products, "faster", lambda: True)
    monkeypatch.setattr(torch_device, "opened", lambda device: SimpleNamespace(type=device.kind))
    monkeypatch.setattr(torch_device, "held_bytes", lambda kind, device: 0)
    made = torch_ops.TorchOps(Device("cuda", 0))
    assert made._products is None
    assert made.matmul is torch.matmul

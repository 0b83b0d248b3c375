"""Dense float32 products of PyTorch on the CPU by oneDNN, where MKL would not use the CPU's widest instructions.

PyTorch gives such products to MKL and convolutions to oneDNN; both are in its wheel. On a CPU that is not Intel's, MKL
2024 runs AVX2 code though the CPU has AVX-512, and no variable of its own changes that: on two cores of an AMD EPYC
with AVX-512 (Zen 5), GFLOP/s of a product m×k×n by MKL and by oneDNN are 218 and 465 (2048³), 200 and 460
(7680×2560×128), 178 and 378 (160×9216×32). Left alone, PyTorch's dense products would take twice their time, and every
idea held against them would look twice as good.

oneDNN's product is the operator that `torch.compile` puts in place of a frozen linear layer. It has no derivative of
its own: in eager `matmul` gives it one, and a compiled graph is differentiated first, with products as they were, and
then rewritten. Imports PyTorch and its compiler: only an opened backend imports this file.
"""

from __future__ import annotations

import functools
import platform
from pathlib import Path
from typing import Any

import torch
from torch._inductor.custom_graph_pass import CustomGraphPass

from backends.ops import Array

LEAST_FLOP = 4e6  # a product of 128³: below, calling oneDNN costs more than its product saves
LEAST_COLUMN_FLOP = 1e6  # and of a single column, whose time is that of reading the matrix
CPUINFO = Path("/proc/cpuinfo")

_library = torch.library.Library("hwlottery", "DEF")
# In a compiled graph it is one call with the strides that it is given: the operator itself has a lowering there that
# copies a transposed operand in every call.
_library.define("product(Tensor a, Tensor b) -> Tensor", tags=(torch.Tag.needs_exact_strides,))


def _product(a: Array, b: Array) -> Array:
    return torch.ops.mkldnn._linear_pointwise(a, b.t(), None, "none", [], "")


def _shape(a: Array, b: Array) -> Array:
    return a.new_empty((*a.shape[:-1], b.shape[1]))


_library.impl("product", _product, "CPU")
torch.library.register_fake("hwlottery::product", _shape, lib=_library)


class _Product(torch.autograd.Function):  # type: ignore[misc]
    """a (…, k) · b (k, n) with its two gradients, products themselves."""

    @staticmethod
    def forward(a: Array, b: Array) -> Array:
        return _product(a, b)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Array, Array], output: Array) -> None:  # noqa: ARG004 - its interface
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Array) -> tuple[Array | None, Array | None]:
        a, b = ctx.saved_tensors
        wanted_a, wanted_b = ctx.needs_input_grad
        flat_a, flat = a.reshape(-1, a.shape[-1]), gradient.reshape(-1, gradient.shape[-1])
        return matmul(gradient, b.t()) if wanted_a else None, matmul(flat_a.t(), flat) if wanted_b else None


def faster() -> bool:
    """Whether oneDNN has wider code than MKL here: AVX-512 on a CPU that is not Intel's."""
    return (
        torch.backends.mkl.is_available()
        and torch.backends.mkldnn.is_available()
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and _vendor() not in ("GenuineIntel", "")
    )


@functools.cache
def _vendor() -> str:
    """As the CPU names its maker, such as GenuineIntel; empty where the system does not tell."""
    if not CPUINFO.is_file():
        return next((name for name in ("GenuineIntel", "AuthenticAMD") if name in platform.processor()), "")
    lines = (line.partition(":") for line in CPUINFO.read_text().splitlines())
    return next((value.strip() for name, _, value in lines if name.strip() == "vendor_id"), "")


def suits(a: Array, b: Array) -> bool:
    """Whether oneDNN's product takes these: float32, a matrix on the right, and large enough to pay for the call."""
    if b.dim() != 2 or a.dim() < 2 or a.dtype is not torch.float32 or b.dtype is not torch.float32:
        return False
    columns: int = b.shape[1]
    least = LEAST_COLUMN_FLOP if columns == 1 else LEAST_FLOP
    return bool(2 * a.numel() * columns >= least)


def matmul(a: Array, b: Array) -> Array:
    """As `torch.matmul`, by oneDNN where it suits; while a graph is traced, as it is.

    Batches of as many matrices go where `torch.matmul` sends them, by half the calls.
    """
    if a.dim() == b.dim() == 3 and a.shape[0] == b.shape[0]:
        return torch.bmm(a, b)
    if torch.compiler.is_compiling() or not suits(a, b):
        return torch.matmul(a, b)
    if torch.is_grad_enabled() and (a.requires_grad or b.requires_grad):
        return _Product.apply(a, b)
    return _product(a, b)


def sgd_step_along(w: Array, left: Array, right: Array, rate: float) -> Array | None:
    """w − rate·(left·right); None where MKL's product, which adds within itself, suits better."""
    return torch.sub(w, _product(left, right), alpha=rate) if suits(left, right) else None


class Rewrite(CustomGraphPass):  # type: ignore[misc]
    """Puts oneDNN's product in place of every `aten.mm` of a differentiated graph that it suits."""

    def __call__(self, graph: torch.fx.Graph) -> None:
        """Rewrite `graph` in place."""
        for node in graph.find_nodes(op="call_function", target=torch.ops.aten.mm.default):
            a, b = (operand.meta["val"] for operand in node.args)
            if suits(a, b):
                node.target = torch.ops.hwlottery.product.default

    def uuid(self) -> Any:
        """Part of the key of Inductor's cache."""
        return f"hwlottery product 1, {LEAST_FLOP}, {LEAST_COLUMN_FLOP}"

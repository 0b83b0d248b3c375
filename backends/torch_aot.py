"""PyTorch's route to the compiler of a device that is not there: torchax's view of a function as one of JAX's.

The view is lowered by `jax.jit`. torchax runs PyTorch's operators by implementations in JAX, on tensors that hold
tracers. Gradients are JAX's, of that view: PyTorch's own autograd does not see into it. Imports PyTorch, JAX and
torchax: only an opened device that is compiled for imports this file.
"""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

import jax
import torch

from backends import aot
from backends.ahead import Ahead, Program, route, versions
from backends.ops import Array, Device, Matrix, Scalar, Unsupported
from backends.torch_ops import TorchOps

_MODULES = ("", ".interop", ".ops.jaten", ".ops.jtorch", ".decompositions")  # that register its operators

# An implementation of torchax's that looks at values, of which a program that is only compiled has none.
_NEEDS_VALUES = (
    jax.errors.ConcretizationTypeError,
    jax.errors.NonConcreteBooleanIndexError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)


class TorchAotOps(Ahead, TorchOps):
    """Operands are tensors of the host; dense ones enter the program as shapes, torchax knows no sparse layout."""

    route = "torchax → jax.jit"
    own_products = False  # torchax knows PyTorch's operators

    def __init__(self, device: Device) -> None:
        TorchOps.__init__(self, Device("cpu"))
        self.device = device
        self._target = aot.target(device)
        self._interop, self._not_found, self._absent = _torchax(self._target.install)

    def value_and_grad(
        self, fn: Callable[..., Any], argnums: Sequence[int], has_aux: bool = False
    ) -> Callable[..., tuple[Any, tuple[Array, ...]]]:
        """JAX's gradients of the view."""
        viewed = jax.value_and_grad(self._interop.jax_view(fn), tuple(argnums), has_aux)
        gradients: Callable[..., tuple[Any, tuple[Array, ...]]] = self._interop.torch_view(viewed)
        return gradients

    def stop_gradient(self, x: Array) -> Array:
        """JAX's: to torchax, whose gradients are JAX's, `detach` is no more than the tensor itself."""
        return self._interop.call_jax(jax.lax.stop_gradient, x)

    def program(self, fn: Callable[..., tuple[Array, ...]], operands: Sequence[Array | Matrix]) -> Program:
        """Viewed by torchax, traced and compiled by JAX; Unsupported for an operator that torchax has not."""
        leaves, tree = jax.tree_util.tree_flatten(list(operands))
        places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, torch.Tensor)]
        described = [self._described(leaves[i]) for i in places]

        def of_tensors(*tensors: Array) -> tuple[Array, ...]:
            held = list(leaves)
            for i, tensor in zip(places, tensors, strict=True):
                held[i] = tensor
            return fn(*jax.tree_util.tree_unflatten(tree, held))

        try:
            with warnings.catch_warnings():  # int64 is int32 to JAX, unless a case has 64-bit operands
                warnings.filterwarnings("ignore", "Explicitly requested dtype", UserWarning)
                return self._target.compile_jax(self.route, self._interop.jax_view(of_tensors), described)
        except (self._not_found, *_NEEDS_VALUES) as error:
            first = str(error).strip().splitlines()[0]
            raise Unsupported(f"torchax does not trace this: {type(error).__name__}: {first}") from error

    def _described(self, tensor: Array) -> Any:
        if tensor.layout != torch.strided:
            raise Unsupported(f"torchax has no tensors of layout {tensor.layout}, only torch.strided")
        with route("torchax's dtypes", "torchax", "torch"):
            dtype = importlib.import_module("torchax.ops.mappings").t2j_dtype(tensor.dtype)
        return self._target.described(tensor.shape, dtype)

    def settings(self) -> dict[str, Scalar]:
        """Versions, the precision of products, and how many overloads torchax names that this PyTorch has not."""
        compiled = self._target.settings(jax.config.jax_default_matmul_precision)
        return {**versions("torch", "torchax"), **compiled, "overloads_tolerated": len(self._absent)}


class _Absent:
    """Stands for an operator overload that this PyTorch has no more: a key that no call will ever look up."""


@contextmanager
def _tolerant(absent: list[str]) -> Iterator[None]:
    """While it lasts, an overload that does not exist is an `_Absent`, and its name is added to `absent`.

    torchax registers by `torch.ops.aten.NAME.OVERLOAD`; a PyTorch that dropped one of them (2.13 has none by names of
    dimensions) stops it at its first line, for operators that no program here uses.
    """
    packet = importlib.import_module("torch._ops").OpOverloadPacket
    strict = packet.__getattr__

    def lenient(self: Any, name: str) -> Any:
        try:
            return strict(self, name)
        except AttributeError:
            if name.startswith("_"):
                raise
            absent.append(f"{self}.{name}")
            return _Absent()

    packet.__getattr__ = lenient
    try:
        yield
    finally:
        packet.__getattr__ = strict


@cache
def _registered() -> tuple[Any, Any, list[str]]:
    """torchax and its view of functions, and the overloads that it names and this PyTorch has not."""
    absent: list[str] = []
    with route("torchax's registration", "torchax", "torch", "jax"), _tolerant(absent):
        torchax, interop, *_ = (importlib.import_module(f"torchax{name}") for name in _MODULES)
    return torchax, interop, absent


def _torchax(install: str) -> tuple[Any, type[Exception], list[str]]:
    """`torchax.interop`, its error for an operator that it has not, and the overloads that had to be tolerated."""
    if importlib.util.find_spec("torchax") is None:
        raise Unsupported(f"PyTorch reaches XLA's compiler through torchax, which is not installed; {install}")
    torchax, interop, absent = _registered()
    with route("torchax's operators", "torchax", "torch", "jax"):
        torchax.default_env()
        return interop, torchax.tensor.OperatorNotFound, absent


with suppress(Unsupported, ImportError):  # once where cases are forked from; a case says what is wrong with it
    _registered()

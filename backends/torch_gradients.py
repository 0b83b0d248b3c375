"""Gradients of PyTorch: autograd in eager, torch.func where a graph is traced.

Imports PyTorch: only an opened backend imports this file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from backends import torch_sparse
from backends.ops import Array


def value_and_grad(
    fn: Callable[..., Any], argnums: Sequence[int], has_aux: bool
) -> Callable[..., tuple[Any, tuple[Array, ...]]]:
    """As `Ops.value_and_grad`."""
    wanted = tuple(argnums)

    def run(*args: Any) -> tuple[Any, tuple[Array, ...]]:
        # The tracer follows torch.func into one graph, and autograd.grad not.
        if torch.compiler.is_dynamo_compiling():
            gradients, value = torch.func.grad_and_value(fn, wanted, has_aux)(*args)
            return value, gradients
        operands = list(args)
        leaves = [args[i].detach().requires_grad_() for i in wanted]
        for i, leaf in zip(wanted, leaves, strict=True):
            operands[i] = leaf
        if torch.is_grad_enabled():  # switching it on where it is on costs 4 µs
            result = fn(*operands)
        else:
            with torch.enable_grad():
                result = fn(*operands)
        try:
            gradients = torch.autograd.grad(result[0] if has_aux else result, leaves, allow_unused=True)
        except RuntimeError as error:
            raise torch_sparse.refusal(error) from error
        if any(g is None for g in gradients):  # as `materialize_grads` does, which costs 5 µs to ask for
            gradients = tuple(torch.zeros_like(x) if g is None else g for g, x in zip(gradients, leaves, strict=True))
        return _detached(result), gradients

    return run


def _detached(tree: Any) -> Any:
    """The same tuples, lists and dictionaries with every tensor cut off from its history."""
    if isinstance(tree, torch.Tensor):
        return tree.detach()
    if isinstance(tree, dict):
        return {name: _detached(x) for name, x in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*map(_detached, tree))
    return type(tree)(map(_detached, tree)) if isinstance(tree, tuple | list) else tree

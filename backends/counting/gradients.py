"""Reverse-mode differentiation of counted arrays: the operations of a backward pass, noted like all others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from backends.counting.arrays import CountedArray, NotCounted, differentiated


def value_and_grad(
    fn: Callable[..., Any], argnums: Sequence[int], has_aux: bool = False
) -> Callable[..., tuple[Any, tuple[CountedArray, ...]]]:
    """As `Ops.value_and_grad`: backward runs through what leads from `argnums` to the loss, and nothing else."""

    def run(*args: Any) -> tuple[Any, tuple[CountedArray, ...]]:
        wanted = {i: differentiated(args[i]) for i in argnums}
        found = fn(*(wanted.get(i, arg) for i, arg in enumerate(args)))
        loss, aux = found if has_aux else (found, None)
        loss.trace.backward = True
        try:
            gradients = _backward(loss, list(wanted.values()))
        finally:
            loss.trace.backward = False
        value = loss.detached()
        return (value, _detached(aux)) if has_aux else value, gradients

    return run


def _detached(aux: Any) -> Any:
    if isinstance(aux, CountedArray):
        return aux.detached()
    if isinstance(aux, tuple | list):
        return type(aux)(_detached(x) for x in aux)
    if isinstance(aux, dict):
        return {name: _detached(x) for name, x in aux.items()}
    return aux


def _backward(loss: CountedArray, wanted: Sequence[CountedArray]) -> tuple[CountedArray, ...]:
    if loss.shape != ():
        raise NotCounted(f"the gradient of a loss of shape {loss.shape}, which must be a single value")
    gradients: dict[CountedArray, CountedArray] = {loss: loss.trace.leaf((), np.dtype(loss.dtype))}
    for array in reversed(_in_order(loss)):
        gradient = gradients.get(array)
        if gradient is None:
            continue
        for parent, passed in array.parents:
            part = passed(gradient)
            known = gradients.get(parent)
            gradients[parent] = part if known is None else known + part
    reached = [gradients.get(x) for x in wanted]
    return tuple(x.trace.leaf(x.shape, x.dtype) if g is None else g for x, g in zip(wanted, reached, strict=True))


def _in_order(loss: CountedArray) -> list[CountedArray]:
    """All that leads to the loss, each behind its parents; without recursion, since a network is deep."""
    order: list[CountedArray] = []
    done: set[int] = set()
    stack: list[tuple[CountedArray, bool]] = [(loss, False)]
    while stack:
        array, left = stack.pop()
        if left:
            order.append(array)
        elif id(array) not in done:
            done.add(id(array))
            stack.append((array, True))
            stack.extend((parent, False) for parent, _ in array.parents)
    return order

"""Gradients of TensorFlow by its tape. TensorFlow comes as an argument."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from backends.ops import Array


def value_and_grad(
    tf: Any, fn: Callable[..., Any], argnums: Sequence[int], has_aux: bool
) -> Callable[..., tuple[Any, tuple[Array, ...]]]:
    """As `Ops.value_and_grad`."""
    tape_of, dense = tf.GradientTape, tf.convert_to_tensor
    zero = tf.UnconnectedGradients.ZERO  # an argument the loss does not depend on: zeros, as in JAX
    numbers = tuple(argnums)

    def run(*args: Any) -> tuple[Any, tuple[Array, ...]]:
        sources = [args[i] for i in numbers]
        with tape_of(watch_accessed_variables=False) as tape:
            tape.watch(sources)
            value = fn(*args)
        grads = tape.gradient(value[0] if has_aux else value, sources, unconnected_gradients=zero)
        return value, tuple([dense(g) for g in grads])  # a gather's gradient comes as IndexedSlices

    return run

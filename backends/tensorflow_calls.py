"""Calling a traced TensorFlow function at the runtime's cost, and telling a refusal from an error."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

from backends.ops import Array, Matrix, Unsupported

# Words by which TensorFlow says "not here". Its error classes alone do not tell: InvalidArgumentError is also what a
# wrong shape raises, which is our mistake and must stay an error.
_REFUSALS = (
    "unsupported operations",
    "No OpKernel was registered",
    "No registered",
    "Could not find device for node",
    "could not satisfy",
    "not compilable",
    "must be a compile-time constant",
    "only support",
    "not supported",
    "list of allowed values",
    "gradient registry has no entry",
    "No gradient defined",
)


def refusal(tf: Any, error: Exception) -> Unsupported | None:
    """`error` as Unsupported where it is TensorFlow saying no, in its words; None for anything else.

    Running out of memory, wrong shapes and every mistake of the caller are something else.
    """
    words = str(error).strip()
    if isinstance(error, tf.errors.ResourceExhaustedError):
        return None
    if isinstance(error, (tf.errors.UnimplementedError, NotImplementedError)):
        return Unsupported(_first_line(words) or type(error).__name__)
    kinds = (tf.errors.InvalidArgumentError, tf.errors.NotFoundError, LookupError, TypeError, ValueError)
    if isinstance(error, kinds) and any(phrase.lower() in words.lower() for phrase in _REFUSALS):
        return Unsupported(_first_line(words))
    return None


_NOISE = (
    r"^(\{\{.*?\}\}\s*)+",  # the node it came from, in front
    r"\s*\[Op:\w+\] name:.*$",  # the operation's name, behind
    r"(\{\{node .*?\}\})+$",
    r"__inference_\S+?\[[^\]]*\] ?",  # a function's name with its number and attributes: another in every process
)


def _first_line(words: str) -> str:
    """The sentence without names made up for this process, so that equal refusals have equal words."""
    line = words.splitlines()[0] if words else ""
    for noise in _NOISE:
        line = re.sub(noise, "", line).strip()
    return line


def translated(tf: Any, call: Callable[..., Any]) -> Callable[..., Any]:
    """`call`, whose refusals become Unsupported; costs a Python call."""

    def run(*args: Any) -> Any:
        try:
            return call(*args)
        except Exception as error:
            raise refusal(tf, error) or error from error

    return run


def direct_call(
    tf: Any, concrete: Any, args: Sequence[Array | Matrix], compiled: bool
) -> tuple[Callable[..., tuple[Array, ...]], str]:
    """The cheapest call of a ConcreteFunction with arguments like `args`, and what it is.

    A ConcreteFunction binds and checks its signature in Python at every call, 90 to 140 µs, more than a small case.
    What it ends in is the execution of an operation of the function's name, which is private: where a version of
    TensorFlow has moved it, or where the flat signature is not what is expected, a graph is called by the operation
    that TensorFlow has for calling functions, and XLA's, which is slower by that, as it is. The operation runs large
    graphs slower, such as capsule routing.
    """
    inputs = len(concrete.inputs) - len(concrete.captured_inputs)
    picks = [(i, j) for i, arg in enumerate(args) for j in _tensors(tf, arg)]
    outputs = len(concrete.outputs)
    structured = concrete.structured_outputs
    flat_outputs = isinstance(structured, tuple) and all(isinstance(o, tf.Tensor) for o in structured)
    if len(picks) != inputs or not flat_outputs or len(structured) != outputs:
        return concrete, "ConcreteFunction"
    captured = list(concrete.captured_inputs)
    plain = all(j is None for _, j in picks) and not captured

    def flat(args: tuple[Any, ...]) -> list[Array]:
        return list(args) if plain else [args[i] if j is None else args[i][j] for i, j in picks] + captured

    try:
        from tensorflow.python.eager import context, execute

        runtime = context.context()
        runtime.ensure_initialized()
        attributes = tuple(chain.from_iterable(runtime.function_call_options.as_attrs().items()))
        run = execute.execute
    except (ImportError, AttributeError):
        if compiled:
            return concrete, "ConcreteFunction"
        operation, types = tf.raw_ops.StatefulPartitionedCall, [o.dtype for o in concrete.outputs]
        return lambda *args: tuple(operation(args=flat(args), Tout=types, f=concrete)), "StatefulPartitionedCall"

    target = (concrete.name.decode(), concrete)  # both: the runtime drops a function that Python no longer holds
    return lambda *args: tuple(run(target[0], outputs, flat(args), attributes, runtime)), "execute"


def _tensors(tf: Any, arg: Array | Matrix) -> list[int | None]:
    """Where the tensors of an argument are: itself, or fields of a named tuple (whose other fields are static)."""
    if isinstance(arg, tuple):
        return [j for j, part in enumerate(arg) if isinstance(part, tf.Tensor)]
    return [None]

"""The fastest ways known to write the workloads in TensorFlow, by hand: the other side of `bench_best`.

A candidate takes host inputs and axes and gives `fn`, its arguments, and how host copies of what `fn(*args)` returns
are named. EXECUTIONS are the settings in which each is tried, ONLY the candidates that are tried in some of them. They
stand in `best_tensorflow_products`, `_capsules`, `_networks`, `_ideas`, `_steps`, `_blocks` and `_kast`, which register
them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf
from _tensorflow_by_hand import candidate
from tensorflow.python.eager import context

for _part in ("products", "capsules", "networks", "ideas", "steps", "blocks", "kast"):
    importlib.import_module(f"best_tensorflow_{_part}")
CANDIDATES, ONLY = candidate.known, candidate.only
ONLY["twin"] = ("eager", "graph", "compiled")


def _concrete(xla: bool) -> Callable[..., Any]:
    return lambda fn, args: tf.function(fn, jit_compile=xla, autograph=False).get_concrete_function(*args)


def _called(xla: bool) -> Callable[..., Any]:
    """The runtime's own call of the traced function, without the check of its signature."""

    def compile(fn, args):
        concrete = _concrete(xla)(fn, args)
        captured, count, name = list(concrete.captured_inputs), len(concrete.outputs), concrete.name
        call = context.context().call_function
        return lambda *args, keep=concrete: call(name, [*args, *captured], count)

    return compile


LOOSER = ()
EXECUTIONS: Mapping[str, Callable[..., Any]] = {
    "eager": lambda fn, args: fn,
    "graph": _concrete(False),
    "graph-called": _called(False),
    "compiled": _concrete(True),
    "compiled-called": _called(True),
}


def wait(outputs):
    """Nothing: on the CPU, TensorFlow returns when it is done."""


def host(x):
    return x.numpy()

"""Functions of TensorFlow made ready to be timed: eager, traced into a graph, or compiled by XLA.

TensorFlow comes as an argument.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from backends import tensorflow_fallback
from backends.ops import Array, Compiled, Matrix
from backends.tensorflow_calls import direct_call, translated


def eager(tf: Any, fn: Callable[..., Any], kind: str) -> Compiled:
    """`fn` as it is, whose refusals become Unsupported; `kind` is the device's."""
    watch = tensorflow_fallback.watch_eager(tf, fn, kind)
    return Compiled(call=translated(tf, fn), flags={"call": "eager"}, fallbacks=watch)


@dataclass(frozen=True, slots=True)
class Traced:
    """A function traced for arguments: TensorFlow's `function`, its `concrete` trace, and the seconds this took."""

    tf: Any
    function: Any
    concrete: Any
    trace_s: float
    xla: bool

    @classmethod
    def of(cls, tf: Any, fn: Callable[..., Any], args: Sequence[Array | Matrix], xla: bool) -> Traced:
        """Trace `fn` for arguments like `args`, for XLA or for TensorFlow's own executor."""
        function = tf.function(fn, autograph=False, jit_compile=xla)
        start = time.perf_counter()
        concrete = function.get_concrete_function(*args)
        return cls(tf, function, concrete, time.perf_counter() - start, xla)

    def compiled(
        self, fn: Callable[..., Any], args: Sequence[Array | Matrix], kind: str, wait: Callable[[Sequence[Any]], None]
    ) -> Compiled:
        """The cheapest call of it; XLA's is called here twice, and the first less the second is `compile_s`."""
        direct, how = direct_call(self.tf, self.concrete, args, self.xla)
        call = translated(self.tf, direct)

        def timed() -> float:
            start = time.perf_counter()
            wait(call(*args))
            return time.perf_counter() - start

        return Compiled(
            call=call,
            trace_s=self.trace_s,
            compile_s=max(0.0, timed() - timed()) if self.xla else None,
            flags={"call": how},
            traces=lambda: int(self.function.experimental_get_tracing_count()) - 1,
            fallbacks=tensorflow_fallback.watch_function(self.tf, fn, self.concrete, self.xla, kind),
        )

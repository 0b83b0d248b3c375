"""The fastest ways known to write the workloads in JAX, by hand: the other side of `bench_best`.

A candidate takes host inputs and axes and gives `fn`, its arguments, and how host copies of what `fn(*args)` returns
are named. EXECUTIONS are the settings in which each is tried, ONLY the candidates that are tried in some of them. They
stand in `best_jax_products`, `_capsules`, `_networks`, `_ideas`, `_steps`, `_blocks` and `_kast`, which register
them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from _jax_by_hand import candidate

YNN = "xla_cpu_experimental_ynn_fusion_type"

for _part in ("products", "capsules", "networks", "ideas", "steps", "blocks", "kast"):
    importlib.import_module(f"best_jax_{_part}")
CANDIDATES, ONLY = candidate.known, candidate.only
ONLY["twin"] = ("eager", "default", "jit", "off", "dot")


def _compiler(**options: str | bool) -> Callable[..., Any]:
    return lambda fn, args: jax.jit(fn).lower(*args).compile(compiler_options=options or None)


EXECUTIONS: Mapping[str, Callable[..., Any]] = {
    "eager": lambda fn, args: fn,
    "default": _compiler(),
    "jit": lambda fn, args: jax.jit(fn),  # its dispatch is in C++, that of an ahead-of-time executable in Python
    "off": _compiler(**{YNN: ""}),
    "dot": _compiler(**{YNN: "LIBRARY_FUSION_TYPE_DOT"}),
    "individual": _compiler(**{YNN: "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_INDIVIDUAL_CONVOLUTION"}),
    "onednn": _compiler(**{YNN: "", "xla_cpu_experimental_onednn_custom_call": True}),
    "fast-math": _compiler(**{YNN: "", "xla_cpu_enable_fast_math": True}),
}
LOOSER = ("fast-math",)  # arithmetic that no framework is offered in a run: told, and not judged
wait = jax.block_until_ready
host = np.asarray

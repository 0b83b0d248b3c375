"""The fastest ways known to write the workloads in PyTorch, by hand: the other side of `bench_best`.

A candidate takes host inputs and axes and gives `fn`, its arguments, and how host copies of what `fn(*args)` returns
are named. EXECUTIONS are the settings in which each is tried, ONLY the candidates that are tried in some of them. They
stand in `best_torch_products`, `_capsules`, `_networks`, `_ideas`, `_steps`, `_blocks` and `_kast`, which register
them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from _torch_by_hand import BOTH, candidate

for _part in ("products", "capsules", "networks", "ideas", "steps", "blocks", "kast"):
    importlib.import_module(f"best_torch_{_part}")
CANDIDATES, ONLY = candidate.known, candidate.only
ONLY["twin"] = BOTH


def _autotuned(fn, args):
    return torch.compile(fn, fullgraph=True, dynamic=False, mode="max-autotune-no-cudagraphs")


LOOSER = ()
EXECUTIONS: Mapping[str, Callable[..., Any]] = {
    "eager": lambda fn, args: fn,
    "compiled": lambda fn, args: torch.compile(fn, fullgraph=True, dynamic=False),
    "autotuned": _autotuned,
}


def wait(outputs):
    """Nothing: on the CPU an operator returns when it is done."""


def host(x):
    return (x.float() if x.dtype is torch.bfloat16 else x).detach().numpy().copy()

"""Two or more ways to compute the same, measured side by side in one process: blocks of calls in a drawn order.

What `bench_handwritten`, `bench_best` and `bench_ceiling` share. Each way is a callable without arguments that returns
when its outputs are ready. A block is as many calls as take BLOCK_S; the blocks of all ways follow each other in
rounds, in a drawn order, so that a slow spell of the machine falls on all of them.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import importlib.util
import math
import os
import random
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest

from backends.discovery import backends
from backends.ops import Device, HostArray, Ops
from harness.cli.cache import cache_folder
from harness.measuring.correctness import judge
from harness.stats.intervals import median_interval
from harness.worker.environment import environment
from workloads.base import Inputs
from workloads.discovery import workloads

BACKENDS, _ = backends()
WORKLOADS, _ = workloads()
FRAMEWORKS = ("torch", "jax", "tensorflow")
SECONDS = float(os.environ.get("HWLOTTERY_BENCH_SECONDS", "1.5"))  # of each pair
BLOCK_S = 2e-3  # calls of a block take at least this long together: the clock and the loop are then below 0.1 %
FEWEST, MOST = 15, 1500  # rounds of blocks
TOLERANCE = 1e-4

Side = Callable[[], Any]


class WrongTwinError(AssertionError):
    """The hand-written computation is not the workload's: a ratio of the two would say nothing."""


@dataclass(frozen=True)
class Pair:
    """The two sides as callables without arguments that return when their outputs are ready."""

    through: Side
    by_hand: Side


@cache
def adapter(framework: str) -> Ops:
    """The adapter, opened in the environment of a run; skips where the framework is absent."""
    backend, device = BACKENDS[framework], Device("cpu")
    if importlib.util.find_spec(backend.module) is None:
        pytest.skip(f"{backend.module} is not installed: {backend.install}")
    settings = environment(backend, device, len(os.sched_getaffinity(0)), cache_folder())
    os.environ.update(settings)
    allocator(settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a framework's own, while it is imported
        return backend.open(device)


def beside(framework: str, prefix: str) -> Any:
    """The module of hand-written computations `PREFIX_FRAMEWORK`, imported once the adapter is open."""
    adapter(framework)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(f"{prefix}_{framework}")


def allocator(settings: Mapping[str, str]) -> None:
    """What the environment tells glibc at the start of a worker, told to this process, which runs already."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        for option, name in ((-3, "MALLOC_MMAP_THRESHOLD_"), (-1, "MALLOC_TRIM_THRESHOLD_"), (-2, "MALLOC_TOP_PAD_")):
            libc.mallopt(option, int(settings[name]))


def agree(
    found: Mapping[str, HostArray], expected: Mapping[str, HostArray], inputs: Inputs, tolerance: float = TOLERANCE
) -> None:
    """WrongTwinError unless every output, and every parameter's change, is the workload's to `tolerance`."""
    verdict = judge(found, {name: np.asarray(v, np.float64) for name, v in expected.items()}, inputs, tolerance)
    if not verdict.agrees:
        raise WrongTwinError(f"by hand is not what the workload computes: {verdict.reason}")


def interleaved(sides: Sequence[Side], seconds: float, fewest: int = FEWEST) -> HostArray:
    """(rounds, sides) seconds a call, for about `seconds`; the order of the sides is drawn for each round."""
    for side in sides:
        block(side, 3)
    calls = [max(1, math.ceil(BLOCK_S / block(side, 3))) for side in sides]
    rng, times = random.Random(0), []
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        deadline = time.perf_counter() + seconds
        while len(times) < fewest or (len(times) < MOST and time.perf_counter() < deadline):
            order, row = list(range(len(sides))), [0.0] * len(sides)
            rng.shuffle(order)
            for i in order:
                row[i] = block(sides[i], calls[i])
            times.append(row)
    finally:
        if collecting:
            gc.enable()
    return np.array(times)


def block(side: Side, calls: int) -> float:
    """Seconds a call, of `calls` calls together."""
    start = time.perf_counter()
    for _ in range(calls):
        side()
    return (time.perf_counter() - start) / calls


def figures(times: HostArray) -> tuple[float, float, float]:
    """Of the first two columns: the median of the rounds' ratios, and its 95 % interval."""
    ratios = times[:, 0] / times[:, 1]
    low, high = median_interval(ratios[None, :])
    return float(np.median(ratios)), float(low[0]), float(high[0])

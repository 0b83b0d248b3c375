"""The time of a call by CUDA's own clock: events on the stream, with the host's launching hidden behind other work.

The host's clock, which every framework is timed by, sees launching and waiting too; this one sees the kernels alone.
Imports PyTorch: only an opened backend imports this file.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

import torch

from backends.ops import Array

CALLS = 20
MILLI = 1e-3


def median_s(call: Callable[..., Sequence[Array]], operands: Sequence[Any], before: Array | None) -> float:
    """Median seconds over CALLS calls, a read of `before` (what empties the caches) enqueued in front of each."""
    seconds: list[float] = []
    for _ in range(CALLS):
        start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        if before is not None:
            torch.sum(before)
        start.record()
        outputs = call(*operands)
        stop.record()
        stop.synchronize()
        seconds.append(float(start.elapsed_time(stop)) * MILLI)
        del outputs
    return statistics.median(seconds)

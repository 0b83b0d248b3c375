"""A call as CUDA sees it: its time by events on the stream, with launching hidden, and the kernels that it starts.

The host's clock, which every framework is timed by, sees launching and waiting too; this one sees the kernels alone.
Imports PyTorch: only an opened backend imports this file.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from backends.ops import Array

CALLS = 20
MILLI = 1e-3
LEAST_HIDDEN_S, MOST_HIDDEN_S = 1e-3, 50e-3  # of launching, behind a kernel that only waits
CYCLES_PER_S = 2e9  # of a GPU's clock at most, about: a lower one waits for longer


def kernels(call: Callable[..., Sequence[Array]], operands: Sequence[Any]) -> list[str]:
    """Names of what one call started on the device, in order, by PyTorch's profiler."""
    profiler = torch.profiler
    with profiler.profile(activities=[profiler.ProfilerActivity.CUDA]) as seen:
        outputs = call(*operands)
        torch.cuda.synchronize()
    del outputs
    return [event.name for event in seen.events() if event.device_type == torch.autograd.DeviceType.CUDA]


def median_s(call: Callable[..., Sequence[Array]], operands: Sequence[Any], before: Array | None) -> float:
    """Median seconds over CALLS calls, a read of `before` (what empties the caches) enqueued in front of each.

    In front of all that the device is made to wait for twice as long as launching a call took, so that every kernel is
    enqueued when the first begins: else what lies between two events would be the host's time.
    """
    began = time.perf_counter()
    held = call(*operands)
    launching_s = time.perf_counter() - began
    torch.cuda.synchronize()
    cycles = int(CYCLES_PER_S * min(MOST_HIDDEN_S, max(LEAST_HIDDEN_S, 2 * launching_s)))
    seconds: list[float] = []
    for _ in range(CALLS):
        del held  # or two sets of results would live at once
        start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda._sleep(cycles)
        if before is not None:
            torch.sum(before)
        start.record()
        held = call(*operands)
        stop.record()
        stop.synchronize()
        seconds.append(float(start.elapsed_time(stop)) * MILLI)
    del held
    return statistics.median(seconds)

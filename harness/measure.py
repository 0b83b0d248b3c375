"""The clock: samples of one callable in one process, and where its steady state begins.

The contract of the timed region, the same for every backend: inputs are on the device, the clock stops when every
output is ready, nothing is copied to the host inside.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.job import Sampling

STEADY_DRIFT = 0.05  # a trend over the window below this share of the median is not worth a flag
SIGNIFICANT = 0.01


@dataclass(frozen=True, slots=True)
class Window:
    """What the clock saw in one process: every sample, in order, as seconds a call."""

    samples_s: list[float]
    calls_per_sample: int
    cpu_s: float
    window_s: float

    @property
    def calls(self) -> int:
        """How many calls the window holds."""
        return len(self.samples_s) * self.calls_per_sample


@dataclass(frozen=True, slots=True)
class Settled:
    """A window cut in two: `warmup_s` before the steady state, `samples_s` within it, and whether that is level."""

    samples_s: list[float]
    warmup_s: list[float]
    steady: bool
    drift: float


def sample(
    call: Callable[..., Sequence[Any]],
    operands: Sequence[Any],
    wait: Callable[[Sequence[Any]], None],
    sampling: Sampling,
) -> Window:
    """Call until `sampling.window_s` has passed; a sample is the mean of as many calls as last `sampling.sample_s`.

    Every call is waited for before the next begins. The collector is off, as in `timeit`.
    """
    clock = time.perf_counter
    began = clock()
    wait(call(*operands))
    estimate = max(clock() - began, 1e-9)
    loops = range(max(1, int(sampling.sample_s / estimate)))
    samples: list[float] = []
    collecting = gc.isenabled()
    gc.disable()
    try:
        cpu, started = time.process_time(), clock()
        until = started + sampling.window_s
        outputs: Sequence[Any] = ()
        while len(samples) < sampling.max_samples:
            outputs = ()  # give the last results back before the next are made, or two sets would live at once
            t0 = clock()
            for _ in loops:
                outputs = ()
                outputs = call(*operands)
                wait(outputs)
            t1 = clock()
            samples.append((t1 - t0) / len(loops))
            if t1 > until and len(samples) >= sampling.min_samples:
                break
        window_s, cpu_s = clock() - started, time.process_time() - cpu
    finally:
        if collecting:
            gc.enable()
    return Window([round(s, 10) for s in samples], len(loops), cpu_s, window_s)


def settle(samples: Sequence[float]) -> Settled:
    """Find the steady state. Apart from `sample`, so that statistics stand in no window's memory or energy."""
    cut = warmup(samples)
    steady, drift = trend(samples[cut:])
    return Settled(list(samples[cut:]), list(samples[:cut]), steady, drift)


def warmup(samples: Sequence[float]) -> int:
    """How many samples to leave out at the start: the marginal standard error rule (MSER).

    White 1997, "An effective truncation heuristic for bias reduction in simulation output" (Simulation 69:6): cut
    where the standard error of the mean of the rest is smallest. At most half is cut; if the smallest lies there, the
    series has not settled and `trend` will say so.
    """
    x = np.asarray(samples, float)
    n = len(x)
    if n < 4:
        return 0
    left = np.arange(n, 0, -1)
    total = np.cumsum(x[::-1])[::-1]
    squares = np.cumsum((x * x)[::-1])[::-1]
    spread = squares / left - (total / left) ** 2
    return int(np.argmin((spread / left)[: n // 2]))


def trend(samples: Sequence[float]) -> tuple[bool, float]:
    """Whether the samples are level, and their slope over the window as a share of the median.

    Theil–Sen slope with the Mann–Kendall test (Kendall's tau against time): a series drifts when the slope is both
    larger than STEADY_DRIFT and significant. Fewer than four samples cannot be judged and are called unsteady.
    """
    from scipy import stats

    n = len(samples)
    if n < 4:
        return False, 0.0
    x = np.asarray(samples, float)
    slope = float(stats.theilslopes(x, np.arange(n)).slope)
    drift = slope * n / float(np.median(x))
    if abs(drift) <= STEADY_DRIFT:
        return True, drift
    return bool(stats.kendalltau(np.arange(n), x).pvalue >= SIGNIFICANT), drift

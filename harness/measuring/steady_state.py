"""Where the steady state of a window begins, and whether it is level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

STEADY_DRIFT = 0.05  # a trend over the window below this share of the median is not worth a flag
SIGNIFICANT = 0.01


@dataclass(frozen=True, slots=True)
class Settled:
    """A window cut in two: `warmup_s` before the steady state, `samples_s` within it, and whether that is level."""

    samples_s: list[float]
    warmup_s: list[float]
    steady: bool
    drift: float


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
    larger than STEADY_DRIFT and significant. Fewer than four samples cannot be judged and are called unsteady. It is a
    first word and stays in the record: samples of one slice are not independent, so tables go by `stats.trend`.
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

"""The clock: samples of one callable in one process.

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

from harness.measuring.settings import Sampling
from harness.measuring.turn import Alone, Turn

SLICE_SAMPLES = 2  # of a slice at least: where calls are long there are fewer slices
CALIBRATION_SHARE = 0.1  # share of the window that may go to learning how long a call takes
CALIBRATION_CALLS = (3, 5)  # calls, at least where they are short, and at most
UNTOUCHED_S = 0.1  # a call as long as this loses nothing to speak of to caches that were another's before it


@dataclass(frozen=True, slots=True)
class Window:
    """What the clock saw in one process: every sample, in order, as seconds a call.

    `slices` is how many samples each slice holds; `metered` how many calls stand between all `begin` and `end`.
    """

    samples_s: list[float]
    calls_per_sample: int
    slices: list[int]
    cpu_s: float
    window_s: float
    metered: int

    @property
    def calls(self) -> int:
        """How many timed calls the window holds."""
        return len(self.samples_s) * self.calls_per_sample


def _nothing() -> None:
    """No meter runs."""


def sample(
    call: Callable[..., Sequence[Any]],
    operands: Sequence[Any],
    wait: Callable[[Sequence[Any]], None],
    sampling: Sampling,
    turn: Turn | None = None,
    begin: Callable[[], None] = _nothing,
    end: Callable[[], None] = _nothing,
    flush: Callable[[], object] | None = None,
    between: Callable[[int], None] | None = None,
    least_s: float = 0.0,
) -> Window:
    """Call until `sampling.window_s` has passed; a sample is the mean of as many calls as last `sampling.sample_s`.

    Every call is waited for before the next begins. The collector is off, as in `timeit`. The window is cut into
    `sampling.turns` slices, or into fewer where calls are long; between two of them `turn` may let others run.
    `begin` and `end` are called at the borders of every slice. `flush` empties the device's caches: a sample is then a
    single call after it, and `begin` and `end` stand around calls of their own, which nothing comes between; so they do
    where a slice would be shorter than the `least_s` of what they meter. `between` is told after each sample how many
    there are.
    """
    clock, cpu_clock = time.perf_counter, time.process_time
    turn = turn or Alone()
    cpu, began = cpu_clock(), clock()
    wait(call(*operands))
    estimate = max(clock() - began, 1e-9)
    long = estimate >= sampling.long_s and flush is None
    if not long and flush is None:
        estimate = _calibrate(call, operands, wait, estimate, CALIBRATION_SHARE * sampling.window_s)
    fewest = sampling.long_samples if long else sampling.min_samples
    # No more samples than are kept: a sample holds as many calls as spread them over the whole window.
    least_sample_s = max(sampling.sample_s, sampling.window_s / sampling.max_samples)
    per_sample = 1 if flush else max(1, int(least_sample_s / estimate))
    loops = range(per_sample)
    expected = max(fewest, int(sampling.window_s / (per_sample * estimate)))
    in_slice = 1 if long or estimate >= UNTOUCHED_S else SLICE_SAMPLES
    turns = max(1, min(sampling.turns, expected // in_slice))
    # A long call that followed the first one is a sample like any other, and too dear to throw away.
    samples = [estimate] if long else []
    apart = flush is not None or sampling.window_s / turns < least_s
    window_s, cpu_s = (estimate, cpu_clock() - cpu) if long else (0.0, 0.0)
    outputs: Sequence[Any] = ()
    ends: list[int] = []
    collecting = gc.isenabled()
    gc.disable()
    try:
        for number in range(turns):
            if long and not number and turns > 1:
                ends.append(1)  # the first call was this slice
                continue
            if number:
                turn.rest()
                if in_slice > 1:
                    for _ in loops:  # not timed: caches and cores were another's until now
                        outputs = ()
                        outputs = call(*operands)
                        wait(outputs)
            least = max(-(-fewest * (number + 1) // turns), len(samples) + 1)
            most = max(sampling.max_samples * (number + 1) // turns, least)
            if not apart:
                begin()
            cpu, started = cpu_clock(), clock()
            until = started + sampling.window_s / turns
            while len(samples) < most:
                outputs = ()  # give the last results back before the next are made, or two sets would live at once
                if flush is not None:
                    flush()
                t0 = clock()
                for _ in loops:
                    outputs = ()
                    outputs = call(*operands)
                    wait(outputs)
                t1 = clock()
                samples.append((t1 - t0) / per_sample)
                if between is not None:
                    between(len(samples))
                if t1 > until and len(samples) >= least:
                    break
            window_s, cpu_s = window_s + clock() - started, cpu_s + cpu_clock() - cpu
            ends.append(len(samples))
            if not apart:
                end()
        metered = (len(samples) - long) * per_sample
        if apart and begin is not _nothing:
            metered = 0
            begin()
            until = clock() + max(sampling.window_s, least_s)
            while not metered or clock() < until:
                outputs = ()
                outputs = call(*operands)
                wait(outputs)
                metered += 1
            end()
    finally:
        if collecting:
            gc.enable()
    slices = np.diff(ends, prepend=0).tolist()
    return Window(np.round(samples, 10).tolist(), per_sample, slices, cpu_s, window_s, metered)


def _calibrate(
    call: Callable[..., Sequence[Any]],
    operands: Sequence[Any],
    wait: Callable[[Sequence[Any]], None],
    first_s: float,
    budget_s: float,
) -> float:
    """Seconds of a call: the shortest of a few, since the first after a rest wakes threads and fills caches."""
    clock = time.perf_counter
    shortest, spent, calls = first_s, first_s, 1
    while calls < CALIBRATION_CALLS[1] and (
        spent < budget_s or (calls < CALIBRATION_CALLS[0] and shortest < UNTOUCHED_S)
    ):
        began = clock()
        wait(call(*operands))
        took = max(clock() - began, 1e-9)
        shortest, spent, calls = min(shortest, took), spent + took, calls + 1
    return shortest

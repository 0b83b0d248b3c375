"""The clock: samples of one callable in one process.

The contract of the timed region, the same for every backend: inputs are on the device, the clock stops when every
output is ready, nothing is copied to the host inside.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter, process_time, sleep  # bound before code of anybody's own can put others in place
from typing import Any

import numpy as np

from harness.machine.facts import usable_cores
from harness.measuring.settings import Sampling
from harness.measuring.turn import Alone, Turn

SLICE_SAMPLES = 2  # of a slice at least: where calls are long there are fewer slices
CALIBRATION_SHARE = 0.1  # share of the window that may go to learning how long a call takes
CALIBRATION_CALLS = (3, 5)  # calls, at least where they are short, and at most
CLEAR_S = 0.02  # two calls that both took as long as this tell how long a call takes
FED = 0.72  # of the cores that the busiest slice kept busy: a slice with fewer shows the machine, not the call
IDLE = 0.5  # cores: a call that keeps fewer busy waits for something else than a core
WAITING = 0.6  # of a slice its threads waited for a core while another was idle: two that share one wait all the time
REPLACED_S = 2e-3
UNTOUCHED_S = 0.1  # a call as long as this loses nothing to speak of to caches that were another's before it


@dataclass(frozen=True, slots=True)
class Timed:
    """What is timed: `call` of the operands, and `wait`, which returns when each of its outputs is ready.

    `flush` empties the device's caches: a sample is then a single call after it.
    """

    call: Callable[..., Sequence[Any]]
    operands: Sequence[Any]
    wait: Callable[[Sequence[Any]], None]
    flush: Callable[[], object] | None = None


def _nothing() -> None:
    """No meter runs."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """What is told of a window while it is taken, never inside a sample.

    `begin` and `end` are called at the borders of every slice. They stand around calls of their own, which nothing
    comes between, where caches are flushed and where a slice would be shorter than the `least_s` of what they meter.
    `between` is told after each sample how many there are. `waited_s` says how long threads have waited for a core.
    """

    begin: Callable[[], None] = _nothing
    end: Callable[[], None] = _nothing
    between: Callable[[int], None] | None = None
    least_s: float = 0.0
    waited_s: Callable[[], float] | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """What the clock saw in one process: every sample, in order, as seconds a call.

    `slices` is how many samples each slice holds; `metered` how many calls stand between all `begin` and `end`.
    `repeated` slices were starved of a core and taken again; `starved` are those that count all the same. `last` are
    the outputs of the last timed call, for whoever looks at them, who empties it.
    """

    samples_s: list[float]
    calls_per_sample: int
    slices: list[int]
    cpu_s: float
    window_s: float
    metered: int
    repeated: int = 0
    starved: int = 0
    last: list[Any] = field(default_factory=list)

    @property
    def calls(self) -> int:
        """How many timed calls the window holds."""
        return len(self.samples_s) * self.calls_per_sample


def sample(timed: Timed, sampling: Sampling, turn: Turn | None = None, hooks: Hooks | None = None) -> Window:
    """Call until `sampling.window_s` has passed; a sample is the mean of as many calls as last `sampling.sample_s`.

    Every call is waited for before the next begins. The collector is off, as in `timeit`. The window is cut into
    `sampling.slices`, or into fewer where calls are long; between two of them `turn` may let others run.
    """
    turn, hooks = turn or Alone(), hooks or Hooks()
    cpu, began = process_time(), perf_counter()
    timed.wait(timed.call(*timed.operands))
    first_s = max(perf_counter() - began, 1e-9)
    sampler = _Sampler(timed, sampling, hooks, _layout(timed, sampling, hooks, first_s))
    if sampler.layout.long:
        sampler.keep_first(first_s, process_time() - cpu)
    collecting = gc.isenabled()
    gc.disable()
    try:
        for number in range(sampler.layout.slices):
            if number == 0 and sampler.first_is_a_slice:
                continue
            if number:
                turn.rest()
                sampler.touch()
            sampler.fed_slice(number)
        metered = sampler.meter_apart() if sampler.layout.apart else sampler.calls_in_slices
    finally:
        if collecting:
            gc.enable()
    return sampler.window(metered)


@dataclass(frozen=True, slots=True)
class _Layout:
    """How a window is laid out: calls a sample, samples at least, slices, and samples of a slice at least.

    `long` calls are few, and the one that followed the first call counts. `apart`: the meter has calls of its own.
    """

    per_sample: int
    fewest: int
    slices: int
    in_slice: int
    long: bool
    apart: bool


def _layout(timed: Timed, sampling: Sampling, hooks: Hooks, first_s: float) -> _Layout:
    """Learn how long a call takes, and lay the window out for it; `first_s` is what one took already."""
    flushed = timed.flush is not None
    long = first_s >= sampling.long_s and not flushed
    call_s = first_s if long or flushed else _calibrate(timed, first_s, CALIBRATION_SHARE * sampling.window_s)
    fewest = sampling.long_samples if long else sampling.min_samples
    # No more samples than are kept: a sample holds as many calls as spread them over the whole window.
    least_sample_s = max(sampling.sample_s, sampling.window_s / sampling.max_samples)
    per_sample = 1 if flushed else max(1, int(least_sample_s / call_s))
    expected = max(fewest, int(sampling.window_s / (per_sample * call_s)))
    in_slice = 1 if long or call_s >= UNTOUCHED_S else SLICE_SAMPLES
    slices = max(1, min(sampling.slices, expected // in_slice))
    apart = flushed or sampling.window_s / slices < hooks.least_s
    return _Layout(per_sample, fewest, slices, in_slice, long, apart)


def _calibrate(timed: Timed, first_s: float, budget_s: float) -> float:
    """Seconds of a call: the shortest of a few, since the first after a rest wakes threads and fills caches."""
    call, operands, wait, clock = timed.call, timed.operands, timed.wait, perf_counter
    shortest, spent, calls = first_s, first_s, 1
    while calls < CALIBRATION_CALLS[1] and (
        spent < budget_s
        or (calls < CALIBRATION_CALLS[0] and shortest < CLEAR_S)
        or (calls == 1 and shortest < UNTOUCHED_S)
    ):
        began = clock()
        wait(call(*operands))
        took = max(clock() - began, 1e-9)
        shortest, spent, calls = min(shortest, took), spent + took, calls + 1
    return shortest


class _Sampler:
    """One window while it is taken, slice by slice."""

    def __init__(self, timed: Timed, sampling: Sampling, hooks: Hooks, layout: _Layout) -> None:
        self.layout = layout
        self._timed, self._sampling, self._hooks = timed, sampling, hooks
        self._loops = range(layout.per_sample)
        self._samples: list[float] = []
        self._ends: list[int] = []
        self._window_s = self._cpu_s = 0.0
        self._repeated = self._starved = 0
        self._busiest, self._cores = 0.0, usable_cores()  # of all slices, and of the process
        self._thrown_away = 0  # samples of slices that were taken again
        self._last: Sequence[Any] = ()  # outputs, between two slices only

    @property
    def first_is_a_slice(self) -> bool:
        """Whether the call that was kept as a sample stands for the first slice."""
        return bool(self._ends)

    @property
    def calls_in_slices(self) -> int:
        """How many calls were made in slices."""
        return (len(self._samples) + self._thrown_away - self.layout.long) * self.layout.per_sample

    def keep_first(self, call_s: float, cpu_s: float) -> None:
        """A long call that followed the first one is a sample like any other, and too dear to throw away."""
        self._samples.append(call_s)
        self._window_s, self._cpu_s = call_s, cpu_s
        if self.layout.slices > 1:
            self._ends.append(1)

    def touch(self) -> None:
        """Call after a rest, not timed: caches and cores were another's until now."""
        call, operands, wait = self._timed.call, self._timed.operands, self._timed.wait
        if self.layout.in_slice > 1:
            self._last = ()
            for _ in self._loops:
                outputs: Sequence[Any] = ()
                outputs = call(*operands)
                wait(outputs)

    def fed_slice(self, number: int) -> None:
        """Take one slice, and once more where it was starved of a core, by two threads on one or somebody's work.

        It shows in the cores that it kept busy, which were fewer than in another slice of the same window, or than
        there are while its threads waited for one. (They do on busy cores, too, where a framework has more threads than
        there are cores.) As many are taken again as half of the window has at most, so
        that a busy machine ends, too.
        """
        samples, window_s, cpu_s = len(self._samples), self._window_s, self._cpu_s
        if not self._is_starved(number):
            return
        if self.layout.long or self._repeated >= max(1, self.layout.slices // 2):
            self._starved += 1
            return
        self._repeated += 1
        self._thrown_away += len(self._samples) - samples
        self._ends.pop()
        del self._samples[samples:]
        self._window_s, self._cpu_s = window_s, cpu_s
        sleep(REPLACED_S)  # threads that wake again are placed anew
        self._starved += self._is_starved(number)

    def _is_starved(self, number: int) -> bool:
        """Take a slice; whether it was."""
        waited = self._hooks.waited_s
        window_s, cpu_s, waited_s = self._window_s, self._cpu_s, waited() if waited else 0.0
        self.slice(number)
        took = self._window_s - window_s
        busy, waiting = (self._cpu_s - cpu_s) / took, (waited() - waited_s) / took if waited else 0.0
        self._busiest = max(self._busiest, busy)
        fewer = busy < FED * self._busiest and self._busiest > IDLE
        return fewer or (waiting > WAITING and busy < FED * self._cores)

    def slice(self, number: int) -> None:
        """Take the samples of one slice. What the innermost loop needs is local: no attribute is looked up there."""
        timed, hooks, sampling, layout = self._timed, self._hooks, self._sampling, self.layout
        call, operands, wait, flush, between = timed.call, timed.operands, timed.wait, timed.flush, hooks.between
        samples, loops, per_sample, clock = self._samples, self._loops, layout.per_sample, perf_counter
        least = max(-(-layout.fewest * (number + 1) // layout.slices), len(samples) + 1)
        most = max(sampling.max_samples * (number + 1) // layout.slices, least)
        outputs: Sequence[Any] = ()
        self._last = ()
        if not layout.apart:
            hooks.begin()
        cpu, started = process_time(), clock()
        until = started + sampling.window_s / layout.slices
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
        self._window_s, self._cpu_s = self._window_s + clock() - started, self._cpu_s + process_time() - cpu
        self._ends.append(len(samples))
        self._last = outputs
        if not layout.apart:
            hooks.end()

    def meter_apart(self) -> int:
        """Calls between `begin` and `end` alone, for as long as the meter needs; how many of all calls were metered."""
        timed, hooks, clock = self._timed, self._hooks, perf_counter
        if hooks.begin is _nothing:
            return self.calls_in_slices
        metered = 0
        outputs: Sequence[Any] = ()
        self._last = ()
        hooks.begin()
        until = clock() + max(self._sampling.window_s, hooks.least_s)
        while not metered or clock() < until:
            outputs = ()
            outputs = timed.call(*timed.operands)
            timed.wait(outputs)
            metered += 1
        hooks.end()
        self._last = outputs
        return metered

    def window(self, metered: int) -> Window:
        """All of it; `metered` calls stood between `begin` and `end`."""
        samples, slices = np.round(self._samples, 10).tolist(), np.diff(self._ends, prepend=0).tolist()
        kept, seen = (self._cpu_s, self._window_s, metered), (self._repeated, self._starved)
        return Window(samples, self.layout.per_sample, slices, *kept, *seen, last=list(self._last))

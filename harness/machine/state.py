"""What the machine does beside the run, and which of it disturbs the run: a warning each, with its number.

`read` is cheap enough to stand before and after every case; `warnings` tells two readings apart. What a system does
not tell is None, and no warning.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from backends.ops import Scalar
from harness.machine import linux as readers

ROOT = Path("/")
State = Mapping[str, Scalar]

# The figure that this harness must hold, an A/A ratio within 5 %, bounds what may disturb it.
OTHERS_SHARE = 0.05  # of the cores in use: others can then move a case by as much
STEAL_SHARE = 0.01  # of the cores in use: the hypervisor gave them to another guest
STOPPED_SHARE = 0.01  # of the wall time, by a container's quota
PRESSURE_SHARE = 0.01  # of the wall time, in which some task waited for memory
SWAPPED_PAGES = 256  # 1 MiB: kernels move a few idle pages at any time
SLOW_SHARE = 0.5  # of the highest clock rate: turbo on one core is rarely twice what all cores reach
FULL_SHARE = 0.95  # of a container's memory limit: the kernel reclaims before it is reached
LEAST_S = 0.5  # the kernel counts CPU time in hundredths of a second: over less, shares are noise


class StateWarning(msgspec.Struct, frozen=True, kw_only=True):
    """A reading that disturbs the run: a short code, its number, and one sentence that says what to do."""

    code: str
    number: float
    sentence: str


def read(root: Path = ROOT, pids: Sequence[int] | None = None) -> dict[str, Scalar]:
    """The state of the machine now; `ours_s` is the CPU time of `pids` (this process) and of all that they started.

    `…_s`, `swap_pages` and `thermal_throttles` only grow: their differences count. `root` is the file system's.
    """
    top = str(root).rstrip("/")
    groups = readers.cgroups(top)
    rate, highest = readers.frequency(top)
    busy, steal = readers.cpu(top)
    return {
        "clock_s": time.perf_counter(),
        "busy_s": busy,
        "steal_s": steal,
        "ours_s": readers.cpu_of(top, [os.getpid()] if pids is None else pids),
        "load_1min": readers.load(top),
        "frequency_hz": rate,
        "frequency_max_hz": highest,
        "governor": readers.text(f"{top}/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "frequency_driver": readers.text(f"{top}/sys/devices/system/cpu/cpu0/cpufreq/scaling_driver"),
        "thermal_throttles": readers.throttles(top),
        "swap_pages": readers.swapped(top),
        "memory_pressure_s": readers.memory_pressure(top),
        "quota_cores": readers.quota_cores(groups),
        "quota_stopped_s": readers.quota_stopped(groups),
        "memory_limit_bytes": readers.memory_limit(groups),
        "memory_used_bytes": readers.memory_used(groups),
        "on_battery": readers.on_battery(top),
    }


def warnings(before: State, after: State, threads: int) -> list[StateWarning]:
    """What disturbs a run on `threads` cores between two readings."""
    return [*_meanwhile(before, after, threads), *_now(after, threads)]


def _meanwhile(before: State, after: State, threads: int) -> Iterable[StateWarning]:
    wall = _grown("clock_s", before, after) or 0.0

    def rate(name: str, least_s: float = 0.0) -> float | None:
        grown = _grown(name, before, after)
        return None if grown is None or wall <= least_s else grown / wall

    busy, ours = rate("busy_s", LEAST_S), rate("ours_s", LEAST_S)
    others = None if busy is None or ours is None else max(0.0, busy - ours)
    yield from _above(
        "load",
        others,
        OTHERS_SHARE * threads,
        lambda n: f"other processes kept {n:.2f} cores busy beside the {threads} measured; end them and run again",
    )
    yield from _above(
        "steal",
        rate("steal_s", LEAST_S),
        STEAL_SHARE * threads,
        lambda n: f"the host of this virtual machine took {n:.2f} cores away; run on cores of its own or add --rounds",
    )
    yield from _above(
        "quota",
        rate("quota_stopped_s"),
        STOPPED_SHARE,
        lambda n: f"the container's CPU quota stopped it for {n:.0%} of the time; raise it or run with fewer --threads",
    )
    yield from _above(
        "memory-pressure",
        rate("memory_pressure_s"),
        PRESSURE_SHARE,
        lambda n: f"processes waited for memory for {n:.0%} of the time; free some or choose a smaller --preset",
    )
    yield from _above(
        "thermal",
        _grown("thermal_throttles", before, after),
        0,
        lambda n: f"the processor throttled {n:.0f} times for heat; let it cool, or run with fewer --threads",
    )
    yield from _above(
        "swap",
        _grown("swap_pages", before, after),
        SWAPPED_PAGES,
        lambda n: f"{n:.0f} pages went to or came from swap; free memory or choose a smaller --preset",
    )


def _now(state: State, threads: int) -> Iterable[StateWarning]:
    quota = _number(state, "quota_cores")
    yield from _above(
        "quota-cores",
        None if quota is None else threads / quota,
        1,
        lambda n: (
            f"{threads} threads are {n:.2f} times the cores that this container may use; "
            f"run with --threads {max(1, int(threads / n))}"
        ),
    )
    yield from _above(
        "memory-limit",
        _share(state, "memory_used_bytes", "memory_limit_bytes"),
        FULL_SHARE,
        lambda n: f"the container uses {n:.0%} of its memory limit; raise it or choose a smaller --preset",
    )
    speed = _share(state, "frequency_hz", "frequency_max_hz")
    if speed is not None and speed < SLOW_SHARE:
        sentence = f"the cores ran at {speed:.0%} of their highest clock rate; see the power profile and the cooling"
        yield StateWarning(code="frequency", number=speed, sentence=sentence)
    # With intel_pstate and amd-pstate-epp `powersave` follows the load; elsewhere it holds the lowest clock rate.
    if state.get("governor") == "powersave" and "pstate" not in str(state.get("frequency_driver")):
        sentence = "the governor `powersave` holds the cores at 1 clock rate, the lowest; set `performance` (cpupower)"
        yield StateWarning(code="governor", number=1, sentence=sentence)
    if state.get("on_battery") is True:
        sentence = "the machine runs on 1 battery or more; connect it to power and run again"
        yield StateWarning(code="battery", number=1, sentence=sentence)


def _above(code: str, number: float | None, limit: float, say: Callable[[float], str]) -> Iterable[StateWarning]:
    if number is not None and number > limit:
        yield StateWarning(code=code, number=number, sentence=say(number))


def _number(state: State, name: str) -> float | None:
    value = state.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _share(state: State, part: str, whole: str) -> float | None:
    number, total = _number(state, part), _number(state, whole)
    return None if number is None or not total else number / total


def _grown(name: str, before: State, after: State) -> float | None:
    first, last = _number(before, name), _number(after, name)
    return None if first is None or last is None else max(0.0, last - first)

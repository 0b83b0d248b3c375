"""A GPU during a case: one process at a time on it, its clocks, what holds them down, samples disturbed by it.

The card is found by UUID (`energy.nvml.open_gpu`), so that NVML and CUDA speak of the same one. Without NVML nothing is
known and nothing is thrown away; the record then has none of these settings.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from backends.ops import FLUSH_BYTES, Device, Ops, Scalar
from harness.measuring.energy.meter import Unavailable
from harness.measuring.energy.nvml import Gpu, ask, cuda_uuid, open_gpu
from harness.records.locks import common_folder

LOOK_S = 0.02  # a reading takes tens of microseconds; clocks that fall for heat stay down for longer than this

# nvmlClocksEventReasons of NVML's API reference. The first are the normal state of a card; a sample is thrown away for
# those that say that the card protects itself. Running at its power limit is what a card does under full load: it is
# recorded, and the samples are kept.
REASONS = {
    0x01: "idle",
    0x02: "application clocks",
    0x04: "power limit",
    0x08: "hardware slowdown",
    0x10: "sync boost",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "hardware power brake",
    0x100: "display clocks",
}
DISTURBS = 0x08 | 0x20 | 0x40 | 0x80
LIMITS = DISTURBS | 0x04


@contextlib.contextmanager
def alone(
    device: Device, phase: Callable[[str], None], uuid_of: Callable[[int], str] = cuda_uuid, folder: Path | None = None
) -> Iterator[None]:
    """Hold `device`, if it is an accelerator, for this process alone; waits for other runs, and says so as its phase.

    A lock on a file named by the UUID of a GPU of NVIDIA's, else by the device's own name; the kernel gives it back
    when the process ends, however it ends.
    """
    if device.kind == "cpu" or device.ahead_of_time:
        yield
        return
    what = str(device)
    if device.kind == "cuda":
        with contextlib.suppress(Unavailable):  # AMD's, or no driver: opening it will say so in the framework's words
            what = uuid_of(device.index)
    name = hashlib.sha256(what.encode()).hexdigest()[:16]
    path = (folder or common_folder()) / f"hwlottery-gpu-{name}.lock"
    descriptor = _lock_file(path)
    if descriptor is None:
        phase(f"going on without the lock of {device}: {path} cannot be opened")
        yield
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            phase(f"waiting for {device}, which another run holds")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _lock_file(path: Path) -> int | None:
    """The file, open for reading, which is enough for a lock, whoever made it; None where it is none that can be had.

    In a folder in which all users write: a link is not followed, a pipe not waited for, and every user may open it.
    """
    with contextlib.suppress(OSError):
        made = os.open(path, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
        os.fchmod(made, 0o666)  # whatever the mask of its maker
        os.close(made)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    return None


def card(device: Device, find: Callable[[int], Gpu] = open_gpu) -> Gpu | None:
    """NVML's handle of a CUDA device; None for any other device and where NVML cannot say."""
    if device.kind != "cuda":
        return None
    try:
        return find(device.index)
    except Unavailable:
        return None


def settings(gpu: Gpu) -> dict[str, Scalar]:
    """Name, driver, clocks, limits and what holds the clocks down, read now; None for what the card does not tell."""
    n, handle = gpu.nvml, gpu.handle
    reads: dict[str, Callable[[], Scalar]] = {
        "gpu": lambda: _text(n.nvmlDeviceGetName(handle)),
        # One way: it tells cards apart and names none.
        "gpu_id": lambda: hashlib.sha256(_text(n.nvmlDeviceGetUUID(handle)).encode()).hexdigest()[:12],
        "gpu_driver": lambda: _text(n.nvmlSystemGetDriverVersion()),
        "gpu_sm_mhz": lambda: int(n.nvmlDeviceGetClockInfo(handle, n.NVML_CLOCK_SM)),
        "gpu_sm_max_mhz": lambda: int(n.nvmlDeviceGetMaxClockInfo(handle, n.NVML_CLOCK_SM)),
        "gpu_memory_mhz": lambda: int(n.nvmlDeviceGetClockInfo(handle, n.NVML_CLOCK_MEM)),
        "gpu_temperature_c": lambda: int(n.nvmlDeviceGetTemperature(handle, n.NVML_TEMPERATURE_GPU)),
        "gpu_power_limit_w": lambda: int(n.nvmlDeviceGetEnforcedPowerLimit(handle)) / 1000,
        "gpu_processes": lambda: len(n.nvmlDeviceGetComputeRunningProcesses(handle)),
        "gpu_clocks_held_by": lambda: words(reasons(gpu)),
    }
    found: dict[str, Scalar] = {}
    for name, read in reads.items():
        try:
            found[name] = ask(n, read)
        except (Unavailable, UnicodeDecodeError):  # NVML's own module decodes names, which need not be UTF-8
            found[name] = None
    return found


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def reasons(gpu: Gpu) -> int:
    """What holds the clocks down now, as bits of REASONS; raises Unavailable."""
    new = getattr(gpu.nvml, "nvmlDeviceGetCurrentClocksEventReasons", None)  # drivers before 535 know the older name
    return int(ask(gpu.nvml, new or gpu.nvml.nvmlDeviceGetCurrentClocksThrottleReasons, gpu.handle))


def words(bits: int) -> str | None:
    """The names of `bits`, None for none."""
    return ", ".join(name for bit, name in REASONS.items() if bits & bit) or None


class Throttle:
    """Which samples were taken while the card protected itself; `look` is called between two samples.

    All samples between two readings of which either is bad are disturbed: what happened between them is not known.
    """

    def __init__(self, read: Callable[[], int], clock: Callable[[], float] = time.perf_counter) -> None:
        self._read, self._clock = read, clock
        self._at, self._taken, self._bits = float("-inf"), 0, 0
        self.seen = 0
        self.disturbed: set[int] = set()

    def look(self, taken: int) -> None:
        """Read the reasons, at most every LOOK_S; `taken` is how many samples there are."""
        if self._clock() - self._at >= LOOK_S:
            self.now(taken)

    def now(self, taken: int) -> None:
        """Read the reasons now: before the first sample, and after the last."""
        try:
            bits = self._read()
        except Unavailable:
            return
        if (bits | self._bits) & DISTURBS:
            self.disturbed.update(range(self._taken, taken))
        self.seen |= bits
        self._at, self._taken, self._bits = self._clock(), taken, bits

    def settings(self) -> dict[str, Scalar]:
        """What held the clocks down during the window, and how many samples were thrown away for it."""
        limits = words(self.seen & LIMITS)
        return {"gpu_limited_by": limits, "gpu_samples_thrown_away": len(self.disturbed)}


class Throttled(Exception):  # noqa: N818 - it is an outcome of a window, as Unsupported is of a call
    """Every sample of a window was taken while the card protected itself."""


class Conditions:
    """Under which conditions one case is sampled on its device: caches emptied or not, and samples thrown away.

    On a GPU whose caches the working set of `live_bytes` may stay in, `flush` is called before every sample; `between`
    after it. Both are None on any other device.
    """

    def __init__(self, ops: Ops, live_bytes: int, find: Callable[[int], Gpu] = open_gpu) -> None:
        self._kind = ops.device.kind
        fits = self._kind == "cuda" and live_bytes < FLUSH_BYTES and ops.flush_cache()
        self.flush: Callable[[], object] | None = ops.flush_cache if fits else None
        self._gpu = card(ops.device, find)
        self._throttle = throttle(self._gpu)
        self.between: Callable[[int], None] | None = None if self._throttle is None else self._throttle.look

    def keep(self, samples: Sequence[float]) -> list[float]:
        """The samples that nothing disturbed; raises Throttled when none is left. Call it when the window is over."""
        if self._throttle is None:
            return list(samples)
        self._throttle.now(len(samples))
        kept = [s for number, s in enumerate(samples) if number not in self._throttle.disturbed]
        if not kept:
            why = words(self._throttle.seen & DISTURBS)
            raise Throttled(f"the GPU held its clocks down in every sample ({why}); let it cool and --resume")
        return kept

    def settings(self) -> dict[str, Scalar]:
        """What is recorded of it; nothing on the host."""
        if self._kind != "cuda":
            return {} if self._kind == "cpu" else {"l2": "warm: caches are emptied on CUDA only"}
        caches: dict[str, Scalar] = {"l2": "warm: the working set is larger" if self.flush is None else "flushed"}
        if self.flush is not None:
            caches["l2_of_energy"] = "warm: calls that no flush comes between"
        state = {} if self._gpu is None else settings(self._gpu)
        return caches | state | ({} if self._throttle is None else self._throttle.settings())


def throttle(gpu: Gpu | None) -> Throttle | None:
    """A Throttle on a card that tells what holds its clocks down, else None."""
    if gpu is None:
        return None
    try:
        reasons(gpu)
    except Unavailable:
        return None
    made = Throttle(lambda: reasons(gpu))
    made.now(0)
    return made

"""NVIDIA GPUs through NVML (nvidia-ml-py): the counter of total energy, or the power that the board reports, polled.

The GPU is the one that CUDA numbers so: its UUID is asked of the CUDA driver, which knows CUDA_VISIBLE_DEVICES and its
order, and NVML is asked for that UUID. NVML knows nothing of the power of a MIG slice, only of the whole card: a card's
energy is a slice's only where it is the card's one slice. Vendor's text: NVML API reference, "Device Queries". How
seldom the sensors move, and what share of the time they see: Yang, Adamek, Armour 2023, "Part-time Power Measurements:
nvidia-smi's Lack of Attention" (arXiv 2312.02741): 20 to 100 ms, and on A100 and H100 a quarter of each period.
"""

from __future__ import annotations

import ctypes
import importlib
import itertools
import os
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.measuring.energy.meter import Baseline, CounterMeter, SensorMeter, Unavailable

UPDATE_S = 0.1  # the longest period that Yang et al. found; a run's baseline has the one of this machine
AVERAGED_S = 1.0  # nvmlDeviceGetPowerUsage is an average over a second on Ampere and later (NVML API reference)
SENSOR_ERROR = 0.05  # "accurate to within +/- 5%" (NVML API reference, nvmlDeviceGetPowerUsage)
MILLI = 1e-3
DOMAIN = "gpu"
MOST_STARTS = 16  # each is undone by one nvmlShutdown


@dataclass(frozen=True, slots=True)
class Gpu:
    """One card: the NVML module and its handle there."""

    nvml: Any
    handle: Any
    note: str | None = None

    def notes(self) -> list[str]:
        """What a reader of its energy must know."""
        return [] if self.note is None else [self.note]


class TotalEnergy:
    """NVML's counter of millijoules since the driver was loaded (Volta and later)."""

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu

    def read(self) -> dict[str, int]:
        """Millijoules of the card."""
        return {DOMAIN: int(ask(self._gpu.nvml, self._gpu.nvml.nvmlDeviceGetTotalEnergyConsumption, self._gpu.handle))}

    def joules(self, domain: str, before: int, after: int) -> float:
        """The difference; a counter that goes back was reset with the driver."""
        if after < before:
            raise Unavailable(f"the {domain} energy counter went back from {before} to {after} mJ")
        return (after - before) * MILLI


class PowerMeter(SensorMeter):
    """Power polled by a thread that sleeps for the sensor's update period, and added up by the trapezoid rule."""

    def __init__(
        self,
        watts: Callable[[], float],
        *,
        update_s: float,
        baseline: Baseline | None = None,
        notes: list[str],
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(
            "sampled",
            update_s=update_s,
            baseline=baseline,
            error=SENSOR_ERROR,
            notes=notes,
            clock=clock,
            sleep=sleep,
        )
        self._watts = watts
        self._samples: list[tuple[float, float]] = []
        self._failed: str | None = None
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def _start(self) -> float:
        self._samples, self._failed = [], None
        self._sample()
        self._over.clear()
        self._thread = threading.Thread(target=self._poll, name="power", daemon=True)
        self._thread.start()
        return self._samples[0][0]

    def _sample(self) -> None:
        self._samples.append((self._clock(), self._watts()))

    def _poll(self) -> None:
        while not self._over.wait(self.update_s):
            try:
                self._sample()
            except Unavailable as why:
                self._failed = str(why)
                return

    def _stop(self) -> tuple[float, Mapping[str, float]]:
        if self._thread is None:
            raise Unavailable("the power could not be read when the window began")
        self._over.set()
        self._thread.join()
        self._thread = None
        if self._failed is not None:
            raise Unavailable(self._failed)
        self._sample()
        return self._samples[-1][0], {DOMAIN: trapezoid(self._samples)}


def trapezoid(samples: list[tuple[float, float]]) -> float:
    """Joules under (seconds, watts) samples in order of time."""
    return sum((t1 - t0) * (w0 + w1) / 2 for (t0, w0), (t1, w1) in itertools.pairwise(samples))


def counter(gpu: Gpu, baseline: Baseline | None = None) -> CounterMeter:
    """A meter on the card's energy counter; Unavailable where it has none."""
    energy = TotalEnergy(gpu)
    energy.read()
    return CounterMeter(energy, update_s=UPDATE_S, baseline=baseline, notes=gpu.notes(), find_update=True)


def sampled(gpu: Gpu, baseline: Baseline | None = None) -> PowerMeter:
    """A meter on the card's power; Unavailable where it tells none. The instant's power, else the second's average."""
    nvml, notes = gpu.nvml, gpu.notes()

    def usage() -> float:
        return int(ask(nvml, nvml.nvmlDeviceGetPowerUsage, gpu.handle)) * MILLI

    def instant() -> float:
        (value,) = ask(nvml, nvml.nvmlDeviceGetFieldValues, gpu.handle, [nvml.NVML_FI_DEV_POWER_INSTANT])
        if value.nvmlReturn != nvml.NVML_SUCCESS:
            raise Unavailable(f"NVML tells no power of the instant (error {value.nvmlReturn})")
        return int(value.value.uiVal) * MILLI

    try:
        instant()
    except Unavailable:
        usage()
        notes.append("power averaged over up to a second by the board")
        return PowerMeter(usage, update_s=AVERAGED_S, baseline=baseline, notes=notes)
    return PowerMeter(instant, update_s=UPDATE_S, baseline=baseline, notes=notes)


def open_gpu(index: int, nvml: Any = None, uuid_of: Callable[[int], str] | None = None) -> Gpu:
    """The card that CUDA calls `index`; Unavailable without a driver, or for one of several MIG slices."""
    if nvml is None:
        try:
            nvml = importlib.import_module("pynvml")
        except ImportError:
            raise Unavailable("nvidia-ml-py is not installed; try: python -m pip install nvidia-ml-py") from None
    _start(nvml)
    bare = (uuid_of or cuda_uuid)(index)
    try:
        return Gpu(nvml, ask(nvml, nvml.nvmlDeviceGetHandleByUUID, f"GPU-{bare}"))
    except Unavailable:
        pass  # CUDA tells a MIG slice's own UUID and not its card's
    piece = ask(nvml, nvml.nvmlDeviceGetHandleByUUID, f"MIG-{bare}")
    card = ask(nvml, nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle, piece)
    pieces = _slices(nvml, card)
    if pieces != 1:
        raise Unavailable(
            f"cuda:{index} is one of {pieces} MIG slices, and NVML knows the energy of the whole card only"
        )
    return Gpu(nvml, card, "whole card of its only MIG slice")


_started_in: int | None = None  # the process that has started NVML here


def _start(nvml: Any) -> None:
    """Start NVML, anew in a process whose parent had: PyTorch's import starts it, and a fork must not use that."""
    global _started_in
    if _started_in != os.getpid():
        for _ in range(MOST_STARTS):
            try:
                nvml.nvmlShutdown()
            except nvml.NVMLError:  # not started, any more
                break
        _started_in = os.getpid()
    ask(nvml, nvml.nvmlInit)


def _slices(nvml: Any, card: Any) -> int:
    found = 0
    for place in range(int(ask(nvml, nvml.nvmlDeviceGetMaxMigDeviceCount, card))):
        try:
            ask(nvml, nvml.nvmlDeviceGetMigDeviceHandleByIndex, card, place)
        except Unavailable:
            continue  # no slice in this place
        found += 1
    return found


def ask(nvml: Any, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call NVML; its errors become Unavailable, in its own words."""
    try:
        return function(*arguments)
    except nvml.NVMLError as error:
        raise Unavailable(f"NVML: {error}") from None


def cuda_uuid(index: int, driver: Any = None) -> str:
    """UUID of the device that CUDA numbers `index` in this process, or of its MIG slice; makes no CUDA context."""
    if driver is None:
        try:
            driver = ctypes.CDLL("libcuda.so.1")
        except OSError:
            raise Unavailable("the CUDA driver (libcuda.so.1) is not installed") from None
    device, raw = ctypes.c_int(), (ctypes.c_ubyte * 16)()
    # _v2 (CUDA 11.4) tells a MIG slice from its card; the older one gives every slice the card's.
    steps: list[tuple[str, tuple[Any, ...]]] = [
        ("cuInit", (0,)),
        ("cuDeviceGet", (ctypes.byref(device), index)),
        ("cuDeviceGetUuid_v2", (ctypes.byref(raw), device)),
    ]
    for name, arguments in steps:
        function = getattr(driver, name, None)
        if function is None:
            raise Unavailable(f"the CUDA driver is too old to name its devices: it has no {name}")
        code = function(*arguments)
        if code != 0:
            raise Unavailable(f"the CUDA driver does not name cuda:{index}: {name} returned {code}")
    return str(uuid.UUID(bytes=bytes(raw)))

"""Holds what one framework's adapter and NVML say of a GPU against what is known; started by tools/gpu_run.py.

Prints one line of JSON: for `memory` and `energy` whether they are `ok` (null where nothing can be said), and figures.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

if TYPE_CHECKING:
    from backends.ops import Ops

MIB = 1 << 20
ALLOCATED = (64 * MIB, 256 * MIB)
MEMORY_SHARE = 0.02  # an allocator rounds sizes up, by 2 MiB at most
LOAD_S = 4.0  # 40 updates of a slow sensor
ENERGY_SHARE = 0.10  # the sensor's 5 %, and an update at either end
SIDE = 4096


def main(backend: str, device: str) -> int:
    """Check and print."""
    from backends.ops import Device

    adapter = importlib.import_module(f"backends.{backend}_backend").BACKEND
    wanted = Device.parse(device)
    with tempfile.TemporaryDirectory(prefix="hwlottery-cache-") as cache:
        os.environ.update(adapter.environ(wanted, os.cpu_count() or 1, Path(cache)))
        ops = adapter.open(wanted)
        if wanted.kind == "cuda":
            found = {"memory": memory(ops), "energy": energy(ops)}
        else:
            why = f"{device} has neither an allocator of its own nor NVML: its figures are checked by the tests"
            found = {name: {"ok": None, "words": why} for name in ("memory", "energy")}
    print(json.dumps(found))
    return 0


def memory(ops: Ops) -> dict[str, Any]:
    """The peak's rise by two arrays of known size, one after the other, both kept."""
    import numpy as np

    kept, peaks = [], []
    for size in ALLOCATED:
        ops.reset_peak_bytes()
        kept.append(ops.asarray(np.zeros(size // 4, np.float32)))
        ops.wait(kept)
        peaks.append(ops.device_peak_bytes())
    known = ALLOCATED[1]
    if None in peaks:
        return {"ok": None, "words": "the framework does not tell its allocator's peak"}
    rise = peaks[1] - peaks[0]
    return {"ok": abs(rise - known) <= MEMORY_SHARE * known, "allocated_bytes": known, "peak_rose_by_bytes": rise}


def energy(ops: Ops) -> dict[str, Any]:
    """The counter of joules against power polled over the same seconds of matrix products."""
    import numpy as np

    from harness.measuring.energy import nvml
    from harness.measuring.energy.meter import Unavailable

    a = ops.asarray(np.ones((SIDE, SIDE), np.float32))
    ops.wait([ops.matmul(a, a)])
    try:
        gpu = nvml.open_gpu(ops.device.index)
        meters = {"counter": nvml.counter(gpu), "power_times_time": nvml.sampled(gpu)}
    except Unavailable as why:
        return {"ok": None, "words": str(why)}
    calls, until = 0, time.perf_counter() + LOAD_S
    for meter in meters.values():
        meter.begin()
    while time.perf_counter() < until:
        ops.wait([ops.matmul(a, a)])
        calls += 1
    for meter in meters.values():
        meter.end()
    read = {name: meter.energy(calls=1, cpu_s=0.0, memory_bytes=None) for name, meter in meters.items()}
    joules = {f"{name}_j": reading.gross_j for name, reading in read.items()}
    counted, polled = joules.values()
    if counted is None or polled is None:
        return {"ok": None, "words": "; ".join(reading.note or "" for reading in read.values()), **joules}
    ratio = counted / polled
    return {"ok": abs(ratio - 1) <= ENERGY_SHARE, "ratio": ratio, "products": calls, "seconds": LOAD_S, **joules}


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

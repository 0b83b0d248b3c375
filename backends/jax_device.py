"""Which devices JAX has, by its own names and by ours, and what it tells of them. Imports no JAX before it is asked.

Threads. XLA's CPU client sizes its pools by `PJRT_NPROC`, else by the CPU affinity of the process; OMP_NUM_THREADS has
no say. `pool_threads` counts the threads of the pool that really runs the operations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backends.ops import Device, HostArray, Unsupported

ALIGNED = 64  # bytes; XLA takes a host buffer for its own only at a multiple of this
PLATFORMS = {"cpu": "cpu", "gpu": "cuda", "cuda": "cuda", "tpu": "tpu"}  # jax.Device.platform to Device.kind


def find(device: Device) -> Any:
    """The jax.Device; Unsupported, with JAX's words, where there is none."""
    import jax

    if device.kind not in PLATFORMS.values():
        raise Unsupported(f"JAX runs on {', '.join(sorted(set(PLATFORMS.values())))} here, not on {device}")
    try:
        found = jax.local_devices(backend=device.kind)
    except (RuntimeError, AssertionError) as refusal:
        # An absent platform that JAX_PLATFORMS names is a bare AssertionError, without a word.
        words = " ".join(str(refusal).split()) or "JAX could not start that platform and does not say why"
        raise Unsupported(f"JAX has no {device.kind} device here: {words}") from refusal
    if device.index >= len(found):
        raise Unsupported(f"JAX has no device {device} here: it found {len(found)} of kind {device.kind}")
    return found[device.index]


def devices() -> Sequence[Device]:
    """The host, and every GPU and TPU that JAX sees; imports it."""
    import jax

    found: dict[str, int] = {}
    try:
        seen = jax.local_devices()
    except AssertionError:  # a platform that JAX_PLATFORMS names and this JAX has not
        seen = []
    for device in seen:
        kind = PLATFORMS.get(device.platform)
        if kind is not None:
            found[kind] = found.get(kind, 0) + 1
    found["cpu"] = 1  # the host is one device, however many JAX is told to split it into
    return [Device(kind, index) for kind in sorted(found) for index in range(found[kind])]


def apart(x: HostArray) -> HostArray:
    """A copy of a host array that no JAX array shares, and nobody else holds: it lies at no multiple of ALIGNED.

    On a CPU `jax.device_put` shares an aligned host buffer, whatever its may_alias says, and copies any other to
    memory of XLA's own.
    """
    buffer = np.empty(x.nbytes + 2 * ALIGNED, np.uint8)
    start = -buffer.ctypes.data % ALIGNED + ALIGNED // 2
    copy = buffer[start : start + x.nbytes].view(x.dtype).reshape(x.shape)
    copy[...] = x
    return copy


@dataclass(slots=True)
class Peaks:
    """The allocator's peak, bytes, before the first call of a callable compiled ahead, and at the start of a window."""

    first: int | None = None
    window: int | None = None


def pool_threads() -> int | None:
    """Threads of the pool on which XLA's CPU client runs operations, counted by name; None where /proc is absent."""
    try:
        names = [task.joinpath("comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
    except OSError:
        return None
    return sum(name == "tf_XLAEigen" for name in names) or None

"""Which devices JAX has, by its own names and by ours, and what it tells of them. Imports no JAX before it is asked.

Threads. XLA's CPU client sizes its pools by `PJRT_NPROC`, else by the CPU affinity of the process; OMP_NUM_THREADS has
no say. `pool_threads` counts the threads of the pool that really runs the operations.
"""

from __future__ import annotations

import importlib.util
import pkgutil
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backends.ops import Device, HostArray, Unsupported

ALIGNED = 64  # bytes; XLA takes a host buffer for its own only at a multiple of this
# jax.Device.platform, in small letters, to Device.kind, by which PyTorch calls the same device. Any other platform of a
# plug-in keeps its name.
PLATFORMS = {
    "cpu": "cpu",
    **dict.fromkeys(("gpu", "cuda", "rocm"), "cuda"),
    "tpu": "tpu",
    "metal": "mps",
    **dict.fromkeys(("oneapi", "sycl"), "xpu"),
}


def platform(kind: str) -> str | None:
    """What `JAX_PLATFORMS` calls a Device.kind; None where JAX is to look at all of its plug-ins."""
    if kind == "cuda":
        gpus = {name for name in _plug_ins() if name.startswith(("xla_cuda", "xla_rocm"))}
        return "rocm" if gpus and all(name.startswith("xla_rocm") for name in gpus) else "cuda"
    return kind if kind in ("cpu", "tpu") else None


def _plug_ins() -> list[str]:
    """The PJRT plug-ins that are installed as modules of `jax_plugins`; imports none of them."""
    spec = importlib.util.find_spec("jax_plugins")
    places = None if spec is None else spec.submodule_search_locations
    return [module.name for module in pkgutil.iter_modules(places)] if places else []


def kind_of(platform: str) -> str:
    """The Device.kind of a device by its platform."""
    name = re.sub(r"[^a-z0-9_]", "_", platform.lower())
    return PLATFORMS.get(name, name)


def _attached(jax: Any) -> list[Any]:
    """The devices of every platform that JAX could start here."""
    backends = importlib.import_module("jax.extend.backend").backends()
    return [device for name in backends for device in jax.local_devices(backend=name)]


def find(device: Device) -> Any:
    """The jax.Device; Unsupported, with JAX's words, where there is none."""
    import jax

    wanted = platform(device.kind)
    try:
        if wanted is not None:
            found = jax.local_devices(backend=wanted)
        else:
            found = [d for d in _attached(jax) if kind_of(d.platform) == device.kind]
    except (RuntimeError, AssertionError) as refusal:
        # An absent platform that JAX_PLATFORMS names is a bare AssertionError, without a word.
        words = " ".join(str(refusal).split()) or "JAX could not start that platform and does not say why"
        raise Unsupported(f"JAX has no {device.kind} device here: {words}") from refusal
    if device.index >= len(found):
        raise Unsupported(f"JAX has no device {device} here: it found {len(found)} of kind {device.kind}")
    return found[device.index]


def devices() -> Sequence[Device]:
    """The host, and every accelerator that JAX sees, by whatever plug-in; imports it."""
    import jax

    found: dict[str, int] = {}
    try:
        seen = _attached(jax)
    except AssertionError:  # a platform that JAX_PLATFORMS names and this JAX has not
        seen = []
    for device in seen:
        found[kind_of(device.platform)] = found.get(kind_of(device.platform), 0) + 1
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

"""NumPy as a backend: an outside baseline, a second ceiling, and the adapter that needs no framework installed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from backends.ops import Backend, Device, Ops


def environ(device: Device, threads: int, cache: Path) -> Mapping[str, str]:
    """Nothing: NumPy's threads are set when it is opened."""
    return {}


def open_device(device: Device) -> Ops:
    """NumPy on the CPU; Unsupported for any other device."""
    from backends.numpy_ops import NumpyOps

    return NumpyOps(device)


BACKEND = Backend(
    name="numpy",
    title="NumPy",
    module="numpy",
    distributions=("numpy", "scipy"),
    install="python -m pip install numpy scipy",
    preload=("numpy", "scipy.sparse", "backends.numpy_ops"),
    executions=("eager",),
    environ=environ,
    devices=lambda: (Device("cpu"),),
    open=open_device,
    default=False,
)

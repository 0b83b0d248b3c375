"""TensorFlow as a backend: how a device is opened; `tensorflow_device` has its environment and its devices.

Nothing here imports TensorFlow before `devices` or `open`.
"""

from __future__ import annotations

from backends import aot
from backends.install import install_hint
from backends.ops import Backend, Device, Ops
from backends.tensorflow_device import devices, environ


def open_device(device: Device) -> Ops:
    """TensorFlow on `device`; Unsupported, with the words of who refuses, where there is none."""
    if device.ahead_of_time:
        from backends.tensorflow_aot import TensorflowAotOps

        return TensorflowAotOps(device)
    from backends.tensorflow_ops import TensorflowOps

    return TensorflowOps(device)


BACKEND = Backend(
    name="tensorflow",
    title="TensorFlow",
    module="tensorflow",
    distributions=("tensorflow",),
    install=install_hint("tensorflow"),
    preload=("tensorflow", "backends.tensorflow_ops"),
    ahead=("tensorflow", *aot.PRELOAD),
    executions=("eager", "graph", "compiled"),
    environ=environ,
    devices=devices,
    open=open_device,
    profiler="backends.tensorflow_profiler",
)

"""array-api-strict as a backend: the array API standard and nothing else, computed by NumPy.

It shows all that a backend over a library of the standard needs. It measures nothing of interest and is left out of a
run unless it is asked for; it finds workloads that use what the standard does not promise.
"""

from __future__ import annotations

from collections.abc import Sequence

from backends.array_api_ops import ArrayApiOps, namespace
from backends.ops import Array, Backend, Device, Matrix, Scalar, Unsupported


class ArrayApiStrictOps(ArrayApiOps):
    """Arrays are array_api_strict.Array, each around one of NumPy's."""

    framework = "array-api-strict"

    def __init__(self, device: Device) -> None:
        if device.kind != "cpu":
            raise Unsupported(f"array-api-strict runs on cpu only, not on {device}")
        from backends import numpy_threads

        numpy_threads.limit()
        super().__init__(namespace("array_api_strict"), device)

    def wait(self, outputs: Sequence[Array | Matrix]) -> None:
        return None  # NumPy computes before it returns

    def settings(self) -> dict[str, Scalar]:
        from backends import numpy_threads

        versions = {"array_api_strict": self.xp.__version__, "standard": self.xp.__array_api_version__}
        return {**versions, **numpy_threads.settings()}


BACKEND = Backend(
    name="array_api_strict",
    title="array-api-strict",
    module="array_api_strict",
    distributions=("array-api-strict", "numpy"),
    install="python -m pip install array-api-strict",
    preload=("array_api_strict", "backends.numpy_threads"),
    executions=("eager",),
    environ=lambda device, threads, cache: {},
    devices=lambda: (Device("cpu"),),
    open=ArrayApiStrictOps,
    default=False,
)

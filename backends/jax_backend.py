"""JAX as a backend: what is set before it is imported, which devices it sees, and how one is opened.

Nothing here imports JAX before `devices` or `open`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from backends import aot
from backends.install import install_hint
from backends.jax_device import devices, platform
from backends.ops import Backend, Device, Ops


def environ(device: Device, threads: int, cache: Path) -> Mapping[str, str]:
    """What JAX and XLA read before the import; the compile cache is JAX's own."""
    variables = {
        "JAX_COMPILATION_CACHE_DIR": str(cache / "jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "PJRT_NPROC": str(threads),
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # the allocator's peak is then the case's, not three quarters of it
    }
    name = platform(device.kind)
    if name is not None:
        variables["JAX_PLATFORMS"] = name  # one platform: never a quiet fall back to another
    if device.ahead_of_time:
        return {"TF_CPP_MIN_LOG_LEVEL": "2", "PJRT_NPROC": str(threads), **aot.environ(device)}
    if device.kind != "tpu":
        variables["TPU_SKIP_MDS_QUERY"] = "1"  # importing JAX on a TPU machine asks the metadata server otherwise
    return variables


def open_device(device: Device) -> Ops:
    """JAX on `device`; Unsupported, with the words of who refuses, where there is none."""
    if device.ahead_of_time:
        from backends.jax_aot import JaxAotOps

        return JaxAotOps(device)
    from backends.jax_ops import JaxOps

    return JaxOps(device)


BACKEND = Backend(
    name="jax",
    title="JAX",
    module="jax",
    distributions=("jax", "jaxlib"),
    install=install_hint("jax"),
    preload=("jax", "jax.numpy", "jax.experimental.sparse", "backends.jax_ops"),
    ahead=(*aot.PRELOAD, "jax.experimental.sparse"),
    executions=("compiled", "eager"),
    environ=environ,
    devices=devices,
    open=open_device,
    profiler="backends.jax_profiler",
)

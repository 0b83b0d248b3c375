"""What a server gets from outside: its whole environment, the same for all, and how much memory it may allocate."""

from __future__ import annotations

import os
from pathlib import Path

from backends.ops import Backend, Device

ROOT = Path(__file__).resolve().parents[2]

# The same for every framework. Threads are read by the libraries when they load; OpenBLAS starts its pool at load, so
# the server has it at one and NumPy's own cases raise it in the fork. glibc's defaults make large temporaries bimodal:
# each is mapped and unmapped, or not, by a threshold that moves while the program runs.
_MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    "MALLOC_TOP_PAD_": str(64 << 20),
}
_KEEP = (
    *("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR", "USER", "VIRTUAL_ENV", "XDG_CACHE_HOME"),
    *("CC", "CXX"),  # the compilers that PyTorch's and Triton's use
)
_KEEP_PREFIXES = ("HWLOTTERY_", "CUDA_", "NVIDIA_", "TPU_", "PYTHON")
# Where XLA and Triton find the CUDA toolkit, which an image may keep at a place of its own.
_KEEP_CUDA = ("XLA_FLAGS", "JAX_SKIP_CUDA_CONSTRAINTS_CHECK", "CPATH", "LIBRARY_PATH")
_KEEP_CUDA_PREFIXES = ("TRITON_",)


def environment(backend: Backend, device: Device, threads: int, cache: Path) -> dict[str, str]:
    """The whole environment of a server: an allow-list of ours, the same settings for all, then the adapter's own."""
    cuda = device.kind == "cuda"
    names, prefixes = (_KEEP + _KEEP_CUDA, _KEEP_PREFIXES + _KEEP_CUDA_PREFIXES) if cuda else (_KEEP, _KEEP_PREFIXES)
    kept = {k: v for k, v in os.environ.items() if k in names or k.startswith(prefixes)}
    n = str(threads)
    threading = {"OMP_NUM_THREADS": n, "MKL_NUM_THREADS": n, "OPENBLAS_NUM_THREADS": "1"}
    paths = [str(ROOT), *filter(None, [kept.get("PYTHONPATH")])]
    ours = {
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONHASHSEED": "0",
        "HWLOTTERY_BACKEND": backend.name,
        "HWLOTTERY_DEVICE": str(device),
        "HWLOTTERY_THREADS": n,
    }
    return {**kept, **_MALLOC, **threading, **ours, **backend.environ(device, threads, cache)}


def memory_limit(device: Device, asked: int | None) -> int | None:
    """Bytes that a process may allocate, None without a limit.

    Drivers of accelerators reserve what it would count, and it bounds nothing of the device's own memory.
    """
    return None if device.kind in ("cuda", "tpu") else asked

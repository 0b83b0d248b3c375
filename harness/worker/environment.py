"""What a server gets from outside: its whole environment, the same for all, and how much memory it may allocate."""

from __future__ import annotations

import os
from pathlib import Path

from backends.dtypes import PRECISION, TF32
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
_KEEP_CUDA_PREFIXES = ("TRITON_", "HIP_", "ROCR_", "ROCM_", "HSA_")  # the latter of AMD's GPUs
# And how the runtimes of other accelerators are found and which device they show.
_KEEP_OTHER = ("PJRT_NAMES_AND_LIBRARY_PATHS",)
_KEEP_OTHER_PREFIXES = {"xpu": ("ZE_", "ONEAPI_", "SYCL_"), "npu": ("ASCEND_",), "hpu": ("HABANA_",)}


def environment(backend: Backend, device: Device, threads: int, cache: Path, *, tf32: bool = False) -> dict[str, str]:
    """The whole environment of a server: an allow-list of ours, the same settings for all, then the adapter's own."""
    names: tuple[str, ...] = _KEEP
    prefixes: tuple[str, ...] = _KEEP_PREFIXES
    if device.kind == "cuda":
        names, prefixes = names + _KEEP_CUDA, prefixes + _KEEP_CUDA_PREFIXES
    elif device.kind not in ("cpu", "tpu") and not device.ahead_of_time:
        names, prefixes = names + _KEEP_OTHER, prefixes + _KEEP_OTHER_PREFIXES.get(device.kind, ())
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
        PRECISION: TF32 if tf32 else "float32",
    }
    # The driver keeps what it compiles in the user's home, where nothing is told.
    driver = {"CUDA_CACHE_PATH": str(cache / "cuda")} if device.kind == "cuda" else {}
    return {**driver, **kept, **_MALLOC, **threading, **ours, **backend.environ(device, threads, cache)}


def memory_limit(device: Device, asked: int | None) -> int | None:
    """Bytes that a process may allocate, None without a limit.

    Drivers of accelerators reserve what it would count, and it bounds nothing of the device's own memory.
    """
    return asked if device.kind == "cpu" or device.ahead_of_time else None

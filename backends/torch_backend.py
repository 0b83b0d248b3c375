"""PyTorch as a backend: what is set before it is imported, which devices it sees, and how one is opened.

Nothing here imports PyTorch before `devices` or `open`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from backends import aot, torch_accelerator
from backends.install import install_hint
from backends.ops import Backend, Device, Ops


def environ(device: Device, threads: int, cache: Path) -> Mapping[str, str]:
    """What PyTorch, Inductor and Triton read before the import; `cache` is where compiled code is kept."""
    return {
        **aot.environ(device),
        "TORCHINDUCTOR_CACHE_DIR": str(cache / "torch"),
        "TRITON_CACHE_DIR": str(cache / "torch" / "triton"),
        # On the CPU the C++ compiler runs beside itself from threads that then sleep; on CUDA there would be a pool of
        # processes beside the measurement.
        "TORCHINDUCTOR_COMPILE_THREADS": str(threads) if device.kind == "cpu" else "1",
        "TORCH_WARM_POOL": "0",
        # With a cold cache Inductor tries the C++ compiler with each set of vector instructions, 10 s in all.
        # A compiler that takes PyTorch's headers knows the instructions: which are used is asked of the processor.
        "TORCHINDUCTOR_VEC_ISA_OK": "1",
        "TORCH_DEVICE_BACKEND_AUTOLOAD": "0",  # an extension may start its runtime when torch is imported
        "PYTORCH_NVML_BASED_CUDA_CHECK": "1",  # ask the driver whether there is a GPU without starting CUDA
    }


def devices() -> Sequence[Device]:
    """The host, and every accelerator that PyTorch sees; imports it."""
    torch = importlib.import_module("torch")
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return (Device("cpu"), *(Device("cuda", i) for i in range(gpus)), *torch_accelerator.devices(torch))


def open_device(device: Device) -> Ops:
    """PyTorch on `device`; Unsupported, with the words of who refuses, where there is none."""
    if device.ahead_of_time:
        from backends.torch_aot import TorchAotOps

        return TorchAotOps(device)
    from backends.torch_ops import TorchOps

    return TorchOps(device)


BACKEND = Backend(
    name="torch",
    title="PyTorch",
    module="torch",
    distributions=("torch",),
    install=install_hint("torch"),
    preload=("torch", "backends.torch_preload", "backends.torch_ops", "backends.torch_products"),
    ahead=("torch", "torch._dynamo", "backends.torch_sparse", *aot.PRELOAD, "backends.torch_aot"),
    executions=("eager", "compiled"),
    environ=environ,
    devices=devices,
    open=open_device,
    profiler="backends.torch_profiler",
)

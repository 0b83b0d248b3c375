"""One device of PyTorch's: how it is opened, what is set on it, and the peak of its allocator.

Imports PyTorch: only an opened backend imports this file.
"""

from __future__ import annotations

from typing import Any

import torch

from backends import torch_accelerator
from backends.ops import Device, Scalar, Unsupported


def opened(device: Device) -> Any:
    """The torch.device, once it holds a tensor; Unsupported with PyTorch's words where it cannot."""
    if device.kind == "tpu":
        return torch_accelerator.opened(torch, device)
    try:
        target = torch.device(device.kind, device.index) if device.kind == "cuda" else torch.device("cpu")
        torch.zeros(1, device=target)
    except (AssertionError, RuntimeError) as error:  # "not compiled with CUDA" is an AssertionError
        raise Unsupported(f"PyTorch has no {device} here: {str(error).splitlines()[0]}") from error
    return target


def settings(kind: str, own_products: bool) -> dict[str, Scalar]:
    """What is really set, read back from PyTorch; `own_products` is whether `torch_products` stand in MKL's place."""
    mkldnn, cuda, cudnn = torch.backends.mkldnn, torch.backends.cuda, torch.backends.cudnn
    common = {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "interop_threads": torch.get_num_interop_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "mkl": torch.backends.mkl.is_available(),
        "onednn": mkldnn.is_available() and mkldnn.enabled,
        "float32_matmul_library": "onednn" if own_products else None,
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "tf32": cuda.matmul.allow_tf32 or cudnn.allow_tf32,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }
    if kind != "cuda":
        return common
    return common | {
        "cuda": torch.version.cuda,
        "cudnn": cudnn.version(),
        "cudnn_benchmark": cudnn.benchmark,
        "bf16_reduced_precision_reduction": cuda.matmul.allow_bf16_reduced_precision_reduction,
        "fp16_reduced_precision_reduction": cuda.matmul.allow_fp16_reduced_precision_reduction,
    }


def reset_peak_bytes(kind: str, target: Any) -> None:
    """Start a new window of the allocator's peak, where the device has an allocator of its own."""
    if kind == "cuda":
        torch.cuda.reset_peak_memory_stats(target)
    elif kind == "tpu":
        torch_accelerator.reset_peak_bytes(torch, target)


def peak_bytes(kind: str, target: Any) -> int | None:
    """Peak of the window, bytes; None where no allocator tells."""
    if kind == "tpu":
        return torch_accelerator.peak_bytes(torch, target)
    return int(torch.cuda.max_memory_allocated(target)) if kind == "cuda" else None

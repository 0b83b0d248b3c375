"""One device of PyTorch's: how it is opened, what is set on it, and the peak of its allocator.

Imports PyTorch: only an opened backend imports this file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from backends import torch_accelerator
from backends.dtypes import tf32
from backends.ops import Array, Device, Matrix, Scalar, Unsupported


def opened(device: Device) -> Any:
    """The torch.device, once it holds a tensor; Unsupported with PyTorch's words where it cannot."""
    if device.kind not in ("cpu", "cuda"):
        return torch_accelerator.opened(torch, device)
    try:
        target = torch.device(device.kind, device.index) if device.kind == "cuda" else torch.device("cpu")
        torch.zeros(1, device=target)
    except (AssertionError, RuntimeError) as error:  # "not compiled with CUDA" is an AssertionError
        raise Unsupported(f"PyTorch has no {device} here: {str(error).splitlines()[0]}") from error
    if device.kind == "cuda":
        torch.cuda.set_device(target)  # so that nothing has to enter it, and nothing is made on another
    return target


def set_precision(kind: str) -> None:
    """float32 products in float32, unless a run asks TF32 of all; narrow products summed up in float32, as XLA does."""
    torch.set_float32_matmul_precision("high" if tf32() else "highest")
    torch.backends.cudnn.allow_tf32 = tf32()
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    # Shapes do not change in a case: let cuDNN look for its best algorithm in the first call, as XLA does.
    torch.backends.cudnn.benchmark = kind == "cuda"


def waiting(kind: str, target: Any) -> Callable[[Sequence[Array | Matrix]], None]:
    """What returns when every one of the outputs that it is given is computed; on the CPU every operator has by then.

    A synchronised device has finished all of its streams. `torch.cuda.synchronize` enters the device first, in Python
    and in every sample; `opened` has made it the current one.
    """
    if kind == "cpu":
        return lambda outputs: None  # noqa: ARG005 - of all
    if kind != "cuda":
        return lambda outputs: torch_accelerator.wait(torch, target, outputs)
    synchronize = getattr(torch._C, "_cuda_synchronize", torch.cuda.synchronize)
    return lambda outputs: synchronize()  # noqa: ARG005


def held_bytes(kind: str, target: Any) -> int:
    """What the allocator of CUDA holds once a product has run: the workspace of cuBLAS, which stays for the process."""
    if kind != "cuda":
        return 0
    square = torch.ones((64, 64), device=target)
    torch.matmul(square, square)
    torch.cuda.synchronize(target)
    del square
    return int(torch.cuda.memory_allocated(target))


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
        "hip": torch.version.hip,
        "cudnn": cudnn.version(),
        "cudnn_benchmark": cudnn.benchmark,
        "bf16_reduced_precision_reduction": cuda.matmul.allow_bf16_reduced_precision_reduction,
        "fp16_reduced_precision_reduction": cuda.matmul.allow_fp16_reduced_precision_reduction,
    }


def reset_peak_bytes(kind: str, target: Any) -> None:
    """Start a new window of the allocator's peak, where the device has an allocator of its own."""
    if kind == "cuda":
        torch.cuda.reset_peak_memory_stats(target)
    elif kind != "cpu":
        torch_accelerator.reset_peak_bytes(torch, target)


def peak_bytes(kind: str, target: Any) -> int | None:
    """Peak of the window, bytes; None where no allocator tells."""
    if kind == "cuda":
        return int(torch.cuda.max_memory_allocated(target))
    return None if kind == "cpu" else torch_accelerator.peak_bytes(torch, target)

"""PyTorch on a TPU, by the package `torch_tpu`: what it takes to find one, place, wait and read memory there.

PyTorch's own `torch.accelerator` speaks to whatever accelerator a package has registered. This has never run on a TPU:
it is written from the package's source (0.2) and tested against a stand-in.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from backends.install import install_hint
from backends.ops import Array, Device, Unsupported

PACKAGE = "torch_tpu"


def opened(torch: Any, device: Device) -> Any:
    """The torch.device of a TPU, once it holds a tensor; Unsupported with the words of who refuses."""
    if importlib.util.find_spec(PACKAGE) is None:
        raise Unsupported(
            f"PyTorch reaches {device} through the package {PACKAGE} only, and no module named {PACKAGE!r} is "
            f"installed; try: {install_hint('tpu')}"
        )
    try:
        importlib.import_module(PACKAGE)  # registers the device; its autoload is off, so that a fork server starts none
        target = torch.device(device.kind, device.index)
        torch.zeros(1, device=target)
        wait(torch, target, ())
    except Exception as error:  # whatever a runtime says when there is no chip
        words = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise Unsupported(f"PyTorch has no {device} here: {words}") from error
    return target


def count(torch: Any) -> int:
    """How many TPUs the package sees; 0 without it, or where it cannot tell."""
    if importlib.util.find_spec(PACKAGE) is None:
        return 0
    with suppress(Exception):
        importlib.import_module(PACKAGE)
        return int(torch.tpu.device_count())
    return 0


def wait(torch: Any, target: Any, outputs: Sequence[Array]) -> None:
    """Return when every output is computed. An eager tensor may be deferred: it is asked for first, then the device."""
    if outputs:
        with suppress(ImportError, AttributeError):
            importlib.import_module(f"{PACKAGE}._internal.sync").synchronize(list(outputs), wait=True)
    torch.accelerator.synchronize(target.index)


def reset_peak_bytes(torch: Any, target: Any) -> None:
    """Start a new window of the allocator's peak, where the package keeps one."""
    with suppress(RuntimeError, NotImplementedError, AttributeError):
        torch.accelerator.reset_peak_memory_stats(target.index)


def peak_bytes(torch: Any, target: Any) -> int | None:
    """Peak of the allocator; None where the package keeps none, which is not 0."""
    try:
        return int(torch.accelerator.max_memory_allocated(target.index)) or None
    except (RuntimeError, NotImplementedError, AttributeError):
        return None

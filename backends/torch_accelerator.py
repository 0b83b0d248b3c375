"""PyTorch on an accelerator that is not CUDA's: how one is found, opened, waited for, and asked about its memory.

`torch.accelerator` speaks to whatever accelerator PyTorch was built with (`mps`, `xpu`) or a package has registered
(`npu`, `hpu`; `tpu` by `torch_tpu`). This has never run on any: it is written from PyTorch's and the packages' sources
and tested against stand-ins.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from backends.install import install_hint
from backends.ops import Array, Device, Unsupported

PACKAGE = "torch_tpu"
GROUP = "torch.backends"  # entry points by which a package registers its kind of device, as PyTorch's own autoload does


def opened(torch: Any, device: Device) -> Any:
    """The torch.device of an accelerator, once it holds a tensor; Unsupported with the words of who refuses."""
    if device.kind == "tpu" and importlib.util.find_spec(PACKAGE) is None:
        raise Unsupported(
            f"PyTorch reaches {device} through the package {PACKAGE} only, and no module named {PACKAGE!r} is "
            f"installed; try: {install_hint('tpu')}"
        )
    try:
        _register(torch, device.kind)
        target = torch.device(device.kind, device.index)
        torch.zeros(1, device=target)
        wait(torch, target, ())
    except Exception as error:  # whatever a runtime says when there is no chip
        words = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise Unsupported(f"PyTorch has no {device} here: {words}") from error
    named = device.kind if device.kind == "tpu" else _named(torch)
    if named != device.kind:  # a kind that takes tensors and is no accelerator, such as `meta`
        raise Unsupported(f"PyTorch has no {device} here: it names {named or 'no accelerator'}")
    return target


def _register(torch: Any, kind: str) -> None:
    """Let packages register their devices: autoload is off, so that a fork server starts none."""
    if kind == "tpu":
        importlib.import_module(PACKAGE)
    elif _named(torch) != kind:
        for entry in importlib.metadata.entry_points(group=GROUP):
            entry.load()()


def _named(torch: Any) -> str | None:
    """What PyTorch calls the one accelerator that it has here, None without any."""
    with suppress(RuntimeError, AttributeError):  # one that does not start
        found = torch.accelerator.current_accelerator(check_available=True)
        return None if found is None else str(found.type)
    return None


def devices(torch: Any) -> list[Device]:
    """Every TPU, and every device of the accelerator that PyTorch names here, unless that is CUDA's."""
    found = [Device("tpu", i) for i in range(count(torch))]
    if _named(torch) is None:
        with suppress(Exception):  # a package that cannot be loaded shows no device
            _register(torch, "")
    kind = _named(torch)
    if kind not in (None, "cpu", "cuda", "tpu"):
        found += [Device(kind, i) for i in range(int(torch.accelerator.device_count()))]
    return found


def count(torch: Any) -> int:
    """How many TPUs the package sees; 0 without it, or where it cannot tell."""
    if importlib.util.find_spec(PACKAGE) is None:
        return 0
    with suppress(Exception):
        importlib.import_module(PACKAGE)
        return int(torch.tpu.device_count())
    return 0


def wait(torch: Any, target: Any, outputs: Sequence[Array]) -> None:
    """Return when every output is computed. On a TPU one may be deferred: it is asked for first, then the device."""
    if outputs and target.type == "tpu":
        with suppress(ImportError, AttributeError):
            importlib.import_module(f"{PACKAGE}._internal.sync").synchronize(list(outputs), wait=True)
    torch.accelerator.synchronize(target.index)


def reset_peak_bytes(torch: Any, target: Any) -> None:
    """Start a new window of the allocator's peak, where there is an account of one."""
    with suppress(RuntimeError, NotImplementedError, AttributeError):
        torch.accelerator.reset_peak_memory_stats(target.index)


def peak_bytes(torch: Any, target: Any) -> int | None:
    """Peak of the allocator; None where no account is kept, which is not 0."""
    try:
        return int(torch.accelerator.max_memory_allocated(target.index)) or None
    except (RuntimeError, NotImplementedError, AttributeError):
        return None

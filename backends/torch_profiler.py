"""PyTorch's own profiler: operators and Inductor's kernels on the host, the kernels of an accelerator on its streams.

Imports PyTorch: only a process that is profiled imports this file. What is of an accelerator has never run on one.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from backends.ops import Array, Matrix, Ops
from backends.profiling import CALL, CompiledCall, Profile, ProfiledOperation

MICRO_NS = 1000  # nanoseconds of the profiler's microsecond
# An operator of a library of operators, or a C++ kernel of Inductor's. Everything else on the host is what calls them:
# Python, guards, the autograd engine, annotations.
_OPERATOR = re.compile(r"(?!autograd::|profiler::|torch::)\w+::|(graph_\d+_)?cpp_\w+")
# Allocation, flags and looks at a tensor's parts: of the operator that they are in; launching where they are in none.
_PART = re.compile(
    r"aten::(empty\w*|resize_|resolve_\w+|is_\w+|detach|lift_fresh|alias|as_strided_?|sparse_dim|dense_dim|_nnz|values"
    r"|_values|indices|_indices|(crow|ccol|col|row)_indices)"
)
_LOOKS_INTO_SPARSE = re.compile(r"aten::(_nnz|_indices|(crow|ccol)_indices|sparse_dim)")
SPARSE = "sparse operand"  # what its name does not tell of an operator: a product of any layout is aten::mm


def prepare() -> None:
    """Have Inductor mark its C++ kernels, which are nameless to the profiler else."""
    importlib.import_module("torch._inductor.config").cpp.enable_kernel_profile = True


def profile(ops: Ops, call: CompiledCall, operands: Sequence[Array | Matrix], count: int, file: Path) -> Profile:
    """Make `count` calls under torch.profiler, after one that is not counted."""
    profiler, host = torch.profiler, ops.device.kind == "cpu"
    activities = {profiler.ProfilerActivity.CPU} if host else profiler.supported_activities()
    with profiler.profile(activities=activities) as seen:
        ops.wait(call(*operands))
        for _ in range(count):
            with profiler.record_function(CALL):
                outputs = call(*operands)
                ops.wait(outputs)
    seen.export_chrome_trace(str(file))
    events = seen.events() or ()
    calls = [_times(e) for e in events if e.name == CALL and _on_host(e)]
    operations = _of_host(events) if host else _of_streams(events)
    return Profile(profiler="torch.profiler", calls=sorted(calls), operations=list(operations))


def _of_host(events: Iterable[Any]) -> Iterable[ProfiledOperation]:
    """The operators, each on its thread."""
    for event in events:
        name = event.name
        if _on_host(event) and not event.is_async and _OPERATOR.match(name) and not _PART.fullmatch(name):
            sparse = any(_LOOKS_INTO_SPARSE.fullmatch(child.name) for child in event.cpu_children)
            yield ProfiledOperation(
                name, *_times(event), track=f"thread {event.thread}", about=SPARSE if sparse else ""
            )


def _of_streams(events: Sequence[Any]) -> Iterable[ProfiledOperation]:
    """The kernels and copies of an accelerator, each on its stream, with the operator that launched the like of it."""
    launched = {kernel.name: event.name for event in events if _on_host(event) for kernel in event.kernels}
    for event in events:
        if _on_host(event) or event.is_user_annotation or event.name == CALL:
            continue
        track = f"device {event.device_index} stream {event.device_resource_id}"
        yield ProfiledOperation(event.name, *_times(event), track=track, about=launched.get(event.name, ""))


def _on_host(event: Any) -> bool:
    return bool(event.device_type == torch.autograd.DeviceType.CPU)


def _times(event: Any) -> tuple[int, int]:
    span = event.time_range
    return round(span.start * MICRO_NS), round(span.end * MICRO_NS)

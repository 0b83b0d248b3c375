"""What PyTorch ran in place of what was asked, seen by its own profiler, its dispatcher and the code it generated.

Imports PyTorch: only an opened backend imports this file, when it is asked what happened.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from backends.ops import Array, Fallback, Matrix

# The conversion's own kernel stands below the public name in the profile, so that one conversion is counted once.
_TO_DENSE = frozenset({"aten::_to_dense", "aten::_coalesced_to_dense", "aten::_sparse_csr_to_dense"})
# A product of CSC (and so of CSR transposed) makes a CSR of its operand in every call, on the CPU as on CUDA.
_TO_CSR = frozenset({"aten::_to_sparse_csr", "aten::to_sparse_csr"})
_TO_HOST = "aten::_local_scalar_dense"  # what .item(), bool(tensor) and float(tensor) end in
# Products of few bits, and by what their operands are known in oneDNN's log: where it ran none, PyTorch's loops did.
_LOW_BIT = {"aten::_int_mm": "_s8", "aten::_scaled_mm": "_f8"}
_PACKED = frozenset({"onednn::qlinear_pointwise", "hwlottery::int8_linear"})
_REFERENCE = re.compile(r",(ref\w*:\w+),")  # the implementation that oneDNN's log names, of one that is for tests
_GROUPED, _PRODUCT = "aten::_grouped_mm", "aten::mm"
_IN_PARTS = "aten::_scaled_dot_product_attention_math"
# An operator that Inductor has no lowering for is called by its name; what it calls on purpose is an extern_kernel.
_LIBRARY = re.compile(r"\btorch\.ops\.(aten\.\w+)(?:\.\w+)?\(")
_HOST_KERNEL = re.compile(r"^(cpp_fused\w*)\s*=", re.MULTILINE)
# Allocation and checks by name are no computation.
_NOT_WORK = frozenset({"aten.empty", "aten.empty_strided", "aten._linalg_check_errors", "aten._assert_async"})


def of_call(call: Callable[..., Any], operands: Sequence[Array | Matrix], kind: str) -> list[Fallback]:
    """Call once more under the profiler, and on an accelerator (`kind` is not "cpu") under the dispatcher's eyes."""
    found = []
    sizes: dict[str, list[int]] = {}
    with torch.autograd.profiler.profile(record_shapes=True) as profile:
        call(*operands)
    for event in profile.function_events or ():
        sizes.setdefault(event.name, next((s for s in event.input_shapes or () if s), []))
    dense = sorted(_TO_DENSE & sizes.keys())
    if dense:
        found.append(Fallback("densified", ", ".join(f"{name} of {sizes[name] or 'an operand'}" for name in dense)))
    converted = sorted(_TO_CSR & sizes.keys())
    if converted:
        found.append(Fallback("substituted", f"{converted[0]} makes a CSR of an operand in every call"))
    if _IN_PARTS in sizes:
        found.append(Fallback("substituted", f"{_IN_PARTS}: two products and a softmax in place of a fused kernel"))
    if kind == "cpu":
        found += of_products(call, operands, sizes)
    if kind != "cpu" and _TO_HOST in sizes:
        found.append(Fallback("host", f"{_TO_HOST} reads a value back in every call"))
    return found


def of_products(call: Callable[..., Any], operands: Sequence[Array | Matrix], seen: Iterable[str]) -> list[Fallback]:
    """Low-bit products that oneDNN did not run, or by its reference, and a grouped one that is a loop, among `seen`."""
    names = set(seen)
    found = []
    asked = sorted(_LOW_BIT.keys() & names)
    if asked or _PACKED & names:
        said = onednn_log(call, operands)
        plain = [name for name in asked if _LOW_BIT[name] not in said]
        found += [Fallback("substituted", f"{name} ran without oneDNN, by PyTorch's own loops") for name in plain]
        slow = sorted(set(_REFERENCE.findall(said)))
        found += [Fallback("substituted", f"oneDNN ran its reference kernel, {name}") for name in slow]
    if {_GROUPED, _PRODUCT} <= names:
        found.append(Fallback("substituted", f"{_GROUPED} is a loop of {_PRODUCT} here, one a group"))
    return found


def onednn_log(call: Callable[..., Any], operands: Sequence[Array | Matrix]) -> str:
    """What oneDNN says of one more call: it writes to the process's own standard output, which is turned aside."""
    flush = ctypes.CDLL(None).fflush
    sys.stdout.flush()
    flush(None)
    with tempfile.TemporaryFile() as file:
        kept = os.dup(1)
        os.dup2(file.fileno(), 1)
        try:
            with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
                call(*operands)
        finally:
            flush(None)
            os.dup2(kept, 1)
            os.close(kept)
        file.seek(0)
        lines = file.read().decode(errors="replace").splitlines()
    return "\n".join(line for line in lines if ",exec," in line)


class Placement(TorchDispatchMode):  # type: ignore[misc]
    """Notes every operator whose result, not a single number, lies on another kind of device than `kind`."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.elsewhere: dict[str, str] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operator and look where its results are."""
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor) and leaf.dim() and leaf.device.type != self.kind:
                self.elsewhere.setdefault(str(func), leaf.device.type)
        return out


def elsewhere(call: Callable[..., Any], operands: Sequence[Array | Matrix], kind: str) -> list[Fallback]:
    """What an eager call computed on another kind of device than `kind`, operator by operator."""
    with Placement(kind) as seen:
        call(*operands)
    if not seen.elsewhere:
        return []
    return [Fallback("host", ", ".join(f"{name} ran on {where}" for name, where in sorted(seen.elsewhere.items())))]


def of_eager(call: Callable[..., Any], operands: Sequence[Array | Matrix], kind: str) -> list[Fallback]:
    """All that can be seen of an eager call; it is called once more, on an accelerator twice."""
    found = of_call(call, operands, kind)
    return found if kind == "cpu" else [*found, *elsewhere(call, operands, kind)]


def synchronising(call: Callable[..., Any], operands: Sequence[Array | Matrix]) -> list[Fallback]:
    """What made the host wait inside a call on CUDA, in PyTorch's words; none where it does not say."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            call(*operands)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    # Arming the mode warns, too, that it is a prototype: only "called a synchronizing …" names an operation.
    words = {str(w.message).splitlines()[0] for w in caught if "called a synchronizing" in str(w.message)}
    return [Fallback("host", text) for text in sorted(words)]


def of_code(sources: Iterable[str], kind: str, graphs: int) -> list[Fallback]:
    """What the code that Inductor generated leaves to eager kernels, or on an accelerator to the host.

    `graphs` is how many graphs were compiled: where there is none, nothing was, and the function ran as it is.
    """
    if not graphs:
        return [Fallback("uncompiled", "PyTorch compiled no graph and ran the function as it is")]
    eager: set[str] = set()
    host: set[str] = set()
    for source in sources:
        eager |= set(_LIBRARY.findall(source)) - _NOT_WORK
        host |= set(_HOST_KERNEL.findall(source)) if kind != "cpu" else set()
    found = []
    if eager:
        found.append(Fallback("uncompiled", f"Inductor leaves {', '.join(sorted(eager))} to the kernels of eager"))
    if host:
        found.append(Fallback("host", f"Inductor made code for the CPU: {', '.join(sorted(host))}"))
    return found


def generated(modules: Iterable[Any]) -> list[str]:
    """The source of the modules that Inductor wrote, those that can still be read."""
    paths = [Path(m.__file__) for m in modules if getattr(m, "__file__", None)]
    return [path.read_text() for path in paths if path.exists()]

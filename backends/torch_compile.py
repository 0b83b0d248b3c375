"""`torch.compile` of one function: one full graph or a refusal, and an account of what it really did.

Imports PyTorch and its compiler: only an opened backend imports this file.
"""

from __future__ import annotations

import importlib
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
import torch._dynamo
from torch._dynamo import exc
from torch._dynamo.utils import compilation_time_metrics, counters
from torch._inductor import exc as inductor_exc
from torch._inductor import metrics

from backends.ops import Array, Compiled, Scalar, Unsupported
from backends.torch_sparse import refusal

with warnings.catch_warnings():  # a part of Inductor uses a decorator that PyTorch itself has deprecated
    warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
    importlib.import_module("torch._inductor.compile_fx")


# A break of the graph, an operator that Inductor cannot lower, no C++ compiler or one that fails, no Triton.
_REFUSALS = (
    exc.Unsupported,
    inductor_exc.OperatorIssue,
    inductor_exc.InvalidCxxCompiler,
    inductor_exc.CppCompileError,
    inductor_exc.TritonMissing,
    inductor_exc.GPUTooOldForTriton,
    NotImplementedError,
)


def compiled(fn: Callable[..., tuple[Array, ...]]) -> Compiled:
    """`fn` by Inductor, as one graph of static shapes; traced and compiled in its first call.

    The first call raises Unsupported, in PyTorch's words, where there is no such graph. Forgets every function
    compiled before: what is measured must not depend on what ran earlier, and there must be room below the limit of
    recompilations, past which PyTorch runs eager.

    `flags` is empty until the first call has returned. Then it holds `dynamo_s` and `inductor_s`, what tracing and
    compiling took of that call; `inductor_cache`, cold or warm; how many `generated_kernels` and `library_calls` the
    code has; and `inductor_fallback`, which says so where every operator is a library call, as it is in eager.
    """
    torch._dynamo.reset()
    run = torch.compile(fn, fullgraph=True, dynamic=False)
    before = _account()
    flags: dict[str, Scalar] = {}

    def call(*args: Any) -> tuple[Array, ...]:
        try:
            outputs: tuple[Array, ...] = run(*args)
        except exc.TorchDynamoException as error:
            raise _refused(error) from error
        if not flags:
            flags.update(_flags(before))
        return outputs

    return Compiled(call=call, flags=flags, traces=lambda: int(counters["stats"]["unique_graphs"] - before["graphs"]))


def _account() -> Counter[str]:
    """PyTorch's own counts, of everything compiled in this process so far; seconds where the name says so."""
    seconds = {name: sum(values) for name, values in compilation_time_metrics.items()}
    whole, inductor = (seconds.get(name, 0.0) for name in ("_compile.compile_inner", "OutputGraph.call_user_compiler"))
    return Counter(
        graphs=counters["stats"]["unique_graphs"],
        dynamo_s=whole - inductor,
        inductor_s=inductor,
        generated_kernels=metrics.generated_kernel_count,
        library_calls=counters["inductor"]["extern_calls"],
        misses=counters["inductor"]["fxgraph_cache_miss"] + counters["inductor"]["fxgraph_cache_bypass"],
    )


def _flags(before: Counter[str]) -> dict[str, Scalar]:
    now = _account()
    now.subtract(before)
    kernels, calls = now["generated_kernels"], now["library_calls"]
    same = f"all of its {calls} operators are the library calls of eager" if calls and not kernels else None
    return {
        "dynamo_s": now["dynamo_s"],
        "inductor_s": now["inductor_s"],
        "inductor_cache": "cold" if now["misses"] else "warm",
        "generated_kernels": kernels,
        "library_calls": calls,
        "inductor_fallback": same,
    }


def _refused(error: exc.TorchDynamoException) -> Exception:
    """Unsupported, in one line, where PyTorch says no; the error itself where something went wrong."""
    cause = getattr(error, "inner_exception", error)
    if isinstance(cause, MemoryError | torch.OutOfMemoryError):
        return cause
    if not isinstance(cause, _REFUSALS):
        return refusal(error)
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    # After the first line stand an explanation (Dynamo) and the compiler's own output (C++).
    why = next((x for x in lines[1:] if x.startswith("Explanation:") or " error: " in x), "")
    return Unsupported("; ".join(x for x in (lines[0], why.removeprefix("Explanation: ")) if x))

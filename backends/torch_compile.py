"""`torch.compile` of one function: one full graph or a refusal, and an account of what it really did.

Imports PyTorch and its compiler: only an opened backend imports this file.
"""

from __future__ import annotations

import gc
import importlib
import re
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import torch
import torch._dynamo
from torch._dynamo import exc
from torch._dynamo.utils import compilation_time_metrics, counters
from torch._inductor import exc as inductor_exc
from torch._inductor import metrics
from torch._inductor.codecache import PyCodeCache
from torch._subclasses.fake_tensor import DataDependentOutputException
from torch.utils._pytree import tree_leaves

from backends.ops import Array, Compiled, Fallback, Scalar, Unsupported
from backends.torch_sparse import refusal

with warnings.catch_warnings():  # a part of Inductor uses a decorator that PyTorch itself has deprecated
    warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
    importlib.import_module("torch._inductor.compile_fx")

PLAIN, CAPTURED = "none", "cuda graphs"
TRIAL_ROUNDS = 5
SHORT_S = 5e-3
MARGIN = 0.97  # capture is kept only where it is clearly faster

# Operators of few data types, whose check before they are compiled takes fewer still: what it says is a refusal.
_CHECKED = re.compile(
    r"<built-in method (?P<operator>_grouped_mm|_scaled_mm|_int_mm) .*got RuntimeError\((['\"])(?P<words>.+?)\2\)",
    re.DOTALL,
)
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


def compiled(
    fn: Callable[..., tuple[Array, ...]],
    kind: str = "cpu",
    args: Sequence[Any] = (),
    keep: str | None = None,
    products: Any = None,
) -> Compiled:
    """`fn` by Inductor, as one graph of static shapes; traced and compiled in its first call.

    `products` is `backends.torch_products` where oneDNN's dense products are to stand in place of MKL's.

    The first call raises Unsupported, in PyTorch's words, where there is no such graph. Forgets every function
    compiled before: what is measured must not depend on what ran earlier, and there must be room below the limit of
    recompilations, past which PyTorch runs eager.

    On CUDA (`kind`) it is called here with `args`, with and without CUDA graphs where calls are short, and the faster
    one is kept, or `keep` without a trial: `graph_capture` says which. `compile_s` is then the kept one's first call
    less a later one, and `peak_bytes` of a recorded one that of its recording: a replay goes through no allocator.

    `flags` is empty until the first call has returned. Then it holds `dynamo_s` and `inductor_s`, what tracing and
    compiling took of that call; `inductor_cache`, cold or warm; how many `generated_kernels` and `library_calls` the
    code has; and `inductor_fallback`, which says so where every operator is a library call, as it is in eager.
    """
    torch._dynamo.reset()
    graphs = int(counters["stats"]["unique_graphs"])
    plain = Variant(fn, {} if products is None else {"post_grad_custom_pre_pass": products.Rewrite()})
    kept, facts, compile_s, name, peak_bytes = plain, plain.flags, None, None, None
    if kind == "cuda":
        mark_static(args)
        captured = Variant(fn, {"triton.cudagraphs": True})
        skips = counters["inductor"]["cudagraph_skips"]

        def refused() -> bool:
            return bool(counters["inductor"]["cudagraph_skips"] > skips)

        cuda = torch.cuda
        card = Card(cuda.synchronize, cuda.reset_peak_memory_stats, cuda.max_memory_allocated)
        kept, tried = choose(plain, captured, args, card, refused, keep)
        compile_s = kept.first_s - kept.later_s
        facts = {**kept.flags, **tried}
        name, peak_bytes = CAPTURED if kept is captured else PLAIN, kept.peak_bytes
        del captured
        if kept is plain:
            forget_recordings()

    def fallbacks(operands: Sequence[Any]) -> Sequence[Fallback]:
        seen = importlib.import_module("backends.torch_fallback")
        found: list[Fallback] = seen.of_code(seen.generated(kept.modules), kind, kept.graphs)
        found += seen.of_call(kept, operands, kind)
        return [*found, *seen.synchronising(kept, operands)] if kind == "cuda" else found

    return Compiled(
        call=kept,
        compile_s=compile_s,
        flags=facts,
        kept=name,
        peak_bytes=peak_bytes,
        traces=lambda: int(counters["stats"]["unique_graphs"]) - graphs,
        fallbacks=fallbacks,
    )


class Variant:
    """One way to compile `fn`; after its first call it knows what that made and took."""

    def __init__(self, fn: Callable[..., tuple[Array, ...]], options: dict[str, Any]) -> None:
        self._run = torch.compile(fn, fullgraph=True, dynamic=False, options=options or None)
        self.flags: dict[str, Scalar] = {}
        self.modules: list[Any] = []
        self.graphs = 0
        self.first_s = self.later_s = 0.0
        self.peak_bytes: int | None = None  # the allocator's while it was recorded; None of what never was

    def __call__(self, *args: Any) -> tuple[Array, ...]:
        """Call it; the first call compiles, or raises Unsupported."""
        if self.flags:
            outputs: tuple[Array, ...] = self._run(*args)
            return outputs
        before, known = _account(), len(PyCodeCache.modules)
        try:
            outputs = self._compiled(*args)
        except exc.TorchDynamoException as error:
            raise _refused(error) from error
        self.graphs = int(counters["stats"]["unique_graphs"] - before["graphs"])
        self.modules = PyCodeCache.modules[known:]
        self.flags.update(_flags(before))
        return outputs

    def _compiled(self, *args: Any) -> tuple[Array, ...]:
        """Its first call. Inductor makes a loop of a scan, if the loop's counter may be a scalar of the graph.

        Only then: with that setting other functions would get lengths that only the call knows.
        """
        try:
            outputs: tuple[Array, ...] = self._run(*args)
        except exc.TorchDynamoException as error:
            if not isinstance(getattr(error, "inner_exception", None), DataDependentOutputException):
                raise
            with torch._dynamo.config.patch(capture_scalar_outputs=True):
                outputs = self._run(*args)
        return outputs


class Card(NamedTuple):
    """What choosing asks of the device: to wait for it, to begin a window of the allocator's peak, and to read it."""

    wait: Callable[[], object]
    reset_peak: Callable[[], object]
    peak_bytes: Callable[[], int]


def mark_static(args: Sequence[Any]) -> None:
    """Say of every operand that it stays where it is: else a recorded graph copies it in front of every replay.

    XLA copies none. Where another operand comes, PyTorch records anew.
    """
    for leaf in tree_leaves(list(args)):
        if isinstance(leaf, torch.Tensor) and leaf.layout == torch.strided:
            torch._dynamo.mark_static_address(leaf)


def forget_recordings() -> None:
    """Give back what recorded graphs hold: the variant that lost must not stand in the memory of the one that won."""
    gc.collect()
    with suppress(ImportError, AttributeError):  # a private name that has moved
        importlib.import_module("torch._inductor.cudagraph_trees").reset_cudagraph_trees()


def choose(
    plain: Variant,
    captured: Variant,
    args: Sequence[Any],
    card: Card,
    refused: Callable[[], bool],
    keep: str | None = None,
) -> tuple[Variant, dict[str, Scalar]]:
    """The faster of two variants, in rounds of one call each, or the one named `keep`, and the words for the record.

    A captured function runs once as it is, once to be recorded, then from the recording.
    Capture saves what launching costs, nothing of what kernels take: calls longer than SHORT_S are not tried with it.
    Where it fails, by an operator that synchronises or a library that refuses, the plain variant is kept.
    """

    def timed(variant: Variant) -> float:
        start = time.perf_counter()
        variant(*args)
        card.wait()
        return time.perf_counter() - start

    def fails() -> str | None:
        """Call the captured variant until it is a recording; why that cannot be, or None."""
        try:
            captured.first_s = timed(captured)
            card.reset_peak()
            timed(captured)  # the one that is recorded
            captured.peak_bytes = card.peak_bytes()
            captured.later_s = timed(captured)
        except (RuntimeError, exc.TorchDynamoException, Unsupported) as error:
            words = next((line for line in str(error).splitlines() if line.strip()), "")
            return f"failed: {type(error).__name__}: {words.strip()}"
        return None

    if keep == CAPTURED:
        why = fails()
        if why is None:
            return captured, {"graph_capture": CAPTURED}
        plain.first_s, plain.later_s = timed(plain), timed(plain)
        return plain, {"graph_capture": why}
    plain.first_s = timed(plain)
    if keep == PLAIN:
        plain.later_s = timed(plain)
        return plain, {"graph_capture": PLAIN}
    plain.later_s = min(timed(plain) for _ in range(TRIAL_ROUNDS))
    if plain.later_s > SHORT_S:
        return plain, {"graph_capture": f"not tried: a call takes more than {SHORT_S:g} s"}
    why = fails()
    if why is not None:
        return plain, {"graph_capture": why}
    if refused():
        return plain, {"graph_capture": "refused by Inductor, which would run without"}
    times: dict[str, list[float]] = {PLAIN: [], CAPTURED: []}
    for _ in range(TRIAL_ROUNDS):
        times[PLAIN].append(timed(plain))
        times[CAPTURED].append(timed(captured))
    plain.later_s, captured.later_s = (min(seconds) for seconds in times.values())
    best = CAPTURED if captured.later_s < MARGIN * plain.later_s else PLAIN
    words = ", ".join(f"{name} {min(seconds):.2e} s" for name, seconds in times.items())
    return captured if best == CAPTURED else plain, {"graph_capture": best, "graph_capture_tried": words}


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
    said = _CHECKED.search(str(cause)) if isinstance(cause, exc.TorchRuntimeError) else None
    if said is not None:
        return Unsupported(f"{said['words']} (torch.{said['operator']}, compiled)")
    if not isinstance(cause, _REFUSALS):
        return refusal(error)
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    # After the first line stand an explanation (Dynamo) and the compiler's own output (C++).
    why = next((x for x in lines[1:] if x.startswith("Explanation:") or " error: " in x), "")
    return Unsupported("; ".join(x for x in (lines[0], why.removeprefix("Explanation: ")) if x))

"""Compiles ahead of time, chooses XLA's CPU fusion by trial, and counts compilations.

Imports JAX: only an opened backend imports this file.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

import jax

from backends import jax_fallback
from backends.ops import Array, Compiled, Matrix, Scalar, Unsupported

COMPILED_EVENT = "/jax/core/compile/backend_compile_duration"
YNN = "xla_cpu_experimental_ynn_fusion_type"
BATCHED = ", batching_dims = ["  # as StableHLO writes a batched product
FUSED = "kind=kCustom"  # in the program that XLA made: what a library fused, as YNNPACK does
TRIAL_ROUNDS = (3, 12)  # of a block of each variant: at least, and at most while TRIAL_BUDGET_S lasts
TRIAL_BUDGET_S = 0.25  # the first calls count
# A difference from MARGIN that all rounds show, after one, two, … of them and after more: it needs no more rounds.
PLAIN = (0.5, 0.2, 0.08, 0.08, 0.0)
UNCLEAR = 2  # times the rounds and the budget where fewer than CLEAR of the rounds agree
CLEAR = 0.75
BLOCK_S = 0.02
SETTLED_S = 0.1  # of calls as long as this the second is a round already, and may be the only one
LONG_S = 0.5  # of calls as long as this one of each variant is enough: they differ little from one to the next
SMALL_FLOP = 1e7  # a fraction of a millisecond: what a setting changes there is less than what it costs to try
MARGIN = 0.97  # another variant is kept only where it is clearly faster than XLA's default

_compilations = 0
_listening = False


def count_compilations() -> None:
    """Listen to JAX's own events: every compilation, of a jitted function or of an eager operation, is one."""
    global _listening
    if not _listening:
        jax.monitoring.register_event_duration_secs_listener(_on_event)
        _listening = True


def _on_event(event: str, *_: Any, **__: Any) -> None:
    global _compilations
    _compilations += event == COMPILED_EVENT


def compilations_since() -> Callable[[], int]:
    """A function that says how often JAX compiled anything since now."""
    start = _compilations
    return lambda: _compilations - start


def compile(
    fn: Callable[..., tuple[Array, ...]],
    args: Sequence[Array | Matrix],
    *,
    kind: str,
    keep: str | None = None,
    before_trial: Callable[[], object] = lambda: None,
) -> Compiled:
    """`jax.jit(fn).lower(*args).compile()`, for XLA's CPU backend the fastest of a few fusion settings.

    Its YNNPACK fusion is on by default. It wins 1.3–1.6× on dense products and their gradients and loses 1.3–2× on
    convolutions, so where it fused anything each setting that could matter is compiled, and called with `args` where
    XLA made another program of it; the fastest is kept, or `keep` without a trial; `before_trial` is called before one.
    `trace_s` and `compile_s` are those of the kept one alone, as if its setting had been known.
    A refusal of the framework's is Unsupported; any other error is the caller's, running out of memory too.
    """
    start = time.perf_counter()
    try:
        traced, lowered, said = _lowered(fn, args)
        trace_s = time.perf_counter() - start
        candidates = _candidates(lowered, kind == "cpu")
        told = {name: options for name, options in candidates.items() if name == keep}
        variants = _offered(lowered, told)
        if not variants:
            variants = {"default": _timed_compile(lowered, {})}
            if candidates and keep != "default" and FUSED in variants["default"][0].as_text():
                variants |= _offered(lowered, candidates)
    except NotImplementedError as refusal:
        raise Unsupported(_words(refusal)) from refusal
    except jax.errors.JaxRuntimeError as refusal:
        if "UNIMPLEMENTED" not in str(refusal):
            raise
        raise Unsupported(_words(refusal)) from refusal
    executables = _differing({name: executable for name, (executable, _) in variants.items()})
    if len(executables) > 1:
        before_trial()
    best, flags = _fastest(executables, args)
    if candidates:
        flags[YNN] = best
    executable, compile_s = variants[best]
    memory = executable.memory_analysis()
    return Compiled(
        call=executable,
        trace_s=trace_s,
        compile_s=compile_s,
        temp_bytes=None if memory is None else memory.temp_size_in_bytes,
        flags=flags,
        kept=best if candidates else None,
        traces=compilations_since(),
        fallbacks=lambda _: [
            *jax_fallback.of_program(traced.jaxpr, lowered.as_text(), said, kind),
            *jax_fallback.of_compiled(traced.jaxpr, executable.as_text(), kind),
        ],
    )


def _lowered(fn: Callable[..., Any], args: Sequence[Array | Matrix]) -> tuple[Any, Any, list[str]]:
    """The program as traced, the same as lowered, and what JAX said of sparse operands on the way; it is said again."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        traced = jax.jit(fn).trace(*args)
        lowered = traced.lower()
    for warning in caught:
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return traced, lowered, jax_fallback.about_sparse(caught)


def _candidates(lowered: Any, on_cpu: bool) -> dict[str, dict[str, str]]:
    """Compiler options beside the default, by the name that is recorded; only those that matter for this program."""
    options: dict[str, dict[str, str]] = {}
    if on_cpu and not 0 <= (lowered.cost_analysis() or {}).get("flops", -1) < SMALL_FLOP:  # -1 is unknown
        program = lowered.as_text()
        if "stablehlo.convolution" in program or BATCHED in program:
            options["LIBRARY_FUSION_TYPE_DOT"] = {YNN: "LIBRARY_FUSION_TYPE_DOT"}
        if "stablehlo.convolution" in program or "stablehlo.dot_general" in program:
            options["off"] = {YNN: ""}
    return options


def _offered(lowered: Any, candidates: dict[str, dict[str, str]]) -> dict[str, tuple[Any, float]]:
    """Those of the candidates that this jaxlib knows: the options are experimental and may go."""
    offered = {}
    for name, options in candidates.items():
        try:
            offered[name] = _timed_compile(lowered, options)
        except jax.errors.JaxRuntimeError as refusal:
            if "INVALID_ARGUMENT" not in str(refusal):
                raise
    return offered


def _timed_compile(lowered: Any, options: dict[str, str]) -> tuple[Any, float]:
    start = time.perf_counter()
    executable = lowered.compile(compiler_options=options or None)
    return executable, time.perf_counter() - start


def _differing(variants: dict[str, Any]) -> dict[str, Any]:
    """The first of the variants, and those that XLA made another program of: equal ones need no trial."""
    if len(variants) == 1:
        return variants
    texts = {name: executable.as_text() for name, executable in variants.items()}
    first = next(iter(texts))
    return {name: variants[name] for name, text in texts.items() if name == first or text != texts[first]}


def _fastest(variants: dict[str, Any], args: Sequence[Array | Matrix]) -> tuple[str, dict[str, Scalar]]:
    """Name of the variant with the shortest call, and what to record.

    Blocks of calls follow each other in rounds, every other round backwards; a variant is held against the default by
    the median over the rounds, of which there are more where they disagree. What is kept here is kept in every process
    of the case, so it must not hang on a slow spell of the machine; nor on the threads of one variant's library that
    spin while the other is called, so the shortest call of a block counts.
    """
    if len(variants) == 1:
        return next(iter(variants)), {}
    began = time.perf_counter()
    tastes = {name: _block(executable, args, 1) for name, executable in variants.items()}
    if min(tastes.values()) < LONG_S:  # the first call of each wakes threads and fills caches
        tastes = {name: _block(executable, args, 1) for name, executable in variants.items()}
    taste = min(tastes.values())
    calls = max(1, min(10, int(BLOCK_S / taste)))
    settled = taste >= min(SETTLED_S, LONG_S)
    rounds = [tastes] if settled else []
    least, most = (1 if settled else TRIAL_ROUNDS[0]), (TRIAL_ROUNDS[1] if taste < LONG_S else 1)
    for longer in (1, UNCLEAR):
        while (
            len(rounds) < longer * most
            and (len(rounds) < least or time.perf_counter() - began < longer * TRIAL_BUDGET_S)
            and not _is_plain(rounds)
        ):
            names = list(variants)[:: -1 if len(rounds) % 2 else 1]
            rounds.append({name: _block(variants[name], args, calls) for name in names})
        best, agreeing = _kept(rounds)
        if agreeing >= CLEAR or taste >= LONG_S:
            break
    words = ", ".join(f"{name} {median(seconds[name] for seconds in rounds):.2e} s" for name in variants)
    return best, {"tried": f"{words} in {len(rounds)} rounds"}


def _is_plain(rounds: Sequence[Mapping[str, float]]) -> bool:
    """Whether every round says of every variant that it is clearly faster than the default, or clearly not."""
    if not rounds:
        return False
    plain = PLAIN[min(len(rounds), len(PLAIN)) - 1]
    others = [values for name, values in _ratios(rounds).items() if name != "default"]
    return all(max(values) < MARGIN - plain or min(values) > MARGIN + plain for values in others)


def _ratios(rounds: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    """The seconds of each variant over the default's, by round."""
    return {name: [seconds[name] / seconds["default"] for seconds in rounds] for name in rounds[0]}


def _kept(rounds: Sequence[Mapping[str, float]]) -> tuple[str, float]:
    """The name of the variant to keep, and the share of rounds that, each for itself, say the same of it."""
    ratios = _ratios(rounds)
    rival = min(ratios.keys() - {"default"}, key=lambda name: (median(ratios[name]), name))
    faster = sum(ratio < MARGIN for ratio in ratios[rival]) / len(rounds)
    return (rival, faster) if median(ratios[rival]) < MARGIN else ("default", 1 - faster)


def _block(executable: Any, args: Sequence[Array | Matrix], calls: int) -> float:
    """Seconds of the shortest of `calls` calls."""
    shortest = float("inf")
    for _ in range(calls):
        start = time.perf_counter()
        jax.block_until_ready(executable(*args))
        shortest = min(shortest, time.perf_counter() - start)
    return shortest


def _words(refusal: Exception) -> str:
    return " ".join(str(refusal).split()) or type(refusal).__name__

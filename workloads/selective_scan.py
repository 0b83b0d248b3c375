"""A selective state space: every channel keeps a state of S values, and each step says how much of it to forget.

h_t = exp(Δ_t·A)⊙h_{t−1} + Δ_t·B_t·x_t and y_t = C_t·h_t, h (D, S) of each sequence, A (D, S) negative. Δ, B and C are
of the step, so that no convolution stands for it. One step needs the one before it; but what two steps do in a row is
a step of the same kind, and so the sum over time can be put in any brackets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import gcd, isqrt

import numpy as np

from backends.ops import Array, HostArray, Ops
from workloads import Axis, Parameters, Workload
from workloads.base import Inputs, Mode, Twin, Work
from workloads.common import digits

SHORTEST, LONGEST = 1e-3, 0.1  # Δ, as Mamba begins
EXPONENT = 80.0  # float32 has no exp beyond 88
AT_ONCE = 16  # steps of a span
HEAD = 64  # of the attention that it is held against
Pair = tuple[Array, Array]

w = Workload(
    "selective_scan",
    title="selective scan",
    source="Gu and Dao 2023, Mamba: Linear-Time Sequence Modeling with Selective State Spaces (arXiv:2312.00752), §3",
    leaves_out="independence of the steps in time",
    axes={
        "batch": Axis(help="sequences, B", low=1, high=1e5, default=2),
        "steps": Axis(help="steps of a sequence, T", low=1, high=1e6, default=512, break_even=True),
        "width": Axis(help="channels, D", low=1, high=1e6, default=256),
        "state": Axis(help="values that a channel keeps, S", low=1, high=1e4, default=16),
    },
    # the state is a running sum: published kernels keep it in float32, whatever comes in
    tolerances={("float64", "forward"): 1e-10, ("float32", "forward"): 1e-5},
)
w.preset("smoke", batch=1, steps=16, width=8, state=4)
w.preset("smoke", batch=2, steps=9, width=6, state=3, headline=False)
w.preset("ideas")
w.preset("standard", steps=2048, width=1024, group="1024")
w.preset("standard", steps=512, width=1024, survey=False, headline=False, group="1024")
w.preset("full", batch=8, steps=16384, width=5120)


@w.twins
def twins(p: Parameters, mode: Mode) -> Sequence[Twin]:
    """Causal attention of the same sequences, whose work grows with T²; and a linear layer of each step."""
    attention = {"batch": p.batch, "steps": p.steps, "width": p.width, "head": gcd(p.width, HEAD)}
    linear = {"m": p.batch * p.steps, "k": p.width, "n": p.width, "grads": "both"}
    return Twin("attention", "causal_attention", attention, mode), Twin("linear", "dense_matmul", linear, mode)


@w.inputs
def inputs(p: Parameters, seed: int) -> Inputs:
    """x and delta (B, T, D), b and c (B, T, S), a (D, S): −1, −2, … in every channel. x is digits, an image a step."""
    rng = np.random.default_rng([seed, 11])
    x = digits.flat(p.batch * p.steps, p.width, seed)
    to_state = [x @ rng.standard_normal((p.width, p.state)) / np.sqrt(p.width) for _ in "bc"]
    chosen = x @ rng.standard_normal((p.width, 1)) / np.sqrt(p.width) + rng.standard_normal(p.width)
    delta = SHORTEST * (LONGEST / SHORTEST) ** (1 / (1 + np.exp(-chosen)))
    b, c = (v.reshape(p.batch, p.steps, p.state) for v in to_state)
    shape = (p.batch, p.steps, p.width)
    a = -np.tile(np.arange(1.0, p.state + 1), (p.width, 1))
    return {"x": x.reshape(shape), "delta": delta.reshape(shape), "b": b, "c": c, "a": a}


@w.reference
def reference(x: HostArray, delta: HostArray, b: HostArray, c: HostArray, a: HostArray) -> Mapping[str, HostArray]:
    """One step after the other."""
    h, y = np.zeros((len(x), *a.shape)), np.empty_like(x)
    for t in range(x.shape[1]):
        h = np.exp(delta[:, t, :, None] * a) * h + (delta[:, t] * x[:, t])[:, :, None] * b[:, t, None, :]
        y[:, t] = np.einsum("bds,bs->bd", h, c[:, t])
    return {"y": y}


@w.work
def work(p: Parameters, mode: Mode, itemsize: int) -> Work:
    """7·BTDS + BTD FLOP; x, Δ and y, B and C, and A once: e(3BTD + 2BTS + DS) bytes. Alive: the state as well.

    Of each state value: Δ·A and its exponential, the product with h, that with B, the sum, and with C product and sum.
    """
    values = p.batch * p.steps * p.width
    moved = itemsize * (3 * values + 2 * p.batch * p.steps * p.state + p.width * p.state)
    return Work(7 * values * p.state + values, moved, moved + itemsize * p.batch * p.width * p.state)


# -- formulations -----------------------------------------------------------------------------------------------------
def _time_first(x: HostArray) -> HostArray:
    return np.ascontiguousarray(np.moveaxis(x, 1, 0))


def _all(ops: Ops, x: HostArray, delta: HostArray, b: HostArray, c: HostArray, a: HostArray) -> Sequence[Array]:
    """x and Δ (T, B, D), B and C (T, B, S), A (S, D): one step lies beside the next.

    States are (S, D), so that the sum over their values adds whole rows: a compiler makes vectors of these.
    """
    return [*(ops.asarray(_time_first(v)) for v in (x, delta, b, c)), ops.asarray(np.ascontiguousarray(a.T))]


def _with_empty(
    ops: Ops, p: Parameters, x: HostArray, delta: HostArray, b: HostArray, c: HostArray, a: HostArray
) -> Sequence[Array]:
    """The same, and the state before the first step (B, S, D)."""
    return [*_all(ops, x, delta, b, c, a), ops.asarray(np.zeros((p.batch, p.state, p.width), x.dtype))]


def _of_time(y: HostArray) -> Mapping[str, HostArray]:
    return {"y": np.moveaxis(y, 0, 1)}


def _kept_and_added(ops: Ops, x: Array, delta: Array, b: Array, a: Array) -> Pair:
    """Of a step or of several (…, S, D): exp(Δ·A), which is kept of h, and Δ·x·B, which is added to it."""
    kept = ops.exp(ops.expand_dims(delta, -2) * a)
    return kept, ops.expand_dims(delta * x, -2) * ops.expand_dims(b, -1)


def _read(ops: Ops, h: Array, c: Array) -> Array:
    """C·h, summed over the values of a state."""
    return ops.sum(h * ops.expand_dims(c, -1), -2)


def _in_a_row(first: Pair, second: Pair) -> Pair:
    """Two steps as one: what both keep of h, and what they add to it."""
    return first[0] * second[0], second[0] * first[1] + second[1]


Y = ("y",)


@w.formulation(
    note="one step after the other, each with all it needs", prepare=_with_empty, restore=_of_time, outputs=Y
)
def sequential(ops: Ops, x: Array, delta: Array, b: Array, c: Array, a: Array, empty: Array) -> tuple[Array, ...]:
    """Eleven small operations a step; no state but the last is kept."""

    def step(carry: tuple[Array, ...], xs: tuple[Array, ...]) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        kept, added = _kept_and_added(ops, xs[0], xs[1], xs[2], a)
        h = ops.multiply_add(kept, carry[0], added)
        return (h,), (_read(ops, h, xs[3]),)

    return ops.scan(step, (empty,), (x, delta, b, c))[1]


@w.formulation(
    note="what needs no state for all steps at once, then two operations a step: the way of the published reference",
    prepare=_with_empty,
    restore=_of_time,
    outputs=Y,
)
def hoisted(ops: Ops, x: Array, delta: Array, b: Array, c: Array, a: Array, empty: Array) -> tuple[Array, ...]:
    """Three arrays of T·B·D·S values for fewer launches."""
    kept, added = _kept_and_added(ops, x, delta, b, a)
    return (_read(ops, _states(ops, empty, kept, added)[1], c),)


def _states(ops: Ops, before: Array, kept: Array, added: Array) -> tuple[Array, Array]:
    """The last state, and that after every step along the first axis."""

    def step(carry: tuple[Array, ...], xs: tuple[Array, ...]) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        h = ops.multiply_add(xs[0], carry[0], xs[1])
        return (h,), (h,)

    (last,), (states,) = ops.scan(step, (before,), (kept, added))
    return last, states


@w.formulation(
    note=f"the same {AT_ONCE} steps at a time, whose arrays stay in a cache, read by a product; eager only",
    prepare=_with_empty,
    restore=_of_time,
    outputs=Y,
    executions=("eager",),
)
def in_spans(ops: Ops, x: Array, delta: Array, b: Array, c: Array, a: Array, empty: Array) -> tuple[Array, ...]:
    """An operation a step, and a few for each span."""
    h, parts = empty, []
    for start in range(0, x.shape[0], AT_ONCE):
        span = slice(start, min(start + AT_ONCE, x.shape[0]))
        kept, added = _kept_and_added(ops, x[span, ...], delta[span, ...], b[span, ...], a)
        h, states = _states(ops, h, kept, added)
        read = ops.matmul(ops.expand_dims(c[span, ...], -2), states)
        parts.append(ops.reshape(read, (span.stop - start, *x.shape[1:])))
    return (ops.concat(parts, 0),)


@w.formulation(note="the framework's associative scan", prepare=_all, restore=_of_time, outputs=Y)
def associative(ops: Ops, x: Array, delta: Array, b: Array, c: Array, a: Array) -> tuple[Array, ...]:
    """Any brackets: log₂T steps, or as the framework likes."""
    pairs = _kept_and_added(ops, x, delta, b, a)
    return (_read(ops, ops.associative_scan(_in_a_row, pairs)[1], c),)


@w.formulation(
    note="log₂T passes, each of which puts together what lies twice as far apart",
    prepare=_all,
    restore=_of_time,
    outputs=Y,
)
def doubling(ops: Ops, x: Array, delta: Array, b: Array, c: Array, a: Array) -> tuple[Array, ...]:
    """T·log₂T combinations in plain operations."""
    steps = x.shape[0]
    kept, added = _kept_and_added(ops, x, delta, b, a)
    apart = 1
    while apart < steps:
        earlier = kept[: steps - apart, ...], added[: steps - apart, ...]
        both = _in_a_row(earlier, (kept[apart:, ...], added[apart:, ...]))
        kept, added = (ops.concat([old[:apart, ...], new], 0) for old, new in zip((kept, added), both, strict=True))
        apart *= 2
    return (_read(ops, added, c),)


def length(steps: int) -> int:
    """Of a chunk: the divisor of the steps that is nearest to their root, the larger of two."""
    return min((n for n in range(1, steps + 1) if steps % n == 0), key=lambda n: (abs(n - isqrt(steps)), -n))


def _in_chunks(
    ops: Ops, p: Parameters, x: HostArray, delta: HostArray, b: HostArray, c: HostArray, a: HostArray
) -> Sequence[Array]:
    """As `_with_empty`, (l, K, B, …): step i of each of the K chunks of l steps beside that of the next chunk."""
    size = length(p.steps)

    def cut(v: HostArray) -> Array:
        turned = _time_first(v)
        return ops.asarray(np.ascontiguousarray(turned.reshape(-1, size, *turned.shape[1:]).swapaxes(0, 1)))

    zeros = np.zeros((p.steps // size, p.batch, p.state, p.width), x.dtype)
    return [*(cut(v) for v in (x, delta, b, c)), ops.asarray(np.ascontiguousarray(a.T)), ops.asarray(zeros)]


def _of_chunks(y: HostArray) -> Mapping[str, HostArray]:
    size, chunks, batch, width = y.shape
    return {"y": np.ascontiguousarray(y.transpose(2, 1, 0, 3)).reshape(batch, chunks * size, width)}


@w.formulation(
    note="√T chunks side by side, then from chunk to chunk: 2√T steps",
    prepare=_in_chunks,
    restore=_of_chunks,
    outputs=Y,
)
def chunked(ops: Ops, x: Array, delta: Array, b: Array, c: Array, a: Array, empty: Array) -> tuple[Array, ...]:
    """Each chunk as if nothing came before it, and what is kept of what did come."""
    kept, added = _kept_and_added(ops, x, delta, b, a)

    def inside(carry: tuple[Array, ...], xs: tuple[Array, ...]) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        h, share = ops.multiply_add(xs[0], carry[0], xs[1]), xs[0] * carry[1]
        return (h, share), (h, share)

    def across(carry: tuple[Array, ...], xs: tuple[Array, ...]) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        return (ops.multiply_add(xs[0], carry[0], xs[1]),), (carry[0],)

    last, (own, shares) = ops.scan(inside, (empty, empty + 1.0), (kept, added))
    before = ops.scan(across, (empty[0, ...],), (last[1], last[0]))[1][0]
    return (_read(ops, own + shares * before, c),)


def _in_range(p: Parameters) -> bool:
    return bool(p.steps * p.state * LONGEST < EXPONENT)


@w.formulation(
    note="two running sums, of Δ·A and of what is added over its exponential: beyond few steps that is no number",
    prepare=_all,
    restore=_of_time,
    outputs=Y,
    applies=_in_range,
)
def cumsum(ops: Ops, x: Array, delta: Array, b: Array, c: Array, a: Array) -> tuple[Array, ...]:
    """h_t = exp(Σ_t) Σ_j≤t exp(−Σ_j)·added_j: right on paper, and in range where exp(−Σ_T) is."""
    faded = ops.cumsum(ops.expand_dims(delta, -2) * a, 0)
    added = ops.expand_dims(delta * x, -2) * ops.expand_dims(b, -1)
    return (_read(ops, ops.exp(faded) * ops.cumsum(ops.exp(faded * -1.0) * added, 0), c),)


WORKLOAD = w.definition()

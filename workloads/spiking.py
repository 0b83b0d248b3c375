"""A layer of spiking neurons: events come in and go out, and in between every neuron keeps a state.

v_t = ½·v_{t−1}·(1 − s_{t−1}) + x_t·W and s_t = v_t > 1, T steps of n inputs and n leaky integrate-and-fire neurons.
x and s are 0 or 1, a byte each. Weights lie on a grid of powers of two, so that every sum of them is exact in float32
in any order, and halving is: a spike too many or too few is an error and no rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import ceil, log2

import numpy as np

from backends.ops import CSR, Array, HostArray, Matrix, Ops
from workloads import Axis, Parameters, Workload
from workloads.base import NEAR_TIES, Inputs, Mode, Work
from workloads.common import digits

DRIVE = 0.6  # standard deviation of what a step adds to v: about one neuron of fifteen spikes
NEAR = 1e-6  # of the threshold 1: what float32 may round to the other side, once v is longer than its 24 bits
FORGOTTEN = 24  # steps after which half of what was is below rounding

w = Workload(
    "spiking",
    title="spiking neurons",
    source="Neftci, Mostafa and Zenke 2019, Surrogate Gradient Learning in Spiking Neural Networks "
    "(arXiv:1901.09948), §II",
    leaves_out="values",
    axes={
        "n": Axis(help="inputs, and neurons", low=2, high=1e5, default=512),
        "steps": Axis(help="steps in time, T", low=1, high=1e6, default=100),
        "batch": Axis(help="examples, B", low=1, high=1e6, default=16),
        "rate": Axis(help="share of the inputs that spike", low=1e-6, high=1, default=0.1, break_even=True),
    },
    # v needs more than the 8 bits of bfloat16: there a coarser grid would be another computation
    tolerances={("float64", "forward"): 1e-10, ("float32", "forward"): 1e-5},
)
w.preset("smoke", n=16, steps=8, batch=2, rate=0.25)
w.preset("smoke", n=24, steps=12, batch=3, headline=False)
w.preset("ideas", group="512")
w.preset("standard", n=2048, steps=500, group="2048")
w.preset("standard", n=2048, steps=500, rate=0.01, survey=False, headline=False, group="2048")
w.preset("full", n=16384, steps=500)
# the same layer on values, which keeps no state; its relu is free beside the product
w.twin("dense_matmul", kind="values", m=lambda p: p.steps * p.batch, k="n", n="n", grads="both")


def count(p: Parameters) -> int:
    """Of the spikes that come in; ValueError where the rate leaves none."""
    spikes: int = round(p.rate * p.batch * p.steps * p.n)
    if not spikes:
        values = p.batch * p.steps * p.n
        raise ValueError(f"axis rate of spiking leaves no spike, found {p.rate:g} of {values} values")
    return spikes


def grid(n: int) -> float:
    """The step of the weights: 2⁻⁸ at 512 inputs, half of it for every four times as many."""
    return float(2.0 ** -(8 + ceil(log2(n / 512) / 2)))


@w.inputs
def inputs(p: Parameters, seed: int) -> Inputs:
    """`x` (T, B, n) int8, `count` ones: brighter pixels of a digit spike more often. `w` (n, n), from inputs on."""
    rng = np.random.default_rng([seed, 13])
    image = digits.flat(p.batch, p.n, seed)
    bright = image - image.min() + 0.25
    waits = rng.standard_exponential((p.steps, p.batch, p.n)) / bright  # the first to come, drawn without replacement
    x = np.zeros(waits.size, np.int8)
    x[np.argpartition(waits.reshape(-1), count(p) - 1)[: count(p)]] = 1
    step = grid(p.n)
    weights = rng.standard_normal((p.n, p.n)) * DRIVE / np.sqrt(p.rate * p.n)
    return {"x": x.reshape(waits.shape), "w": np.round(weights / step) * step}


@w.reference
def reference(p: Parameters, x: HostArray, w: HostArray) -> Mapping[str, HostArray]:
    """Step by step. A neuron so near its threshold that rounding may decide is told of until it has forgotten that."""
    v, fired = np.zeros((p.batch, p.n)), np.zeros((p.batch, p.n), bool)
    doubtful = np.zeros((p.batch, p.n), np.int64)
    spikes, near = np.zeros(x.shape, np.int8), np.zeros(x.shape, bool)
    for t, events in enumerate(x):
        v = np.where(fired, 0, v / 2) + events.astype(np.float64) @ w
        fired = v > 1
        doubtful = np.where((np.abs(v - 1) < NEAR) & (v != 1), FORGOTTEN, np.maximum(doubtful - 1, 0))
        spikes[t], near[t] = fired, doubtful > 0
    return {"spikes": spikes, f"{NEAR_TIES}spikes": near}


@w.work
def work(p: Parameters, mode: Mode, itemsize: int) -> Work:
    """An addition for each spike and neuron, four operations for each neuron and step; bytes BTn + e·n² + BTn.

    Alive at once: W, the state of B·n neurons, and the spikes.
    """
    values = p.batch * p.steps * p.n
    moved = 2 * values + itemsize * p.n * p.n
    return Work(count(p) * p.n + 4 * values, moved, moved + itemsize * p.batch * p.n)


# -- formulations -----------------------------------------------------------------------------------------------------
def _over_time(ops: Ops, rest: Array, xs: Array, current: Callable[[Array], Array]) -> tuple[Array, ...]:
    """Spikes (T, B, n) of neurons that begin at `rest` (B, n) and get current(x) in each step."""

    def step(carry: tuple[Array, ...], slices: tuple[Array, ...]) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        before = carry[0]
        v = ops.where(before <= 1.0, before * 0.5, 0.0) + current(slices[0])
        return (v,), (ops.astype(v > 1.0, "int8"),)

    return ops.scan(step, (rest,), (xs,))[1]


def _values(ops: Ops, p: Parameters, x: HostArray, w: HostArray) -> Sequence[Array]:
    """x, W, neurons at rest (B, n), and a one of their dtype."""
    return [*(ops.asarray(v) for v in (x, w, np.zeros((p.batch, p.n), w.dtype), np.ones(1, w.dtype)))]


SPIKES = ("spikes",)


@w.formulation(
    note="the product of all steps first, for it keeps no state; then the neurons, one step after the other",
    prepare=_values,
    outputs=SPIKES,
    multiplies_zeros=True,
)
def batched(ops: Ops, p: Parameters, x: Array, w: Array, rest: Array, one: Array) -> tuple[Array, ...]:
    """A dense product of T·B rows, and T small steps."""
    rows = ops.where(ops.reshape(x, (p.steps * p.batch, p.n)) > 0, one, 0.0)
    current = ops.reshape(ops.matmul(rows, w), (p.steps, p.batch, p.n))
    return _over_time(ops, rest, current, lambda now: now)


@w.formulation(
    note="a product and the neurons in each step, as it is written down",
    prepare=_values,
    outputs=SPIKES,
    multiplies_zeros=True,
)
def stepwise(ops: Ops, p: Parameters, x: Array, w: Array, rest: Array, one: Array) -> tuple[Array, ...]:
    """W is read T times."""
    return _over_time(ops, rest, x, lambda events: ops.matmul(ops.where(events > 0, one, 0.0), w))


def _events(format: str) -> Callable[..., Sequence[Array | Matrix]]:
    """The spikes as a sparse matrix (T·B, n) of ones, as a sensor of events gives them; W, and neurons at rest."""

    def prepare(ops: Ops, p: Parameters, x: HostArray, w: HostArray) -> Sequence[Array | Matrix]:
        rows, places = np.nonzero(x.reshape(-1, p.n))
        begins = np.searchsorted(rows, np.arange(p.steps * p.batch + 1)).astype(np.int32)
        ones = np.ones(len(rows), w.dtype)
        spikes = CSR(ones, places.astype(np.int32), begins, (p.steps * p.batch, p.n))
        return [ops.sparse(spikes, format), ops.asarray(w), ops.asarray(np.zeros((p.batch, p.n), w.dtype))]

    return prepare


def _from_events(ops: Ops, p: Parameters, spikes: Matrix, w: Array, rest: Array) -> tuple[Array, ...]:
    current = ops.reshape(ops.sparse_matmul(spikes, w), (p.steps, p.batch, p.n))
    return _over_time(ops, rest, current, lambda now: now)


@w.formulation(note="the rows of W at the spikes: the framework's CSR product", prepare=_events("csr"), outputs=SPIKES)
def event_csr(ops: Ops, p: Parameters, spikes: Matrix, w: Array, rest: Array) -> tuple[Array, ...]:
    """Nothing is multiplied with a zero."""
    return _from_events(ops, p, spikes, w, rest)


@w.formulation(note="the rows of W at the spikes: an embedding bag a step", prepare=_events("bag"), outputs=SPIKES)
def event_bag(ops: Ops, p: Parameters, spikes: Matrix, w: Array, rest: Array) -> tuple[Array, ...]:
    """Sums of rows, in one kernel where there is one."""
    return _from_events(ops, p, spikes, w, rest)


WORKLOAD = w.definition()

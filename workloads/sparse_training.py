"""Sparse training: a network whose weights are sparse from the start, and whose pattern moves as it learns.

An MLP with as many stored weights in every hidden layer as its density says, the last layer dense. `phase` is what is
measured: `step` is one of plain SGD, with gradients at the stored weights only; `update` moves the pattern: RigL forms
the dense gradient, drops the smallest weights of each layer and grows as many where the gradient is largest; SET takes
a step, drops the smallest and grows where it is told. Between two updates lie about a hundred steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise

import numpy as np

from backends.ops import Array, Execution, HostArray, Matrix, Ops
from workloads import Axis, Parameters, Workload
from workloads.base import LEARNING_RATE, Inputs, Mode, Twin, Work
from workloads.common import digits, sparse_mlp, topology

w = Workload(
    "sparse_training",
    title="sparse training",
    source="Evci et al. 2020, Rigging the Lottery (arXiv:1911.11134), §3; Mocanu et al. 2018, SET (arXiv:1707.04780)",
    leaves_out="zeros",
    axes={
        "batch": Axis(help="images", low=1, high=1e6, default=128),
        "features": Axis(help="pixels of an image", low=1, high=1e6, default=784),
        "hidden": Axis(help="units of a hidden layer", low=1, high=1e6, default=1024),
        "layers": Axis(help="hidden layers", low=1, high=1000, default=3),
        "density": Axis(help="share of the weights that is stored", low=1e-6, high=1, default=0.1, break_even=True),
        "phase": Axis(help="a step, or the update of the pattern", choices=("step", "update"), default="step"),
        "rule": Axis(help="what grows", choices=("rigl", "set"), default="rigl"),
    },
    tolerances={("float64", "train_step"): 1e-8, ("float32", "train_step"): 1e-4},
)
for _phase, _rule in (("step", "rigl"), ("update", "rigl"), ("update", "set")):
    w.preset("smoke", batch=8, features=48, hidden=32, layers=2, density=0.2, phase=_phase, rule=_rule)
for _phase in ("step", "update"):
    w.preset("ideas", phase=_phase)
    w.sweep("density", (0.1, 0.2, 0.05), survey_at=0.1, presets=("standard",), hidden=4096, phase=_phase)
    w.preset("full", batch=4096, features=8192, hidden=8192, layers=4, phase=_phase)


@w.twins
def _twins(p: Parameters, mode: Mode) -> Sequence[Twin]:
    """A step of the same network dense, and of a dense one with as many parameters."""
    return sparse_mlp.twins(p, mode)


def _dims(p: Parameters) -> list[int]:
    if p.density * min(p.features, p.hidden) * p.hidden < 1:
        raise ValueError(f"axis density of sparse_training leaves a layer without a weight, found {p.density:g}")
    if p.phase == "update" and p.density > 1 / (1 + topology.DROPPED):
        raise ValueError(
            f"axis density of sparse_training must be at most {1 / (1 + topology.DROPPED):.2f} where phase is update, "
            f"found {p.density:g}: else there is no room to grow"
        )
    return [p.features, *([p.hidden] * p.layers), digits.CLASSES]


@w.inputs
def inputs(p: Parameters, seed: int) -> Inputs:
    """x (n, features) and target (n, 10) digits; of each layer w0… (nnz,) with indices and indptr of A (out × in).

    The last layer is dense, (in, 10). grow0… are the positions that SET grows, flat in (out × in).
    """
    dims, rng = _dims(p), np.random.default_rng([seed, 9])
    counts = topology.stored(dims, p.density)
    out: dict[str, HostArray] = {"x": digits.flat(p.batch, p.features, seed), "target": digits.one_hot(p.batch, seed)}
    for layer, (fan_in, fan_out) in enumerate(pairwise(dims)):
        if layer == p.layers:
            out[f"w{layer}"] = rng.standard_normal((fan_in, fan_out)) * np.sqrt(2 / fan_in)
            continue
        pattern = topology.even_pattern(fan_out, fan_in, counts[layer], np.random.default_rng([1, layer]))
        spread = np.sqrt(2 / (p.density * fan_in))
        out[f"w{layer}"] = rng.standard_normal(counts[layer]) * spread
        out[f"w{layer}_indices"], out[f"w{layer}_indptr"] = pattern.indices, pattern.indptr
        if p.phase == "update" and p.rule == "set":
            grown = topology.exchanged(counts[layer])
            out[f"grow{layer}"] = topology.unused(pattern, grown, np.random.default_rng([2, layer]))
    return out


@w.reference
def reference(p: Parameters, x: HostArray, target: HostArray, **rest: HostArray) -> Mapping[str, HostArray]:
    """By dense products with the zeros in place."""
    return sparse_mlp.reference(p, _dims(p), x, target, rest)


@w.work
def work(p: Parameters, mode: Mode, itemsize: int) -> Work:
    """Of a step and of an update, as `topology.useful_flop` and `sparse_mlp.least_bytes`."""
    dims = _dims(p)
    dense = p.phase == "update" and p.rule == "rigl"
    flop = topology.useful_flop(p.batch, dims, p.density, dense)
    return Work(flop, *sparse_mlp.least_bytes(itemsize, p.batch, dims, p.density, p.phase, dense))


# -- a step ------------------------------------------------------------------------------------------------------------
def _names(p: Parameters) -> list[str]:
    if p.phase == "step":
        return ["loss", *(f"w{layer}" for layer in range(p.layers + 1))]
    kept = [f"{what}{layer}" for what in ("new", "mask") for layer in range(p.layers)]
    return kept if p.rule == "rigl" else [*kept, f"w{p.layers}"]


def _steps(p: Parameters) -> bool:
    return bool(p.phase == "step")


def _native(format: str, sampling: str) -> Callable[..., Sequence[Array | Matrix]]:
    """x and target transposed, the values of each layer and the last, then of each layer what its products need."""

    def prepare(ops: Ops, p: Parameters, x: HostArray, target: HostArray, **rest: HostArray) -> Sequence[Matrix]:
        return sparse_mlp.native_operands(ops, p, format, sampling, x, target, rest)

    return prepare


def _step_by(name: str, note: str, format: str, sampling: str) -> None:
    def step(ops: Ops, p: Parameters, *operands: Array | Matrix) -> tuple[Array, ...]:
        return sparse_mlp.native_step(ops, p, sampling, operands)

    step.__name__ = name
    kept = w.formulation(
        note=note, mode="train_step", prepare=_native(format, sampling), outputs=_names, applies=_steps
    )
    kept(step)


_step_by("csr_dense_sample", "CSR products; the gradient dense, then taken", "csr", "dense")
_step_by("csr_native", "CSR products, the framework's own sampled product", "csr", "native")
_step_by("csr_gather", "CSR products; rows gathered for the gradient of each stored weight", "csr", "gather")
_step_by("bag_native", "embedding bags, the framework's own sampled product", "bag", "native")
_step_by("bag_dense_sample", "embedding bags; the gradient dense, then taken", "bag", "dense")


@w.formulation(
    note="as many weights in every row, no padding but one: batched products of taken rows, static shapes",
    mode="train_step",
    prepare=lambda ops, p, x, target, **rest: sparse_mlp.ell_operands(ops, p, x, target, rest),
    restore=lambda p, **outputs: sparse_mlp.from_ell(p, outputs),
    outputs=_names,
    applies=_steps,
)
def constant_fan_in(ops: Ops, p: Parameters, *operands: Array) -> tuple[Array, ...]:
    """The condensed form of SRigL; the backward product goes by segments of the transpose."""
    return sparse_mlp.ell_step(ops, p, operands)


@w.formulation(
    note="weights stored with their zeros, dense products, a mask on the gradients: what is usually published",
    mode="train_step",
    prepare=lambda ops, p, x, target, **rest: sparse_mlp.masked_operands(ops, p, x, target, rest),
    restore=lambda p, **outputs: sparse_mlp.from_masked(p, outputs),
    outputs=_names,
    applies=_steps,
    multiplies_zeros=True,
)
def masked_dense(ops: Ops, p: Parameters, x: Array, target: Array, *operands: Array) -> tuple[Array, ...]:
    """All the work of the dense network, and the mask's."""
    count = p.layers
    weights, masks = operands[: count + 1], operands[count + 1 : 2 * count + 1]
    loss, gradients = sparse_mlp.dense_gradients(ops, x, target, weights)
    masked = [g * m for g, m in zip(gradients, masks, strict=False)]
    new = [ops.sgd_step(v, g, LEARNING_RATE) for v, g in zip(weights, [*masked, gradients[-1]], strict=True)]
    return loss, *new


# -- an update ---------------------------------------------------------------------------------------------------------
def _update_by(
    name: str, note: str, threshold: sparse_mlp.Threshold, executions: tuple[Execution, ...] | None = None
) -> None:
    def step(ops: Ops, p: Parameters, x: Array, target: Array, *operands: Array) -> tuple[Array, ...]:
        return sparse_mlp.update(ops, p, threshold, x, target, operands)

    step.__name__ = name
    kept = w.formulation(
        note=f"weights stored with their zeros, dense products; thresholds {note}",
        mode="train_step",
        prepare=lambda ops, p, x, target, **rest: sparse_mlp.masked_operands(ops, p, x, target, rest),
        outputs=_names,
        applies=lambda p: p.phase == "update",
        executions=executions,
    )
    kept(step)


_update_by("top_k", "by the framework's own selection", sparse_mlp.by_selection)
_update_by("sampled", "by its selection among those above what a sample says", sparse_mlp.by_sample, ("eager",))
_update_by("sorted", "by sorting the layer", sparse_mlp.by_sort)
_update_by(
    "bisection", "by 31 counting passes over the bits of the floats, exact and without a sort", sparse_mlp.by_bisection
)


@w.formulation(
    note="weights stored with their zeros, dense products; the same passes as steps of a loop",
    mode="train_step",
    prepare=lambda ops, p, x, target, **rest: [
        ops.asarray(np.array([1 << bit for bit in range(30, -1, -1)], np.int32)),
        *sparse_mlp.masked_operands(ops, p, x, target, rest),
    ],
    outputs=_names,
    applies=lambda p: p.phase == "update",
)
def bisection_loop(
    ops: Ops, p: Parameters, powers: Array, x: Array, target: Array, *operands: Array
) -> tuple[Array, ...]:
    """Where a compiler would make each pass anew from what it reads."""
    return sparse_mlp.update(ops, p, partial(sparse_mlp.by_loop, powers=powers), x, target, operands)


WORKLOAD = w.definition()

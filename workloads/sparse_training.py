"""Sparse training: a network whose weights are sparse from the start, and whose pattern moves as it learns.

An MLP with as many stored weights in every hidden layer as its density says, the last layer dense. `phase` is what is
measured: `step` is one of plain SGD, with gradients at the stored weights only; `update` moves the pattern: RigL forms
the dense gradient, drops the smallest weights of each layer and grows as many where the gradient is largest; SET takes
a step, drops the smallest and grows where it is told. `blocks` is RigL's rule for whole blocks of 16×16. `top_kast`
keeps all weights: a step reads the largest and has gradients at twice as many, an update takes a step and then chooses
both sets anew. Between two updates lie about a hundred steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from backends.ops import Array, Execution, HostArray, Matrix, Ops
from workloads import Axis, Parameters, Workload
from workloads.base import Inputs, Mode, Twin, Work
from workloads.common import sparse_mlp, sparse_mlp_blocks, sparse_mlp_steps, sparse_mlp_updates, top_kast, topology
from workloads.common.networks import STEP, perceptron_tolerances
from workloads.common.topology import keeps_all

w = Workload(
    "sparse_training",
    title="sparse training",
    source=(
        "Evci et al. 2020, Rigging the Lottery (arXiv:1911.11134), §3; Mocanu et al. 2018, SET (arXiv:1707.04780); "
        "Jayakumar et al. 2020, Top-KAST (arXiv:2106.03517)"
    ),
    leaves_out="zeros",
    axes={
        "batch": Axis(help="images", low=1, high=1e6, default=128),
        "features": Axis(help="pixels of an image", low=1, high=1e6, default=784),
        "hidden": Axis(help="units of a hidden layer", low=1, high=1e6, default=1024),
        "layers": Axis(help="hidden layers", low=1, high=1000, default=3),
        "density": Axis(help="share of the weights that is stored", low=1e-6, high=1, default=0.1, break_even=True),
        "phase": Axis(help="a step, or the update of the pattern", choices=("step", "update"), default="step"),
        "rule": Axis(
            help="what grows: weights by RigL or SET, blocks of 16×16 by RigL; or the largest of all, by Top-KAST",
            choices=("rigl", "set", "blocks", "top_kast"),
            default="rigl",
        ),
    },
    tolerances=lambda p: {("float64", "train_step"): 1e-8, STEP: perceptron_tolerances(p.hidden)[STEP]},
)
for _phase, _rule in (("step", "rigl"), ("update", "rigl"), ("update", "set")):
    w.preset("smoke", batch=8, features=48, hidden=32, layers=2, density=0.2, phase=_phase, rule=_rule)
for _phase in ("step", "update"):
    w.preset("smoke", batch=8, features=48, hidden=32, layers=2, density=0.2, phase=_phase, rule="top_kast")
    w.preset("smoke", batch=8, features=48, hidden=64, layers=2, density=0.4, phase=_phase, rule="blocks")
    w.preset("ideas", phase=_phase)
    w.sweep("density", (0.1, 0.2, 0.05), survey_at=0.1, presets=("standard",), hidden=4096, phase=_phase)
    for _rule in ("rigl", "blocks", "top_kast"):
        w.preset("full", batch=4096, features=8192, hidden=8192, layers=4, phase=_phase, rule=_rule)
for _rule in ("blocks", "top_kast"):
    w.preset("ideas", rule=_rule)


@w.twins
def _twins(p: Parameters, mode: Mode) -> Sequence[Twin]:
    """A step of the same network dense, and of a dense one with as many parameters."""
    return sparse_mlp.twins(p, mode)


@w.inputs
def inputs(p: Parameters, seed: int) -> Inputs:
    """As `sparse_mlp.drawn` or `top_kast.drawn` has them."""
    topology.check(p)
    return top_kast.drawn(p, seed) if keeps_all(p.rule) else sparse_mlp.drawn(p, seed)


@w.reference
def reference(p: Parameters, x: HostArray, target: HostArray, **rest: HostArray) -> Mapping[str, HostArray]:
    """By dense products with the zeros in place."""
    refer = top_kast.reference if keeps_all(p.rule) else sparse_mlp.reference
    return refer(p, x, target, rest)


@w.work
def work(p: Parameters, mode: Mode, itemsize: int) -> Work:
    """Of a step and of an update, as `topology.useful_flop` and `sparse_mlp.least_bytes`, or `top_kast.work`."""
    topology.check(p)
    if keeps_all(p.rule):
        return top_kast.work(p, itemsize)
    dims, side = sparse_mlp.sizes(p), topology.side_of(p.rule)
    dense = p.phase == "update" and p.rule != "set"
    flop = topology.useful_flop(p.batch, dims, p.density, dense, side)
    return Work(flop, *sparse_mlp.least_bytes(itemsize, p.batch, dims, p.density, p.phase, dense, side))


# -- a step ------------------------------------------------------------------------------------------------------------
def _names(p: Parameters) -> list[str]:
    stepped = ["loss", *(f"w{layer}" for layer in range(p.layers + 1))]
    if p.phase == "step":
        return stepped
    if keeps_all(p.rule):
        return [*stepped, *(f"sets{layer}" for layer in range(p.layers))]
    kept = [f"{what}{layer}" for what in ("new", "mask") for layer in range(p.layers)]
    return [*kept, f"w{p.layers}"] if p.rule == "set" else kept


def _steps(p: Parameters) -> bool:
    return bool(p.phase == "step")


def _scattered(p: Parameters) -> bool:
    """Where weights stand alone: in blocks, what gathers one at a time has a faster form in every framework."""
    return bool(p.phase == "step" and p.rule != "blocks")


def _even(p: Parameters) -> bool:
    """Where each row has as many: the largest of a layer stand where they do."""
    return _scattered(p) and not keeps_all(p.rule)


def _in_blocks(p: Parameters) -> bool:
    return bool(p.phase == "step" and p.rule == "blocks")


def _native(format: str, sampling: str) -> Callable[..., Sequence[Array | Matrix]]:
    """x and target transposed, the values of each layer and the last, then of each layer what its products need."""

    def prepare(ops: Ops, p: Parameters, x: HostArray, target: HostArray, **rest: HostArray) -> Sequence[Matrix]:
        operands = top_kast.native_operands if keeps_all(p.rule) else sparse_mlp_steps.native_operands
        return operands(ops, p, format, sampling, x, target, rest)

    return prepare


def _as_named(p: Parameters, **outputs: HostArray) -> Mapping[str, HostArray]:
    """What is stored of all the weights goes to its places among them; what is stored of a sparse network is all."""
    return top_kast.from_stored(p, outputs) if keeps_all(p.rule) else {name: outputs[name] for name in _names(p)}


def _step_by(
    name: str, note: str, format: str, sampling: str, applies: Callable[[Parameters], bool] = _scattered
) -> None:
    def step(ops: Ops, p: Parameters, *operands: Array | Matrix) -> tuple[Array, ...]:
        run = top_kast.native_step if keeps_all(p.rule) else sparse_mlp_steps.native_step
        return run(ops, p, sampling, operands)

    step.__name__ = name
    kept = w.formulation(
        note=note,
        mode="train_step",
        prepare=_native(format, sampling),
        restore=_as_named,
        outputs=lambda p: top_kast.stored_names(p) if keeps_all(p.rule) else _names(p),
        applies=applies,
    )
    kept(step)


_step_by("csr_dense_sample", "CSR products; the gradient dense, then taken", "csr", "dense")
_step_by("csr_native", "CSR products, the framework's own sampled product", "csr", "native", _even)
_step_by("csr_gather", "CSR products; rows gathered for the gradient of each stored weight", "csr", "gather", _even)
_step_by("bag_native", "embedding bags, the framework's own sampled product", "bag", "native", _steps)
_step_by("bag_dense_sample", "embedding bags; the gradient dense, then taken", "bag", "dense", _even)


@w.formulation(
    note="as many weights in every row, no padding but one: batched products of taken rows, static shapes",
    mode="train_step",
    prepare=lambda ops, p, x, target, **rest: sparse_mlp_steps.ell_operands(ops, p, x, target, rest),
    restore=lambda p, **outputs: sparse_mlp_steps.from_ell(p, outputs),
    outputs=_names,
    applies=_even,
)
def constant_fan_in(ops: Ops, p: Parameters, *operands: Array) -> tuple[Array, ...]:
    """The condensed form of SRigL; the backward product goes by segments of the transpose."""
    return sparse_mlp_steps.ell_step(ops, p, *operands)


def _with_zeros(ops: Ops, p: Parameters, x: HostArray, target: HostArray, **rest: HostArray) -> Sequence[Array]:
    """Operands of what stores zeros, in a step and in an update."""
    sparse = sparse_mlp_steps.masked_operands if p.phase == "step" else sparse_mlp_updates.operands
    operands = top_kast.masked_operands if keeps_all(p.rule) else sparse
    return operands(ops, p, x, target, rest)


def _from_masked(p: Parameters, **outputs: HostArray) -> Mapping[str, HostArray]:
    return (
        {name: outputs[name] for name in _names(p)} if keeps_all(p.rule) else sparse_mlp_steps.from_masked(p, outputs)
    )


@w.formulation(
    note="weights stored with their zeros, dense products, a mask on the gradients: what is usually published",
    mode="train_step",
    prepare=_with_zeros,
    restore=_from_masked,
    outputs=_names,
    applies=_steps,
    multiplies_zeros=True,
)
def masked_dense(ops: Ops, p: Parameters, *operands: Array) -> tuple[Array, ...]:
    """All the work of the dense network, and the mask's."""
    return sparse_mlp_steps.masked_step(ops, p, *operands)


def _block_step_by(name: str, note: str, form: sparse_mlp_blocks.BlockForm) -> None:
    def step(ops: Ops, p: Parameters, *operands: Array | Matrix) -> tuple[Array, ...]:
        return sparse_mlp_blocks.block_step(ops, p, form, *operands)

    step.__name__ = name
    kept = w.formulation(
        note=note,
        mode="train_step",
        prepare=lambda ops, p, x, target, **rest: sparse_mlp_blocks.operands(ops, p, form, x, target, rest),
        restore=lambda p, **outputs: sparse_mlp_blocks.from_blocks(p, form, outputs),
        outputs=_names,
        applies=_in_blocks,
    )
    kept(step)


_block_step_by("block_bmm", "batched products of gathered blocks, summed by segment", sparse_mlp_blocks.GATHERED)
_block_step_by(
    "block_rows", "as many blocks in every row, no padding but one: a batched product a row", sparse_mlp_blocks.ROWS
)
_block_step_by(
    "block_rows_taken",
    "the same; backward the results of each block column are taken together and added up",
    sparse_mlp_blocks.TAKEN,
)


# -- an update ---------------------------------------------------------------------------------------------------------
def _updates(p: Parameters) -> bool:
    return bool(p.phase == "update")


def _many(p: Parameters) -> bool:
    """Where a threshold is looked for among a million weights: of blocks there are few, and it costs nothing."""
    return bool(p.phase == "update" and p.rule != "blocks")


def _updated(ops: Ops, p: Parameters, threshold: sparse_mlp_updates.Threshold, *operands: Array) -> tuple[Array, ...]:
    run = top_kast.update if keeps_all(p.rule) else sparse_mlp_updates.update
    return run(ops, p, threshold, *operands)


def _update_by(
    name: str,
    note: str,
    threshold: sparse_mlp_updates.Threshold,
    executions: tuple[Execution, ...] | None = None,
    applies: Callable[[Parameters], bool] = _many,
) -> None:
    def step(ops: Ops, p: Parameters, *operands: Array) -> tuple[Array, ...]:
        return _updated(ops, p, threshold, *operands)

    step.__name__ = name
    kept = w.formulation(
        note=f"weights stored with their zeros, dense products; thresholds {note}",
        mode="train_step",
        prepare=_with_zeros,
        outputs=_names,
        applies=applies,
        executions=executions,
    )
    kept(step)


_update_by("top_k", "by the framework's own selection", sparse_mlp_updates.by_selection, applies=_updates)
_update_by("sampled", "by its selection among those above what a sample says", sparse_mlp_updates.by_sample, ("eager",))
_update_by("sorted", "by sorting the layer", sparse_mlp_updates.by_sort)
_update_by(
    "bisection",
    "by 31 counting passes over the bits of the floats, exact and without a sort",
    sparse_mlp_updates.by_bisection,
    applies=lambda p: _many(p) and not keeps_all(p.rule),  # 62 for two thresholds: long to compile, no faster
)


@w.formulation(
    note="weights stored with their zeros, dense products; the same passes as steps of a loop",
    mode="train_step",
    prepare=lambda ops, p, x, target, **rest: [
        ops.asarray(np.array([1 << bit for bit in range(30, -1, -1)], np.int32)),
        *_with_zeros(ops, p, x, target, **rest),
    ],
    outputs=_names,
    applies=_many,
)
def bisection_loop(ops: Ops, p: Parameters, powers: Array, *operands: Array) -> tuple[Array, ...]:
    """Where a compiler would make each pass anew from what it reads."""
    return _updated(ops, p, partial(sparse_mlp_updates.by_loop, powers=powers), *operands)


@w.formulation(
    note="blocks stored, batched products of gathered blocks; a dropped block's storage is a grown one's",
    mode="train_step",
    prepare=lambda ops, p, x, target, **rest: sparse_mlp_blocks.moving_operands(ops, p, x, target, rest),
    restore=lambda p, **outputs: sparse_mlp_blocks.from_moved(p, outputs),
    outputs=lambda p: [f"{what}{layer}" for what in ("new", "places", "order") for layer in range(p.layers)],
    applies=lambda p: p.phase == "update" and p.rule == "blocks",
)
def block_moved(ops: Ops, p: Parameters, *operands: Array) -> tuple[Array, ...]:
    """The sparse matrix is built anew, in order and with that of its transpose: what the next step reads."""
    return sparse_mlp_blocks.moved(ops, p, *operands)


WORKLOAD = w.definition()

"""Structured pruning: whole units of a block of two layers are left out, and what is left is dense, only smaller.

Y = relu(X·W1)·W2 with H′ of H units, those of largest ‖W1[:, j]‖·‖W2[j, :]‖. It is the control among the ideas: its
tax is about 1 wherever a library likes the size H′ as well as H, and `multiple` rounds H′ to such a size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from backends.ops import Array, HostArray, Matrix, Ops
from workloads import Axis, Parameters, Workload
from workloads.base import MODES, Inputs, Mode, Work
from workloads.common import digits, mlp_block, patterns

PADDED_TO = 64

w = Workload(
    "structured_pruned",
    title="structured pruning",
    source="Radu et al. 2020, Performance Aware CNN Channel Pruning for Embedded GPUs (arXiv:2002.08697)",
    leaves_out="nothing, it is smaller",
    axes={
        "batch": Axis(help="rows of X", low=1, high=1e7, default=128),
        "d": Axis(help="values of a row", low=1, high=1e6, default=768),
        "h": Axis(help="units before pruning", low=1, high=1e6, default=3072),
        "kept": Axis(help="share of the units that stays", low=1e-6, high=1, default=0.5, break_even=True),
        "multiple": Axis(help="what the number of units is rounded to", low=1, high=4096, default=1),
    },
)
w.preset("smoke", batch=8, d=32, h=48)
w.preset("ideas", mode="forward")
for _mode in MODES:
    # Surveyed where H′ is an awkward 1229, and padding is something.
    w.sweep("kept", (0.3, 0.5, 0.25, 0.1), survey_at=0.3, presets=("standard",), mode=_mode, batch=512, d=1024, h=4096)
for _kept in (0.5, 0.25):
    w.preset("full", mode="forward", batch=8192, d=8192, h=28672, kept=_kept)
w.twin("dense_block", kind="whole_block", batch="batch", d="d", h="h")


def units(p: Parameters) -> int:
    """H′: the share of H that stays, rounded to `multiple` and at least that; ValueError where H has not so many."""
    if p.multiple > p.h:
        raise ValueError(f"axis multiple of structured_pruned must be at most h, found {p.multiple} for {p.h}")
    found = max(1, round(round(p.kept * p.h) / p.multiple)) * p.multiple
    return int(min(found, p.h // p.multiple * p.multiple))


@w.inputs
def inputs(p: Parameters, seed: int) -> Inputs:
    """x (b, d), w1 (d, H′), w2 (H′, d), target (b, d); `kept_units` (H′,), and the rest of both layers, that is pruned.

    W1 is a layer trained on the digits.
    """
    count = units(p)
    rng = np.random.default_rng([seed, 3])
    w1 = patterns.trained_weights(p.h, p.d, seed).T
    w2 = rng.standard_normal((p.h, p.d)) / np.sqrt(p.h)
    order = np.argsort(-np.linalg.norm(w1, axis=0) * np.linalg.norm(w2, axis=1), kind="stable")
    kept, pruned = np.sort(order[:count]), np.sort(order[count:])
    return {
        "x": digits.flat(p.batch, p.d, seed),
        "w1": np.ascontiguousarray(w1[:, kept]),
        "w2": w2[kept],
        "target": rng.standard_normal((p.batch, p.d)),
        "kept_units": kept.astype(np.int32),
        "pruned1": np.ascontiguousarray(w1[:, pruned]),
        "pruned2": w2[pruned],
    }


@w.reference
def reference(mode: Mode, x: HostArray, w1: HostArray, w2: HostArray, target: HostArray) -> Mapping[str, HostArray]:
    """Of what is left."""
    return mlp_block.reference(mode, x, w1, w2, target)


@w.work
def work(p: Parameters, mode: Mode, itemsize: int) -> Work:
    """As `mlp_block.work` with H′ units."""
    return mlp_block.work(mode, itemsize, p.batch, p.d, units(p))


# -- operands ----------------------------------------------------------------------------------------------------------
def _turned(ops: Ops, x: HostArray, w1: HostArray, w2: HostArray) -> Sequence[Array]:
    return [ops.asarray(x), *(ops.asarray(np.ascontiguousarray(v.T)) for v in (w1, w2))]


def _whole(w1: HostArray, w2: HostArray, kept: HostArray, rest1: HostArray, rest2: HostArray) -> list[HostArray]:
    """Both layers with H units, `rest1` and `rest2` in the places of the pruned ones."""
    h = w1.shape[1] + rest1.shape[1]
    pruned = np.setdiff1d(np.arange(h), kept)
    first, second = np.empty((len(w1), h), w1.dtype), np.empty((h, w2.shape[1]), w2.dtype)
    first[:, kept], first[:, pruned] = w1, rest1
    second[kept], second[pruned] = w2, rest2
    return [first, second]


def _masked(
    ops: Ops, x: HostArray, w1: HostArray, w2: HostArray, kept_units: HostArray, **more: HostArray
) -> list[Array]:
    """The layers with zeros for what was pruned; of a step also the target and the mask of units."""
    full = _whole(w1, w2, kept_units, np.zeros_like(more["pruned1"]), np.zeros_like(more["pruned2"]))
    return [ops.asarray(v) for v in (x, *full)]


def _masked_step(
    ops: Ops, x: HostArray, w1: HostArray, w2: HostArray, target: HostArray, kept_units: HostArray, **more: HostArray
) -> list[Array]:
    mask = np.zeros(w1.shape[1] + more["pruned1"].shape[1], w1.dtype)
    mask[kept_units] = 1
    weights = _masked(ops, x, w1, w2, kept_units, **more)
    return [*weights, ops.asarray(target), ops.asarray(mask[None, :]), ops.asarray(mask[:, None])]


def _taken(
    ops: Ops, x: HostArray, w1: HostArray, w2: HostArray, kept_units: HostArray, pruned1: HostArray, pruned2: HostArray
) -> list[Array]:
    """The whole layers, W1 transposed so that units are rows in both, and which units to take."""
    first, second = _whole(w1, w2, kept_units, pruned1, pruned2)
    operands = (x, np.ascontiguousarray(first.T), second)
    return [*(ops.asarray(v) for v in operands), ops.positions(kept_units)]


def _room(p: Parameters) -> int:
    """Units of zeros up to the next multiple of PADDED_TO."""
    return -units(p) % PADDED_TO


def _pad(w1: HostArray, w2: HostArray, more: int) -> list[HostArray]:
    return [np.pad(w1, ((0, 0), (0, more))), np.pad(w2, ((0, more), (0, 0)))]


def _padded(ops: Ops, p: Parameters, x: HostArray, w1: HostArray, w2: HostArray) -> list[Array]:
    return [ops.asarray(v) for v in (x, *_pad(w1, w2, _room(p)))]


def _padded_step(ops: Ops, p: Parameters, x: HostArray, w1: HostArray, w2: HostArray, target: HostArray) -> list[Array]:
    return [*_padded(ops, p, x, w1, w2), ops.asarray(target)]


def _without_padding(p: Parameters, loss: HostArray, w1: HostArray, w2: HostArray) -> Mapping[str, HostArray]:
    return {"loss": loss, "w1": w1[:, : units(p)], "w2": w2[: units(p)]}


def _kept_only(loss: HostArray, w1: HostArray, w2: HostArray, kept_units: HostArray) -> Mapping[str, HostArray]:
    return {"loss": loss, "w1": w1[:, kept_units], "w2": w2[kept_units]}


# -- formulations ------------------------------------------------------------------------------------------------------
Y, STEP = ("y",), ("loss", "w1", "w2")


@w.formulation(note="smaller arrays: what pruning means", outputs=Y)
def sliced(ops: Ops, x: Array, w1: Array, w2: Array) -> tuple[Array, ...]:
    """Dense, with H′ units."""
    return (mlp_block.forward(ops, x, w1, w2),)


@w.formulation(note="smaller arrays, stored transposed as layers store them", prepare=_turned, outputs=Y)
def sliced_transposed(ops: Ops, x: Array, w1: Array, w2: Array) -> tuple[Array, ...]:
    """w1 (H′, d), w2 (d, H′)."""
    return (mlp_block.forward(ops, x, mlp_block.turned(ops, w1), mlp_block.turned(ops, w2)),)


@w.formulation(
    note="smaller arrays, a column an example", prepare=mlp_block.columns, restore=mlp_block.rows_again, outputs=Y
)
def sliced_columns(ops: Ops, x: Array, w1: Array, w2: Array) -> tuple[Array, ...]:
    """As `sliced`, everything transposed."""
    return (mlp_block.of_columns(ops, x, w1, w2),)


@w.formulation(
    note="smaller arrays, weights laid out ahead; the relu within the product",
    prepare=mlp_block.packed,
    outputs=Y,
    executions=("eager",),
)
def sliced_packed(ops: Ops, x: Array, w1: Matrix, w2: Matrix) -> tuple[Array, ...]:
    """In the framework's own layout, as a server of a trained network has them."""
    return (mlp_block.of_packed(ops, x, w1, w2),)


@w.formulation(
    note="zeros kept in place, as ln_structured of torch.nn.utils.prune leaves them behind",
    prepare=_masked,
    outputs=Y,
    multiplies_zeros=True,
)
def masked(ops: Ops, x: Array, w1: Array, w2: Array) -> tuple[Array, ...]:
    """Often published as pruned; it has all the work of the whole block."""
    return (mlp_block.forward(ops, x, w1, w2),)


@w.formulation(note="the units taken in the step, as where they change with every call", prepare=_taken, outputs=Y)
def taken(ops: Ops, x: Array, w1: Array, w2: Array, kept: Array) -> tuple[Array, ...]:
    """w1 (H, d): rows are copied, then multiplied."""
    return (mlp_block.forward(ops, x, mlp_block.turned(ops, ops.take(w1, kept, 0)), ops.take(w2, kept, 0)),)


@w.formulation(
    note="padded by zeros to a multiple of 64 units",
    prepare=_padded,
    outputs=Y,
    applies=lambda p: _room(p) > 0,
)
def padded(ops: Ops, x: Array, w1: Array, w2: Array) -> tuple[Array, ...]:
    """A size that libraries like."""
    return (mlp_block.forward(ops, x, w1, w2),)


@w.formulation(note="smaller arrays, backward by hand", mode="train_step", outputs=STEP)
def sliced_by_hand(ops: Ops, x: Array, w1: Array, w2: Array, target: Array) -> tuple[Array, ...]:
    """As the dense block."""
    return mlp_block.step(ops, x, w1, w2, target)


@w.formulation(note="smaller arrays, the framework's own differentiation", mode="train_step", outputs=STEP)
def sliced_autodiff(ops: Ops, x: Array, w1: Array, w2: Array, target: Array) -> tuple[Array, ...]:
    """As the dense block."""
    return mlp_block.by_autodiff(ops, x, w1, w2, target)


@w.formulation(
    note="zeros kept in place, a mask on both updated layers",
    mode="train_step",
    prepare=_masked_step,
    restore=_kept_only,
    outputs=STEP,
    multiplies_zeros=True,
)
def masked_by_hand(
    ops: Ops, x: Array, w1: Array, w2: Array, target: Array, columns: Array, rows: Array
) -> tuple[Array, ...]:
    """What was pruned has to stay pruned."""
    loss, first, second = mlp_block.step(ops, x, w1, w2, target)
    return loss, first * columns, second * rows


@w.formulation(
    note="padded by zeros to a multiple of 64 units, backward by hand: their gradient is zero by itself",
    mode="train_step",
    prepare=_padded_step,
    restore=_without_padding,
    outputs=STEP,
    applies=lambda p: _room(p) > 0,
)
def padded_by_hand(ops: Ops, x: Array, w1: Array, w2: Array, target: Array) -> tuple[Array, ...]:
    """A unit of zeros is never above zero, and so has no gradient."""
    return mlp_block.step(ops, x, w1, w2, target)


WORKLOAD = w.definition()

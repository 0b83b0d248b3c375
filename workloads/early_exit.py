"""Early exit: an example leaves the network after the first layer whose own head is sure enough of it.

L layers h ← relu(h·W_l), a head Q_l after each; an example leaves where its greatest logit is more than a threshold
above the next. How many are alive at each layer is an axis, so that the work is known; who they are, each framework
finds in the call. The result is every example's logits where it left, and the layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import chain

import numpy as np

from backends.ops import Array, HostArray, Matrix, Ops
from workloads import Axis, Parameters, Workload
from workloads.base import Inputs, Mode, Work
from workloads.common import digits, exits
from workloads.common import exit_steps as steps

FEW = 8  # examples that are run one by one at most: a compiler unrolls them

w = Workload(
    "early_exit",
    title="early exit",
    source="Teerapittayanon, McDanel and Kung 2017, BranchyNet (arXiv:1709.01686), §III",
    leaves_out="equal work for every example",
    axes={
        "batch": Axis(help="examples", low=1, high=1e6, default=128, break_even=True),
        "hidden": Axis(help="values of an example, and units of a layer", low=2, high=1e5, default=1024),
        "layers": Axis(help="layers, each with a head", low=1, high=200, default=8),
        "classes": Axis(help="logits of a head", low=2, high=1e5, default=10),
        "alive": Axis(help="share of the examples that stays at each layer", low=0.01, high=1, default=0.7),
    },
    tolerances={("float64", "forward"): 1e-10, ("float32", "forward"): 1e-5},
)
w.preset("smoke", batch=8, hidden=16, layers=3, classes=4, alive=0.5)
w.preset("ideas")
w.preset("standard", batch=256, hidden=2048, layers=12, group="256")
w.preset("standard", batch=8, hidden=2048, layers=12, group="8")
w.preset("standard", batch=1, hidden=2048, layers=12, survey=False, group="8")
w.preset("full", batch=8192, hidden=4096, layers=32)
w.twin("dense_mlp", kind="full_depth", batch="batch", features="hidden", hidden="hidden", layers="layers")
w.twin(
    "dense_mlp",
    kind="as_deep_as_work",
    batch="batch",
    features="hidden",
    hidden="hidden",
    # that all examples could go through for the same work
    layers=lambda p: max(1, round(sum(steps.planned(p)) / p.batch)),
)


@w.inputs
def inputs(p: Parameters, seed: int) -> Inputs:
    """x (b, h) digits that keep to the plan, w0… (h, h), q0… (h, c), thresholds (layers − 1,), one of zeros if none."""
    rng = np.random.default_rng([seed, 7])
    layers = [rng.standard_normal((p.hidden, p.hidden)) * np.sqrt(2 / p.hidden) for _ in range(p.layers)]
    heads = [rng.standard_normal((p.hidden, p.classes)) / np.sqrt(p.hidden) for _ in range(p.layers)]
    pool = digits.flat(exits.candidates(p.batch), p.hidden, seed)
    chosen, thresholds = exits.planned_batch(pool, layers, heads, steps.planned(p))
    named = dict(zip(chain(*steps.weight_names(p)), [*layers, *heads], strict=True))
    return {"x": pool[chosen], "thresholds": thresholds if len(thresholds) else np.zeros(1), **named}


@w.reference
def reference(p: Parameters, x: HostArray, thresholds: HostArray, **weights: HostArray) -> Mapping[str, HostArray]:
    """Example by example where it is alive."""
    layers, heads = steps.weight_names(p)
    logits, left = exits.run(x, [weights[n] for n in layers], [weights[n] for n in heads], thresholds)
    return {"logits": logits, "left_at": left}


@w.work
def work(p: Parameters, mode: Mode, itemsize: int) -> Work:
    """Σ n_l·2(H² + HC) over the layers; every layer's weights once, and of each alive example 3H + C values."""
    own = p.hidden**2 + p.hidden * p.classes
    plan = steps.planned(p)
    moved = itemsize * sum(own + n * (3 * p.hidden + p.classes) for n in plan)
    live = itemsize * (p.layers * own + p.batch * (2 * p.hidden + p.classes))
    return Work(sum(2 * n * own for n in plan), moved, live)


OUTPUTS = ("logits", "left_at")


# -- formulations ------------------------------------------------------------------------------------------------------
@w.formulation(
    note="every layer runs for every example, and what came too late is not taken: any compiler takes it",
    prepare=steps.operands,
    outputs=OUTPUTS,
    multiplies_zeros=True,
)
def masked(ops: Ops, p: Parameters, h: Array, numbers: Array, classes: Array, *rest: Array) -> tuple[Array, ...]:
    """No work is saved."""
    thresholds, layers, heads = rest[0], rest[1 : 1 + p.layers], rest[1 + p.layers :]
    left_at, logits, inside = numbers * 0, None, None
    for layer, (weights, head) in enumerate(zip(layers, heads, strict=True)):
        h = steps.relu_layer(ops, h, weights)
        found = ops.matmul(h, head)
        logits = found if logits is None else ops.where(ops.expand_dims(inside, 1), found, logits)
        if layer < p.layers - 1:
            stays = steps.margin(ops, found, classes) < thresholds[layer]
            inside = stays if inside is None else inside & stays
            left_at = left_at + ops.astype(inside, "int32")
    return logits, left_at


@w.formulation(
    note="the survivors taken together after every layer: lengths that only the call knows",
    prepare=steps.operands,
    outputs=OUTPUTS,
    executions=("eager", "graph"),
)
def compacted(ops: Ops, p: Parameters, h: Array, here: Array, classes: Array, *rest: Array) -> tuple[Array, ...]:
    """Each layer multiplies what is alive; the host waits for every count."""
    thresholds, layers, heads = rest[0], rest[1 : 1 + p.layers], rest[1 + p.layers :]
    logits: list[Array] = []
    numbers: list[Array] = []
    at: list[Array] = []
    for layer, (weights, head) in enumerate(zip(layers, heads, strict=True)):
        h = steps.relu_layer(ops, h, weights)
        found = ops.matmul(h, head)
        if layer == p.layers - 1:
            logits, numbers, at = [*logits, found], [*numbers, here], [*at, here * 0 + layer]
            break
        stays = steps.margin(ops, found, classes) < thresholds[layer]
        leaving, staying = ops.partition(ops.astype(stays, "int32"), 2)
        gone = ops.take(here, leaving)
        logits, numbers, at = [*logits, ops.take(found, leaving)], [*numbers, gone], [*at, gone * 0 + layer]
        h, here = ops.take(h, staying), ops.take(here, staying)
    back = ops.argsort(ops.concat(numbers, 0))
    return ops.take(ops.concat(logits, 0), back), ops.take(ops.concat(at, 0), back)


@w.formulation(
    note="survivors first, and each layer for the next of three static sizes that holds them: branches in the call",
    prepare=steps.operands,
    outputs=OUTPUTS,
    applies=lambda p: p.batch >= 4,
)
def buckets(ops: Ops, p: Parameters, h: Array, numbers: Array, classes: Array, *rest: Array) -> tuple[Array, ...]:
    """A quarter, a half or all of the batch."""
    thresholds, layers, heads = rest[0], rest[1 : 1 + p.layers], rest[1 + p.layers :]
    sizes = (-(-p.batch // 4), -(-p.batch // 2), p.batch)
    gone, left_at, here = numbers * 0, numbers * 0, numbers
    logits = ops.matmul(h, heads[0]) * 0.0
    for layer, (weights, head) in enumerate(zip(layers, heads, strict=True)):
        if layer:
            order = ops.argsort(gone)
            h, gone, here, left_at, logits = (ops.take(v, order) for v in (h, gone, here, left_at, logits))
        inside = ops.astype(p.batch - ops.sum(gone, 0), "int32")
        bucket = ops.astype(inside > sizes[0], "int32") + ops.astype(inside > sizes[1], "int32")
        h, logits = ops.switch(
            bucket, [partial(steps.first_ones, ops, size) for size in sizes], h, logits, gone, weights, head
        )
        if layer < p.layers - 1:
            stays = (steps.margin(ops, logits, classes) < thresholds[layer]) & (gone == 0)
            left_at = left_at + ops.astype(stays, "int32")
            gone = 1 - ops.astype(stays, "int32")
    back = ops.argsort(here)
    return ops.take(logits, back), ops.take(left_at, back)


@w.formulation(
    note="examples sorted by the layer where they leave, which it is told: the bound of what sorting could gain",
    prepare=steps.prepare_sorted,
    restore=steps.unsorted,
    outputs=("logits", "left_at", "order"),
)
def sorted_prefix(ops: Ops, p: Parameters, h: Array, order: Array, classes: Array, *rest: Array) -> tuple[Array, ...]:
    """Static slices; the margins are looked at all the same."""
    return steps.prefixes(
        ops, p, partial(steps.relu_layer, ops), ops.matmul, partial(steps.margin, ops, classes=classes), h, order, *rest
    )


@w.formulation(
    note="the same with weights laid out ahead, each relu within its product; margins by a selection",
    prepare=steps.prepare_sorted_packed,
    restore=steps.unsorted,
    outputs=("logits", "left_at", "order"),
    executions=("eager",),
)
def sorted_prefix_packed(ops: Ops, p: Parameters, h: Array, order: Array, *rest: Array | Matrix) -> tuple[Array, ...]:
    """In the framework's own layout, as a server of a trained network has them."""

    def margin(logits: Array) -> Array:
        greatest = ops.topk(logits, 2)[0]
        return greatest[:, 0] - greatest[:, 1]

    return steps.prefixes(ops, p, partial(ops.packed_matmul, relu=True), ops.packed_matmul, margin, h, order, *rest)


@w.formulation(
    note="one example after the other, each layer behind a branch: nothing is computed that is not needed",
    prepare=steps.operands,
    outputs=OUTPUTS,
    applies=lambda p: p.batch <= FEW,
)
def one_by_one(ops: Ops, p: Parameters, x: Array, numbers: Array, classes: Array, *rest: Array) -> tuple[Array, ...]:
    """The story of a batch of one."""
    thresholds, layers, heads = rest[0], rest[1 : 1 + p.layers], rest[1 + p.layers :]

    def example(carry: tuple[Array, ...], xs: tuple[Array, ...]) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        h = ops.expand_dims(xs[0], 0)
        logits = ops.matmul(h, heads[0]) * 0.0
        at, gone = carry[0] * 0, carry[0] * 0
        for layer, (weights, head) in enumerate(zip(layers, heads, strict=True)):
            last = layer == p.layers - 1
            run = partial(steps.one_alive, ops, classes, last)
            threshold = thresholds[0] if last else thresholds[layer]
            h, logits, at, gone = ops.cond(
                gone[0] == 0, run, steps.one_gone, h, logits, at, gone, weights, head, ops.reshape(threshold, (1,))
            )
        return carry, (ops.reshape(logits, (p.classes,)), at[0])

    _, (logits, left_at) = ops.scan(example, (numbers[:1] * 0,), (x,))
    return logits, left_at


WORKLOAD = w.definition()

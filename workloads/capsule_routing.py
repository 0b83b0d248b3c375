"""Dynamic routing between capsules: û = u·W, then rounds of softmax, weighted sum, squash and agreement.

Shapes: u (B, I, d) are the capsules below, W (I, J, d, D) their transformations, v (B, J, D) the capsules above. The
logits after any round are û·(v₁ + … + v_r), so no formulation has to keep them from round to round; the first round's
coupling is exactly 1/J. A train step is the margin loss of the paper (eq. 4), mean over the batch, its gradient
through every round with respect to W, and W −= lr·∂W.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from backends.ops import Array, HostArray, Ops
from workloads import Axis, Parameters, Workload
from workloads.base import LEARNING_RATE, Formulation, Inputs, Mode, Work
from workloads.common import digits
from workloads.common.routing_by_hand import STEP_BLOCKS, folded_by_hand
from workloads.common.routing_forms import (
    FORMS,
    Form,
    from_blocks,
    in_blocks,
    margin_loss,
    sizes,
)
from workloads.common.routing_reference import reference_routing, squash

# Sabour et al. 2017, section 4: 1152 primary capsules of 8, ten digit capsules of 16, three rounds
w = Workload(
    "capsule_routing",
    title="dynamic routing between capsules",
    source="Sabour, Frosst and Hinton 2017, arXiv:1710.09829, procedure 1 and eqs. 1-4",
    leaves_out="scalar units",
    axes={
        "batch": Axis(help="images", low=1, high=1e6, default=128),
        "in_capsules": Axis(help="capsules below, I", low=1, high=1e6, default=1152),
        "out_capsules": Axis(help="capsules above, J", low=2, high=1e5, default=10),
        "in_dim": Axis(help="length of a capsule below, d", low=1, high=4096, default=8),
        "out_dim": Axis(help="length of a capsule above, D", low=1, high=4096, default=16),
        "rounds": Axis(help="rounds of routing, R", low=1, high=16, default=3),
    },
)
w.preset("smoke", batch=2, in_capsules=12, out_capsules=3, in_dim=4, out_dim=5)
w.preset("quick", mode="forward", batch=32)
w.preset("ideas", mode="forward", batch=32)
w.preset("standard")
w.preset("full", batch=1024)


@w.inputs
def inputs(p: Parameters, seed: int) -> Inputs:
    """u (B, I, d) from digits, squashed to lengths below 1; W, scaled so that s is of order 1; labels (B, J)."""
    b, i, j, d, D, _ = sizes(p)
    classes = digits.labels(b, seed) % j
    weights = np.random.default_rng(seed).standard_normal((i, j, d, D))
    return {
        "u": squash(digits.flat(b, i * d, seed).reshape(b, i, d)),
        "w": weights * (j / np.sqrt(i * D)),
        "labels": np.eye(j)[classes],
    }


@w.reference
def reference(u: HostArray, w: HostArray, labels: HostArray, p: Parameters, mode: Mode) -> Mapping[str, HostArray]:
    """v, or (loss, updated W): the procedure by the paper, its gradient by hand, in NumPy."""
    v, loss, gradient = reference_routing(u, w, labels if mode == "train_step" else None, p.rounds)
    if gradient is None:
        return {"v": v}
    return {"loss": np.asarray(loss), "w": w - LEARNING_RATE * gradient}


@w.work
def work(p: Parameters, mode: Mode, itemsize: int) -> Work:
    """2BIJDd for û and 2BIJD for each of the 2R−1 passes over it; u and W read once, v written once.

    A train step is three times both parts less the gradient of u (2BIJDd), which the first layer does not need. Its
    bytes: forward as above; backward reads u, W (û and the logits follow from them) and ∂v, writes ∂W; the update reads
    W and ∂W and writes W. û is never needed whole, so what lives is u, W and v with the running sum of the earlier v
    (where there is one); in a step also ∂W and the v of every round. The softmax, the squash and the loss are left out.
    FlopCounterMode sees products alone: û and no pass in `textbook`, every pass but the first (a sum) in `matmul`; the
    folded forms recompute û, (2R−1)·2BIJDd forward. XLA counts softmax and squash too (test_xla_counters.py).
    """
    b, i, j, d, D, rounds = sizes(p)
    u, w, v = b * i * d, i * j * d * D, b * j * D
    transform, passes = 2 * b * i * j * D * d, 2 * b * i * j * D * (2 * rounds - 1)
    if mode == "forward":
        return Work(transform + passes, itemsize * (u + w + v), itemsize * (u + w + v * min(rounds, 2)))
    moved = (u + w + v) + (u + w + v + w) + 3 * w
    return Work(3 * (transform + passes) - transform, itemsize * moved, itemsize * (u + 2 * w + v * (rounds + 1)))


w.twin(  # fully connected I·d → J·D over the same batch, weights as A: the layer that the capsules replace
    "dense_matmul",
    kind="fully_connected",
    m=lambda p: p.out_capsules * p.out_dim,
    k=lambda p: p.in_capsules * p.in_dim,
    n="batch",
    grads="weights",
)


def _forward(form: Form) -> Formulation:
    def prepare(ops: Ops, x: Inputs, p: Parameters) -> Sequence[Array]:
        us, ws = form.arrange(x["u"], x["w"])
        return [ops.asarray(np.ascontiguousarray(a)) for a in (*us, *ws)]

    def step(ops: Ops, p: Parameters) -> Callable[..., tuple[Array, ...]]:
        vectors = form.vectors(ops, p)

        def run(*operands: Array) -> tuple[Array, ...]:
            half = len(operands) // 2
            return (vectors(operands[:half], operands[half:]),)

        return run

    return Formulation(
        note=form.note,
        prepare=prepare,
        step=step,
        restore=lambda outputs, x, p: {"v": outputs[0]},
    )


def _train(form: Form) -> Formulation:
    def prepare(ops: Ops, x: Inputs, p: Parameters) -> Sequence[Array]:
        us, ws = form.arrange(x["u"], x["w"])
        return [ops.asarray(np.ascontiguousarray(a)) for a in (*us, *ws, x["labels"])]

    def step(ops: Ops, p: Parameters) -> Callable[..., tuple[Array, ...]]:
        vectors = form.vectors(ops, p)

        def loss(*operands: Array) -> Any:
            half = len(operands) // 2
            return margin_loss(ops, vectors(operands[:half], operands[half:-1]), operands[-1])

        def run(*operands: Array) -> tuple[Array, ...]:
            half = len(operands) // 2
            value, gradients = ops.value_and_grad(loss, range(half, 2 * half))(*operands)
            return value, *(
                ops.sgd_step(w, g, LEARNING_RATE) for w, g in zip(operands[half:-1], gradients, strict=True)
            )

        return run

    return Formulation(
        note=f"{form.note}; the framework's own differentiation",
        prepare=prepare,
        step=step,
        restore=lambda outputs, x, p: {"loss": outputs[0], "w": form.gather(outputs[1:], p)},
    )


def _prepare_by_hand(ops: Ops, x: Inputs, p: Parameters) -> Sequence[Array]:
    us, ws = in_blocks(STEP_BLOCKS)(x["u"], x["w"])
    return [ops.asarray(np.ascontiguousarray(a)) for a in (*us, *ws, x["labels"].T[:, None, :])]


w.add("forward", **{name: _forward(form) for name, form in FORMS.items()})
# blocks by differentiation are left out: a tie with folded or folded_by_hand in each framework
w.add("train_step", **{name: _train(FORMS[name]) for name in ("textbook", "matmul", "folded")})
w.add(
    "train_step",
    folded_by_hand=Formulation(
        note=f"folded in {STEP_BLOCKS} blocks, its backward pass written out: û is formed in neither "
        "direction; the best in PyTorch and TensorFlow, a tie in JAX",
        prepare=_prepare_by_hand,
        step=folded_by_hand,
        restore=lambda outputs, x, p: {"loss": outputs[0], "w": from_blocks(outputs[1:], p)},
    ),
)

WORKLOAD = w.definition()

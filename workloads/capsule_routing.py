"""Dynamic routing between capsules: û = u·W, then rounds of softmax, weighted sum, squash and agreement.

Shapes: u (B, I, d) are the capsules below, W (I, J, d, D) their transformations, v (B, J, D) the capsules above. The
logits after any round are û·(v₁ + … + v_r), so no formulation has to keep them from round to round; the first round's
coupling is exactly 1/J. A train step is the margin loss of the paper (eq. 4), mean over the batch, its gradient
through every round with respect to W, and W −= lr·∂W.

What a formulation takes over the best of its framework, each in its best execution (results/standard-cpu):

forward, batch=128 in_capsules=1152 out_capsules=10 in_dim=8 out_dim=16 rounds=3
                               torch         jax  tensorflow
    textbook                     2.8         6.9         3.6
    matmul                       3.2         6.1         2.4
    folded                       1.6         1.1         1.4
    folded_halves                1.3        best         1.5
    folded_blocks               best         1.0         1.1
    folded_small_blocks          1.2         1.3        best

train_step, batch=128 in_capsules=1152 out_capsules=10 in_dim=8 out_dim=16 rounds=3
                               torch         jax  tensorflow
    textbook                     2.4         4.7         3.6
    matmul                       1.9         1.5         1.5
    folded                       1.4        best         1.1
    folded_by_hand              best         1.1        best

Most ran in one process, alone: a difference under a fifth is noise. `-` is unsupported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from backends.ops import Array, HostArray, Ops
from workloads.base import LEARNING_RATE, Axis, Formulation, Inputs, Mode, Params, Point, Twin, Work, Workload
from workloads.common import digits
from workloads.common.routing_forms import (
    FORMS,
    STEP_BLOCKS,
    Form,
    folded_by_hand,
    from_blocks,
    in_blocks,
    margin_loss,
    sizes,
)
from workloads.common.routing_reference import reference_routing, squash


def inputs(params: Params, seed: int) -> Inputs:
    """u (B, I, d) from digits, squashed to lengths below 1; W, scaled so that s is of order 1; labels (B, J)."""
    b, i, j, d, D, _ = sizes(params)
    classes = digits.labels(b, seed) % j
    weights = np.random.default_rng(seed).standard_normal((i, j, d, D))
    return {
        "u": squash(digits.flat(b, i * d, seed).reshape(b, i, d)),
        "w": weights * (j / np.sqrt(i * D)),
        "labels": np.eye(j)[classes],
    }


def reference(x: Inputs, params: Params, mode: Mode) -> Mapping[str, HostArray]:
    """v, or (loss, updated W): the procedure by the paper, its gradient by hand, in NumPy."""
    v, loss, gradient = reference_routing(
        x["u"], x["w"], x["labels"] if mode == "train_step" else None, sizes(params)[5]
    )
    if gradient is None:
        return {"v": v}
    return {"loss": np.asarray(loss), "w": x["w"] - LEARNING_RATE * gradient}


def work(params: Params, mode: Mode, itemsize: int) -> Work:
    """2BIJDd for û and 2BIJD for each of the 2R−1 passes over it; u and W read once, v written once.

    A train step is three times both parts less the gradient of u (2BIJDd), which the first layer does not need. Its
    bytes: forward as above; backward reads u, W (û and the logits follow from them) and ∂v, writes ∂W; the update reads
    W and ∂W and writes W. û is never needed whole, so what lives is u, W and v with the running sum of the earlier v
    (where there is one); in a step also ∂W and the v of every round. The softmax, the squash and the loss are left out.
    FlopCounterMode sees products alone: û and no pass in `textbook`, every pass but the first (a sum) in `matmul`; the
    folded forms recompute û, (2R−1)·2BIJDd forward. XLA counts softmax and squash too (tests/test_flop_counters.py).
    """
    b, i, j, d, D, rounds = sizes(params)
    u, w, v = b * i * d, i * j * d * D, b * j * D
    transform, passes = 2 * b * i * j * D * d, 2 * b * i * j * D * (2 * rounds - 1)
    if mode == "forward":
        return Work(transform + passes, itemsize * (u + w + v), itemsize * (u + w + v * min(rounds, 2)))
    moved = (u + w + v) + (u + w + v + w) + 3 * w
    return Work(3 * (transform + passes) - transform, itemsize * moved, itemsize * (u + 2 * w + v * (rounds + 1)))


def twins(params: Params, mode: Mode) -> Sequence[Twin]:
    """Fully connected I·d → J·D over the same batch, weights as A: the layer that the capsules replace."""
    b, i, j, d, D, _ = sizes(params)
    return [Twin("fully_connected", "dense_matmul", {"m": j * D, "k": i * d, "n": b, "grads": "weights"}, mode)]


def _forward(form: Form) -> Formulation:
    def prepare(ops: Ops, x: Inputs, params: Params) -> Sequence[Array]:
        us, ws = form.arrange(x["u"], x["w"])
        return [ops.asarray(np.ascontiguousarray(a)) for a in (*us, *ws)]

    def step(ops: Ops, params: Params) -> Callable[..., tuple[Array, ...]]:
        vectors = form.vectors(ops, params)

        def run(*operands: Array) -> tuple[Array, ...]:
            half = len(operands) // 2
            return (vectors(operands[:half], operands[half:]),)

        return run

    return Formulation(
        note=form.note,
        prepare=prepare,
        step=step,
        restore=lambda outputs, x, params: {"v": outputs[0]},
    )


def _train(form: Form) -> Formulation:
    def prepare(ops: Ops, x: Inputs, params: Params) -> Sequence[Array]:
        us, ws = form.arrange(x["u"], x["w"])
        return [ops.asarray(np.ascontiguousarray(a)) for a in (*us, *ws, x["labels"])]

    def step(ops: Ops, params: Params) -> Callable[..., tuple[Array, ...]]:
        vectors = form.vectors(ops, params)

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
        restore=lambda outputs, x, params: {"loss": outputs[0], "w": form.gather(outputs[1:], params)},
    )


def _prepare_by_hand(ops: Ops, x: Inputs, params: Params) -> Sequence[Array]:
    us, ws = in_blocks(STEP_BLOCKS)(x["u"], x["w"])
    return [ops.asarray(np.ascontiguousarray(a)) for a in (*us, *ws, x["labels"].T[:, None, :])]


def _shape(batch: int) -> Params:
    # Sabour et al. 2017, section 4: 1152 primary capsules of 8, ten digit capsules of 16, three rounds
    return {"batch": batch, "in_capsules": 1152, "out_capsules": 10, "in_dim": 8, "out_dim": 16, "rounds": 3}


_SMOKE: Params = {"batch": 2, "in_capsules": 12, "out_capsules": 3, "in_dim": 4, "out_dim": 5, "rounds": 3}

WORKLOAD = Workload(
    name="capsule_routing",
    title="dynamic routing between capsules",
    source="Sabour, Frosst and Hinton 2017, arXiv:1710.09829, procedure 1 and eqs. 1-4",
    axes={
        "batch": Axis(help="images", low=1, high=1e6),
        "in_capsules": Axis(help="capsules below, I", low=1, high=1e6),
        "out_capsules": Axis(help="capsules above, J", low=2, high=1e5),
        "in_dim": Axis(help="length of a capsule below, d", low=1, high=4096),
        "out_dim": Axis(help="length of a capsule above, D", low=1, high=4096),
        "rounds": Axis(help="rounds of routing, R", low=1, high=16),
    },
    presets={
        "smoke": (Point(_SMOKE), Point(_SMOKE, "train_step")),
        "quick": (Point(_shape(32)),),
        "standard": (Point(_shape(128)), Point(_shape(128), "train_step")),
        "full": (Point(_shape(1024)), Point(_shape(1024), "train_step")),
    },
    inputs=inputs,
    reference=reference,
    formulations={
        "forward": {name: _forward(form) for name, form in FORMS.items()},
        "train_step": {
            # blocks by differentiation are left out: a tie with folded or folded_by_hand in each framework
            **{name: _train(FORMS[name]) for name in ("textbook", "matmul", "folded")},
            "folded_by_hand": Formulation(
                note=f"folded in {STEP_BLOCKS} blocks, its backward pass written out: û is formed in neither "
                "direction; the best in PyTorch and TensorFlow, a tie in JAX",
                prepare=_prepare_by_hand,
                step=folded_by_hand,
                restore=lambda outputs, x, params: {"loss": outputs[0], "w": from_blocks(outputs[1:], params)},
            ),
        },
    },
    work=work,
    twins=twins,
)

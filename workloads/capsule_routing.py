"""Dynamic routing between capsules: û = u·W, then rounds of softmax, weighted sum, squash and agreement.

Shapes: u (B, I, d) are the capsules below, W (I, J, d, D) their transformations, v (B, J, D) the capsules above. The
logits after any round are û·(v₁ + … + v_r), so no formulation has to keep them from round to round; the first round's
coupling is exactly 1/J. A train step is the margin loss of the paper (eq. 4), mean over the batch, its gradient
through every round with respect to W, and W −= lr·∂W.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backends.ops import Array, HostArray, Ops
from workloads.base import LEARNING_RATE, Axis, Formulation, Inputs, Mode, Params, Point, Twin, Work, Workload
from workloads.common import digits
from workloads.common.routing_reference import ABSENT, DOWN, EPSILON, PRESENT, reference_routing, squash

BLOCKS = 8  # of the blocked formulation: few enough that eager calls do not dominate, and a block of (c·u) fits a cache


def _sizes(params: Params) -> tuple[int, int, int, int, int, int]:
    names = ("batch", "in_capsules", "out_capsules", "in_dim", "out_dim", "rounds")
    b, i, j, d, D, rounds = (int(params[n]) for n in names)
    return b, i, j, d, D, rounds


def inputs(params: Params, seed: int) -> Inputs:
    """u (B, I, d) from digits, squashed to lengths below 1; W, scaled so that s is of order 1; labels (B, J)."""
    b, i, j, d, D, _ = _sizes(params)
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
        x["u"], x["w"], x["labels"] if mode == "train_step" else None, _sizes(params)[5]
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
    """
    b, i, j, d, D, rounds = _sizes(params)
    u, w, v = b * i * d, i * j * d * D, b * j * D
    transform, passes = 2 * b * i * j * D * d, 2 * b * i * j * D * (2 * rounds - 1)
    if mode == "forward":
        return Work(transform + passes, itemsize * (u + w + v), itemsize * (u + w + v * min(rounds, 2)))
    moved = (u + w + v) + (u + w + v + w) + 3 * w
    return Work(3 * (transform + passes) - transform, itemsize * moved, itemsize * (u + 2 * w + v * (rounds + 1)))


def twins(params: Params, mode: Mode) -> Sequence[Twin]:
    """Fully connected I·d → J·D over the same batch, weights as A: the layer that the capsules replace."""
    b, i, j, d, D, _ = _sizes(params)
    return [Twin("fully_connected", "dense_matmul", {"m": j * D, "k": i * d, "n": b, "grads": "weights"}, mode)]


def _squash(ops: Ops, s: Array, axis: int) -> Array:
    norm2 = ops.sum(s * s, axis, keepdims=True)
    return s * (norm2 / ((norm2 + 1.0) * ops.sqrt(norm2 + EPSILON)))


def margin_loss(ops: Ops, v: Array, labels: Array) -> Array:
    """Mean over the batch of eq. 4, from v (B, J, D) and one-hot labels (B, J)."""
    length = ops.sqrt(ops.sum(v * v, 2) + EPSILON)
    short, long = ops.relu(PRESENT - length), ops.relu(length - ABSENT)
    return ops.sum(labels * short * short + DOWN * ((1.0 - labels) * long * long)) * (1.0 / v.shape[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    """A formulation of the forward pass; its train step follows by the framework's own differentiation.

    arrange(u, w) gives the host arrays of u and those of W; vectors(ops, params) takes both lists to v (B, J, D);
    gather(arrays, params) puts the arrays of W back as (I, J, d, D).
    """

    note: str
    arrange: Callable[[HostArray, HostArray], tuple[list[HostArray], list[HostArray]]]
    vectors: Callable[[Ops, Params], Callable[[Sequence[Array], Sequence[Array]], Array]]
    gather: Callable[[Sequence[HostArray], Params], HostArray]


# -- û is formed ----------------------------------------------------------------------------------------------------
def _textbook(ops: Ops, params: Params) -> Callable[[Sequence[Array], Sequence[Array]], Array]:
    _, _, j, _, _, rounds = _sizes(params)

    def vectors(us: Sequence[Array], ws: Sequence[Array]) -> Array:
        predicted = ops.einsum("bid,ijde->bije", us[0], ws[0])
        v = total = _squash(ops, ops.sum(predicted, 1) * (1.0 / j), 2)
        for r in range(1, rounds):
            coupling = ops.softmax(ops.sum(predicted * ops.expand_dims(total, 1), 3), 2)
            v = _squash(ops, ops.sum(predicted * ops.expand_dims(coupling, 3), 1), 2)
            total = total + v if r + 1 < rounds else total
        return v

    return vectors


def _einsum(ops: Ops, params: Params) -> Callable[[Sequence[Array], Sequence[Array]], Array]:
    _, _, j, _, _, rounds = _sizes(params)

    def vectors(us: Sequence[Array], ws: Sequence[Array]) -> Array:
        predicted = ops.einsum("bid,ijde->bije", us[0], ws[0])
        v = total = _squash(ops, ops.sum(predicted, 1) * (1.0 / j), 2)
        for r in range(1, rounds):
            coupling = ops.softmax(ops.einsum("bije,bje->bij", predicted, total), 2)
            v = _squash(ops, ops.einsum("bij,bije->bje", coupling, predicted), 2)
            total = total + v if r + 1 < rounds else total
        return v

    return vectors


def _matmul(ops: Ops, params: Params) -> Callable[[Sequence[Array], Sequence[Array]], Array]:
    b, i, j, _, D, rounds = _sizes(params)

    def vectors(us: Sequence[Array], ws: Sequence[Array]) -> Array:
        # u (I, B, d) · W (I, d, J·D), then one (I, D) matrix for each sample and capsule above
        predicted = ops.permute_dims(ops.reshape(ops.matmul(us[0], ws[0]), (i, b, j, D)), (1, 2, 0, 3))
        v = total = _squash(ops, ops.sum(predicted, 2, keepdims=True) * (1.0 / j), 3)
        for r in range(1, rounds):
            coupling = ops.softmax(ops.matmul(predicted, ops.permute_dims(total, (0, 1, 3, 2))), 1)
            v = _squash(ops, ops.matmul(ops.permute_dims(coupling, (0, 1, 3, 2)), predicted), 3)
            total = total + v if r + 1 < rounds else total
        return ops.reshape(v, (b, j, D))

    return vectors


# -- û is never formed: the coupling is folded into u, the agreement into a product with W ----------------------------
def _folded_rows(ops: Ops, params: Params) -> Callable[[Sequence[Array], Sequence[Array]], Array]:
    b, i, j, d, _, rounds = _sizes(params)

    def vectors(us: Sequence[Array], ws: Sequence[Array]) -> Array:
        u, w = us[0], ws[0]  # (B, d, I), (J, d·I, D)
        v = total = _squash(ops, ops.matmul(ops.reshape(u, (1, b, d * i)), w) * (1.0 / j), 2)
        for r in range(1, rounds):
            back = ops.reshape(ops.matmul(total, ops.permute_dims(w, (0, 2, 1))), (j, b, d, i))
            coupling = ops.softmax(ops.sum(back * u, 2, keepdims=True), 0)
            v = _squash(ops, ops.matmul(ops.reshape(coupling * u, (j, b, d * i)), w), 2)
            total = total + v if r + 1 < rounds else total
        return ops.permute_dims(v, (1, 0, 2))

    return vectors


def _folded(ops: Ops, params: Params) -> Callable[[Sequence[Array], Sequence[Array]], Array]:
    b, _, j, d, D, rounds = _sizes(params)

    def vectors(us: Sequence[Array], ws: Sequence[Array]) -> Array:
        # every block: u (d, I', B), W (J, D, d·I'); all that a block needs of the others is the sum s
        blocks = [(u, w, ops.permute_dims(w, (0, 2, 1))) for u, w in zip(us, ws, strict=True)]
        s = None
        for u, w, _ in blocks:
            n = d * u.shape[1]
            part = ops.matmul(ops.reshape(w, (j * D, n)), ops.reshape(u, (n, b)))
            s = part if s is None else s + part
        v = total = _squash(ops, ops.reshape(s, (j, D, b)) * (1.0 / j), 1)
        for r in range(1, rounds):
            s = None
            for u, w, transposed in blocks:
                n = u.shape[1]
                back = ops.reshape(ops.matmul(transposed, total), (j, d, n, b))
                coupling = ops.softmax(ops.sum(back * u, 1, keepdims=True), 0)
                part = ops.matmul(w, ops.reshape(coupling * u, (j, d * n, b)))
                s = part if s is None else s + part
            v = _squash(ops, s, 1)
            total = total + v if r + 1 < rounds else total
        return ops.permute_dims(v, (2, 0, 1))

    return vectors


def _as_is(u: HostArray, w: HostArray) -> tuple[list[HostArray], list[HostArray]]:
    return [u], [w]


def _for_matmul(u: HostArray, w: HostArray) -> tuple[list[HostArray], list[HostArray]]:
    i, j, d, D = w.shape
    return [u.transpose(1, 0, 2)], [w.transpose(0, 2, 1, 3).reshape(i, d, j * D)]


def _for_rows(u: HostArray, w: HostArray) -> tuple[list[HostArray], list[HostArray]]:
    i, j, d, D = w.shape
    return [u.transpose(0, 2, 1)], [w.transpose(1, 2, 0, 3).reshape(j, d * i, D)]


def _in_blocks(count: int) -> Callable[[HostArray, HostArray], tuple[list[HostArray], list[HostArray]]]:
    def arrange(u: HostArray, w: HostArray) -> tuple[list[HostArray], list[HostArray]]:
        n = min(count, len(w))
        us = [part.transpose(2, 1, 0) for part in np.array_split(u, n, axis=1)]
        ws = [p.transpose(1, 3, 2, 0).reshape(p.shape[1], p.shape[3], -1) for p in np.array_split(w, n, axis=0)]
        return us, ws

    return arrange


def _from_blocks(arrays: Sequence[HostArray], params: Params) -> HostArray:
    _, _, j, d, D, _ = _sizes(params)
    return np.concatenate([a.reshape(j, D, d, -1).transpose(3, 0, 2, 1) for a in arrays])


def _from_matmul(arrays: Sequence[HostArray], params: Params) -> HostArray:
    _, i, j, d, D, _ = _sizes(params)
    return arrays[0].reshape(i, d, j, D).transpose(0, 2, 1, 3)


def _from_rows(arrays: Sequence[HostArray], params: Params) -> HostArray:
    _, i, j, d, D, _ = _sizes(params)
    return arrays[0].reshape(j, d, i, D).transpose(2, 0, 1, 3)


_FORMS = {
    "textbook": _Form(
        note="û by one einsum, then multiply and sum, as the paper writes it",
        arrange=_as_is,
        vectors=_textbook,
        gather=lambda arrays, params: arrays[0],
    ),
    "einsum": _Form(
        note="û and every pass over it by einsum",
        arrange=_as_is,
        vectors=_einsum,
        gather=lambda arrays, params: arrays[0],
    ),
    "matmul": _Form(
        note="û by a product for each capsule below, kept as (B, J, I, D); every pass is a batched product",
        arrange=_for_matmul,
        vectors=_matmul,
        gather=_from_matmul,
    ),
    "folded_rows": _Form(
        note="û never formed: s = Σ (c·u)·W, logits = u·(W·Σv); u as (B, d, I)",
        arrange=_for_rows,
        vectors=_folded_rows,
        gather=_from_rows,
    ),
    "folded": _Form(
        note="û never formed, the batch innermost: u (d, I, B), W (J, D, d·I)",
        arrange=_in_blocks(1),
        vectors=_folded,
        gather=_from_blocks,
    ),
    "folded_blocks": _Form(
        note=f"folded, {BLOCKS} blocks of capsules below, so that (c·u) of a block stays in cache",
        arrange=_in_blocks(BLOCKS),
        vectors=_folded,
        gather=_from_blocks,
    ),
}


def _folded_by_hand(ops: Ops, params: Params) -> Callable[..., tuple[Array, ...]]:
    b, _, j, d, D, rounds = _sizes(params)

    def added(a: Array | None, b: Array) -> Array:
        return b if a is None else a + b

    def squash_gradient(s: Array, g: Array) -> Array:
        norm2 = ops.sum(s * s, 1, keepdims=True)
        root, one = ops.sqrt(norm2 + EPSILON), norm2 + 1.0
        slope = 2.0 / (one * one * root) - norm2 / (one * root * root * root)
        return g * (norm2 / (one * root)) + s * (slope * ops.sum(g * s, 1, keepdims=True))

    def run(*operands: Array) -> tuple[Array, ...]:
        # blocks as in _folded: u (d, I', B), W (J, D, d·I'); labels (J, 1, B)
        half = len(operands) // 2
        us, ws, labels = operands[:half], operands[half:-1], operands[-1]
        backs = [ops.permute_dims(w, (0, 2, 1)) for w in ws]
        s = None
        for u, w in zip(us, ws, strict=True):
            n = d * u.shape[1]
            s = added(s, ops.matmul(ops.reshape(w, (j * D, n)), ops.reshape(u, (n, b))))
        sums = [ops.reshape(s, (j, D, b)) * (1.0 / j)]
        v = _squash(ops, sums[0], 1)
        totals: list[Array] = []
        couplings: list[list[Array]] = []
        for _ in range(1, rounds):
            totals.append(totals[-1] + v if totals else v)
            couplings.append([])
            s = None
            for u, w, back in zip(us, ws, backs, strict=True):
                n = u.shape[1]
                pulled = ops.reshape(ops.matmul(back, totals[-1]), (j, d, n, b))
                couplings[-1].append(ops.softmax(ops.sum(pulled * u, 1, keepdims=True), 0))
                s = added(s, ops.matmul(w, ops.reshape(couplings[-1][-1] * u, (j, d * n, b))))
            sums.append(s)
            v = _squash(ops, s, 1)

        length = ops.sqrt(ops.sum(v * v, 1, keepdims=True) + EPSILON)
        short, long = ops.relu(PRESENT - length), ops.relu(length - ABSENT)
        absent = DOWN * (1.0 - labels)
        loss = ops.sum(labels * short * short + absent * long * long) * (1.0 / b)
        gradient_v = v * ((absent * long - labels * short) * (2.0 / b) / length)
        gradients: list[Array | None] = [None] * half
        reached = None  # the gradient of Σv: the same for every earlier v, and summed over the rounds behind
        for r in reversed(range(1, rounds)):
            gradient_s, total = squash_gradient(sums[r], gradient_v), totals[r - 1]
            for k, (u, w, back) in enumerate(zip(us, ws, backs, strict=True)):
                n, c = u.shape[1], couplings[r - 1][k]
                pulled = ops.reshape(ops.matmul(back, gradient_s), (j, d, n, b))
                pulled = c * ops.sum(pulled * u, 1, keepdims=True)
                logits = pulled - c * ops.sum(pulled, 0, keepdims=True)
                fold = ops.reshape(logits * u, (j, d * n, b))
                reached = added(reached, ops.matmul(w, fold))
                part = ops.matmul(total, ops.permute_dims(fold, (0, 2, 1)))
                fold = ops.reshape(c * u, (j, d * n, b))
                part = part + ops.matmul(gradient_s, ops.permute_dims(fold, (0, 2, 1)))
                gradients[k] = added(gradients[k], part)
            gradient_v = reached
        gradient_s = ops.reshape(squash_gradient(sums[0], gradient_v) * (1.0 / j), (j * D, b))
        updated = []
        for u, w, gradient in zip(us, ws, gradients, strict=True):
            n = d * u.shape[1]
            part = ops.matmul(gradient_s, ops.permute_dims(ops.reshape(u, (n, b)), (1, 0)))
            updated.append(w - LEARNING_RATE * added(gradient, ops.reshape(part, (j, D, n))))
        return loss, *updated

    return run


def _forward(form: _Form) -> Formulation:
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


def _train(form: _Form) -> Formulation:
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
            return value, *(w - LEARNING_RATE * g for w, g in zip(operands[half:-1], gradients, strict=True))

        return run

    return Formulation(
        note=f"{form.note}; the framework's own differentiation",
        prepare=prepare,
        step=step,
        restore=lambda outputs, x, params: {"loss": outputs[0], "w": form.gather(outputs[1:], params)},
    )


def _prepare_by_hand(blocks: int) -> Callable[[Ops, Inputs, Params], Sequence[Array]]:
    def prepare(ops: Ops, x: Inputs, params: Params) -> Sequence[Array]:
        us, ws = _in_blocks(blocks)(x["u"], x["w"])
        return [ops.asarray(np.ascontiguousarray(a)) for a in (*us, *ws, x["labels"].T[:, None, :])]

    return prepare


def _restore_by_hand(outputs: Sequence[HostArray], x: Inputs, params: Params) -> Mapping[str, HostArray]:
    return {"loss": outputs[0], "w": _from_blocks(outputs[1:], params)}


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
        "quick": (Point(_shape(32)), Point(_shape(32), "train_step")),
        "standard": (Point(_shape(128)), Point(_shape(128), "train_step")),
        "full": (Point(_shape(1024)), Point(_shape(1024), "train_step")),
    },
    inputs=inputs,
    reference=reference,
    formulations={
        "forward": {name: _forward(form) for name, form in _FORMS.items()},
        "train_step": {
            **{name: _train(form) for name, form in _FORMS.items()},
            "folded_by_hand": Formulation(
                note="folded, with its backward pass written out: û is formed in neither direction",
                prepare=_prepare_by_hand(1),
                step=_folded_by_hand,
                restore=_restore_by_hand,
            ),
            "folded_blocks_by_hand": Formulation(
                note=f"folded_by_hand in {BLOCKS} blocks of capsules below",
                prepare=_prepare_by_hand(BLOCKS),
                step=_folded_by_hand,
                restore=_restore_by_hand,
            ),
        },
    },
    work=work,
    twins=twins,
)

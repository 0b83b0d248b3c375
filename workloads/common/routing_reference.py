"""Dynamic routing and its gradient in NumPy, the plain way: û is formed and the logits added up, a few samples at once.

Sabour, Frosst and Hinton 2017, arXiv:1710.09829, procedure 1, eq. 1 (squash) and eq. 4 (margin loss).
"""

from __future__ import annotations

import numpy as np

from backends.ops import HostArray

EPSILON = 1e-7  # under both square roots, here and in every formulation: their slope is infinite at 0
PRESENT, ABSENT, DOWN = 0.9, 0.1, 0.5  # m⁺, m⁻ and λ of eq. 4
SAMPLES = 32  # at a time: û of them is 47 MB at the paper's shape, whatever the batch


def squash(s: HostArray) -> HostArray:
    """s·|s|² / ((1 + |s|²)·√(|s|² + ε)) over the last axis: the direction of s, a length below 1."""
    norm2 = np.sum(s * s, axis=-1, keepdims=True)
    v: HostArray = s * (norm2 / ((1 + norm2) * np.sqrt(norm2 + EPSILON)))
    return v


def squash_gradient(s: HostArray, g: HostArray) -> HostArray:
    """Gradient of s where g is the gradient of squash(s)."""
    norm2 = np.sum(s * s, axis=-1, keepdims=True)
    root = np.sqrt(norm2 + EPSILON)
    factor = norm2 / ((1 + norm2) * root)
    slope = 1 / ((1 + norm2) ** 2 * root) - norm2 / (2 * (1 + norm2) * root**3)  # of factor, in |s|²
    gradient: HostArray = factor * g + 2 * slope * s * np.sum(g * s, axis=-1, keepdims=True)
    return gradient


def softmax(b: HostArray) -> HostArray:
    """Over the last axis."""
    e: HostArray = np.exp(b - b.max(axis=-1, keepdims=True))
    c: HostArray = e / e.sum(axis=-1, keepdims=True)
    return c


def reference_routing(
    u: HostArray, w: HostArray, labels: HostArray | None, rounds: int
) -> tuple[HostArray, float, HostArray | None]:
    """v (B, J, D), the margin loss and its gradient with respect to w.

    u (B, I, d), w (I, J, d, D), one-hot labels (B, J); without labels the loss is 0 and the gradient None.
    """
    batch = len(u)
    vs: list[HostArray] = []
    loss = 0.0
    gradient = None if labels is None else np.zeros_like(w)
    for start in range(0, batch, SAMPLES):
        part = u[start : start + SAMPLES]
        predicted = np.einsum("bid,ijde->bije", part, w)
        v, tape = _route(predicted, rounds)
        vs.append(v)
        if labels is not None and gradient is not None:
            truth = labels[start : start + SAMPLES]
            length = np.sqrt(np.sum(v * v, axis=-1) + EPSILON)
            short, long = np.maximum(0, PRESENT - length), np.maximum(0, length - ABSENT)
            loss += float(np.sum(truth * short**2 + DOWN * (1 - truth) * long**2)) / batch
            slope = (2 * DOWN * (1 - truth) * long - 2 * truth * short) / batch
            gradient += np.einsum("bid,bije->ijde", part, _route_back(predicted, tape, (slope / length)[..., None] * v))
    return np.concatenate(vs), loss, gradient


def _route(predicted: HostArray, rounds: int) -> tuple[HostArray, list[tuple[HostArray, HostArray, HostArray]]]:
    """v of the last round, and (c, s, v) of every round; predicted is û (B, I, J, D)."""
    logits = np.zeros(predicted.shape[:3])
    tape = []
    for r in range(rounds):
        c = softmax(logits)
        s = np.einsum("bij,bije->bje", c, predicted)
        v = squash(s)
        tape.append((c, s, v))
        if r + 1 < rounds:
            logits = logits + np.einsum("bije,bje->bij", predicted, v)
    return tape[-1][2], tape


def _route_back(
    predicted: HostArray, tape: list[tuple[HostArray, HostArray, HostArray]], gradient_v: HostArray
) -> HostArray:
    """Gradient of û, from the gradient of the last round's v."""
    gradient = np.zeros_like(predicted)
    gradient_logits = np.zeros(predicted.shape[:3])  # of the logits that the round behind reads
    for r in reversed(range(len(tape))):
        c, s, v = tape[r]
        if r + 1 < len(tape):  # logits_(r+1) = logits_r + û·v_r
            gradient += gradient_logits[..., None] * v[:, None]
            gradient_v = np.einsum("bij,bije->bje", gradient_logits, predicted)
        gradient_s = squash_gradient(s, gradient_v)
        gradient += c[..., None] * gradient_s[:, None]
        gradient_c = np.einsum("bije,bje->bij", predicted, gradient_s)
        gradient_logits = gradient_logits + c * (gradient_c - np.sum(c * gradient_c, axis=-1, keepdims=True))
    return gradient

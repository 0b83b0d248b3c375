"""Ways to compress a trained network, each with its levels: what is taken from the weights, for many models at once.

Networks are w0 (models, 64, h), w1 (models, h, h), w2 (models, h, 10), relu between them, no biases; with an early exit
also q0 (models, h, 10), a classifier behind the first layer. A method joins by an entry in LEVELS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from backends.ops import HostArray
from harness.quality.learners import Weights
from workloads.base import Value

HIDDEN = ("w0", "w1")  # layers that are pruned: the last one is small, and kept dense as in most papers
GROUP = 32  # weights of a column that share a scale, of int4
TERNARY = 0.7  # of the mean magnitude: below it a weight is 0 (Li and Liu 2016, arXiv:1605.04711)

# Made of the weights when they are compressed; then turns weights, as they are fine-tuned, into what is multiplied.
Projection: TypeAlias = Callable[[Weights], Weights]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompressionLevel:
    """One level of one method. `workload` and `axes` say which rows of a report measure its speed; None where none do.

    `early` is the share of images that leave at the first exit.
    """

    method: str
    level: str
    project: Callable[[Weights], Projection]
    workload: str | None = None
    axes: Mapping[str, Value] = field(default_factory=dict)
    early: float | None = None


def _masked(masks: Mapping[str, HostArray]) -> Projection:
    return lambda weights: {name: w * masks[name] if name in masks else w for name, w in weights.items()}


def magnitude(density: float) -> Callable[[Weights], Projection]:
    """The largest weights of each hidden layer of each model, as many as the density says."""

    def project(weights: Weights) -> Projection:
        masks = {}
        for name in HIDDEN:
            size = np.abs(weights[name]).reshape(len(weights[name]), -1)
            out = size.shape[1] - max(1, round(density * size.shape[1]))
            least = np.partition(size, out, axis=1)[:, out]
            masks[name] = (np.abs(weights[name]) >= least[:, None, None]).astype(weights[name].dtype)
        return _masked(masks)

    return project


def groups(keep: int, of: int) -> Callable[[Weights], Projection]:
    """N:M: of every `of` weights in a row along the inputs the `keep` largest."""

    def project(weights: Weights) -> Projection:
        masks = {}
        for name in HIDDEN:
            models, rows, columns = weights[name].shape
            size = np.abs(weights[name]).reshape(models, rows // of, of, columns)
            rank = np.argsort(np.argsort(-size, axis=2, kind="stable"), axis=2)
            masks[name] = (rank < keep).astype(weights[name].dtype).reshape(models, rows, columns)
        return _masked(masks)

    return project


def units(kept: float) -> Callable[[Weights], Projection]:
    """Structured pruning: the hidden units of each layer with the largest ‖weights in‖·‖weights out‖."""

    def project(weights: Weights) -> Projection:
        masks = {name: np.ones_like(w) for name, w in weights.items()}
        for before, behind in (("w0", "w1"), ("w1", "w2")):
            score = np.linalg.norm(weights[before], axis=1) * np.linalg.norm(weights[behind], axis=2)
            most = max(1, round(kept * score.shape[1]))
            rank = np.argsort(np.argsort(-score, axis=1, kind="stable"), axis=1)
            on = (rank < most).astype(score.dtype)
            masks[before] = masks[before] * on[:, None, :]
            masks[behind] = masks[behind] * on[:, :, None]
        return _masked(masks)

    return project


def whole_numbers(bits: int, group: int = 0) -> Callable[[Weights], Projection]:
    """Symmetric weights of so many bits, a scale for each column or for `group` weights of one, rounded half to even.

    Fine-tuned straight through: the gradient at the rounded weights goes to those that are kept in full.
    """
    top = 2 ** (bits - 1) - 1

    def rounded(w: HostArray) -> HostArray:
        models, rows, columns = w.shape
        size = group if group and rows % group == 0 else rows
        parts = w.reshape(models, rows // size, size, columns)
        scale = np.abs(parts).max(axis=2, keepdims=True) / top
        scale[scale == 0] = 1
        return np.asarray((np.round(parts / scale) * scale).reshape(w.shape))

    return lambda _: lambda weights: {name: rounded(w) for name, w in weights.items()}


def ternary(_: Weights) -> Projection:
    """−a, 0 or a for each column, a the mean of what is not 0; fine-tuned straight through."""

    def rounded(w: HostArray) -> HostArray:
        size = np.abs(w)
        on = size > TERNARY * size.mean(axis=1, keepdims=True)
        a = (size * on).sum(axis=1, keepdims=True) / np.maximum(on.sum(axis=1, keepdims=True), 1)
        return np.asarray(np.sign(w) * on * a)

    return lambda weights: {name: rounded(w) for name, w in weights.items()}


def nothing(_: Weights) -> Projection:
    """The dense network."""
    return lambda weights: weights


def _levels() -> tuple[CompressionLevel, ...]:
    out = [
        CompressionLevel(
            method="magnitude pruning",
            level=f"density {density:g}",
            project=magnitude(density),
            workload="unstructured_sparse",
            axes={"density": density},
        )
        for density in (0.5, 0.3, 0.2, 0.1, 0.05)
    ]
    out += [
        CompressionLevel(
            method="N:M",
            level=f"{keep}:{of}",
            project=groups(keep, of),
            workload="nm_sparse",
            axes={"keep": keep, "out_of": of},
        )
        for keep, of in ((2, 4), (1, 4))
    ]
    out += [
        CompressionLevel(
            method="structured pruning",
            level=f"kept {kept:g}",
            project=units(kept),
            workload="structured_pruned",
            axes={"kept": kept},
        )
        for kept in (0.75, 0.5, 0.25)
    ]
    for name, project, scheme in (
        ("int8", whole_numbers(8), "w8"),
        ("int4", whole_numbers(4, GROUP), "w4"),
        ("ternary", ternary, "w2"),
    ):
        out.append(
            CompressionLevel(
                method="quantisation", level=name, project=project, workload="quantized_matmul", axes={"scheme": scheme}
            )
        )
    out += [
        CompressionLevel(
            method="early exit", level=f"{100 * share:g} % leave", project=nothing, workload="early_exit", early=share
        )
        for share in (0.5, 0.75, 0.9)
    ]
    return tuple(out)


LEVELS = _levels()

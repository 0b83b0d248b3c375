"""How much gradient reaches each layer of a sparse network: what it learns with, over what the dense one learns with.

Nothing here is timed. It is what the reference of `sparse_training` says of a network beside its outputs, in float64.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from backends.ops import HostArray
from workloads.base import LEARNING_RATE, Parameters
from workloads.common import digits, sparse_mlp

STEPS = 100  # as many as lie between two updates, so that the pattern stays


class Flow(NamedTuple):
    """Of each layer ‖∂W‖ of the stored weights, sparse over dense: in the first step, and after so many."""

    first: tuple[float, ...]
    after: tuple[float, ...]


def gradient_flow(p: Parameters, seed: int, steps: int = STEPS) -> Flow:
    """Both networks begin as `sparse_mlp.drawn` has them, and see the same batches, one drawn anew for each step.

    The dense one is that of density 1, whose weights are all stored.
    """
    thin, dense = (_norms(Parameters({**p, "density": density}), seed, steps) for density in (p.density, 1.0))
    return Flow(*(tuple(np.divide(*both).tolist()) for both in zip(thin, dense, strict=True)))


def _norms(p: Parameters, seed: int, steps: int) -> tuple[HostArray, HostArray]:
    """Of each layer the norm of the gradient of its stored weights, in the first step and in that after `steps`."""
    drawn = sparse_mlp.drawn(p, seed)
    weights = sparse_mlp.with_zeros(p, drawn)
    patterns = sparse_mlp.patterns_of(drawn, sparse_mlp.sizes(p))
    masks = [sparse_mlp.dense_of(np.ones(len(pattern.indices)), pattern).T for pattern in patterns]
    masks.append(np.ones(weights[-1].shape))
    found = []
    for turn in range(steps + 1):
        x, target = digits.flat(p.batch, p.features, seed + turn), digits.one_hot(p.batch, seed + turn)
        gradients = [g * mask for g, mask in zip(sparse_mlp.backward(weights, x, target)[1], masks, strict=True)]
        found.append(np.array([np.linalg.norm(g) for g in gradients]))
        weights = [w - LEARNING_RATE * g for w, g in zip(weights, gradients, strict=True)]
    return found[0], found[-1]

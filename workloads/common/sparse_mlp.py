"""What sparse training computes: the inputs as they are drawn, the reference in NumPy, the twins and the least bytes.

Its train steps stand in sparse_mlp_steps.py and sparse_mlp_blocks.py, the update of a pattern in sparse_mlp_updates.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from backends.ops import CSR, HostArray
from workloads.base import LEARNING_RATE, NEAR_TIES, Inputs, Mode, Parameters, Twin
from workloads.common import block_products, digits, topology
from workloads.common.patterns import Pattern


def sizes(p: Parameters) -> list[int]:
    """Values before the first layer and behind each."""
    return [p.features, *([p.hidden] * p.layers), digits.CLASSES]


def twins(p: Parameters, mode: Mode) -> Sequence[Twin]:
    """A dense step of the same shape, and of the width that has as many parameters, those of whole blocks or not."""
    axes = {"batch": p.batch, "features": p.features, "layers": p.layers}
    total = sum(topology.stored(sizes(p), p.density))
    width = 1
    while width < p.hidden and width * (p.features + 10) + (p.layers - 1) * width**2 < total:
        width += 1
    return (
        Twin("same_network", "dense_mlp", {**axes, "hidden": p.hidden}, mode),
        Twin("narrower", "dense_mlp", {**axes, "hidden": width}, mode),
    )


def least_bytes(
    e: int, batch: int, dims: Sequence[int], density: float, phase: str, dense_gradient: bool, side: int = 1
) -> tuple[int, int]:
    """Least bytes and least bytes alive.

    Each product reads or writes its weights, S = z·e + 4·z/side² + 4(out/side + 1), e·z of the last layer, and
    e·B(in + out); the update of a step moves 3e·z. Where a pattern is updated, a sparse layer's selection reads the
    stored weights, the scores of all and the mask of the blocks, e(z + in·out) + in·out/side², and with a dense
    gradient e·in·out is written before.
    """
    counts = topology.stored(dims, density, side)
    moved = held = 0
    for layer, ((fan_in, fan_out), z) in enumerate(zip(pairwise(dims), counts, strict=True)):
        last = layer == len(counts) - 1
        own = e * z if last else e * z + 4 * (z // side**2) + 4 * (fan_out // side + 1)
        product = own + e * batch * (fan_in + fan_out)
        held += own + e * z
        if dense_gradient:
            moved += (2 if layer else 1) * product + e * batch * (fan_in + fan_out) + e * fan_in * fan_out
        else:
            moved += (3 if layer else 2) * product + 3 * e * z
        if phase == "update" and not last:
            moved += e * (z + fan_in * fan_out) + fan_in * fan_out // side**2
    return moved, held + e * batch * sum(dims)


# -- inputs ------------------------------------------------------------------------------------------------------------
def drawn(p: Parameters, seed: int) -> Inputs:
    """x (n, features) and target (n, 10) digits; of each layer w0… (nnz,) with indices and indptr of A (out × in).

    The last layer is dense, (in, 10). grow0… are the positions that SET grows, flat in (out × in).
    """
    dims, rng = sizes(p), np.random.default_rng([seed, 9])
    side = topology.side_of(p.rule)
    counts = topology.stored(dims, p.density, side)
    out: dict[str, HostArray] = {"x": digits.flat(p.batch, p.features, seed), "target": digits.one_hot(p.batch, seed)}
    for layer, (fan_in, fan_out) in enumerate(pairwise(dims)):
        if layer == p.layers:
            out[f"w{layer}"] = rng.standard_normal((fan_in, fan_out)) * np.sqrt(2 / fan_in)
            continue
        chosen = np.random.default_rng([1, layer])
        pattern = topology.even_pattern(fan_out // side, fan_in // side, counts[layer] // side**2, chosen)
        if side > 1:
            pattern, _ = block_products.unrolled_pattern(pattern, side)
        spread = np.sqrt(2 / (p.density * fan_in))
        out[f"w{layer}"] = rng.standard_normal(counts[layer]) * spread
        out[f"w{layer}_indices"], out[f"w{layer}_indptr"] = pattern.indices, pattern.indptr
        if p.phase == "update" and p.rule == "set":
            grown = topology.exchanged(counts[layer])
            out[f"grow{layer}"] = topology.unused(pattern, grown, np.random.default_rng([2, layer]))
    return out


def patterns_of(rest: Mapping[str, HostArray], dims: Sequence[int]) -> list[Pattern]:
    """The pattern of each sparse layer, (out × in)."""
    shapes = list(pairwise(dims))[:-1]
    return [Pattern(rest[f"w{i}_indices"], rest[f"w{i}_indptr"], (o, n)) for i, (n, o) in enumerate(shapes)]


def dense_of(values: HostArray, pattern: Pattern) -> HostArray:
    """Stored values among their zeros, (out × in)."""
    return CSR(values, pattern.indices, pattern.indptr, pattern.shape).dense()


def growing(places: HostArray, shape: tuple[int, int]) -> HostArray:
    """Ones at flat `places` of (out × in), zeros elsewhere, as (in × out)."""
    flat = np.zeros(shape[0] * shape[1])
    flat[places] = 1.0
    return flat.reshape(shape).T


# -- reference ---------------------------------------------------------------------------------------------------------
def with_zeros(p: Parameters, rest: Mapping[str, HostArray]) -> list[HostArray]:
    """The weights of every layer, (in × out), zeros in place."""
    patterns = patterns_of(rest, sizes(p))
    return [*(dense_of(rest[f"w{i}"], pattern).T for i, pattern in enumerate(patterns)), rest[f"w{p.layers}"]]


def backward(whole: Sequence[HostArray], x: HostArray, target: HostArray) -> tuple[HostArray, list[HostArray]]:
    """The loss, and the gradient of every weight, stored or not, by dense products."""
    hidden = [x]
    for weights in whole[:-1]:
        hidden.append(np.maximum(hidden[-1] @ weights, 0.0))
    logits = hidden[-1] @ whole[-1]
    shifted = logits - logits.max(1, keepdims=True)
    log_softmax = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    dz = (np.exp(log_softmax) - target) / len(x)
    gradients: list[HostArray] = []
    for h, weights in zip(hidden[::-1], whole[::-1], strict=True):
        gradients.insert(0, h.T @ dz)
        dz = np.where(h > 0, dz @ weights.T, 0.0)
    return np.asarray(-np.mean((target * log_softmax).sum(1))), gradients


def reference(p: Parameters, x: HostArray, target: HostArray, rest: Mapping[str, HostArray]) -> Mapping[str, HostArray]:
    """By dense products; of an update also where rounding may decide."""
    patterns, whole = patterns_of(rest, sizes(p)), with_zeros(p, rest)
    loss, gradients = backward(whole, x, target)
    last = whole[-1] - LEARNING_RATE * gradients[-1]
    if p.phase == "step":
        new = [
            rest[f"w{i}"] - LEARNING_RATE * gradients[i].T[pattern.rows, pattern.indices]
            for i, pattern in enumerate(patterns)
        ]
        return {"loss": loss, **{f"w{i}": values for i, values in enumerate([*new, last])}}
    return _updated(p, patterns, whole, gradients, rest) | ({f"w{p.layers}": last} if p.rule == "set" else {})


def _updated(
    p: Parameters,
    patterns: Sequence[Pattern],
    whole: Sequence[HostArray],
    gradients: Sequence[HostArray],
    rest: Mapping[str, HostArray],
) -> dict[str, HostArray]:
    """Of every sparse layer the new weights (in × out), and the mask of what moves: weights, or whole blocks."""
    out: dict[str, HostArray] = {}
    side = topology.side_of(p.rule)
    for i, pattern in enumerate(patterns):
        active = dense_of(np.ones(len(pattern.indices)), pattern).T > 0
        weights, growth = whole[i], gradients[i]
        if p.rule == "set":
            weights = weights - LEARNING_RATE * gradients[i] * active
            growth = growing(rest[f"grow{i}"], pattern.shape)
        count = topology.exchanged(len(pattern.indices) // side**2)
        new, mask, near = topology.updated(weights, active, growth, count, side)
        out |= {f"new{i}": new, f"mask{i}": mask}
        out |= {f"{NEAR_TIES}new{i}": topology.spread(near, side), f"{NEAR_TIES}mask{i}": near}
    return out

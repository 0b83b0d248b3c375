"""Which experts each token goes to: drawn on the host, even, skewed, or as many tokens to each; and the reference."""

from __future__ import annotations

import numpy as np

from backends.ops import HostArray

BALANCES = ("uniform", "zipf", "expert_choice")


def draw(tokens: int, experts: int, k: int, balance: str, rng: np.random.Generator) -> HostArray:
    """(tokens, k) int32: k different experts of each token, all of them used where there are tokens enough.

    `uniform`: each as likely as the other; `zipf`: the r-th in proportion to 1/r; `expert_choice`: each expert has
    equally many tokens, as where experts choose.
    """
    if balance == "expert_choice":
        places = rng.permutation(tokens)[:, None] * k + np.arange(k)
        return (places % experts).astype(np.int32)
    weight = np.ones(experts) if balance == "uniform" else 1 / np.arange(1, experts + 1)
    keys = np.log(weight) + rng.gumbel(size=(tokens, experts))  # the k greatest are a draw without replacement
    chosen = np.argsort(-keys, axis=1, kind="stable")[:, :k].astype(np.int32)
    return _all_used(chosen, experts)


def _all_used(chosen: HostArray, experts: int) -> HostArray:
    """The same with an expert that nobody has in the place of one that several have, as long as there are such."""
    counts = np.bincount(chosen.ravel(), minlength=experts)
    for missing in np.flatnonzero(counts == 0):
        token, place = np.unravel_index(np.argmax(counts[chosen]), chosen.shape)
        if counts[chosen[token, place]] < 2:
            break
        counts[chosen[token, place]] -= 1
        counts[missing] += 1
        chosen[token, place] = missing
    return chosen


def fullest(chosen: HostArray, experts: int) -> int:
    """How many tokens the expert with the most has."""
    return int(np.bincount(chosen.ravel(), minlength=experts).max())


def mixture(x: HostArray, w1: HostArray, w2: HostArray, chosen: HostArray, gates: HostArray) -> HostArray:
    """y[n] = Σ_j gates[n, j] · relu(x[n] · w1[e]) · w2[e] with e = chosen[n, j], expert by expert."""
    y = np.zeros(x.shape)
    for expert in range(len(w1)):
        tokens, places = np.nonzero(chosen == expert)
        h = np.maximum(x[tokens] @ w1[expert], 0.0)
        np.add.at(y, tokens, gates[tokens, places][:, None] * (h @ w2[expert]))
    return y

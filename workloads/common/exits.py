"""Which examples leave a network early: how many by plan, thresholds in gaps, and a batch that keeps to the plan."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from backends.ops import HostArray
from workloads.common.decisions import NEAR, widest_gap

CLEAR = 1e-4  # of the largest margin: an example closer to a threshold than that is not drawn
SPARE = 1.5  # candidates for each example wanted, and MORE of them: some are too near, some leave with too many others
MORE = 64


def alive(batch: int, share: float, layers: int) -> list[int]:
    """How many examples each layer still has, round(batch·share^l) and at least one."""
    return [max(1, round(batch * share**layer)) for layer in range(layers)]


def candidates(batch: int) -> int:
    """How many examples to draw the batch from."""
    return int(SPARE * batch) + MORE


def margins(logits: HostArray) -> HostArray:
    """The greatest logit less the next, (n,)."""
    two = np.partition(logits, logits.shape[1] - 2, axis=1)[:, -2:]
    return np.asarray(two[:, 1] - two[:, 0])


def run(
    x: HostArray, layers: Sequence[HostArray], heads: Sequence[HostArray], thresholds: HostArray
) -> tuple[HostArray, HostArray]:
    """Logits (n, C) of the layer where each example leaves, and which layer that is, (n,) int64.

    An example leaves layer l where its margin is at least thresholds[l]; the last layer keeps nobody. ValueError where
    a margin is so near its threshold that rounding may decide: of a planned batch none is.
    """
    logits, left = np.zeros((len(x), heads[0].shape[1])), np.full(len(x), len(layers) - 1)
    here, h = np.arange(len(x)), x
    for layer, (weights, head) in enumerate(zip(layers, heads, strict=True)):
        h = np.maximum(h @ weights, 0.0)
        found = h @ head
        leaving = np.ones(len(h), bool)
        if layer < len(layers) - 1:
            sure = margins(found)
            leaving = sure >= thresholds[layer]
            if (np.abs(sure - thresholds[layer]) <= NEAR * np.max(sure, initial=0.0)).any():
                raise ValueError(f"an example is too near the threshold of layer {layer} of early_exit to be told")
        logits[here[leaving]], left[here[leaving]] = found[leaving], layer
        here, h = here[~leaving], h[~leaving]
    return logits, left


def planned_batch(
    pool: HostArray, layers: Sequence[HostArray], heads: Sequence[HostArray], plan: Sequence[int]
) -> tuple[HostArray, HostArray]:
    """Which of `pool` make the batch, (plan[0],), in an order of their own, and the thresholds (layers − 1,).

    As many are alive at each layer as `plan` says, and none is closer to a threshold than CLEAR of the largest margin.
    ValueError where the pool has not enough such examples.
    """
    here, h, thresholds, leaving = np.arange(len(pool)), pool, [], []
    for layer, (weights, head) in enumerate(zip(layers, heads, strict=True)):
        h = np.maximum(h @ weights, 0.0)
        if layer == len(layers) - 1:
            leaving.append(here)
            break
        found = margins(h @ head)
        wanted = plan[layer] - plan[layer + 1]
        if not wanted:
            thresholds.append(2 * float(found.max()) + 1)
            leaving.append(here[:0])
            continue
        count = min(len(here) - 1, max(1, round(len(here) * wanted / plan[layer])))
        threshold, _ = widest_gap(found, count, around=max(1, len(here) // 50))
        thresholds.append(threshold)
        clear = np.abs(found - threshold) > CLEAR * float(found.max())
        leaving.append(here[(found >= threshold) & clear])
        here, h = here[(found < threshold) & clear], h[(found < threshold) & clear]
    chosen = []
    for layer, examples in enumerate(leaving):
        wanted = plan[layer] - (plan[layer + 1] if layer + 1 < len(plan) else 0)
        if len(examples) < wanted:
            raise ValueError(
                f"{wanted} examples must leave layer {layer} of early_exit, {len(examples)} do: other axes"
            )
        chosen.append(examples[:wanted])
    return np.sort(np.concatenate(chosen)), np.array(thresholds)

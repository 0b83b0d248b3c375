"""One rule for steps that decide: thresholds lie in the widest gap, and where there is none, near ties are counted.

A step that compares with a threshold, takes the greatest or leaves early jumps where rounding moves a value across.
Two frameworks that round alike well may then give two results, and neither is wrong. So NumPy float64 puts thresholds
where no value is near, and every framework must decide alike. Where there are too many values for a gap, as among the
million weights of a layer, the values beside the threshold are told to the check as near ties.
"""

from __future__ import annotations

import numpy as np

from backends.ops import HostArray

NEAR = 1e-5  # of the largest value: closer to a threshold than that, rounding may decide


def widest_gap(values: HostArray, count: int, around: int = 0) -> tuple[float, int]:
    """A threshold that about `count` of `values` are at least, and how many are: the middle of the widest gap.

    It is looked for where count − around … count + around values lie above, at least one and not all.
    """
    ordered = np.sort(np.asarray(values, np.float64).ravel())[::-1]
    low, high = max(1, count - around), min(len(ordered) - 1, count + around)
    if low > high:
        raise ValueError(f"a threshold for {count} of {len(ordered)} values has values on one side only")
    gaps = ordered[low - 1 : high] - ordered[low : high + 1]
    kept = low + int(np.argmax(gaps))
    return float(ordered[kept - 1] + ordered[kept]) / 2, kept


def near_ties(values: HostArray, kept: int) -> HostArray:
    """Which of `values` are so near the smallest of the `kept` largest that rounding may decide them; as they stand."""
    flat = np.abs(np.asarray(values, np.float64))
    if not 0 < kept < flat.size:
        return np.zeros(flat.shape, bool)
    ordered = np.sort(flat.ravel())[::-1]
    middle = (ordered[kept - 1] + ordered[kept]) / 2
    near: HostArray = np.abs(flat - middle) <= NEAR * ordered[0]
    return near


def largest(values: HostArray, kept: int) -> HostArray:
    """A mask of the `kept` entries of largest magnitude; of equal ones the first."""
    order = np.argsort(-np.abs(values).ravel(), kind="stable")
    mask = np.zeros(values.size, bool)
    mask[order[:kept]] = True
    return mask.reshape(values.shape)

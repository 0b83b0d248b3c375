"""Decides whether a case computed the right thing: its outputs against NumPy float64 of the same rounded inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from backends.ops import HostArray
from harness.records.record import Verdict
from workloads.base import Inputs

# A train step must get the change of every parameter right, not only its new value. Rounding the new value to a
# narrow dtype may take more of a small change than that; never so much that no update at all would pass.
CHANGE_TOLERANCE = 0.01
CHANGE_AT_MOST = 0.5


def rounded(inputs: Inputs, dtype: str) -> dict[str, HostArray]:
    """Round floating inputs to the case's dtype; integers stay. Must come before `upcast`, never after."""
    return {k: v.astype(_dtype(dtype), copy=False) if v.dtype.kind == "f" else v for k, v in inputs.items()}


def upcast(inputs: Inputs) -> dict[str, HostArray]:
    """The rounded inputs as float64, for the reference; integers stay."""
    return {k: v if v.dtype.kind in "iub" else v.astype(np.float64) for k, v in inputs.items()}


def epsilon(dtype: str) -> float:
    """Distance from 1 to the next number of the dtype."""
    import ml_dtypes

    return float(ml_dtypes.finfo(_dtype(dtype)).eps)


def _dtype(name: str) -> np.dtype[Any]:
    if name == "bfloat16":
        import ml_dtypes

        return cast("np.dtype[Any]", np.dtype(ml_dtypes.bfloat16))
    return np.dtype(name)


def judge(
    outputs: Mapping[str, HostArray],
    reference: Mapping[str, HostArray],
    inputs: Inputs,
    tolerance: float,
    rounding: float = 0.0,
) -> Verdict:
    """Compare named outputs with the reference.

    An output agrees when |x − r| ≤ tolerance·|r| + tolerance·max|r| everywhere and everything is finite. One that has
    the name of an input, which need not be upcast, is an updated parameter: its change must also agree,
    ‖Δx − Δr‖ ≤ 0.01·‖Δr‖, or within the dtype's rounding of the new value, `rounding`·‖r‖, where that is more (at most
    half of the change). A missing, an additional or a mis-shaped output disagrees. `reason` names the worst output.
    """
    if set(outputs) != set(reference):
        return disagrees(tolerance, f"outputs are {sorted(outputs)}, expected {sorted(reference)}")
    worst_abs = worst_rel = worst_atol = 0.0
    reasons: list[str] = []
    for name, expected in reference.items():
        found = np.asarray(outputs[name]).astype(np.float64)
        if found.shape != expected.shape:
            return disagrees(tolerance, f"{name} has shape {found.shape}, expected {expected.shape}")
        if not expected.size:
            return disagrees(tolerance, f"{name} is empty: nothing was compared")
        if not np.isfinite(found).all():
            return disagrees(tolerance, f"{name} has values that are not finite")
        scale = float(np.max(np.abs(expected)))
        error = np.abs(found - expected)
        largest = float(error.max())
        relative = largest / scale if scale else largest
        if relative >= worst_rel:
            worst_abs, worst_rel, worst_atol = largest, relative, tolerance * scale
        if not (error <= tolerance * np.abs(expected) + tolerance * scale).all():
            reasons.append(f"{name} is off by {relative:.2g} of its largest value, {tolerance:g} allowed")
        if name in inputs:
            change = expected - np.asarray(inputs[name]).astype(np.float64)
            norm = float(np.linalg.norm(change))
            off = float(np.linalg.norm(found - expected)) / norm if norm else float("inf")
            lost = rounding * float(np.linalg.norm(expected)) / norm if norm else 0.0
            allowed = max(CHANGE_TOLERANCE, min(CHANGE_AT_MOST, lost))
            if not off <= allowed:
                reasons.append(f"the change of {name} is off by {off:.2g}, {allowed:.2g} allowed")
    return Verdict(
        agrees=not reasons,
        max_abs_error=worst_abs,
        max_rel_error=worst_rel,
        rtol=tolerance,
        atol=worst_atol,
        reason="; ".join(reasons) or None,
    )


def disagrees(tolerance: float, reason: str) -> Verdict:
    """A verdict without figures: what was found cannot be compared."""
    return Verdict(agrees=False, max_abs_error=None, max_rel_error=None, rtol=tolerance, atol=None, reason=reason)

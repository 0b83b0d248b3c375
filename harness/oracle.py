"""Decides whether a case computed the right thing: its outputs against NumPy float64 of the same rounded inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from backends.ops import HostArray
from harness.record import Verdict
from workloads.base import Inputs

CHANGE_TOLERANCE = 0.01  # a train step must get the change of every parameter right, not only its new value


def rounded(inputs: Inputs, dtype: str) -> dict[str, HostArray]:
    """Round floating inputs to the case's dtype; integers stay. Must come before `upcast`, never after."""
    return {k: v.astype(_dtype(dtype), copy=False) if v.dtype.kind == "f" else v for k, v in inputs.items()}


def upcast(inputs: Inputs) -> dict[str, HostArray]:
    """The rounded inputs as float64, for the reference; integers stay."""
    return {k: v if v.dtype.kind in "iub" else v.astype(np.float64) for k, v in inputs.items()}


def _dtype(name: str) -> np.dtype[Any]:
    if name == "bfloat16":
        import ml_dtypes

        return cast("np.dtype[Any]", np.dtype(ml_dtypes.bfloat16))
    return np.dtype(name)


def judge(
    outputs: Mapping[str, HostArray], reference: Mapping[str, HostArray], inputs: Inputs, tolerance: float
) -> Verdict:
    """Compare named outputs with the reference.

    An output agrees when |x − r| ≤ tolerance·|r| + tolerance·max|r| everywhere and everything is finite. One that has
    the name of an input is an updated parameter: its change must also agree, ‖Δx − Δr‖ ≤ 0.01·‖Δr‖. A missing, an
    additional or a mis-shaped output disagrees. `reason` names the worst output.
    """
    if set(outputs) != set(reference):
        return _disagree(tolerance, f"outputs are {sorted(outputs)}, expected {sorted(reference)}")
    worst_abs = worst_rel = worst_atol = 0.0
    reasons: list[str] = []
    for name, expected in reference.items():
        found = np.asarray(outputs[name]).astype(np.float64)
        if found.shape != expected.shape:
            return _disagree(tolerance, f"{name} has shape {found.shape}, expected {expected.shape}")
        if not expected.size:
            return _disagree(tolerance, f"{name} is empty: nothing was compared")
        if not np.isfinite(found).all():
            return _disagree(tolerance, f"{name} has values that are not finite")
        scale = float(np.max(np.abs(expected)))
        error = np.abs(found - expected)
        largest = float(error.max())
        relative = largest / scale if scale else largest
        if relative >= worst_rel:
            worst_abs, worst_rel, worst_atol = largest, relative, tolerance * scale
        if not (error <= tolerance * np.abs(expected) + tolerance * scale).all():
            reasons.append(f"{name} is off by {relative:.2g} of its largest value, {tolerance:g} allowed")
        if name in inputs:
            change = expected - inputs[name]
            norm = float(np.linalg.norm(change))
            off = float(np.linalg.norm(found - expected)) / norm if norm else float("inf")
            if not off <= CHANGE_TOLERANCE:
                reasons.append(f"the change of {name} is off by {off:.2g}, {CHANGE_TOLERANCE:g} allowed")
    return Verdict(
        agrees=not reasons,
        max_abs_error=worst_abs,
        max_rel_error=worst_rel,
        rtol=tolerance,
        atol=worst_atol,
        reason="; ".join(reasons) or None,
    )


def _disagree(tolerance: float, reason: str) -> Verdict:
    return Verdict(agrees=False, max_abs_error=None, max_rel_error=None, rtol=tolerance, atol=None, reason=reason)

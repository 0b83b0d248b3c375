"""Decides whether a case computed the right thing: its outputs against NumPy float64 of the same rounded inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from backends.ops import HostArray
from harness.records.record import Verdict
from workloads.base import GATE, NEAR_TIES, Inputs

# A train step must get the change of every parameter right, not only its new value. Rounding the new value to a
# narrow dtype may take more of a small change than that; never so much that no update at all would pass.
CHANGE_TOLERANCE = 0.01
CHANGE_AT_MOST = 0.5
NEAR_SHARE = 1e-3  # of the values that are not zero may be decided the other way, and one pair in any case


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
    gate_limit: float | None = None,
) -> Verdict:
    """Compare named outputs with the reference.

    An output agrees when |x − r| ≤ tolerance·|r| + tolerance·max|r| everywhere and everything is finite. One that has
    the name of an input, which need not be upcast, is an updated parameter: its change must also agree,
    ‖Δx − Δr‖ ≤ 0.01·‖Δr‖, or within the dtype's rounding of the new value, `rounding`·‖r‖, where that is more (at most
    half of the change). One that the reference gives as integers must be equal. Where the reference tells of near ties,
    NEAR_SHARE of the values may differ there. A missing, an additional or a mis-shaped output disagrees. `reason` names
    the worst output.

    Beside that stands the gate: ‖x − g‖ / ‖g‖ of the output that is furthest from what the reference's gate says of it.
    """
    asides = {name: value for name, value in reference.items() if name.startswith((GATE, NEAR_TIES))}
    reference = {name: value for name, value in reference.items() if name not in asides}
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
        near = asides.get(NEAR_TIES + name)
        if near is not None:
            found, tied = _without_near_ties(found, expected, near, tolerance)
            reasons += [f"{name} is {tied}"] if tied else []
        exact = expected.dtype.kind in "iub"
        expected = expected.astype(np.float64)
        scale = float(np.max(np.abs(expected)))
        error = np.abs(found - expected)
        largest = float(error.max())
        relative = largest / scale if scale else largest
        if relative >= worst_rel:
            worst_abs, worst_rel, worst_atol = largest, relative, tolerance * scale
        if exact and largest:
            reasons.append(f"{name} differs in {np.count_nonzero(error)} of {error.size} whole numbers, none may")
        elif not (error <= tolerance * np.abs(expected) + tolerance * scale).all():
            reasons.append(f"{name} is off by {relative:.2g} of its largest value, {tolerance:g} allowed")
        if name in inputs:
            change = expected - np.asarray(inputs[name]).astype(np.float64)
            norm = float(np.linalg.norm(change))
            off = float(np.linalg.norm(found - expected)) / norm if norm else float("inf")
            lost = rounding * float(np.linalg.norm(expected)) / norm if norm else 0.0
            allowed = max(CHANGE_TOLERANCE, min(CHANGE_AT_MOST, lost))
            if not off <= allowed:
                reasons.append(f"the change of {name} is off by {off:.2g}, {allowed:.2g} allowed")
    gate_error = _gate_error(outputs, asides)
    agrees = not reasons
    if gate_error is not None and gate_limit is not None and not gate_error <= gate_limit:
        reasons.append(f"it is {gate_error:.2g} away from what it stands for, {gate_limit:g} allowed")
    return Verdict(
        agrees=agrees,
        max_abs_error=worst_abs,
        max_rel_error=worst_rel,
        rtol=tolerance,
        atol=worst_atol,
        reason="; ".join(reasons) or None,
        gate_error=gate_error,
        gate_limit=gate_limit,
    )


def _without_near_ties(
    found: HostArray, expected: HostArray, near: HostArray, tolerance: float
) -> tuple[HostArray, str | None]:
    """`found` with what was decided the other way at a near tie as expected; and in words if that is too much."""
    scale = float(np.max(np.abs(expected)))
    other = near.astype(bool) & (np.abs(found - expected) > tolerance * scale)
    most = max(2, int(NEAR_SHARE * np.count_nonzero(expected)))
    tied = f"decided the other way at {other.sum()} near ties, {most} allowed" if other.sum() > most else None
    return np.where(other, expected, found), tied


def _gate_error(outputs: Mapping[str, HostArray], asides: Mapping[str, HostArray]) -> float | None:
    gates = {name.removeprefix(GATE): gate for name, gate in asides.items() if name.startswith(GATE)}
    errors = [
        np.linalg.norm(np.asarray(outputs[name]).astype(np.float64) - g) / np.linalg.norm(g)
        for name, g in gates.items()
    ]
    return float(max(errors)) if errors else None


def disagrees(tolerance: float, reason: str) -> Verdict:
    """A verdict without figures: what was found cannot be compared."""
    return Verdict(agrees=False, max_abs_error=None, max_rel_error=None, rtol=tolerance, atol=None, reason=reason)

"""Decides whether a case computed the right thing: its outputs against NumPy float64 of the same rounded inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, cast

import numpy as np

from backends.ops import HostArray
from harness.records.record import Verdict
from workloads.base import GATE, NEAR_TIES, Inputs

# A train step must get the change of every parameter right, not only its new value. Rounding the new value to a
# narrow dtype may take more of a small change than that; never so much that no update at all would pass.
CHANGE_TOLERANCE = 0.01
CHANGE_AT_MOST = 0.5
NEAR_SHARE = 1e-3  # of the values that are not zero may be decided the other way, and one pair in any case
PART = 1 << 16  # values that are compared at a time: half a megabyte of each array


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
        found = np.asarray(outputs[name])
        if found.shape != expected.shape:
            return disagrees(tolerance, f"{name} has shape {found.shape}, expected {expected.shape}")
        if not expected.size:
            return disagrees(tolerance, f"{name} is empty: nothing was compared")
        scale = float(np.max([np.max(np.abs(part)) for (part,) in _parts(expected)]))
        seen = _seen(found, expected, asides.get(NEAR_TIES + name), inputs.get(name), tolerance, scale)
        if not seen.finite:
            return disagrees(tolerance, f"{name} has values that are not finite")
        if seen.tied > seen.ties_allowed:
            reasons.append(f"{name} is decided the other way at {seen.tied} near ties, {seen.ties_allowed} allowed")
        relative = seen.largest / scale if scale else seen.largest
        if relative >= worst_rel:
            worst_abs, worst_rel, worst_atol = seen.largest, relative, tolerance * scale
        if expected.dtype.kind in "iub" and seen.largest:
            reasons.append(f"{name} differs in {seen.differing} of {expected.size} whole numbers, none may")
        elif not seen.within:
            reasons.append(f"{name} is off by {relative:.2g} of its largest value, {tolerance:g} allowed")
        if name in inputs:
            norm = seen.change
            off = seen.off / norm if norm else float("inf")
            lost = rounding * seen.size / norm if norm else 0.0
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


class _Seen(NamedTuple):
    """How far an output is from what is expected of it; what is `tied` is left out of all else.

    `off`, `change` and `size` are the norms of what it is off by, of what should have changed, and of what is expected.
    """

    finite: bool
    largest: float = 0.0
    differing: int = 0
    within: bool = True
    tied: int = 0
    ties_allowed: int = 0
    off: float = 0.0
    change: float = 0.0
    size: float = 0.0


def _seen(
    found: HostArray,
    expected: HostArray,
    near: HostArray | None,
    before: HostArray | None,
    tolerance: float,
    scale: float,
) -> _Seen:
    """Look at all values, some at a time; `before` is what an updated parameter was, `near` where it is a near tie."""
    largest: list[float] = []
    differing = tied = stored = 0
    within, squares = True, np.zeros(3)
    there = [array for array in (near, before) if array is not None]
    for parts in _parts(found, expected, *there):
        got, wanted, rest = parts[0], parts[1], list(parts[2:])
        if not np.isfinite(got).all():
            return _Seen(finite=False)
        error = np.abs(got - wanted)
        if near is not None:
            other = (rest.pop(0) != 0) & (error > tolerance * scale)
            error[other] = 0.0
            tied, stored = tied + int(np.count_nonzero(other)), stored + int(np.count_nonzero(wanted))
        largest.append(error.max())
        differing += int(np.count_nonzero(error))
        within = within and bool((error <= tolerance * np.abs(wanted) + tolerance * scale).all())
        if before is not None:
            change = wanted - rest.pop(0)
            squares += [error @ error, change @ change, wanted @ wanted]
    off, changed, size = np.sqrt(squares)
    most = max(2, int(NEAR_SHARE * stored))
    return _Seen(True, float(np.max(largest)), differing, within, tied, most, float(off), float(changed), float(size))


def _parts(*arrays: HostArray) -> Iterator[tuple[HostArray, ...]]:
    """The same values of arrays of one shape as float64, PART at a time: so no pass over them leaves the cache."""
    flat = [np.ascontiguousarray(array).reshape(-1) for array in arrays]
    for start in range(0, flat[0].size, PART):
        yield tuple(array[start : start + PART].astype(np.float64, copy=False) for array in flat)


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

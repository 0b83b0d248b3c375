"""Where the tax comes from: what the machine asks for, work that need not be done, and work that is slow.

bound = the least time that the ceilings measured in the run allow for some work (`figures.bounds`).

    hardware tax = (bound(idea) / bound(twin)) / W      what no software could take away on this machine
    software tax = tax / hardware tax                   share(twin) / share(idea): what better software could
    wasted       = bound(executed) / bound(useful)      of the software's part, work that the mathematics does not need
    slow         = software tax / wasted                of the software's part, what is left: the same work, done slowly
    overwork     = executed FLOP (bytes) / useful FLOP (least bytes)
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

import msgspec

from harness.figures.bounds import Bounds
from harness.records.record import Executed


class Blame(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of one idea's tax against one twin; None where a ceiling, a time or the executed work is unknown.

    The interval of the hardware tax is over the ceilings, each from its typical to its largest rate; it is a point
    where the same ceiling binds both sides. That of the software tax holds the tax's interval as well. `bound_by` is
    what binds the idea's useful work: "matmul", "vector", "bandwidth", "gather", "scatter" or "launch".
    """

    hardware_tax: float | None = None
    hardware_tax_low: float | None = None
    hardware_tax_high: float | None = None
    software_tax: float | None = None
    software_tax_low: float | None = None
    software_tax_high: float | None = None
    bound_by: str | None = None
    overwork_flop: float | None = None
    overwork_bytes: float | None = None
    wasted: float | None = None
    slow: float | None = None


def blame(idea: Mapping[str, Any], twin: Mapping[str, Any] | None, against: Mapping[str, Any], bounds: Bounds) -> Blame:
    """Of one row of `compared_rows` and the rows of its two best paths.

    Nothing is said where a share of a bound is above 1: then a ceiling or the time is wrong.
    """
    overwork = _overwork(idea)
    if twin is None or any(bounds.impossible(row) for row in (idea, twin)):
        return overwork
    limits, other = bounds.limits_of(idea), bounds.limits_of(twin)
    if limits is None or other is None:
        return overwork
    rates = bounds.settings(limits, other)
    bound = bounds.of(idea, limits, rates)
    hardware = bound.seconds / bounds.of(twin, other, rates).seconds / against["work_ratio"]
    tax, low, high = (against[name] for name in ("tax", "tax_low", "tax_high"))
    best, least, most = (float(value) for value in (hardware[0], hardware.min(), hardware.max()))
    if not isfinite(tax) or not all(isfinite(value) and value > 0 for value in (best, least, most)):
        return overwork
    software = tax / best
    wasted = _wasted(idea, bounds, float(bound.seconds[0]))
    return msgspec.structs.replace(
        overwork,
        hardware_tax=best,
        hardware_tax_low=least,
        hardware_tax_high=most,
        software_tax=software,
        software_tax_low=low / most if isfinite(low) else None,
        software_tax_high=high / least if isfinite(high) else None,
        bound_by=bound.by,
        wasted=wasted,
        slow=None if not wasted else software / wasted,
    )


def _overwork(idea: Mapping[str, Any]) -> Blame:
    executed: Executed | None = idea["executed"]
    if executed is None or not idea["useful_flop"] > 0 or not idea["least_bytes"] > 0:
        return Blame()
    flop = executed.matmul_flop + executed.other_flop
    return Blame(overwork_flop=flop / idea["useful_flop"], overwork_bytes=executed.bytes / idea["least_bytes"])


def _wasted(idea: Mapping[str, Any], bounds: Bounds, useful_s: float) -> float | None:
    executed: Executed | None = idea["executed"]
    needed = None if executed is None else bounds.executing_s(idea, executed)
    return None if needed is None else needed / useful_s

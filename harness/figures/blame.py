"""Where the tax comes from: what the machine asks for, work that need not be done, and work that is slow.

bound = the least time that the ceilings measured in the run allow for some work, the larger of FLOP over the dense rate
and bytes over the bandwidth of the fastest level that may hold them (`Ceilings`).

    hardware tax = (bound(idea) / bound(twin)) / W      what no software could take away on this machine
    software tax = tax / hardware tax                   share(twin) / share(idea): what better software could
    wasted       = bound(executed) / bound(useful)      of the software's part, work that the mathematics does not need
    slow         = software tax / wasted                of the software's part, what is left: the same work, done slowly
    overwork     = executed FLOP (bytes) / useful FLOP (least bytes)
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from math import isfinite
from typing import Any

import msgspec

from harness.figures.ceilings import Ceilings
from harness.records.record import Executed


class Blame(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of one idea's tax against one twin; None where a ceiling, a time or the executed work is unknown.

    The interval of the hardware tax is over the ceilings, each from its typical to its largest rate; it is a point
    where the same ceiling binds both sides. That of the software tax holds the tax's interval as well. `bound_by` is
    what binds the idea's useful work: "matmul" or "bandwidth".
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


def blame(
    idea: Mapping[str, Any], twin: Mapping[str, Any] | None, against: Mapping[str, Any], limits: Ceilings
) -> Blame:
    """Of one row of `compared_rows` and the rows of its two best paths.

    Nothing is said where a share of a ceiling is above 1: then the ceiling or the time is wrong.
    """
    overwork = _overwork(idea)
    if twin is None or any(_above_one(row, limits) for row in (idea, twin)):
        return overwork
    hardware = [
        _least_s(idea, *idea_rates) / _least_s(twin, *twin_rates) / against["work_ratio"]
        for idea_rates, twin_rates in _corners(idea, twin, limits)
    ]
    tax, low, high = (against[name] for name in ("tax", "tax_low", "tax_high"))
    if not hardware or not isfinite(tax) or not all(isfinite(value) and value > 0 for value in hardware):
        return overwork
    best, least, most = hardware[0], min(hardware), max(hardware)
    software = tax / best
    wasted = _wasted(idea, limits)
    matmul, bandwidth = _rates(idea, limits)[0]
    return msgspec.structs.replace(
        overwork,
        hardware_tax=best,
        hardware_tax_low=least,
        hardware_tax_high=most,
        software_tax=software,
        software_tax_low=low / most if isfinite(low) else None,
        software_tax_high=high / least if isfinite(high) else None,
        bound_by="matmul" if idea["useful_flop"] / matmul >= idea["least_bytes"] / bandwidth else "bandwidth",
        wasted=wasted,
        slow=None if not wasted else software / wasted,
    )


def _overwork(idea: Mapping[str, Any]) -> Blame:
    executed: Executed | None = idea["executed"]
    if executed is None or not idea["useful_flop"] > 0 or not idea["least_bytes"] > 0:
        return Blame()
    flop = executed.matmul_flop + executed.other_flop
    return Blame(overwork_flop=flop / idea["useful_flop"], overwork_bytes=executed.bytes / idea["least_bytes"])


def _rates(row: Mapping[str, Any], limits: Ceilings) -> list[tuple[float, float]]:
    """The dense rate and the bandwidth that bound a row, the largest first, then with what is typical; none unknown."""
    matmul = limits.matmul.get((row["run"], row["device"], row["dtype"]))
    level = limits.level(row["run"], row["device"], row["least_bytes"])
    if matmul is None or level is None:
        return []
    return list(product((matmul.per_s, matmul.typical_per_s), (level.per_s, level.typical_per_s)))


def _corners(
    idea: Mapping[str, Any], twin: Mapping[str, Any], limits: Ceilings
) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """Every pair of rates that the two sides may have had; the dense rate is one and the same on both."""
    pairs = product(_rates(idea, limits), _rates(twin, limits))
    same = limits.level(idea["run"], idea["device"], idea["least_bytes"]) is limits.level(
        twin["run"], twin["device"], twin["least_bytes"]
    )
    return [(a, b) for a, b in pairs if a[0] == b[0] and (not same or a[1] == b[1])]


def _least_s(row: Mapping[str, Any], matmul: float, bandwidth: float) -> float:
    return float(max(row["useful_flop"] / matmul, row["least_bytes"] / bandwidth))


def _wasted(idea: Mapping[str, Any], limits: Ceilings) -> float | None:
    executed: Executed | None = idea["executed"]
    if executed is None:
        return None
    matmul, bandwidth = _rates(idea, limits)[0]
    level = limits.level(idea["run"], idea["device"], executed.bytes)
    flop = executed.matmul_flop + executed.other_flop
    needed = max(flop / matmul, executed.bytes / (bandwidth if level is None else level.per_s))
    return needed / _least_s(idea, matmul, bandwidth)


def _above_one(row: Mapping[str, Any], limits: Ceilings) -> bool:
    share = limits.share(
        row["run"], row["device"], row["dtype"], row["flop_per_s"], row["useful_flop"], row["least_bytes"]
    )
    return share is not None and share > 1

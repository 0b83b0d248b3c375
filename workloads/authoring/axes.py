"""An axis as an author gives it: a default alone, or `Axis`."""

from __future__ import annotations

from workloads.authoring.functions import WorkloadError
from workloads.authoring.parameters import RESERVED
from workloads.base import Axis, Value

TAKEN = RESERVED | frozenset(
    {"ops", "p", "mode", "rng", "seed", "survey", "headline", "group", "kind"}
)  # no names of axes


def axis_of(workload: str, name: str, given: Value | Axis) -> Axis:
    """The axis `name`; WorkloadError where it cannot have that name or that default."""
    if not name.isidentifier() or name in TAKEN:
        raise WorkloadError(
            f"{workload} cannot call an axis {name!r}: {', '.join(sorted(TAKEN))} are names of other things"
        )
    if isinstance(given, Axis):
        return given
    if isinstance(given, bool) or not isinstance(given, int | float | str):
        raise WorkloadError(f"axis {name} of {workload} must be a number, a word or an Axis, found {given!r}")
    return Axis(default=given, low=min(given, 1) if isinstance(given, int) else None)

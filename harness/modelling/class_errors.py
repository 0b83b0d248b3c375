"""How far off a class of calls is and how well the model chooses in it, and so whether it has break-evens."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import cast

import msgspec
import numpy as np

from harness.modelling.kernels import KernelClass

REGRET, CHOSEN_WELL = 1.1, 0.9  # times the best that a choice may take, and in which share of points at least
ANY = "any"  # framework: the device by itself, with the best software that was found for it
MEDIAN_LIMIT, P95_LIMIT = 0.15, 0.50  # beyond, a class has no break-even
FEWEST_CASES = 3  # of a class that is validated


class ClassError(msgspec.Struct, frozen=True, kw_only=True):
    """How far a class of calls is off: |reckoned / measured − 1|, its median and 95th percentile over `cases`.

    `bias` is the median of reckoned / measured: below 1 the model says too little. In `within` of `points`, where the
    best formulation is of the class, the model chooses one that takes at most REGRET times the best.
    """

    name: str
    cases: int
    median_error: float
    p95_error: float
    bias: float
    points: int = 0
    within: int = 0

    @property
    def kind(self) -> KernelClass:
        """The class, without the framework."""
        return cast("KernelClass", self.name.rpartition(" ")[0])

    @property
    def breaks_even(self) -> bool:
        """Whether it is near enough for a break-even: the errors, and how often the model chooses well."""
        return self.near and self.chooses

    @property
    def near(self) -> bool:
        """Whether the errors are within what is asked for."""
        return self.median_error <= MEDIAN_LIMIT and self.p95_error <= P95_LIMIT

    @property
    def chooses(self) -> bool:
        """Whether the model chooses well often enough, or nowhere had to choose."""
        return self.within >= CHOSEN_WELL * self.points


class ClassRegret(msgspec.Struct, frozen=True, kw_only=True):
    """How well the model chooses where the best formulation is of one class.

    In `within` of `points` it takes at most REGRET times the best; `median` is the regret in the middle.
    """

    name: str
    points: int
    within: int
    median: float


def class_error(name: str, ratios: Sequence[float]) -> ClassError:
    """From the ratios reckoned / measured of a class, at least one."""
    errors = [abs(ratio - 1) for ratio in ratios]
    return ClassError(
        name=name,
        cases=len(ratios),
        median_error=median(errors),
        p95_error=float(np.percentile(errors, 95)),
        bias=median(ratios),
    )

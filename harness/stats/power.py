"""What a table can find, and how often it finds what is not there."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from math import exp, log, log1p, pi, prod, sqrt

import numpy as np
from scipy.special import bdtrc, gdtr, nctdtrinc, ndtr, ndtri, stdtrit

from harness.stats.intervals import CONFIDENCE, freedom
from harness.stats.noise import floor_place

POWER = 0.8
# The standard error of the median over that of the mean, of 1, 2, … normal values (David & Nagaraja 2003, "Order
# Statistics"); √(π/2) of many.
_MEDIAN = (1.0, 1.0, 1.160, 1.092, 1.198, 1.135, 1.214, 1.160, 1.223, 1.176)
_TRIMMED = 1.066  # that of a mean without a fifth of many normal values at either end, over that of the whole mean
_STEPS = 2000
_FAR = 12.0  # standard errors, beyond which nothing is


def detectable(low: float, high: float, groups: int, noise: float | None) -> float:
    """The smallest difference, as a share, that so wide an interval over `groups` would call different in 4 of 5 runs.

    `low` and `high` are the interval of a ratio, `noise` the A/A noise as a share. With h the half of the interval on
    the logarithm and t Student's quantile, h / t is the standard error of a mean, and that of the median e times as
    much, e being 1.1 to 1.25. The interval leaves out 1 with POWER where the true logarithm is δ·h/t, δ being the
    noncentrality at which Student's t passes its own quantile with POWER (Cohen 1988, "Statistical Power Analysis",
    section 2.3); the median ratio passes the noise with POWER where it is ln(1 + noise) + z·e·h/t. The larger of the
    two is taken, with which both happen in 73 to 80 %. Of few groups the spread, and so this, is itself uncertain: of
    three by a factor of two.
    """
    half = (log(high) - log(low)) / 2
    quantile, shift = _noncentral(groups)
    error = half / quantile
    return exp(max(shift * error, log1p(noise or 0.0) + float(ndtri(POWER)) * _of_median(groups) * error)) - 1


@cache
def _noncentral(groups: int) -> tuple[float, float]:
    quantile = float(stdtrit(freedom(groups), (1 + CONFIDENCE) / 2))
    return quantile, float(nctdtrinc(freedom(groups), 1 - POWER, quantile))


def _of_median(groups: int) -> float:
    """The median's standard error over that of what the interval is of."""
    of_mean = _MEDIAN[groups - 1] if groups <= len(_MEDIAN) else sqrt(pi / 2)
    return of_mean / _TRIMMED if freedom(groups) < groups - 1 else of_mean


@cache
def false_call(groups: int, controls: int) -> float:
    """How often a row without any difference is called faster or slower.

    It needs both: its interval over `groups` leaves out 1, and its ratio is further from 1 than the noise floor that
    `controls` set. With z the ratio's logarithm in standard errors, normal, and independent of its sample variance, a
    χ² of ν = `freedom(groups)` degrees,

        a = ∫ 2 φ(z) · P(χ² < ν z² / t²) · P(the floor lies below z) dz   over z > 0,

    where the floor is the largest of the controls (of many their 95th percentile) and each control, a median, is below
    z with 2 Φ(z / e) − 1, e as for `detectable`. It takes the spread of all rows and controls as the same.
    """
    z = (np.arange(_STEPS) + 0.5) * (_FAR / _STEPS)
    df = freedom(groups)
    quantile = stdtrit(df, (1 + CONFIDENCE) / 2)
    outside = gdtr(0.5, df / 2, df * (z / quantile) ** 2)
    below = 2 * ndtr(z / _of_median(groups)) - 1
    passed = bdtrc(floor_place(controls), controls, below) if controls else np.ones_like(z)
    density = np.exp(-(z**2) / 2) * np.sqrt(2 / np.pi)
    return float((density * outside * passed).sum() * _FAR / _STEPS)


def family_error(groups: Iterable[int], controls: int) -> float:
    """How often at least one row of a table without any difference is called: 1 − Π (1 − a), `groups` being each row's.

    As if rows were independent; they share the floor, which makes it somewhat smaller.
    """
    return 1 - prod(1 - false_call(count, controls) for count in groups)

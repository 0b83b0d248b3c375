"""Whether windows were level: a trend of their slices that is neither small nor chance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from math import erfc, sqrt

import numpy as np
import numpy.typing as npt

LEAST_SLICES = 8  # of a window, to look for a trend in it
SMALL = 0.05  # a trend over the window below this share of the median is not worth a mark
SIGNIFICANT = 0.01  # of rows without any trend at most this share is marked


def level(windows: Iterable[Sequence[float]]) -> bool | None:
    """Whether none of the windows has a trend; each is the medians of its slices in order, NaN where one is unknown.

    None where no window has LEAST_SLICES known ones. Samples within a slice follow each other too closely to be
    independent, so that a test on samples calls half of all windows unsteady; between two slices of a group the other
    members have their turns. A trend is larger than SMALL (Theil–Sen slope) and significant (Mann–Kendall) at
    SIGNIFICANT over the number of windows (Bonferroni).
    """
    long = (_known(window) for window in windows if len(window) >= LEAST_SLICES)
    known = [x for x in long if len(x) >= LEAST_SLICES]
    if not known:
        return None
    return not any(abs(drift) > SMALL and p < SIGNIFICANT / len(known) for p, drift in map(mann_kendall, known))


def _known(window: Sequence[float]) -> npt.NDArray[np.float64]:
    x: npt.NDArray[np.float64] = np.asarray(window, np.float64)
    return x[~np.isnan(x)]


def mann_kendall(x: npt.NDArray[np.float64]) -> tuple[float, float]:
    """The p-value of no trend in `x` (n,), and the trend over the window as a share of its median.

    Mann 1945, "Nonparametric tests against trend" (Econometrica 13:3): S = Σ sign(x_j − x_i) over i < j is normal with
    variance n(n − 1)(2n + 5)/18 without a trend, good from n = 8 on; corrected by one for continuity. The slope is the
    median of all pairs' slopes (Sen 1968).
    """
    n = len(x)
    i, j = _indices(n)
    rises = x[j] - x[i]
    s = abs(float(np.sign(rises).sum()))
    p = erfc(max(s - 1, 0.0) / sqrt(n * (n - 1) * (2 * n + 5) / 18) / sqrt(2))
    middle = _median(x)
    return p, _median(rises / (j - i)) * n / middle if middle else 0.0


def _median(x: npt.NDArray[np.float64]) -> float:
    ordered = np.sort(x)
    return float(ordered[len(x) // 2] + ordered[(len(x) - 1) // 2]) / 2


@cache
def _indices(n: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    return np.triu_indices(n, 1)

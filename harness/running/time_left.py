"""What is left of a run: a forecast, corrected by what the steps so far took over what was forecast of them."""

from __future__ import annotations

from collections.abc import Callable

PRIOR_S = 20.0  # of a forecast that is taken to have held: the first batch alone does not decide


class TimeLeft:
    """`forecast` says how many seconds are left by what is known now."""

    def __init__(self, forecast: Callable[[], float]) -> None:
        self._forecast = forecast
        self._left_s = 0.0
        self._expected_s = self._took_s = PRIOR_S

    def anew(self) -> None:
        """Forecast what is left again: a step begins, and more is known than before."""
        self._left_s = self._forecast()

    def done(self, expected_s: float, took_s: float, apart_s: float = 0.0) -> None:
        """A batch took `took_s` where `expected_s` were expected, and `apart_s` went into imports and inputs."""
        self._left_s = max(0.0, self._left_s - expected_s - apart_s)
        self._expected_s += expected_s
        self._took_s += took_s

    @property
    def seconds(self) -> float:
        """By what batches took so far."""
        return self._left_s * self._took_s / self._expected_s

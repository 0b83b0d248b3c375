"""A clock that a test moves, and a call whose energy is asked."""

from __future__ import annotations

CALL = {"calls": 10, "cpu_s": 1.0, "memory_bytes": 10**9}


class Clock:
    """A clock that the test moves; `sleep` moves it too and lets `power` run."""

    def __init__(self, meanwhile=lambda seconds: None) -> None:
        self.now, self.meanwhile = 100.0, meanwhile

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.meanwhile(seconds)
        self.now += seconds


def window(meter, clock: Clock, seconds: float) -> None:
    meter.begin()
    clock.sleep(seconds)
    meter.end()

"""Where the files of `bench_best` keep what they know by hand, the same for every framework."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

Make: TypeAlias = Callable[..., Any]
MAPS = (0, 1, 0, 1, 1, 1)  # VGG8b: 1 where a max-pool stands behind the convolution


def local_windows(x, params) -> list[tuple[int, int]]:
    """Rows and columns of the average-pool before each local classifier of VGG8b: b×b, or 2b×b."""
    windows, height = [], params["side"]
    for i, pool in enumerate(MAPS):
        area = height * height * x[f"w{i}"].shape[3] // len(x[f"q{i}"])
        columns = math.isqrt(area if math.isqrt(area) ** 2 == area else area // 2)
        windows.append((area // columns, columns))
        height //= 2 if pool else 1
    return windows


class Candidates:
    """By workload and mode the makers under their names; `only` says of some in which executions they are tried."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, str], dict[str, Make]] = {}
        self.only: dict[str, tuple[str, ...]] = {}

    def add(self, workload: str, mode: str, name: str, make: Make, *executions: str) -> None:
        """Keep `make`; tried in `executions` only, where any are given."""
        self.known.setdefault((workload, mode), {})[name] = make
        if executions:
            self.only[name] = executions

    def __call__(self, workload: str, mode: str, *executions: str) -> Callable[[Make], Make]:
        """The same as a decorator, under the function's own name."""

        def register(make: Make) -> Make:
            self.add(workload, mode, make.__name__, make, *executions)
            return make

        return register

"""Where the files of `bench_best` keep what they know by hand, the same for every framework."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

Make: TypeAlias = Callable[..., Any]


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

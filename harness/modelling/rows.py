"""Rows of modelled figures, and the tickets that they make.

Modelled figures stand by themselves: never beside measured or estimated ones in a column, never in a rank with them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from harness.modelling.class_errors import ANY, ClassError
from workloads.base import Value

CURVE = tuple(2.0**k for k in range(11))


class FactorPoint(NamedTuple):
    """The speed-up of one idea at one point, named `line`, with one parameter so many times as good."""

    line: str
    idea: str
    parameter: str
    factor: float
    speed_up: float


class DeviceNeeded(msgspec.Struct, frozen=True, kw_only=True):
    """The smallest factor on one parameter of a device at which the idea takes as long as its twin."""

    parameter: str
    factor: float


class WhatIfRow(msgspec.Struct, frozen=True, kw_only=True):
    """One idea at one point on one device, through one framework or any; None where there is no figure, and `why`.

    `best` is "formulation/execution"; `kind` its class, whose error in validation holds for the figure. `parts` are the
    shares of its time by the term that binds. `helps` is the parameter that, doubled, helps the idea most against its
    twin, and by how much. `break_even` is None where the idea pays already, and where nothing alone would make it pay.
    """

    workload: str
    point: str
    params: dict[str, Value]
    mode: str
    dtype: str
    backend: str
    device: str
    headline: bool
    kind: str | None = None
    best: str | None = None
    time_s: float | None = None
    energy_j: float | None = None
    twin_best: str | None = None
    twin_time_s: float | None = None
    speed_up: float | None = None
    tax: float | None = None
    bound_by: str | None = None
    parts: dict[str, float] = {}
    break_even: DeviceNeeded | None = None
    helps: DeviceNeeded | None = None
    why: str | None = None
    error: ClassError | None = None
    twin_error: ClassError | None = None
    own_twin: bool = False

    @property
    def near_enough(self) -> bool:
        """Whether a break-even and a ticket are told: of both sides the class has no error that is too large."""
        return all(error is None or error.breaks_even for error in (self.error, self.twin_error))


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """Which ideas win on a device, by their best headline point, and the ranks that each moved from the first one.

    Of ideas that have a figure and are in no ticket, since the model is too far off for them, there are `untold`.
    """

    device: str
    ranks: list[tuple[str, float, int]]  # idea, speed-up, ranks gained (+) or lost (−)
    untold: list[str] = []

    @property
    def holders(self) -> list[str]:
        """The ideas that pay at all."""
        return [name for name, speed_up, _ in self.ranks if speed_up > 1]


def tickets(rows: Sequence[WhatIfRow]) -> list[Ticket]:
    """Of each device in order, by headline points at which the model is near enough.

    An idea stands there through any framework. Where the model is too far off for that, it is through the framework of
    those that it is near enough for in which the idea does best.
    """
    by: dict[str, dict[str, tuple[bool, float]]] = {}
    far: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        of = by.setdefault(row.device, {})
        if row.speed_up is not None and row.headline and not row.own_twin:
            name = f"{row.workload} {row.mode}"
            if row.near_enough:
                of[name] = max(of.get(name, (False, 0.0)), (row.backend == ANY, row.speed_up))
            else:
                far[row.device].add(name)
    first: dict[str, int] = {}
    out = []
    for device, found in by.items():
        ideas = {name: speed_up for name, (_, speed_up) in found.items()}
        order = sorted(ideas, key=lambda name: -ideas[name])
        first = first or {name: rank for rank, name in enumerate(order)}
        ranks = [(name, ideas[name], first.get(name, rank) - rank) for rank, name in enumerate(order)]
        out.append(Ticket(device=device, ranks=ranks, untold=sorted(far[device] - ideas.keys())))
    return out

"""From a fleet to its shards, purely: what is run where, each as options of `run`. A shard done is a results folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from harness.errors import PlanError
from harness.fleet import labels
from harness.fleet.description import Fleet, Want


class Shard(msgspec.Struct, frozen=True, kw_only=True):
    """A run that is wanted: by any machine of `kind`, with these options. `number` counts those of a want and kind."""

    name: str
    want: str
    kind: str
    number: int
    options: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetPlan:
    """All shards, and the machines of each kind. `digest` is of what decides them: a campaign has one plan."""

    shards: tuple[Shard, ...]
    machines: Mapping[str, tuple[str, ...]]
    digest: str

    @property
    def kind_of(self) -> dict[str, str]:
        """The kind of each machine."""
        return {machine: kind for kind, machines in self.machines.items() for machine in machines}

    def of_want(self, name: str) -> list[Shard]:
        """The shards of a want."""
        return [shard for shard in self.shards if shard.want == name]


# Of a want: the ideas that it would run, with the number of cases of each; UserError where it cannot be planned.
Weigh = Callable[[Want], Mapping[str, int]]


def plan(fleet: Fleet, weigh: Weigh) -> FleetPlan:
    """What is run where; PlanError for a want that cannot be shared out. `weigh` is asked of what is split."""
    shards = tuple(shard for want in fleet.wants for shard in _of_want(fleet, want, weigh))
    _apart(fleet, shards)
    machines = {kind.name: tuple(kind.machines) for kind in fleet.kinds.values()}
    facts: list[Any] = [shards, machines, {name: dict(kind.labels) for name, kind in fleet.kinds.items()}]
    digest = hashlib.sha256(msgspec.json.encode(facts, order="deterministic")).hexdigest()[:16]
    return FleetPlan(shards=shards, machines=machines, digest=digest)


def _apart(fleet: Fleet, shards: Sequence[Shard]) -> None:
    """Refuse two runs of one name, as `a-b` on `c` and `a` on `b-c` would be."""
    seen: dict[str, Shard] = {}
    for shard in shards:
        other = seen.setdefault(shard.name, shard)
        if other is not shard:
            raise PlanError(
                f"{fleet.path}: want {other.want!r} on {other.kind} and want {shard.want!r} on {shard.kind} would both "
                f"have a run called {shard.name}; name one of the wants otherwise"
            )


def _of_want(fleet: Fleet, want: Want, weigh: Weigh) -> Iterator[Shard]:
    for kind in fleet.kinds.values():
        if not labels.meets(kind.labels, want.on):
            continue
        if want.share == "replicate":
            options = [list(_options(want))] * want.runs
        else:
            options = [list(_options(want, part)) for part in _shares(fleet, want, weigh(want), kind.count)]
        word = "run" if want.share == "replicate" else "share"
        for number, given in enumerate(options, 1):
            name = f"{want.name}-{kind.name}-{word}{number}"
            yield Shard(name=name, want=want.name, kind=kind.name, number=number, options=given)


def _options(want: Want, workloads: Sequence[str] | None = None) -> Iterator[str]:
    """The arguments of `run`; `workloads` in place of the want's own."""
    for option, values in want.options.items():
        if option == "workload" and workloads is not None:
            continue
        for value in values:
            yield from (f"--{option}", value) if value else (f"--{option}",)
    for name in workloads or ():
        yield from ("--workload", name)


def _shares(fleet: Fleet, want: Want, weights: Mapping[str, int], parts: int) -> list[list[str]]:
    """The workloads of each share: the heaviest first to who has least, and to all the control."""
    ideas = {name: weight for name, weight in weights.items() if name not in want.control}
    if len(ideas) < parts:
        raise PlanError(
            f"{fleet.path}: want {want.name!r} has {len(ideas)} workloads beside its control to split over {parts} "
            'machines; name more workloads, fewer machines, or share = "replicate"'
        )
    shares: list[list[str]] = [[] for _ in range(parts)]
    loads = [0] * parts
    for name in sorted(ideas, key=lambda name: (-ideas[name], name)):
        least = loads.index(min(loads))
        shares[least].append(name)
        loads[least] += ideas[name]
    return [[*want.control, *sorted(share)] for share in shares]

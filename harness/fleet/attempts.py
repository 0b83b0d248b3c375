"""Attempts at shards as a state machine, purely: events move it, and one that comes twice or late changes nothing.

An attempt is assigned, then running, then done, lost or refused. What has ended stays so, whatever is heard of it
later: a driver that was killed hears things again, and a network delivers them late. A shard that is lost goes to
another machine as a new attempt.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Collection, Iterator, Sequence
from typing import Literal, TypeAlias

import msgspec

from harness.errors import UserError
from harness.fleet.shards import FleetPlan, Shard

AttemptState = Literal["assigned", "running", "done", "lost", "refused"]
End = Literal["done", "lost", "refused"]


class Opened(msgspec.Struct, frozen=True, kw_only=True, tag="opened"):
    """A driver begins: what was refused or given up is tried anew, since its cause may be mended."""

    at: str


class Assigned(msgspec.Struct, frozen=True, kw_only=True, tag="assigned"):
    """A machine is to run a shard; written down before the engine hears of it."""

    attempt: str
    shard: str
    machine: str
    at: str


class Began(msgspec.Struct, frozen=True, kw_only=True, tag="began"):
    """The engine has it, at a `place` of its own: a process, a node, a job. Again where a stopped run goes on."""

    attempt: str
    place: str
    at: str


class Ended(msgspec.Struct, frozen=True, kw_only=True, tag="ended"):
    """It is over. `code` is the command's exit code, `records` how many lines of it are stored."""

    attempt: str
    state: End
    at: str
    code: int | None = None
    reason: str | None = None
    records: int = 0


Event: TypeAlias = Opened | Assigned | Began | Ended


class FleetAttempt(msgspec.Struct, kw_only=True):
    """One try of a shard on one machine: one run, one results folder."""

    name: str
    shard: str
    machine: str
    state: AttemptState
    assigned_at: str
    begins: int = 0
    place: str | None = None
    began_at: str | None = None
    ended_at: str | None = None
    code: int | None = None
    reason: str | None = None
    records: int = 0

    @property
    def live(self) -> bool:
        """Whether it has not ended."""
        return self.state in ("assigned", "running")


class JournalError(UserError):
    """Events that cannot be of this plan."""


class Ledger:
    """What the events so far amount to."""

    def __init__(self, plan: FleetPlan, tries: int) -> None:
        self._tries = tries
        self._kind_of = plan.kind_of
        self.shards: dict[str, Shard] = {shard.name: shard for shard in plan.shards}
        self.attempts: dict[str, FleetAttempt] = {}
        self.of_shard: dict[str, list[str]] = defaultdict(list)
        self.done: set[str] = set()
        self._live: dict[str, str] = {}  # attempt by machine
        self._given: dict[str, int] = defaultdict(int)  # attempts so far, by machine
        self._spent: dict[str, int] = defaultdict(int)  # tries since the driver began
        self._unfit: dict[str, set[str]] = defaultdict(set)  # machines that refused the shard since then
        self._waiting: dict[str, deque[str]] = defaultdict(deque)  # shards by kind
        for shard in plan.shards:
            self._waiting[shard.kind].append(shard.name)

    # -- events

    def apply(self, event: Event) -> bool:
        """Take an event in; whether it changed anything. JournalError for one of another plan."""
        if isinstance(event, Opened):
            return self._open()
        if isinstance(event, Assigned):
            return self._assign(event)
        attempt = self.attempts.get(event.attempt)
        if attempt is None:
            raise JournalError(f"there is no attempt {event.attempt}, of which the journal says {event}")
        return self._begin(attempt, event) if isinstance(event, Began) else self._end(attempt, event)

    def _open(self) -> bool:
        self._spent.clear()
        self._unfit.clear()
        for name in self.given_up():
            self._waiting[self.shards[name].kind].append(name)
        return True

    def _assign(self, event: Assigned) -> bool:
        if event.attempt in self.attempts:
            return False
        shard = self.shards.get(event.shard)
        if shard is None or self._kind_of.get(event.machine) != shard.kind:
            raise JournalError(f"the plan has no {event.shard} for {event.machine}, to which the journal assigns it")
        if event.machine in self._live or event.shard not in self._waiting[shard.kind]:
            raise JournalError(f"{event.attempt} is assigned while {event.machine} or {event.shard} is at work")
        self._waiting[shard.kind].remove(event.shard)
        self.attempts[event.attempt] = FleetAttempt(
            name=event.attempt, shard=event.shard, machine=event.machine, state="assigned", assigned_at=event.at
        )
        self.of_shard[event.shard].append(event.attempt)
        self._live[event.machine] = event.attempt
        self._given[event.machine] += 1
        return True

    def _begin(self, attempt: FleetAttempt, event: Began) -> bool:
        if not attempt.live or (attempt.place, attempt.began_at) == (event.place, event.at):
            return False
        attempt.state, attempt.place, attempt.began_at = "running", event.place, event.at
        attempt.begins += 1
        return True

    def _end(self, attempt: FleetAttempt, event: Ended) -> bool:
        if not attempt.live:
            return False
        attempt.state, attempt.ended_at, attempt.code = event.state, event.at, event.code
        attempt.reason, attempt.records = event.reason, event.records
        del self._live[attempt.machine]
        shard = self.shards[attempt.shard]
        if event.state == "done":
            self.done.add(shard.name)
            return True
        self._spent[shard.name] += 1
        if event.state == "refused":
            self._unfit[shard.name].add(attempt.machine)
        if self._spent[shard.name] < self._tries and not self._all_unfit(shard):
            self._waiting[shard.kind].append(shard.name)
        return True

    def _all_unfit(self, shard: Shard) -> bool:
        machines = sum(kind == shard.kind for kind in self._kind_of.values()) if self._unfit[shard.name] else 1
        return len(self._unfit[shard.name]) >= machines

    # -- what follows

    def live(self) -> list[FleetAttempt]:
        """What has not ended."""
        return [self.attempts[name] for name in self._live.values()]

    def waiting(self) -> list[str]:
        """Shards that wait for a machine."""
        return [name for names in self._waiting.values() for name in names]

    def given_up(self) -> list[str]:
        """Shards that are not done, and that nobody will try again until a driver begins anew."""
        left = {*self.waiting(), *self.done, *(attempt.shard for attempt in self.live())}
        return [name for name in self.shards if name not in left]

    def next(self, there: Collection[str], at: str) -> Iterator[Assigned]:
        """Who may begin now: each machine of `there` that is free, with a shard of its kind. Each is to be applied.

        A shard goes to a machine that has not tried it as long as another of its kind is there. Whoever had least comes
        first, so that equal machines share alike where one run goes on at a time.
        """
        kinds: dict[str, list[str]] = defaultdict(list)
        for machine in there:
            if machine in self._kind_of:
                kinds[self._kind_of[machine]].append(machine)
        for kind, machines in kinds.items():
            free = [machine for machine in machines if machine not in self._live]
            free.sort(key=self._given.__getitem__)
            for machine in free:
                name = self._fitting(machine, self._waiting[kind], machines)
                if name is not None:
                    number = len(self.of_shard[name]) + 1
                    yield Assigned(attempt=f"{name}-try{number}", shard=name, machine=machine, at=at)

    def _fitting(self, machine: str, waiting: Sequence[str], there: Sequence[str]) -> str | None:
        for name in waiting:
            tried = {self.attempts[attempt].machine for attempt in self.of_shard[name]}
            unfit = self._unfit.get(name, ())
            if machine in unfit:
                continue
            if machine not in tried or all(other in tried or other in unfit for other in there):
                return name
        return None

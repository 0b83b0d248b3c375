"""How a campaign stands: a row for each want and kind of machine, and what was lost, from its journal."""

from __future__ import annotations

from collections import Counter, defaultdict

import msgspec

from harness.fleet.campaign import Campaign


class FleetRow(msgspec.Struct, frozen=True, kw_only=True):
    """The shards of a want on a kind of machine, counted by how they stand; `records` of all their attempts."""

    want: str
    kind: str
    shards: int
    done: int
    running: int
    waiting: int
    given_up: int
    lost: int
    records: int


class LostAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt that did not come to its end, what of it is kept, and why."""

    attempt: str
    machine: str
    state: str
    records: int
    reason: str | None


class FleetStatus(msgspec.Struct, frozen=True, kw_only=True):
    """All that `status` says; `running` names the live attempts with their records so far."""

    shards: int
    done: int
    rows: list[FleetRow]
    running: dict[str, int]
    lost: list[LostAttempt]


def status(campaign: Campaign) -> FleetStatus:
    """How a campaign stands by what its journal says, and what lies in the folders of what runs."""
    ledger = campaign.ledger
    given_up = set(ledger.given_up())
    states: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    records: Counter[tuple[str, str]] = Counter()
    lost: Counter[tuple[str, str]] = Counter()
    for shard in campaign.plan.shards:
        states[(shard.want, shard.kind)][campaign.state(shard.name, given_up)] += 1
    for attempt in ledger.attempts.values():
        shard = ledger.shards[attempt.shard]
        records[(shard.want, shard.kind)] += campaign.records(attempt)
        lost[(shard.want, shard.kind)] += not attempt.live and attempt.state != "done"
    rows = [
        FleetRow(
            want=want,
            kind=kind,
            shards=sum(counts.values()),
            done=counts["done"],
            running=counts["running"],
            waiting=counts["waiting"],
            given_up=counts["given up"],
            lost=lost[(want, kind)],
            records=records[(want, kind)],
        )
        for (want, kind), counts in states.items()
    ]
    return FleetStatus(
        shards=len(ledger.shards),
        done=len(ledger.done),
        rows=rows,
        running={attempt.name: campaign.records(attempt) for attempt in ledger.live()},
        lost=[
            LostAttempt(attempt=a.name, machine=a.machine, state=a.state, records=a.records, reason=a.reason)
            for a in ledger.attempts.values()
            if not a.live and a.state != "done"
        ],
    )

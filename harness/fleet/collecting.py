"""What a campaign brought: folders that came by hand are taken in, and what may be compared with what is judged."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import msgspec

from harness.fleet.attempts import Assigned, Began, Ended, FleetAttempt
from harness.fleet.campaign import RUNS, Campaign, lines
from harness.fleet.description import Want
from harness.records import timestamps
from harness.records.record import FAILED, Record
from harness.records.store import RECORDS, RunInfo, StoreError, info_of, load
from harness.running.leftovers import UNFINISHED

BY_HAND = "by hand"  # the place of a run that no engine of ours started


class Control(msgspec.Struct, frozen=True, kw_only=True):
    """Whether equal machines that share a want's workloads out are equal: by what each measured of the control.

    `holds` is None where that cannot be told.
    """

    want: str
    kind: str
    holds: bool | None
    why: str


class Collected(msgspec.Struct, frozen=True, kw_only=True):
    """All that `collect` says. `versions` has what differs: by distribution, the machines of each version."""

    done: int
    shards: int
    records: int
    taken_in: list[str]
    partial: list[str]
    given_up: list[str]
    waiting: list[str]
    versions: dict[str, dict[str, list[str]]]
    controls: list[Control]


def take_in(campaign: Campaign, sources: Mapping[str, str]) -> list[str]:
    """Enter whole runs that lie in the campaign's folder and that its journal does not know; their attempts."""
    return [name for shard in campaign.plan.shards for name in _of_shard(campaign, shard.name, sources)]


def _of_shard(campaign: Campaign, shard: str, sources: Mapping[str, str]) -> Iterator[str]:
    ledger = campaign.ledger
    kind = ledger.shards[shard].kind
    for machine in campaign.plan.machines[kind]:
        for folder in sorted((campaign.folder / RUNS / machine).glob(f"{shard}-try*")):
            if (
                folder.name in ledger.attempts
                or shard not in ledger.waiting()
                or any(attempt.machine == machine for attempt in ledger.live())
            ):
                continue
            info = _whole(folder)
            if info is None:
                continue
            now = timestamps.now()
            campaign.record(Assigned(attempt=folder.name, shard=shard, machine=machine, at=now))
            campaign.record(Began(attempt=folder.name, place=BY_HAND, at=now))
            other = [name for name, digest in sources.items() if info.sources.get(name) != digest]
            campaign.record(
                Ended(
                    attempt=folder.name,
                    state="refused" if other else "done",
                    at=now,
                    code=None if other else int(any(r.status in FAILED for r in load(folder).records)),
                    reason=f"it has other sources of {', '.join(other)} than are here" if other else None,
                    records=lines(folder / RECORDS),
                )
            )
            yield folder.name


def _whole(folder: Path) -> RunInfo | None:
    """What a run says of itself, if it came to its end."""
    try:
        info = info_of(folder)
    except StoreError:
        return None
    ended = info.ended_at is not None and not (folder / UNFINISHED).exists()
    return info if ended and (folder / RECORDS).exists() else None


def collected(campaign: Campaign, taken_in: list[str]) -> Collected:
    """Judge what is there."""
    ledger = campaign.ledger
    attempts = list(ledger.attempts.values())
    return Collected(
        done=len(ledger.done),
        shards=len(ledger.shards),
        records=sum(campaign.records(attempt) for attempt in attempts),
        taken_in=taken_in,
        partial=[
            str(campaign.results(attempt).relative_to(campaign.folder))
            for attempt in attempts
            if attempt.state != "done" and campaign.records(attempt)
        ],
        given_up=ledger.given_up(),
        waiting=ledger.waiting(),
        versions=_versions(campaign),
        controls=[control for want in campaign.fleet.wants for control in _controls(campaign, want)],
    )


def _done(campaign: Campaign) -> list[FleetAttempt]:
    return [attempt for attempt in campaign.ledger.attempts.values() if attempt.state == "done"]


def _versions(campaign: Campaign) -> dict[str, dict[str, list[str]]]:
    """What is another version on some machine than on others."""
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for attempt in _done(campaign):
        info = campaign.info(attempt)
        if info is not None:
            for name, version in {**info.versions, "Python": str(info.machine.get("python"))}.items():
                found[name][version].add(attempt.machine)
    return {
        name: {version: sorted(machines) for version, machines in sorted(by_version.items())}
        for name, by_version in sorted(found.items())
        if len(by_version) > 1
    }


def _controls(campaign: Campaign, want: Want) -> Iterator[Control]:
    if want.share != "split":
        return
    by_kind: dict[str, list[FleetAttempt]] = defaultdict(list)
    for attempt in _done(campaign):
        shard = campaign.ledger.shards[attempt.shard]
        if shard.want == want.name:
            by_kind[shard.kind].append(attempt)
    for kind, attempts in by_kind.items():
        yield control(want, kind, {a.machine: load(campaign.results(a)).records for a in attempts})


def control(want: Want, kind: str, by_machine: Mapping[str, list[Record]]) -> Control:
    """Whether machines that measured the same workloads measured the same: each against the next."""
    verdicts: list[str | None] = []
    for (a, left), (b, right) in pairwise(by_machine.items()):
        found = _verdicts(want, left, right, (a, b))
        for case, verdict in found.items():
            if verdict in ("faster", "slower"):
                why = f"{case} is {verdict} on {b} than on {a}: what they share out is not of equal machines"
                return Control(want=want.name, kind=kind, holds=False, why=why)
        verdicts += found.values()
    ties = verdicts.count("tie")
    if not ties:
        why = "no row of it has two rounds on either" if len(by_machine) > 1 else "one machine did all that is done"
        return Control(want=want.name, kind=kind, holds=None, why=why)
    return Control(want=want.name, kind=kind, holds=True, why=f"{ties} of its rows are ties")


def _verdicts(want: Want, a: list[Record], b: list[Record], names: tuple[str, str]) -> dict[str, str | None]:
    """The verdict of each best path of the control, B's against A's."""
    from harness.figures.compare import compare  # scipy, which status and plan do without

    sides = [[r for r in records if r.case.workload in want.control] for records in (a, b)]
    rows = compare(sides[0], sides[1], names=names, by="machine").rows  # what all rows share is a difference here
    return {row.case: row.verdict for row in rows if row.kind == "best path"}

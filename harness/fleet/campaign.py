"""The folder of a campaign: its journal, its runs, and `campaign.json`, which says for others how it stands.

CAMPAIGN/journal.jsonl                  every event, before it is acted upon
CAMPAIGN/campaign.json                  machines, wants, attempts and their states, made of the journal
CAMPAIGN/runs/MACHINE/ATTEMPT/          a results folder for each attempt, never merged with another
CAMPAIGN/logs/ATTEMPT.log               what its command printed
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, TypeAlias

import msgspec

from harness.errors import UserError
from harness.fleet.arriving import ArrivingFile
from harness.fleet.attempts import Event, FleetAttempt, JournalError, Ledger
from harness.fleet.description import Fleet
from harness.fleet.journal import Journal
from harness.fleet.shards import FleetPlan
from harness.records import timestamps
from harness.records.disk import replace, why
from harness.records.locks import FileLock, NoLocksError
from harness.records.store import INFO, RECORDS, RunInfo, StoreError, info_of

FORMAT = 1
JOURNAL, SUMMARY, LOCK, RUNS, LOGS = "journal.jsonl", "campaign.json", ".lock", "runs", "logs"


class Founded(msgspec.Struct, frozen=True, kw_only=True, tag="founded"):
    """The first line of a journal: what it is of."""

    format: int
    campaign: str
    plan: str
    at: str


Entries: TypeAlias = Founded | Event


class Campaign:
    """A campaign, to be read; within `with` also to be driven, by one driver at a time."""

    def __init__(self, folder: Path, fleet: Fleet, plan: FleetPlan) -> None:
        self.folder, self.fleet, self.plan = folder, fleet, plan
        self.ledger = Ledger(plan, fleet.tries)
        self.founded: Founded | None = None
        self._journal: Journal[Entries] = Journal(folder / JOURNAL, Entries)
        self._lock = FileLock(folder / LOCK, f"process {os.getpid()}, since {timestamps.now()}")
        self._arriving: dict[str, ArrivingFile] = {}

    # -- reading

    def read(self) -> Self:
        """Take in what the journal says so far; UserError where it is of another plan."""
        for entry in self._journal.read():
            if isinstance(entry, Founded):
                self._check(entry)
                self.founded = entry
            elif self.founded is None:
                raise JournalError(f"{self._journal.path} does not begin as a journal does; name another -o")
            else:
                self.ledger.apply(entry)
        return self

    def _check(self, founded: Founded) -> None:
        if founded.format > FORMAT:
            raise UserError(f"{self.folder} is of format {founded.format}, newer than {FORMAT}; update hwlottery")
        if founded.plan != self.plan.digest:
            raise UserError(
                f"{self.folder} is the campaign of another plan than {self.fleet.path} describes now; restore the "
                "file's machines and wants, or name another -o"
            )

    def results(self, attempt: FleetAttempt) -> Path:
        """The results folder of an attempt."""
        return self.folder / RUNS / attempt.machine / attempt.name

    def log(self, attempt: FleetAttempt) -> Path:
        """The file with what its command printed."""
        return self.folder / LOGS / f"{attempt.name}.log"

    def info(self, attempt: FleetAttempt) -> RunInfo | None:
        """What its run says of itself; None as long as it says nothing."""
        try:
            return info_of(self.results(attempt))
        except StoreError:
            return None

    def records(self, attempt: FleetAttempt) -> int:
        """How many lines of it are stored: by the journal once it has ended, by the file while it runs."""
        return attempt.records if not attempt.live else lines(self.results(attempt) / RECORDS)

    # -- driving

    def __enter__(self) -> Self:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for below in (RUNS, LOGS):
                (self.folder / below).mkdir(exist_ok=True)
            self._locked()
            self.read()
            self._journal.open()
        except OSError as error:
            self._lock.release()
            raise UserError(f"-o {self.folder} cannot be written ({why(error)}); name another folder") from None
        except BaseException:
            self._lock.release()
            raise
        if self.founded is None:
            name = f"{timestamps.in_name()}-{os.urandom(4).hex()}"
            self.founded = Founded(format=FORMAT, campaign=name, plan=self.plan.digest, at=timestamps.now())
            self._journal.append(self.founded)
        return self

    def _locked(self) -> None:
        try:
            ours = self._lock.take()
        except NoLocksError as error:
            raise UserError(
                f"-o {self.folder} is on a file system without locks ({error.strerror}), where two drivers cannot be "
                "kept apart; name a folder on a local disk"
            ) from None
        if not ours:
            who = self._lock.holder() or "another process"
            raise UserError(f"{self.folder} is being driven already ({who}); wait for it, or name another -o")

    def __exit__(self, *_: object) -> None:
        for file in self._arriving.values():
            file.close()
        self._arriving.clear()
        try:
            self.summarise()
        finally:
            self._journal.close()
            self._lock.release(remove=True)

    def record(self, event: Event) -> None:
        """Write an event down, then let it count."""
        self._journal.append(event)
        self.ledger.apply(event)

    def take(self, attempt: FleetAttempt, offset: int, piece: bytes) -> int:
        """Store lines that came of an attempt; how many bytes of it are on the disk now. None of one that has ended."""
        if not attempt.live:
            return offset + len(piece)
        return self._file(attempt).take(offset, piece)

    def stored(self, attempt: FleetAttempt) -> int:
        """How many bytes of its records came so far."""
        return self._file(attempt).stored

    def _file(self, attempt: FleetAttempt) -> ArrivingFile:
        if attempt.name not in self._arriving:
            self._arriving[attempt.name] = ArrivingFile(self.results(attempt) / RECORDS)
        return self._arriving[attempt.name]

    def take_file(self, attempt: FleetAttempt, name: str, content: bytes) -> None:
        """Keep a file of an attempt beside its records: run.json, or one of its logs. What leads elsewhere is not."""
        path = Path(name)
        if path.is_absolute() or ".." in path.parts or path.name == RECORDS or not path.name:
            return
        target = self.results(attempt) / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.name == INFO or not target.exists():
            replace(target, content)

    def arrived(self, attempt: FleetAttempt) -> None:
        """Nothing more comes of an attempt."""
        file = self._arriving.pop(attempt.name, None)
        if file is not None:
            file.close()

    def summarise(self) -> None:
        """Write `campaign.json` anew; it is as it was where there is no room."""
        try:
            replace(self.folder / SUMMARY, msgspec.json.format(msgspec.json.encode(self.summary()), indent=2) + b"\n")
        except OSError as error:
            raise UserError(f"{self.folder / SUMMARY} cannot be written ({why(error)}); make room and go on") from None

    def summary(self) -> Mapping[str, Any]:
        """Machines, wants, attempts and their states, with nothing that names a computer of anybody's."""
        ledger, given_up = self.ledger, set(self.ledger.given_up())
        return {
            "format": FORMAT,
            "campaign": self.founded.campaign if self.founded else None,
            "plan": self.plan.digest,
            "engine": self.fleet.engine,
            "machines": {
                machine: {"kind": kind.name, "labels": dict(kind.labels)}
                for kind in self.fleet.kinds.values()
                for machine in kind.machines
            },
            "wants": [
                {
                    "name": want.name,
                    "on": {key: list(values) for key, values in want.on.items()},
                    "share": want.share,
                    "control": list(want.control) if want.share == "split" else [],
                    "shards": [
                        {
                            "shard": shard.name,
                            "kind": shard.kind,
                            "options": shard.options,
                            "state": self.state(shard.name, given_up),
                            "attempts": ledger.of_shard.get(shard.name, []),
                        }
                        for shard in self.plan.of_want(want.name)
                    ],
                }
                for want in self.fleet.wants
            ],
            "attempts": [self._told(attempt) for attempt in ledger.attempts.values()],
        }

    def state(self, shard: str, given_up: set[str]) -> str:
        """How a shard stands: done, running, waiting or given up."""
        if shard in self.ledger.done:
            return "done"
        if shard in given_up:
            return "given up"
        attempts = self.ledger.of_shard.get(shard, [])
        return "running" if attempts and self.ledger.attempts[attempts[-1]].live else "waiting"

    def _told(self, attempt: FleetAttempt) -> Mapping[str, Any]:
        return {
            "attempt": attempt.name,
            "shard": attempt.shard,
            "machine": attempt.machine,
            "state": attempt.state,
            "results": str(self.results(attempt).relative_to(self.folder)),
            "partial": attempt.state != "done",
            "code": attempt.code,
            "reason": attempt.reason,
            "records": attempt.records,
            "assigned_at": attempt.assigned_at,
            "began_at": attempt.began_at,
            "ended_at": attempt.ended_at,
        }


def lines(path: Path) -> int:
    """How many whole lines a file has; none where there is no file."""
    try:
        with path.open("rb") as file:
            return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
    except OSError:
        return 0

"""Carries a campaign out: gives machines their shards, stores what comes before it is acknowledged, and judges ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from itertools import islice

from harness.errors import UserError
from harness.fleet.attempts import Assigned, Began, End, Ended, FleetAttempt, Opened
from harness.fleet.campaign import Campaign
from harness.fleet.engines.base import STOPPED, Engine, Finished, Gone, Heard, Job, Progress
from harness.records import timestamps
from harness.records.store import merge_lines
from harness.records.text import plain
from harness.running import stopping

LOOK_S = 1.0  # between looks at what machines are there
SUMMARY_S = 5.0  # between rewritings of campaign.json
MOST_BEGINS = 50  # of one attempt that is stopped again and again, as by preemption
ENDING_S = 60.0  # for runs to end that were asked to

Say = Callable[[str], None]


class Driver:
    """One driving of a campaign. `sources` are the digests of ours, to which every machine's are held."""

    def __init__(
        self, campaign: Campaign, engine: Engine, *, sources: Mapping[str, str], say: Say, wait_s: float = 0.0
    ) -> None:
        self._campaign, self._engine, self._sources, self._say = campaign, engine, sources, say
        self._wait_s = wait_s
        self._banned: dict[str, str] = {}  # machines whose sources are others, and why
        self._same: set[str] = set()  # attempts whose sources were held to ours
        self._summarised = 0.0
        self._stopping = False

    def drive(self) -> None:
        """Run everything that can be run. KeyboardInterrupt, once what runs has ended, where it is asked to stop."""
        try:
            self._engine.connect(self._campaign.fleet.kinds)
            with stopping.stoppable():  # after it: Ray takes the signals for itself
                try:
                    self._run()
                except KeyboardInterrupt:
                    self._stop()
                    raise
            self._say_missing()
        finally:
            self._engine.close()

    def _run(self) -> None:
        ledger = self._campaign.ledger
        self._campaign.record(Opened(at=timestamps.now()))
        self._engine.there()
        for attempt in ledger.live():
            self._take_up(attempt)
        idle_since = time.monotonic()
        while ledger.waiting() or ledger.live():
            self._assign()
            if ledger.live():
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since >= self._wait_s:
                return  # nobody is there for the rest
            self._hear(LOOK_S)
            self._summarise()

    def _say_missing(self) -> None:
        ledger = self._campaign.ledger
        wanting = {ledger.shards[name].kind for name in ledger.waiting()}
        for kind, why in self._engine.missing().items():
            if kind in wanting:
                self._say(f"nobody is there for {kind}: {why}")

    # -- beginning

    def _job(self, attempt: FleetAttempt) -> Job:
        campaign = self._campaign
        shard = campaign.ledger.shards[attempt.shard]
        return Job(
            attempt=attempt.name,
            machine=attempt.machine,
            kind=campaign.fleet.kinds[shard.kind],
            options=shard.options,
            results=campaign.results(attempt).absolute(),
            log=campaign.log(attempt).absolute(),
            stored=0 if self._engine.keeps else campaign.stored(attempt),
            place=attempt.place,
        )

    def _take_up(self, attempt: FleetAttempt) -> None:
        """What an earlier driver left running: it is ours, or goes on anew where it was, or is lost."""
        job = self._job(attempt)
        if self._engine.adopt(job):
            self._say(f"{attempt.name}: still running on {attempt.machine}")
        elif self._engine.keeps:
            self._begin(attempt, job)
        else:
            self._end(attempt, "lost", reason="it ended while no driver was there")

    def _assign(self) -> None:
        there = [machine for machine in self._engine.there() if machine not in self._banned]
        ledger, most = self._campaign.ledger, self._engine.at_once
        room = None if most is None else max(0, most - len(ledger.live()))
        for event in islice(ledger.next(there, timestamps.now()), room):
            self._give(event)

    def _give(self, event: Assigned) -> None:
        self._campaign.record(event)
        attempt = self._campaign.ledger.attempts[event.attempt]
        self._begin(attempt, self._job(attempt))

    def _begin(self, attempt: FleetAttempt, job: Job) -> None:
        try:
            place = self._engine.start(job)
        except UserError as error:
            self._end(attempt, "lost", reason=str(error))
            return
        self._campaign.record(Began(attempt=attempt.name, place=place, at=timestamps.now("milliseconds")))
        self._say(f"{attempt.name}: {'goes on' if attempt.begins > 1 else 'begins'} on {attempt.machine}")

    # -- hearing

    def _hear(self, timeout_s: float) -> None:
        for heard in self._engine.heard(timeout_s):
            self._take(heard)
        for attempt in self._campaign.ledger.live():
            self._hold_sources(attempt)

    def _take(self, heard: Heard) -> None:
        attempt = self._campaign.ledger.attempts[heard.attempt]
        if isinstance(heard, Progress):
            for name, content in (heard.files or {}).items():
                self._campaign.take_file(attempt, name, content)
            self._engine.stored(attempt.name, self._campaign.take(attempt, heard.offset, heard.piece))
        elif not attempt.live:
            self._engine.forget(attempt.name)
        elif isinstance(heard, Gone):
            self._end(attempt, "lost", reason=heard.why)
        else:
            self._hold_sources(attempt)
            if attempt.live:
                self._finish(attempt, heard)

    def _finish(self, attempt: FleetAttempt, heard: Finished) -> None:
        said = plain(heard.said.removeprefix("error: "))
        if heard.code in STOPPED:
            if not self._engine.keeps or attempt.begins >= MOST_BEGINS:
                self._end(attempt, "lost", code=heard.code, reason="it was stopped")
            elif not self._stopping:
                self._begin(attempt, self._job(attempt))
        elif heard.code in (0, 1) and self._campaign.info(attempt) is not None and self._lines(attempt):
            self._end(attempt, "done", code=heard.code)
        elif heard.code in (1, 2, 126, 127):
            self._end(attempt, "refused", code=heard.code, reason=said or f"exit code {heard.code}")
        else:
            why = f"it ended with exit code {heard.code}" if heard.code < 128 else f"signal {heard.code - 128} ended it"
            why = why if heard.code else "it ended without a record"
            self._end(attempt, "lost", code=heard.code, reason=f"{why}{f': {said}' if said else ''}")

    def _hold_sources(self, attempt: FleetAttempt) -> None:
        """Refuse a machine whose code is not ours, as soon as its run says which it has."""
        if attempt.name in self._same:
            return
        info = self._campaign.info(attempt)
        if info is None:
            return
        self._same.add(attempt.name)
        other = [name for name, digest in self._sources.items() if info.sources.get(name) != digest]
        if other:
            named = "; ".join(f"{n} ({self._sources[n][:8]} here, {info.sources.get(n, '?')[:8]} there)" for n in other)
            why = f"{attempt.machine} has other sources of {named}; bring both to the same commit"
            self._banned[attempt.machine] = why
            self._engine.stop(attempt.name)
            self._end(attempt, "refused", reason=why)

    # -- ending

    def _lines(self, attempt: FleetAttempt) -> int:
        return self._campaign.records(attempt)

    def _end(self, attempt: FleetAttempt, state: End, *, code: int | None = None, reason: str | None = None) -> None:
        campaign = self._campaign
        campaign.arrived(attempt)
        if state == "done" and not self._engine.keeps:
            merge_lines(campaign.results(attempt))  # as the run itself does where it writes
        event = Ended(
            attempt=attempt.name,
            state=state,
            at=timestamps.now(),
            code=code,
            reason=reason,
            records=self._lines(attempt),
        )
        campaign.record(event)
        self._engine.forget(attempt.name)
        ledger = campaign.ledger
        self._say(
            f"{attempt.name}: {state}, {event.records} records{f' ({reason})' if reason else ''}; "
            f"{len(ledger.done)} of {len(ledger.shards)} done"
        )

    def _summarise(self) -> None:
        if time.monotonic() - self._summarised >= SUMMARY_S:
            self._campaign.summarise()
            self._summarised = time.monotonic()

    def _stop(self) -> None:
        """Ask everything to end, and hear it out; what does not end in time is left to the next driver."""
        self._stopping = True
        live = {attempt.name for attempt in self._campaign.ledger.live() if attempt.state == "running"}
        self._say(f"stopping {len(live)} runs; everything measured so far is kept")
        for name in live:
            self._engine.stop(name)
        until = time.monotonic() + ENDING_S
        while live and time.monotonic() < until:
            for heard in self._engine.heard(0.2):
                self._take(heard)
                if not isinstance(heard, Progress):
                    live.discard(heard.attempt)

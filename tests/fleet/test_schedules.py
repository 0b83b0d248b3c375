"""Whatever is lost, comes twice or late, and whoever is killed when: no line is lost, none is twice."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from _fleet import fleet
from _simulated import Network, Node
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from harness.errors import UserError
from harness.fleet.attempts import Opened
from harness.fleet.campaign import Campaign
from harness.fleet.drive import Driver

TEXT = """
engine = "ray"
tries = 3
[machine.a]
count = 2
[machine.b]
[[want]]
name = "w"
preset = "smoke"
"""
SCHEDULES = int(os.environ.get("HWLOTTERY_FLEET_SCHEDULES", "40"))


class Schedule(RuleBasedStateMachine):
    """A driver with its real folder, and a network between it and three machines."""

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
        self.fleet, self.plan = fleet(self.folder, TEXT)
        self.network = Network(["a-1", "a-2", "b"])
        self.campaign = None
        self.ended = {}  # what was once said of an attempt's end

    @initialize()
    def begin(self):
        self.campaign = Campaign(self.folder / "c", self.fleet, self.plan).__enter__()
        self.driver = Driver(self.campaign, self.network, sources={}, say=lambda _: None)
        self.campaign.record(Opened(at=""))
        for attempt in self.campaign.ledger.live():
            self.driver._take_up(attempt)
        self.driver._assign()

    def teardown(self):
        if self.campaign is not None:
            self.to_the_end()
            self.campaign.__exit__()
        shutil.rmtree(self.folder)

    def to_the_end(self):
        """With no more faults everything wanted is done, by a driver that tries again what others gave up."""
        self.network.refuses, self.network.messages = False, []
        for _ in range(3):
            self.crash(b"", b"")
            for _ in range(10):
                self.step_well()
        assert self.campaign.ledger.done == set(self.campaign.ledger.shards)
        self.holds()

    def step_well(self):
        self.driver._assign()
        for attempt in self.live():
            node = self.network.nodes[attempt.name]
            if node.code is None:
                node.write()
                node.code = 0
        for _ in range(2):
            for attempt in self.live():
                self.network.ask(attempt.name)
            self.network.delivered, self.network.messages = self.network.messages, []
            self.driver._hear(0.0)

    def live(self):
        return self.campaign.ledger.live()

    # -- what happens

    @rule()
    def assign(self):
        self.driver._assign()

    @rule(refuses=st.booleans())
    def nodes_refuse(self, refuses):
        self.network.refuses = refuses

    @rule(data=st.data(), code=st.sampled_from([0, 0, 1, 2, 137, 143]))
    def end(self, data, code):
        working = [node for node in self.network.nodes.values() if node.alive and node.code is None]
        if working:
            data.draw(st.sampled_from(working)).code = code

    @rule(data=st.data(), lines=st.integers(0, 3))
    def ask(self, data, lines):
        """A node writes, and is asked."""
        there = [attempt.name for attempt in self.live() if self.network.nodes[attempt.name].alive]
        if there:
            name = data.draw(st.sampled_from(there))
            for _ in range(lines if self.network.nodes[name].code is None else 0):
                self.network.nodes[name].write()
            self.network.ask(name)

    @rule(data=st.data())
    def lose(self, data):
        """A node dies, or is only thought to be dead."""
        if self.live():
            name = data.draw(st.sampled_from([attempt.name for attempt in self.live()]))
            self.network.nodes[name].alive = data.draw(st.booleans())
            self.network.lose(name)

    @rule(data=st.data(), times=st.integers(1, 2), stays=st.booleans())
    def deliver(self, data, times, stays):
        if self.network.messages:
            number = data.draw(st.integers(0, len(self.network.messages) - 1))
            message = self.network.messages[number] if stays else self.network.messages.pop(number)
            self.network.delivered += [message] * times
            self.driver._hear(0.0)

    @rule(data=st.data())
    def drop(self, data):
        if self.network.messages:
            self.network.messages.pop(data.draw(st.integers(0, len(self.network.messages) - 1)))

    @rule(line=st.binary(max_size=8), entry=st.binary(max_size=8))
    def crash(self, line, entry):
        """The driver dies while it writes: half a line may stand at the end of any file."""
        half = [part.replace(b"\n", b"") for part in (line, entry)]
        live = [self.campaign.results(attempt) / "records.jsonl" for attempt in self.live()]
        for file in self.campaign._arriving.values():
            file.close()
        self.campaign._journal.close()
        self.campaign._lock.release()
        for path in live:
            if path.exists():
                with path.open("ab") as file:
                    file.write(half[0])
        with (self.folder / "c" / "journal.jsonl").open("ab") as file:
            file.write(half[1])
        before = {name: attempt.state for name, attempt in self.campaign.ledger.attempts.items()}
        self.begin()
        after = {name: attempt.state for name, attempt in self.campaign.ledger.attempts.items()}
        assert before.keys() <= after.keys()
        assert all(after[name] in (state, "lost") for name, state in before.items())

    # -- what holds

    @invariant()
    def holds(self):
        if self.campaign is None:
            return
        ledger = self.campaign.ledger
        for attempt in ledger.attempts.values():
            path = self.campaign.results(attempt) / "records.jsonl"
            stored = path.read_bytes() if path.exists() else b""
            written = self.network.nodes.get(attempt.name, Node("")).written
            assert written.startswith(stored)  # none twice, none out of order, none of another's
            if attempt.state == "done":
                assert stored == written  # none lost
            if not attempt.live:
                assert attempt.records == stored.count(b"\n")
                assert self.ended.setdefault(attempt.name, (attempt.state, stored)) == (attempt.state, stored)
        for name, attempts in ledger.of_shard.items():
            states = [ledger.attempts[attempt].state for attempt in attempts]
            assert states.count("done") == (name in ledger.done)
            assert sum(ledger.attempts[attempt].live for attempt in attempts) <= 1
        machines = [attempt.machine for attempt in ledger.live()]
        assert len(machines) == len(set(machines))


def _play(schedules, **more):
    chosen = settings(
        max_examples=schedules,
        stateful_step_count=40,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        **more,
    )
    run_state_machine_as_test(Schedule, settings=chosen)


@pytest.fixture(autouse=True)
def _no_waiting_for_disks(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.mark.fault("messages lost, doubled, late and out of order; drivers and nodes killed", "fleets")
def test_no_schedule_loses_a_line_or_has_one_twice():
    _play(SCHEDULES)


def _ends_again(ledger, attempt, event):
    attempt.state, attempt.records = event.state, event.records
    return ledger._live.pop(attempt.machine, None) is not None


FAULTS = {
    "a piece that came before is stored again": ("harness.fleet.arriving.fresh", lambda stored, offset, piece: piece),
    "what is not stored is acknowledged": (
        "harness.fleet.arriving.ArrivingFile.take",
        lambda self, offset, piece: offset + len(piece),
    ),
    "half a line is taken for one": ("harness.fleet.arriving.torn", lambda file, end: 0),
    "what has ended ends again": ("harness.fleet.attempts.Ledger._end", _ends_again),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(monkeypatch, fault):
    monkeypatch.setattr(*FAULTS[fault])
    with pytest.raises((AssertionError, UserError)):
        _play(400, phases=[Phase.generate])

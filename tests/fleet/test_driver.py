"""The driver: who gets what, what becomes of ends of every kind, and what a second or a later driver does."""

from __future__ import annotations

import json

import msgspec
import pytest
from _fleet import fleet
from _simulated import INFO, Network

from harness.errors import UserError
from harness.fleet.attempts import Assigned, Began, Ended, JournalError, Ledger
from harness.fleet.campaign import Campaign
from harness.fleet.drive import Driver
from harness.fleet.engines.base import Finished

TEXT = """
engine = "ray"
tries = 3
[machine.a]
count = 2
labels = { kind = "cpu" }
[machine.b]
[[want]]
name = "w"
preset = "smoke"
"""


class Played:
    """A driver over a network, of which each node writes two lines and ends with the next of `codes`."""

    def __init__(self, tmp_path, text=TEXT, codes=(), *, keeps=False, sources=None):
        self.fleet, self.plan = fleet(tmp_path, text)
        self.folder = tmp_path / "c"
        self.network = Network([m for ms in self.plan.machines.values() for m in ms], keeps=keeps)
        self.codes, self.said = iter(codes), []
        self.sources = sources or {}

    def drive(self, steps=30):
        with Campaign(self.folder, self.fleet, self.plan) as self.campaign:
            self.driver = Driver(self.campaign, self.network, sources=self.sources, say=self.said.append)
            for attempt in self.campaign.ledger.live():
                self.driver._take_up(attempt)
            for _ in range(steps):
                self.step()
        return self.campaign.ledger

    def step(self):
        self.driver._assign()
        for attempt in self.campaign.ledger.live():
            node = self.network.nodes[attempt.name]
            if node.code is None and not node.lines:
                node.write()
                node.write()
            elif node.code is None:
                node.code = next(self.codes, 0)
            if self.network.keeps:  # the command writes to the folder itself
                results = self.campaign.results(attempt)
                results.mkdir(parents=True, exist_ok=True)
                (results / "records.jsonl").write_bytes(node.written)
                (results / "run.json").write_bytes(INFO)
                self.network.acknowledged[attempt.name] = len(node.written)
            self.network.ask(attempt.name)
        self.network.delivered, self.network.messages = self.network.messages, []
        self.driver._hear(0.0)


def _states(ledger):
    return [(attempt.name, attempt.machine, attempt.state) for attempt in ledger.attempts.values()]


def test_every_kind_runs_the_plan_and_each_attempt_has_a_folder(tmp_path):
    played = Played(tmp_path)
    ledger = played.drive()
    assert _states(ledger) == [("w-a-run1-try1", "a-1", "done"), ("w-b-run1-try1", "b", "done")]
    for attempt in ledger.attempts.values():
        folder = played.folder / "runs" / attempt.machine / attempt.name
        assert (folder / "records.jsonl").read_bytes() == b'{"line": 0}\n{"line": 1}\n'
        assert (folder / "run.json").exists()
        assert attempt.records == 2
    summary = json.loads((played.folder / "campaign.json").read_text())
    assert summary["machines"]["a-2"] == {"kind": "a", "labels": {"kind": "cpu"}}
    assert [shard["state"] for shard in summary["wants"][0]["shards"]] == ["done", "done"]
    assert summary["attempts"][0]["results"] == "runs/a-1/w-a-run1-try1"
    assert not summary["attempts"][0]["partial"]


def test_a_lost_shard_goes_to_another_machine_as_a_new_run(tmp_path):
    played = Played(tmp_path, codes=[137])
    ledger = played.drive()
    assert _states(ledger)[:1] == [("w-a-run1-try1", "a-1", "lost")]
    assert ("w-a-run1-try2", "a-2", "done") in _states(ledger)
    lost = ledger.attempts["w-a-run1-try1"]
    assert (lost.reason, lost.records, lost.code) == ("signal 9 ended it: words", 2, 137)
    assert (played.folder / "runs" / "a-1" / "w-a-run1-try1" / "records.jsonl").read_bytes().count(b"\n") == 2
    summary = json.loads((played.folder / "campaign.json").read_text())
    assert summary["attempts"][0]["partial"]


def test_equal_machines_share_alike_where_one_run_goes_on_at_a_time(tmp_path):
    text = TEXT.replace("[machine.b]\n", "") + "runs = 4\n"
    played = Played(tmp_path, text)
    played.network.at_once = 1
    assert [machine for _, machine, _ in _states(played.drive(80))] == ["a-1", "a-2", "a-1", "a-2"]


def test_an_error_of_the_harness_is_no_result_and_the_rest_is_tried_elsewhere(tmp_path):
    ledger = Played(tmp_path, codes=[70]).drive()
    assert _states(ledger)[0] == ("w-a-run1-try1", "a-1", "lost")
    assert ("w-a-run1-try2", "a-2", "done") in _states(ledger)
    assert ledger.attempts["w-a-run1-try1"].reason == "it ended with exit code 70: words"


def test_a_run_that_ends_without_a_record_is_lost(tmp_path):
    played = Played(tmp_path)
    with Campaign(played.folder, played.fleet, played.plan) as campaign:
        driver = Driver(campaign, played.network, sources={}, say=played.said.append)
        driver._assign()
        attempt = campaign.ledger.live()[0]
        driver._take(Finished(attempt=attempt.name, code=0, said=""))
        assert (attempt.state, attempt.reason) == ("lost", "it ended without a record")


def test_the_only_machine_of_a_kind_tries_again_until_it_is_given_up(tmp_path):
    text = TEXT.replace("count = 2", "count = 1").replace("[machine.b]\n", "")
    ledger = Played(tmp_path, text, codes=[137, 9, 139]).drive()
    assert [state for *_, state in _states(ledger)] == ["lost"] * 3
    assert ledger.attempts["w-a-run1-try2"].reason == "it ended with exit code 9: words"
    assert ledger.given_up() == ["w-a-run1"]


def test_a_refusal_is_no_machines_fault_twice_and_a_later_driver_tries_anew(tmp_path):
    """Exit code 2 says why; the other machine of the kind is asked, and then nobody."""
    played = Played(tmp_path, TEXT.replace("[machine.b]\n", ""), codes=[2, 2])
    ledger = played.drive()
    assert _states(ledger) == [("w-a-run1-try1", "a-1", "refused"), ("w-a-run1-try2", "a-2", "refused")]
    assert ledger.given_up() == ["w-a-run1"]
    played.network.nodes.clear()
    with Campaign(played.folder, played.fleet, played.plan) as campaign:
        Driver(campaign, Ending(played.network), sources={}, say=played.said.append).drive()
        assert campaign.ledger.attempts["w-a-run1-try3"].state == "done"


class Ending:
    """A network whose nodes write a line, end well, and are asked by themselves."""

    def __init__(self, network):
        self._network = network

    def __getattr__(self, name):
        return getattr(self._network, name)

    def heard(self, timeout_s):
        for name, node in self._network.nodes.items():
            if node.code is None:
                node.write()
                node.code = 0
            self._network.ask(name)
        heard, self._network.messages = self._network.messages, []
        return heard


def test_a_machine_of_other_sources_is_refused_before_it_measures_more(tmp_path):
    played = Played(tmp_path, TEXT.replace("[machine.b]\n", ""), sources={"harness": "0123456789", "workloads": "4"})
    ledger = played.drive()
    assert {attempt.state for attempt in ledger.attempts.values()} == {"refused"}
    assert len(ledger.attempts) == 2  # each machine once: it is not asked again
    assert ledger.attempts["w-a-run1-try1"].reason == (
        "a-1 has other sources of harness (01234567 here, ? there); workloads (4 here, ? there); "
        "bring both to the same commit"
    )
    assert played.network.stopped == ["w-a-run1-try1", "w-a-run1-try2"]


def test_where_results_are_kept_a_stopped_run_goes_on_as_the_same_attempt(tmp_path):
    played = Played(tmp_path, TEXT.replace("[machine.b]\n", ""), codes=[143], keeps=True)
    ledger = played.drive()
    assert ledger.attempts["w-a-run1-try1"].begins == 2
    assert any("goes on on a-1" in said for said in played.said)
    assert _states(ledger) == [("w-a-run1-try1", "a-1", "done")]


def test_a_driver_that_was_killed_goes_on_where_it_was(tmp_path):
    played = Played(tmp_path)
    played.drive(1)  # left without an end: both run
    assert [state for *_, state in _states(played.campaign.ledger)] == ["running", "running"]
    played.network.nodes["w-b-run1-try1"].alive = False
    ledger = played.drive()
    assert _states(ledger) == [
        ("w-a-run1-try1", "a-1", "done"),
        ("w-b-run1-try1", "b", "lost"),
        ("w-b-run1-try2", "b", "done"),
    ]
    assert ledger.attempts["w-b-run1-try1"].reason == "it ended while no driver was there"


def test_a_machine_that_cannot_be_started_is_lost_and_nothing_else(tmp_path):
    played = Played(tmp_path, TEXT.replace("[machine.b]\n", ""))
    played.network.refuses = True
    ledger = played.drive(1)
    assert ledger.attempts["w-a-run1-try1"].reason == "the node is gone"


def test_a_second_driver_is_refused_and_told_who_drives(tmp_path):
    described, plan = fleet(tmp_path, TEXT)
    with Campaign(tmp_path / "c", described, plan):
        with pytest.raises(UserError, match=r"is being driven already \(process \d+, since"):
            Campaign(tmp_path / "c", described, plan).__enter__()
        assert Campaign(tmp_path / "c", described, plan).read().founded is not None  # whoever only looks is let
    with Campaign(tmp_path / "c", described, plan):
        pass


def test_a_campaign_of_another_plan_is_refused(tmp_path):
    with Campaign(tmp_path / "c", *fleet(tmp_path, TEXT)):
        pass
    with pytest.raises(UserError, match="is the campaign of another plan than"):
        Campaign(tmp_path / "c", *fleet(tmp_path, TEXT.replace("smoke", "quick"))).read()
    with pytest.raises(UserError, match="is the campaign of another plan than"):
        Campaign(tmp_path / "c", *fleet(tmp_path, TEXT.replace("smoke", "quick"))).__enter__()
    Campaign(tmp_path / "c", *fleet(tmp_path, TEXT)).read()


def test_journals_that_are_none_are_one_sentence(tmp_path):
    described, plan = fleet(tmp_path, TEXT)
    with Campaign(tmp_path / "c", described, plan):
        pass
    journal = tmp_path / "c" / "journal.jsonl"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b"{torn")
    assert Campaign(tmp_path / "c", described, plan).read().founded is not None
    journal.write_bytes(whole + b"no JSON\n")
    with pytest.raises(UserError, match=r"journal\.jsonl line 2 cannot be read"):
        Campaign(tmp_path / "c", described, plan).read()
    journal.write_bytes(whole.replace(b'"format":1', b'"format":9'))
    with pytest.raises(UserError, match="newer than 1; update hwlottery"):
        Campaign(tmp_path / "c", described, plan).read()
    journal.write_bytes(msgspec.json.encode(Began(attempt="x", place="", at="")) + b"\n")
    with pytest.raises(JournalError, match="does not begin as a journal does"):
        Campaign(tmp_path / "c", described, plan).read()


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (Began(attempt="x", place="", at=""), "there is no attempt x"),
        (Ended(attempt="x", state="done", at=""), "there is no attempt x"),
        (Assigned(attempt="x", shard="w-c-run1", machine="a-1", at=""), "the plan has no w-c-run1"),
        (Assigned(attempt="x", shard="w-b-run1", machine="a-1", at=""), "the plan has no w-b-run1 for a-1"),
        (Assigned(attempt="x", shard="w-a-run1", machine="a-2", at=""), "is at work"),
    ],
)
def test_events_that_cannot_be_are_refused(tmp_path, event, words):
    ledger = Ledger(fleet(tmp_path, TEXT)[1], 3)
    ledger.apply(Assigned(attempt="w-a-run1-try1", shard="w-a-run1", machine="a-1", at=""))
    with pytest.raises(JournalError, match=words):
        ledger.apply(event)


def test_files_that_would_leave_the_results_folder_are_not_kept(tmp_path):
    played = Played(tmp_path)
    played.drive(1)
    (attempt, *_) = played.campaign.ledger.attempts.values()
    for name in ("../../outside", "/tmp/outside", "records.jsonl", "logs/../../x", ""):
        played.campaign.take_file(attempt, name, b"words")
    results = played.campaign.results(attempt)
    assert {path.name for path in results.rglob("*")} == {"records.jsonl", "run.json"}
    played.campaign.take_file(attempt, "logs/case.txt", b"words")
    played.campaign.take_file(attempt, "logs/case.txt", b"other words")
    assert (results / "logs" / "case.txt").read_bytes() == b"words"


def test_a_disk_that_is_full_keeps_what_was_acknowledged(tmp_path, monkeypatch):
    from harness.fleet import arriving

    file = arriving.ArrivingFile(tmp_path / "r" / "records.jsonl")
    assert file.take(0, b"one\n") == 4

    def full(number, content):
        import os

        os.write(number, content[:2])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(arriving, "write", full)
        with pytest.raises(OSError, match="No space"):
            file.take(4, b"two\n")
    assert (tmp_path / "r" / "records.jsonl").read_bytes() == b"one\n"
    assert file.take(4, b"two\n") == 8
    assert file.take(2, b"e\ntwo\nthree\n") == 14
    assert file.take(20, b"behind a gap\n") == 14

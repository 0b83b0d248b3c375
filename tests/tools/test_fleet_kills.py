"""What is said of lines that a fleet stored, held against what its nodes wrote: each way of being wrong is seen."""

from __future__ import annotations

import pytest
from _fleet import fleet

from harness.fleet.attempts import Assigned, Began, Ended, Opened
from harness.fleet.campaign import Campaign
from tools.fleet_kills import judged, whole

TEXT = '[machine.a]\n[[want]]\nname = "w"\npreset = "smoke"\n'
WRITTEN = b'{"line": 0}\n{"line": 1}\n{"line": 2}\n'
ATTEMPT = "w-a-run1-try1"


def _ended(tmp_path, stored, state, records=None):
    """What is judged of an attempt of which this is stored."""
    campaign = Campaign(tmp_path / "c", *fleet(tmp_path, TEXT))
    ledger = campaign.ledger
    (shard,) = ledger.shards
    for event in (
        Opened(at=""),
        Assigned(attempt=ATTEMPT, shard=shard, machine="a", at=""),
        Began(attempt=ATTEMPT, place="there", at=""),
        Ended(attempt=ATTEMPT, state=state, at="", records=stored.count(b"\n") if records is None else records),
    ):
        assert ledger.apply(event)
    attempt = ledger.attempts[ATTEMPT]
    campaign.results(attempt).mkdir(parents=True)
    (campaign.results(attempt) / "records.jsonl").write_bytes(stored)
    (campaign.results(attempt) / "run.json").write_text("{}")
    (tmp_path / "evidence").mkdir()
    (tmp_path / "evidence" / "1").write_bytes(WRITTEN)
    (tmp_path / "evidence" / "2").write_bytes(b'{"line": 9}\n')
    (tmp_path / "evidence" / "2.lock").write_bytes(b"words")
    return judged(campaign, attempt, tmp_path / "evidence")


@pytest.mark.parametrize(("stored", "state"), [(WRITTEN, "done"), (WRITTEN[:24], "lost"), (b"", "lost")])
def test_what_was_written_is_right(tmp_path, stored, state):
    assert _ended(tmp_path, stored, state) is None


@pytest.mark.parametrize(
    ("stored", "state", "records", "said"),
    [
        (WRITTEN[:24], "done", None, "no node wrote just the lines"),
        (WRITTEN + WRITTEN[-12:], "done", None, "no node wrote just the lines"),
        (WRITTEN[:12] + WRITTEN[:12], "lost", None, "no node wrote the lines"),
        (WRITTEN[12:], "lost", None, "no node wrote the lines"),
        (WRITTEN[:20], "lost", 1, "not as many whole lines"),
        (WRITTEN, "lost", 2, "not as many whole lines"),
    ],
    ids=["lost", "twice", "twice in part", "first lost", "torn", "miscounted"],
)
def test_what_is_lost_twice_or_torn_is_seen(tmp_path, stored, state, records, said):
    assert said in _ended(tmp_path, stored, state, records)


def test_a_line_without_an_end_is_torn():
    assert whole(b"")
    assert whole(b"a\n")
    assert not whole(b"a\nb")

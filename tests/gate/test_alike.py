"""What one folder taught the gate for the next: equal parts are one, and nothing passes that would not pass alone."""

from __future__ import annotations

import copy
import json

import msgspec
import pytest
from _sound import IDEA, SOUND, STORED, written

from harness.gate import known, strict_read
from harness.gate.strict_read import Alike, strict
from harness.gate.validate import Remembered, validate
from harness.records.record import Record
from harness.records.store import RECORDS

LINES = (STORED / RECORDS).read_bytes().splitlines()
STRICT = msgspec.json.Decoder(strict(Record))


def test_equal_cases_of_two_folders_are_one_object(tmp_path):
    learnt = Remembered()
    first, second = (validate(written(tmp_path / name), learnt).run.records for name in "ab")
    assert all(a.case is b.case and a.twins is b.twins for a, b in zip(first, second, strict=True))
    assert msgspec.json.encode(first) == msgspec.json.encode(second)


def _changed(**places):
    record = copy.deepcopy(SOUND[IDEA])
    for place, value in places.items():
        *path, last = place.split("__")
        held = record
        for name in path:
            held = held[int(name)] if isinstance(held, list) else held[name]
        held[last] = value
    return [record, *SOUND[1:]]


WRONG = {
    "case": {"case__params": {"m": 3}},
    "formulation": {"case__formulation": "none"},
    "execution": {"case__execution": "graph"},
    "work": {"work__useful_flop": 1},
    "twins": {"twins__0__mode": "train_step" if SOUND[IDEA]["case"]["mode"] == "forward" else "forward"},
    "verdict": {"verdict__rtol": 0.5},
    "type": {"case__seed": "0"},
    "field": {"case__colour": "red"},
    "settings": {"settings": {"threads": [1]}},
}


@pytest.mark.parametrize("places", WRONG.values(), ids=WRONG)
def test_what_is_refused_alone_is_refused_in_the_same_words_after_sound_folders(tmp_path, places):
    learnt = Remembered()
    assert validate(written(tmp_path / "sound"), learnt).refusals == []
    bad = written(tmp_path / "bad", _changed(**places))
    alone = [str(refusal) for refusal in validate(bad).refusals]
    assert alone
    assert [str(refusal) for refusal in validate(bad, learnt).refusals] == alone
    assert validate(tmp_path / "sound", learnt).refusals == [], "and teaches nothing wrong"


@pytest.mark.parametrize(
    "line", [b"{", b'{"schema":1}', b"\xff", b'{"case":' + b"[" * 100_000, b'{"case":{"seed":"\xff"}}']
)
def test_a_line_that_cannot_be_read_raises_what_the_schema_says(line):
    with pytest.raises((msgspec.MsgspecError, ValueError, RecursionError)) as expected:
        STRICT.decode(line)
    with pytest.raises(type(expected.value)) as found:
        Alike().decode(line)
    assert str(found.value) == str(expected.value)


def test_what_is_kept_has_a_limit_and_forgetting_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(strict_read, "MOST_ALIKE", 2)
    monkeypatch.setattr(known, "MOST_KNOWN", 2)
    alike = Alike()
    for line in LINES[:50]:
        assert msgspec.json.encode(alike.decode(line)) == msgspec.json.encode(STRICT.decode(line))
    assert all(len(known) <= 2 for known in alike.known.values())
    learnt = Remembered()
    assert validate(written(tmp_path / "r"), learnt).refusals == []
    assert len(learnt.known.sound) <= 2
    assert len(learnt.known.facts) <= 2


def test_long_values_are_not_kept():
    record = {**SOUND[IDEA], "settings": {"why": "x" * (strict_read.MOST_ALIKE_BYTES + 1)}}
    alike = Alike()
    assert alike.decode(json.dumps(record).encode()).settings == record["settings"]
    assert alike.known["settings"] == {}


def test_what_nobody_reads_is_held_to_the_schema_and_then_empty():
    line = json.dumps({**SOUND[IDEA], "environment": {"load_1min": 0.5}}).encode()
    whole = json.loads(msgspec.json.encode(STRICT.decode(line)))
    assert json.loads(msgspec.json.encode(Alike(unread=("environment",)).decode(line))) == {**whole, "environment": {}}
    wrong = line.replace(b'"load_1min": 0.5', b'"load_1min": [0.5]')
    with pytest.raises(msgspec.ValidationError, match="environment"):
        Alike(unread=("environment",)).decode(wrong)

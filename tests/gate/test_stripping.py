"""What is private is taken out of a run before it is handed in, and nothing that was measured changes."""

from __future__ import annotations

import json

import pytest
from _sound import SOUND, written

from harness.gate import stripping
from harness.gate.stripping import Private, StillPrivateError, of_here, remaining, stripped
from harness.records.store import INFO, RECORDS

ALICE = Private(
    homes=frozenset({"/home/alice"}),
    users=frozenset({"alice"}),
    hosts=frozenset({"wonderland", "wonderland.example.org"}),
    secrets=frozenset({"hunter2hunter2"}),
)


def _files(**info):
    known = {"run": "r1", "command": ["hwlottery", "run"], "machine": {}, "settings": {}, "notes": []}
    return {INFO: json.dumps({**known, **info}).encode(), RECORDS: json.dumps({"run": "r1", "reason": "no"}).encode()}


def _note(text):
    (note,) = json.loads(stripped(_files(notes=[text]), ALICE)[INFO])["notes"]
    return note


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("in /home/alice/secret plan/x.py", "in …/secret plan/x.py"),
        ('File "/home/alice/secret plan/x.py", line 3', 'File "…/x.py", line 3'),
        ("/home/alice", "…/<name>"),
        ("~/lab/merger/out", "…/out"),
        ("file:///data/lab/merger.txt", "…/merger.txt"),
        ("/data/lab/merger:/opt/x/y;z", "…/merger:…/y;z"),
        ("XLA_FLAGS=--dump=/scratch/alice/dump", "XLA_FLAGS=--dump=…/dump"),
        (r"C:\Users\Bob\lab\x.py", "…/x.py"),
        ("of alice on WONDERLAND.example.org", "of <name> on <name>"),
        (
            "process 12 of bob, since then, results in /data/bob/out",
            "process 12 of <user>, since then, results in …/out",
        ),
        ("alice@example.org said hunter2hunter2", "<address> said <secret>"),
        ("malice and alices keep theirs", "malice and alices keep theirs"),
        ("File /usr/lib/python3/site.py", "File /usr/lib/python3/site.py"),
        ("no counter under /sys/class/powercap", "no counter under /sys/class/powercap"),
        ("/usr/../home/alice/x", "…/x"),
        (
            "https://github.com/a/b and 1/3 of csr/eager, 5 / 6, m/s",
            "https://github.com/a/b and 1/3 of csr/eager, 5 / 6, m/s",
        ),
    ],
)
def test_private_words_are_taken_out_and_others_are_left(text, said):
    assert _note(text) == said


def test_a_user_whose_home_the_texts_name_is_private_wherever_the_run_is_handed_in():
    nobody = Private(frozenset(), frozenset(), frozenset(), frozenset())
    files = _files(notes=["see /home/carol/x", "carol was here", "so was /Users/dave.b/y"], settings={"who": "dave.b"})
    found = json.loads(stripped(files, nobody)[INFO])
    assert found["notes"] == ["see …/x", "<name> was here", "so was …/y"]
    assert found["settings"] == {"who": "<name>"}


def test_of_the_command_line_a_path_is_its_last_part_and_out_is_left_out():
    words = ["hwlottery", "run", "--out", "/home/alice/a b", "--matrix", "/data/my lab/w.mtx", "--smtx=~/x/y.smtx"]
    found = json.loads(stripped(_files(command=[*words, "--out=z", "--set", "n=8"]), ALICE)[INFO])
    assert found["command"] == ["hwlottery", "run", "--matrix", "…/w.mtx", "--smtx=…/y.smtx", "--set", "n=8"]


def test_a_run_without_anything_private_keeps_its_bytes():
    files = {INFO: b'{"run":"r1",\n  "command": [] }', RECORDS: b'{"run": "r1", "time": 1.50}\n'}
    assert stripped(files, ALICE) == files


def test_every_text_of_a_run_is_clean_and_every_number_and_case_as_it_was(tmp_path):
    """Private words are planted in every text that a run may hold them in."""
    planted = " at /home/alice/lab/x.py of alice on wonderland, hunter2hunter2"

    def grown(found, kept=()):
        if isinstance(found, dict):
            return {k: v if k in kept else grown(v) for k, v in found.items()}
        if isinstance(found, list):
            return [grown(value) for value in found]
        return found + planted if isinstance(found, str) else found

    info = grown(json.loads((written(tmp_path) / INFO).read_text()), stripping._KEPT_OF_INFO)
    records = [grown(record, stripping._KEPT_OF_RECORD) for record in SOUND]
    files = {INFO: json.dumps(info).encode(), RECORDS: "\n".join(map(json.dumps, records)).encode()}
    assert {kind for kind, _ in remaining(files[RECORDS], ALICE)} == {
        "a home folder",
        "the name of a user or host",
        "a secret of the environment",
    }
    out = stripped(files, ALICE)
    for content in out.values():
        assert not any(word in content.lower() for word in (b"alice", b"wonderland", b"hunter2", b"/home", b"/lab"))
        assert list(remaining(content, ALICE)) == []
    for was, now in zip(SOUND, map(json.loads, out[RECORDS].splitlines()), strict=True):
        assert _numbers(was) == _numbers(now)
        assert {k: was[k] for k in stripping._KEPT_OF_RECORD} == {k: now[k] for k in stripping._KEPT_OF_RECORD}


def _numbers(found):
    if isinstance(found, dict):
        return [n for value in found.values() for n in _numbers(value)]
    if isinstance(found, list):
        return [n for value in found for n in _numbers(value)]
    return [] if isinstance(found, str) else [found]


def test_a_name_in_what_says_which_case_it_is_is_refused_not_changed():
    files = _files() | {RECORDS: b'{"run": "r1", "case": {"workload": "of_alice", "params": {"pattern": "alice"}}}'}
    with pytest.raises(StillPrivateError, match=r"records.jsonl line 1 holds the name of a user or host"):
        stripped(files, ALICE)
    assert stripped(files, of_here())[RECORDS] == files[RECORDS] + b"\n"


def test_what_is_private_here_is_found_and_words_of_ours_are_not(monkeypatch):
    monkeypatch.setenv("HOME", "/home/erin")
    monkeypatch.setenv("USER", "torch")
    monkeypatch.setenv("SUDO_USER", "frank")
    monkeypatch.setenv("HOSTNAME", "box.example.org")
    monkeypatch.setenv("LAB_API_KEY", "s3cr3t-value")
    monkeypatch.setenv("SHORT_TOKEN", "abc")
    found = of_here({"torch"})
    assert "/home/erin" in found.homes
    assert {"erin", "frank"} <= found.users
    assert "torch" not in found.users
    assert {"box", "box.example.org"} <= found.hosts
    assert "s3cr3t-value" in found.secrets
    assert "abc" not in found.secrets

"""A stranger's file: read when it is a regular one of the size allowed, refused with a sentence otherwise."""

from __future__ import annotations

import os

import pytest

from harness.gate import foreign_file
from harness.gate.foreign_file import content
from harness.gate.refusal import Refusal


def test_a_regular_file_is_read_whole(tmp_path):
    (tmp_path / "run.json").write_bytes(b"{}")
    assert content(tmp_path / "run.json", 2) == b"{}"
    assert content(tmp_path / "run.json", 2, links=False) == b"{}"


def test_what_is_too_large_is_refused(tmp_path):
    (tmp_path / "run.json").write_bytes(b"{} ")
    found = content(tmp_path / "run.json", 2)
    assert isinstance(found, Refusal)
    assert (found.code, found.what) == ("too-large", "it has 3 bytes, at most 2 are read")


def test_a_link_is_followed_only_where_it_may_be(tmp_path):
    (tmp_path / "secret").write_bytes(b"s")
    (tmp_path / "run.json").symlink_to(tmp_path / "secret")
    assert content(tmp_path / "run.json", 9) == b"s"
    found = content(tmp_path / "run.json", 9, links=False)
    assert isinstance(found, Refusal)
    assert str(found) == "run.json: it is a link; submit the file itself"


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "records.jsonl")
    found = content(tmp_path / "records.jsonl", 9)
    assert isinstance(found, Refusal)
    assert found.what == "it is not a file"


def test_a_pipe_that_takes_the_place_of_a_file_is_not_waited_for(tmp_path, monkeypatch):
    """The name is looked at, and then opened: what was opened is looked at again."""
    (tmp_path / "file").write_bytes(b"x")
    os.mkfifo(tmp_path / "records.jsonl")
    looked = foreign_file.Path.stat
    monkeypatch.setattr(foreign_file.Path, "stat", lambda path, **how: looked(path.with_name("file"), **how))
    found = content(tmp_path / "records.jsonl", 9)
    monkeypatch.undo()
    assert isinstance(found, Refusal)
    assert found.what == "it is not a file"


@pytest.mark.parametrize("name", ["absent", "no\0name"])
def test_what_is_not_there_or_has_no_name_is_a_sentence(tmp_path, name):
    found = content(tmp_path / name, 9)
    assert isinstance(found, Refusal)
    assert found.code in ("missing", "unreadable")

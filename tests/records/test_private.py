"""Paths in the words of records: hidden where they stand as paths, never where their letters do."""

from __future__ import annotations

import pytest

from harness.records.text import private, without_path


@pytest.mark.fault("a cache folder whose name is part of other words", "text")
@pytest.mark.parametrize(
    ("text", "folder", "said"),
    [
        ("numpy 2.4.6", ".", "numpy 2.4.6"),
        ("numpy 2.4.6", "", "numpy 2.4.6"),
        ("/a/b", "/", "/a/b"),
        ("--dir=/c/d/tf --x", "/c/d", "--dir=<cache>/tf --x"),
        ("/c/d", "/c/d/", "<cache>"),
        ("/c/d2 /c/d-2 /c/d.old x/c/d", "/c/d", "/c/d2 /c/d-2 /c/d.old x/c/d"),
        ('"/c d/e".', "/c d/e", '"<cache>".'),
        ("in /c/d.", "/c/d", "in <cache>."),
        ("/c/(x) \\1", "/c/(x)", "<cache> \\1"),
    ],
)
def test_a_path_is_hidden_whole_or_not_at_all(text, folder, said):
    assert without_path(text, folder, "<cache>") == said


def test_the_home_of_the_user_stands_in_no_record(monkeypatch):
    monkeypatch.setenv("HOME", "/home/alice")
    assert private("File /home/alice/x.py of /home/alicette", {"/home/alice/c": "<cache>"}) == (
        "File ~/x.py of /home/alicette"
    )
    assert private("/home/alice/c/jax", {"/home/alice/c": "<cache>"}) == "<cache>/jax"

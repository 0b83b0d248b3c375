"""Patterns of files are named by their content: the same on every machine, and no folder of anybody's in a record."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from workloads.common.smtx import FILES, SmtxError, at_hand
from workloads.discovery import workloads
from workloads.unstructured_sparse import from_smtx

UNSTRUCTURED = workloads()[0]["unstructured_sparse"]


@pytest.fixture(autouse=True)
def no_files(monkeypatch):
    """What a test puts at hand is gone after it."""
    monkeypatch.setenv(FILES, "")


def test_a_file_has_one_name_under_two_homes_and_no_home_stands_in_it(tmp_path):
    """By content and file name; the same name with another content, and a content that is not at hand, are told."""
    files = [tmp_path / home / "x.smtx" for home in ("alice", "bob", "carol")]
    for file, last in zip(files, (3, 3, 1), strict=True):
        file.parent.mkdir()
        file.write_text(f"3, 4, 5\n0 2 2 5\n1 3 0 2 {last}\n")
    one, two, other = (from_smtx(file, 2) for file in files)
    assert one == two != other
    assert re.fullmatch(r"smtx:[0-9a-f]{16}:x\.smtx", one["pattern"])
    at_hand(files[:1])
    assert UNSTRUCTURED.inputs(UNSTRUCTURED.check(one), 0)["a_indices"].tolist() == [1, 3, 0, 2, 3]
    for gone in (other["pattern"], f"smtx:{files[0]}", "smtx:"):
        with pytest.raises(SmtxError, match="--smtx"):
            UNSTRUCTURED.inputs(UNSTRUCTURED.check({**one, "pattern": gone}), 0)
    files[0].write_text("3, 4, 5\n0 2 2 5\n0 3 0 2 3\n")
    with pytest.raises(SmtxError, match="or it changed meanwhile"):
        UNSTRUCTURED.inputs(UNSTRUCTURED.check(one), 0)


def test_a_file_name_that_is_no_utf8_can_be_written_to_a_record(tmp_path):
    file = Path(os.fsdecode(os.fsencode(tmp_path) + b"/x\xff\n.smtx"))
    file.write_text("1, 1, 1\n0 1\n0\n")
    params = from_smtx(file, 2)
    assert params["pattern"].endswith(":x\ufffd\ufffd.smtx")
    params["pattern"].encode()
    at_hand([file])
    assert UNSTRUCTURED.inputs(UNSTRUCTURED.check(params), 0)["a_indices"].tolist() == [0]

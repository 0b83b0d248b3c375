"""The page of a submission says what its run left out, and a run whose account cannot be is not on the site."""

from __future__ import annotations

from _sound import INFO, written

from harness.leaderboard.submissions import Refused, read
from harness.planning.reasons import FACTOR, slow

LEFT_OUT = "unstructured_sparse/never forward torch eager cpu float32 [m=1]"


def test_what_was_left_out_stands_among_the_marks_of_a_submission(tmp_path):
    submission, _ = read(written(tmp_path / "r", info={**INFO, "left_out": {slow(FACTOR): [LEFT_OUT]}}), "r")
    assert any(mark.startswith("1 case was left out and is in no count") for mark in submission.marks)
    whole, _ = read(written(tmp_path / "w"), "w")
    assert not any("left out" in mark for mark in whole.marks)


def test_what_was_left_out_for_no_reason_that_a_run_has_is_refused(tmp_path):
    found = read(written(tmp_path / "r", info={**INFO, "left_out": {"it was slow": [LEFT_OUT]}}), "r")
    assert isinstance(found, Refused)
    assert "no such reason is known" in found.reasons[0]

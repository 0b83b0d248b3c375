"""What runs left out is said wherever their figures are, counted by reason; what left nothing out says nothing."""

from __future__ import annotations

import json

import pytest
from _learnt import run_of
from _records import dense, idea
from msgspec.structs import replace

from harness.cli.formats import render
from harness.figures.left_out import counts, sentence
from harness.planning.reasons import FACTOR, fault, refused, slow

SLOW, REFUSED = slow(FACTOR), refused("torch", "2.0 (hwlottery 1)")
LEFT_OUT = {REFUSED: ["a/bsr forward torch eager cpu float32 [m=1]"], SLOW: ["b", "c"]}
SAID = (
    "3 cases were left out and are in no count: 2 over 3 times slower than the best on every known machine; "
    "1 refused by torch 2.0 (hwlottery 1), as before (--exhaustive tries all)"
)


def rendered(format_, left_out=LEFT_OUT, **facts):
    records = [idea([1.0, 1.1]), dense([1.0, 1.1])]
    return render(records, format_, runs=[replace(run_of().info, left_out=left_out)], **facts)


def test_several_runs_are_added_up_and_the_most_frequent_reason_comes_first():
    assert counts([LEFT_OUT, {REFUSED: ["x", "y"]}, {}]) == {REFUSED: 3, SLOW: 2}
    assert list(counts([LEFT_OUT])) == [SLOW, REFUSED]
    assert sentence(counts([LEFT_OUT])) == SAID
    assert sentence(counts([{SLOW: ["b"]}])).startswith("1 case was left out and is in no count: 1 over 3 times")
    assert sentence(counts([{}, {SLOW: []}])) is None


@pytest.mark.parametrize("format_", ["table", "markdown", "latex", "html"])
@pytest.mark.parametrize("all_points", [False, True])
def test_every_report_for_reading_says_it(format_, all_points):
    text = " ".join(str(rendered(format_, all_points=all_points)).split())
    assert "3 cases were left out" in text
    assert "3 cases were left out" not in str(rendered(format_, left_out={}))


def test_json_has_the_counts():
    assert json.loads(rendered("json"))["left_out"] == {SLOW: 2, REFUSED: 1}
    assert json.loads(rendered("json", left_out={}))["left_out"] == {}


@pytest.mark.parametrize(
    ("reason", "why"),
    [
        (SLOW, None),
        (slow(4.5), None),
        (REFUSED, None),
        (slow(2.9), "less than 3 times"),
        (refused("jax", "0.4 (hwlottery 1)"), "jax is not its framework"),
        ("it was late", "no such reason"),
        (f"{SLOW}; and ugly", "no such reason"),
        ("refused by torch, as before", "no such reason"),
    ],
)
def test_a_reason_that_no_run_has_is_told(reason, why):
    found = fault(reason, LEFT_OUT[REFUSED][0])
    assert found is None if why is None else why in found

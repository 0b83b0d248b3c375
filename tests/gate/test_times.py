"""Times of day that cannot be are refused: in the future, out of order, before the harness, outside the run."""

from __future__ import annotations

import copy

import pytest
from _sound import IDEA, INFO, SOUND, codes, written


@pytest.mark.fault("times that cannot be", "gate")
@pytest.mark.parametrize(
    "facts",
    [
        {"started_at": "2999-01-01T00:00:00Z", "ended_at": None},
        {"ended_at": "2999-01-01T00:00:00Z"},
        {"ended_at": "2026-11-25T00:00:00Z"},
        {"started_at": "2019-01-01T00:00:00Z"},
        {"started_at": "yesterday"},
        {"ended_at": "2026-11-26T14:54:20"},
    ],
)
def test_a_run_whose_times_cannot_be_is_refused(tmp_path, facts):
    assert codes(written(tmp_path / "r", info={**INFO, **facts})) >= {"time-of-day"}


@pytest.mark.parametrize("place", ["record", "trial"])
@pytest.mark.parametrize("moment", ["2026-11-20T00:00:00Z", "2026-12-20T00:00:00Z"])
def test_a_record_outside_its_run_is_refused(tmp_path, place, moment):
    records = copy.deepcopy(SOUND)
    inside = records[IDEA] if place == "record" else records[IDEA]["time"]["trials"][0]
    inside["started_at"] = moment
    assert codes(written(tmp_path / "r", records)) >= {"time-of-day"}


def test_a_run_that_was_killed_has_no_end_and_may_be_sound(tmp_path):
    assert codes(written(tmp_path / "r", info={**INFO, "ended_at": None})) == set()

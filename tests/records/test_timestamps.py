"""Time stamps: one form, whatever zone they come from, and None for what is no time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from harness.records.timestamps import in_name, normalised, now, stamp

MOMENT = datetime(2026, 11, 22, 1, 30, 10, 123456, timezone(timedelta(hours=1)))


def test_a_moment_of_any_zone_is_stamped_in_utc():
    assert stamp(MOMENT) == "2026-11-22T00:30:10Z"
    assert stamp(MOMENT, "milliseconds") == "2026-11-22T00:30:10.123Z"


def test_a_moment_without_a_zone_is_refused():
    with pytest.raises(ValueError, match="has no time zone"):
        stamp(datetime(2026, 11, 22))


def test_names_of_runs_have_it_without_punctuation():
    assert in_name(MOMENT) == "20261122T003010Z"
    assert len(in_name()) == len(in_name(MOMENT))


def test_now_can_be_read_back():
    assert abs(datetime.fromisoformat(now("milliseconds")) - datetime.now(UTC)) < timedelta(seconds=5)


def test_what_others_write_is_brought_to_the_same_form():
    assert normalised(MOMENT.isoformat()) == "2026-11-22T00:30:10Z"
    assert normalised("2026-11-22T00:30:10Z") == "2026-11-22T00:30:10Z"


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "soon",
        "2026-11-22T00:30:10",
        "1970-01-01T00:00:00Z",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:00",
    ],
)
def test_what_is_no_time_is_none(text):
    assert normalised(text) is None

"""Time stamps as records have them: UTC, ISO 8601, with a Z, such as 2026-11-01T12:00:00Z."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

Precision = Literal["seconds", "milliseconds"]


def stamp(moment: datetime, precision: Precision = "seconds") -> str:
    """A moment, which must know its zone, as a time stamp; ValueError where it does not."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone")
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec=precision) + "Z"


def now(precision: Precision = "seconds") -> str:
    """The time stamp of now."""
    return stamp(datetime.now(UTC), precision)


def in_name(moment: datetime | None = None) -> str:
    """A moment, by default now, as names of runs and folders have it: 20261101T120000Z."""
    return f"{(moment or datetime.now(UTC)).astimezone(UTC):%Y%m%dT%H%M%SZ}"


def normalised(text: str | None) -> str | None:
    """A time stamp of anybody's to the second; None where it is no time, has no zone, or is of 1970 or before."""
    try:
        found = datetime.fromisoformat(text or "")
        return stamp(found) if found.tzinfo and found.year > 1970 else None
    except (ValueError, OverflowError):
        return None

"""Times of day that cannot be: in the future, in the wrong order, outside the run, before there was a harness."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from harness.gate.refusal import Refusal, refusal
from harness.gate.strict_read import Line
from harness.records.record import Record
from harness.records.store import INFO, RunInfo
from harness.records.timestamps import normalised

CLOCKS_APART = timedelta(hours=1)  # between the clock that measured and ours: more is no difference of clocks
# The format's schema 1, and with it this harness, is younger than every framework that its first release is pinned to
# (constraints.txt): a run from before is older than the framework that it says it ran.
FIRST = datetime(2026, 11, 1, tzinfo=UTC)
_TO_SECONDS = len("2026-11-01T10:00:00")
_AGAIN = "publish the times as they were written"
_CLOCK = "set the clock of the machine (timedatectl) and measure again"


def check(
    info: RunInfo, lines: Sequence[Line[Record]], times: Sequence[str], now: datetime | None = None
) -> Iterator[Refusal]:
    """Every time of the run, its records and their processes that cannot be; `now` is the present, in UTC.

    `times` has all times of these lines, and may have those of others.
    """
    now = now or datetime.now(UTC)
    began, ended = _moment(info.started_at), _moment(info.ended_at)
    for name, said, moment in (("started_at", info.started_at, began), ("ended_at", info.ended_at, ended)):
        if said is None and name == "ended_at":
            continue  # a run that was killed
        bad = _impossible(moment, now)
        if bad is not None:
            yield refusal("time-of-day", INFO, f"{name} is {said!r}, {bad[0]}", bad[1])
    if began is None or (info.ended_at is not None and ended is None):
        return
    if ended is not None and ended < began:
        said = f"it ended at {info.ended_at}, before it began at {info.started_at}"
        yield refusal("time-of-day", INFO, said, _AGAIN)
        return
    first, last = began - timedelta(seconds=1) - CLOCKS_APART, (ended or now) + CLOCKS_APART
    earliest, latest = (moment.isoformat()[:_TO_SECONDS] for moment in (first, last))
    latest += "~"  # after all parts of that second
    # Times in UTC are in the order of their letters, and a submission has thousands.
    if times and earliest <= min(times) and max(times) < latest and {said[-1] for said in times} == {"Z"}:
        return
    for line in lines:
        record = line.value
        trials = record.time.trials if record.time is not None else []
        for said in (record.started_at, *[trial.started_at for trial in trials]):
            if earliest <= said < latest and said[-1] == "Z":
                continue
            moment = _moment(said)
            if moment is None:
                continue  # refused by the rules of one record
            if not first <= moment <= last:
                words = f"{info.started_at} to {info.ended_at or 'now'}"
                yield refusal("time-of-day", line.where, f"it started at {said}, outside its run ({words})", _AGAIN)
                break


def _moment(text: str | None) -> datetime | None:
    plain = normalised(text)
    return None if plain is None else datetime.fromisoformat(plain)


def _impossible(moment: datetime | None, now: datetime) -> tuple[str, str] | None:
    if moment is None:
        return "which is no time with a zone", "write it as 2026-11-01T10:00:00Z"
    if moment > now + CLOCKS_APART:
        return f"in the future: it is {now:%Y-%m-%dT%H:%MZ}", _CLOCK
    if moment < FIRST:
        return f"older than the harness and its frameworks, which are of {FIRST:%Y-%m-%d} or later", _CLOCK
    return None

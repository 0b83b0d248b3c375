"""The history of a machine: steps of its speed-ups over its submissions, never of its times. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from math import log

import msgspec

from harness.leaderboard.boards import is_calibration
from harness.leaderboard.submission import Entry, Submission
from harness.stats.changes import LogRatio
from harness.stats.steps import FEWEST_RUNS, of_interval, steps

MOST_RUNS = 50  # of a history, the newest


class HistoryStep(msgspec.Struct, frozen=True, kw_only=True):
    """A step of an idea's speed-up in one place: `ratio` is the mean from `since` on over the mean before.

    `before` is the last submission before it, `versions` what of the versions of packages differs between the two.
    """

    entry: Entry
    before: Submission
    since: Submission
    ratio: float
    low: float
    high: float
    versions: list[str]


def undisturbed(submissions: Sequence[Submission]) -> list[Submission]:
    """The runs of a machine that its history is read from, the newest MOST_RUNS.

    A run that its machine disturbed is none, nor is a reproduction, which chose no paths.
    """
    return [s for s in submissions if s.reproduces is None and not any(e.disturbed for e in s.entries)][-MOST_RUNS:]


def history_steps(submissions: Sequence[Submission]) -> list[HistoryStep]:
    """The steps of a machine's speed-ups, the newest first; `submissions` are in order of time.

    Only `undisturbed` runs and figures with an interval count. Rows of fewer than FEWEST_RUNS runs are too few.
    """
    if len(submissions) < FEWEST_RUNS:
        return []
    rows: dict[tuple[tuple[str, ...], tuple[str, str]], list[tuple[Submission, Entry, LogRatio]]] = defaultdict(list)
    for submission in undisturbed(submissions):
        seen = set()
        for entry in submission.entries:
            key = (entry.board, entry.place)
            figure = None if key in seen or is_calibration(entry) else _figure(entry)
            if figure is not None:
                seen.add(key)
                rows[key].append((submission, entry, figure))
    held = [series for _, series in sorted(rows.items()) if len(series) >= FEWEST_RUNS]
    found = []
    for step in steps([[figure for _, _, figure in series] for series in held]):
        (before, _, _), (since, entry, _) = held[step.row][step.at - 1 : step.at + 1]
        found.append(
            HistoryStep(
                entry=entry,
                before=before,
                since=since,
                ratio=step.ratio,
                low=step.low,
                high=step.high,
                versions=_versions(before, since),
            )
        )
    return sorted(found, key=lambda step: (step.since.started_at or "", step.since.digest), reverse=True)


def _figure(entry: Entry) -> LogRatio | None:
    against = entry.against
    value, low, high = against.speed_up, against.speed_up_low, against.speed_up_high
    if value is None or low is None or high is None or not 0 < low <= value <= high or against.rounds < 2:
        return None
    return of_interval(log(value), log(low), log(high), against.rounds)


def _versions(before: Submission, since: Submission) -> list[str]:
    names = [n for n, version in since.versions.items() if n in before.versions and before.versions[n] != version]
    return [f"{name} {before.versions[name]} → {since.versions[name]}" for name in names]

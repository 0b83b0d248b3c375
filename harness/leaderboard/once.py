"""The same run submitted twice counts once, be it byte by byte, written anew, or a part of it."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from harness.leaderboard.submission import Refused, Submission


def each_once(submissions: Iterable[Submission]) -> tuple[list[Submission], list[Refused]]:
    """Each run once, as the submission with the most of its records, and why the others do not count."""
    by_digest = {submission.digest: submission for submission in submissions}
    seen: dict[object, Submission] = {}
    once, again = [], []
    for submission in sorted(by_digest.values(), key=lambda s: (-s.records, s.digest)):
        whole = (
            submission.run,
            submission.machine.slug,
            submission.started_at,
            msgspec.json.encode(submission.entries),
        )
        marks = [*submission.prints, whole]
        first = next((seen[mark] for mark in marks if mark in seen), None)
        if first is None:
            once.append(submission)
            seen |= dict.fromkeys(marks, submission)
            continue
        said = f"its records are those of submission {first.short}, and a run counts once; leave one of them out"
        again.append(Refused(name=f"submission {submission.short}", reasons=[said]))
    return once, again

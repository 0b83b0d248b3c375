"""How far a submission may be believed: who signed it, and which others of equal hardware found the same. Pure.

A submission is reproduced by one of another run of the same kind of machine: by a run of `reproduce`, or by any run
with the same sources and versions. Speed-ups are compared, each with its interval and its run's noise. Records cannot
say whose machine it was; signatures can say that two people stand for them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from harness.figures.reproduction import held_against
from harness.leaderboard.boards import is_calibration
from harness.leaderboard.submission import Entry, Submission, TrustLevel
from harness.stats.equivalence import MARGIN, Sameness

MOST_SHOWN = 20  # others that are named on a page, the newest

Hand = Literal["another", "unknown", "the same"]


class ReproducedBy(msgspec.Struct, frozen=True, kw_only=True):
    """What another submission says of one: rows by verdict, and whether it is known to be of another hand.

    `asked`: it was a run of `reproduce`; else a whole run, whose own best paths were held against.
    """

    digest: str
    hand: Hand
    asked: bool
    reproduced: int
    not_reproduced: int
    cannot_tell: int

    @property
    def counts(self) -> bool:
        """Whether more rows are reproduced than are not."""
        return self.reproduced > self.not_reproduced


def trust(ordered: Sequence[Submission]) -> dict[str, tuple[TrustLevel, list[ReproducedBy]]]:
    """By digest the level of every submission and the others that say something of it, newest first.

    `ordered` is by time: a submission is reproduced by later ones only, whatever they claim to reproduce.
    """
    kinds: dict[str, list[Submission]] = defaultdict(list)
    for submission in ordered:
        kinds[submission.machine.slug].append(submission)
    out = {}
    for several in kinds.values():
        for number, submission in enumerate(several):
            found = [] if submission.reproduces is not None else _others(submission, several[number + 1 :])
            out[submission.digest] = (_level(submission, found), found)
    return out


def _level(submission: Submission, found: Sequence[ReproducedBy]) -> TrustLevel:
    hands = {by.hand for by in found if by.counts}
    if "another" in hands:
        return "reproduced by another"
    if "unknown" in hands:
        return "reproduced"
    return "self-reported" if submission.signer is None else "signed"


def _others(submission: Submission, later: Sequence[Submission]) -> list[ReproducedBy]:
    rows = _rows(submission)
    out: list[ReproducedBy] = []
    for other in reversed(later):
        if len(out) == MOST_SHOWN:
            break
        asked = other.reproduces == submission.run
        whole = other.reproduces is None and other.run != submission.run and _alike(submission, other)
        if not asked and not whole:
            continue
        counts = _verdicts(rows, submission.noise, other)
        if counts["reproduced"] or counts["not reproduced"]:
            found = ReproducedBy(
                digest=other.digest,
                hand=_hand(submission, other),
                asked=asked,
                reproduced=counts["reproduced"],
                not_reproduced=counts["not reproduced"],
                cannot_tell=counts["cannot tell"],
            )
            out.append(found)
    return out


def _alike(one: Submission, other: Submission) -> bool:
    """Whether two runs are of one code and of the same versions: then they can only differ by machine and minute."""
    return bool(one.sources) and (one.sources, one.versions) == (other.sources, other.versions)


def _hand(one: Submission, other: Submission) -> Hand:
    if one.signer is None or other.signer is None:
        return "unknown"
    return "the same" if one.signer == other.signer else "another"


_Rows = Mapping[tuple[tuple[str, ...], tuple[str, str]], Entry]


def _rows(submission: Submission) -> _Rows:
    return {(entry.board, entry.place): entry for entry in submission.entries if not is_calibration(entry)}


def _verdicts(rows: _Rows, noise: float | None, other: Submission) -> Counter[Sameness]:
    counts: Counter[Sameness] = Counter()
    for key, entry in _rows(other).items():
        if key in rows:
            verdict, _ = held_against((rows[key].against, noise), (entry.against, other.noise), MARGIN)
            counts[verdict] += 1
    return counts

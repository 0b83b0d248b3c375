"""From submissions to everything that the site says: boards, standings over all ideas, what changed. Pure functions.

The newest submission of a machine stands for it on the boards, the earlier ones are its history; submissions are never
averaged, and machines of different hardware never made one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import exp, log
from typing import Literal

import msgspec

from harness.leaderboard.boards import (
    Board,
    BoardKey,
    HeldEntry,
    boards,
    is_calibration,
    ranked,
    why_unranked,
)
from harness.leaderboard.campaigns import CampaignBoard
from harness.leaderboard.once import each_once
from harness.leaderboard.reproductions import ReproducedBy, trust
from harness.leaderboard.submission import Entry, Estimated, Machine, Refused, Submission
from harness.records.points import point_name
from harness.stats.equivalence import Span, span
from harness.stats.ranks import RankInterval
from workloads.base import Definition


class Overall(msgspec.Struct, frozen=True, kw_only=True):
    """One backend and device of a machine over all ideas of a preset, each idea counting once, whatever its points.

    `speed_up` and `tax` are geometric means, their bounds the means of the bounds. Ranks are None where an idea is
    missing: a mean over fewer ideas is another figure.
    """

    machine: Machine
    backend: str
    device: str
    dtype: str
    ideas: int
    of: int
    speed_up: float | None
    speed_up_low: float | None
    speed_up_high: float | None
    tax: float | None
    tax_low: float | None
    tax_high: float | None
    speed_up_rank: RankInterval | None
    tax_rank: RankInterval | None


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What a submission changed: boards where it took the lead, and its times against its machine's submission before.

    `against` is that submission's digest, None for the first; `worst` and `best` are (factor, what): time now over
    time then, of those that are not ties.
    """

    leads: list[str]
    against: str | None
    faster: int
    slower: int
    ties: int
    best: tuple[float, str] | None
    worst: tuple[float, str] | None


class Leaderboard(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the site says, beside the pages of the submissions themselves. Submissions are in order of time.

    `overall` is by preset and dtype; `boards` by workload; `changes` by digest. `estimates`, by workload, has what was
    compiled and not run, with the digest of its submission: the newest for each framework and chip, without ranks,
    since which machine compiled does not matter. `reproduced_by`, by digest, has what others say of a submission.
    """

    submissions: list[Submission]
    refused: list[Refused]
    machines: dict[str, list[Submission]]
    overall: dict[tuple[str, str], list[Overall]]
    boards: dict[str, list[Board]]
    estimates: dict[str, list[tuple[str, Estimated]]]
    changes: dict[str, Change]
    reproduced_by: dict[str, list[ReproducedBy]]
    campaigns: list[CampaignBoard] = []


def leaderboard(
    submissions: Iterable[Submission],
    refused: Iterable[Refused],
    presets: Mapping[str, Mapping[str, frozenset[tuple[str, str]]]],
) -> Leaderboard:
    """The boards of all submissions, the same for any order of them.

    `presets` has for every preset the ideas that count and their headline (point, mode)s. The same run submitted twice
    counts once, be it byte by byte, written anew, or a part of it; two that name the same run with other samples are
    marked, since one of them cannot be true.
    """
    once, again = each_once(submissions)
    ordered = _marked(sorted(once, key=lambda s: (s.started_at or "", s.digest)))
    trusted = trust(ordered)
    ordered = [msgspec.structs.replace(s, level=trusted[s.digest][0]) for s in ordered]
    refused = [*refused, *again]
    machines: dict[str, list[Submission]] = defaultdict(list)
    for submission in ordered:
        machines[submission.machine.slug].append(submission)
    current = _current(machines)
    merged: dict[str, set[str]] = defaultdict(set)
    for bad in refused:
        merged[bad.name] |= set(bad.reasons)
    return Leaderboard(
        submissions=ordered,
        refused=[Refused(name=name, reasons=sorted(reasons)) for name, reasons in sorted(merged.items())],
        machines=dict(sorted(machines.items())),
        overall=_overall(current, presets),
        boards=boards(current),
        estimates=_estimates(ordered),
        changes=_changes(ordered),
        reproduced_by={digest: found for digest, (_, found) in trusted.items() if found},
    )


def _estimates(ordered: Sequence[Submission]) -> dict[str, list[tuple[str, Estimated]]]:
    newest: dict[tuple[str, ...], tuple[str, Estimated]] = {}
    for submission in ordered:
        for e in submission.estimates:
            newest[e.workload, e.mode, e.dtype, e.point, e.device, e.backend] = (submission.digest, e)
    out: dict[str, list[tuple[str, Estimated]]] = defaultdict(list)
    for key, held in sorted(newest.items()):
        out[key[0]].append(held)
    return dict(out)


def _marked(ordered: Sequence[Submission]) -> list[Submission]:
    runs: dict[str, list[str]] = defaultdict(list)
    for submission in ordered:
        runs[submission.run].append(submission.short)
    out = []
    for submission in ordered:
        others = [short for short in runs[submission.run] if short != submission.short]
        mark = [f"another submission claims the same run: {', '.join(others[:5])}"] if others else []
        out.append(msgspec.structs.replace(submission, marks=[*submission.marks, *mark]))
    return out


def _current(machines: Mapping[str, Sequence[Submission]]) -> list[HeldEntry]:
    """For every machine, board, backend and device the entry of the newest submission that has one."""
    out: list[HeldEntry] = []
    for submissions in machines.values():
        newest: dict[tuple[BoardKey, tuple[str, str]], HeldEntry] = {}
        for submission in submissions:
            if submission.reproduces is not None:
                continue  # it has the paths that another chose
            mine: dict[tuple[BoardKey, tuple[str, str]], HeldEntry] = {}
            for entry in submission.entries:
                mine.setdefault((entry.board, entry.place), (submission, entry))
            newest |= mine
        out += newest.values()
    return out


# -- over all ideas ----------------------------------------------------------------------------------------------------


def counted(workloads: Iterable[Definition]) -> dict[str, dict[str, frozenset[tuple[str, str]]]]:
    """For every preset the ideas that count over all, and their headline (point, mode)s, of this release.

    Taken from the workloads and not from the submissions, so that nobody's submission decides what counts. `smoke` is
    left out: its shapes are too small to say more than what a call costs; and so is `ideas`, a look around and no race.
    """
    out: dict[str, dict[str, frozenset[tuple[str, str]]]] = defaultdict(dict)
    for workload in workloads:
        for preset, points in workload.presets.items():
            if workload.role != "idea" or preset in ("smoke", "ideas"):
                continue
            found = set()
            for point in points:
                params = workload.check(point.params)
                twins = workload.twins(params, point.mode)
                if point.headline and twins and twins[0].workload != workload.name:
                    found.add((point_name(params), point.mode))
            if found:
                out[preset][workload.name] = frozenset(found)
    return dict(out)


def _overall(
    current: Sequence[HeldEntry], presets: Mapping[str, Mapping[str, frozenset[tuple[str, str]]]]
) -> dict[tuple[str, str], list[Overall]]:
    places: dict[tuple[str, str, str, str], dict[tuple[str, str, str], HeldEntry]] = defaultdict(dict)
    for submission, entry in current:
        if why_unranked(entry, submission.noise) is None and not is_calibration(entry):
            where = (submission.machine.slug, entry.backend, entry.device, entry.dtype)
            places[where].setdefault((entry.workload, entry.point, entry.mode), (submission, entry))
    out: dict[tuple[str, str], list[Overall]] = {}
    for preset, ideas in presets.items():
        by_dtype: dict[str, list[tuple[Overall, float | None]]] = defaultdict(list)
        for (_, backend, device, dtype), found in sorted(places.items()):
            full = [
                [found[name, *at] for at in sorted(points)]
                for name, points in sorted(ideas.items())
                if all((name, *at) in found for at in points)
            ]
            if full:
                facts: dict[str, str | int] = {"backend": backend, "device": device, "dtype": dtype, "of": len(ideas)}
                by_dtype[dtype].append(_over(full, facts))
        for dtype, several in by_dtype.items():
            out[preset, dtype] = _ranked_overall(several)
    return out


def _over(ideas: Sequence[Sequence[HeldEntry]], where: Mapping[str, str | int]) -> tuple[Overall, float | None]:
    def mean(name: str) -> float | None:
        each = [[getattr(entry.against, name) for _, entry in points] for points in ideas]
        if any(value is None or not value > 0 for points in each for value in points):
            return None
        return exp(sum(sum(log(v) for v in points) / len(points) for points in each) / len(each))

    names = [f"{figure}{end}" for figure in ("speed_up", "tax") for end in ("", "_low", "_high")]
    held = [h for points in ideas for h in points]
    noises = [submission.noise for submission, _ in held if submission.noise is not None]
    overall = msgspec.convert(
        {**where, "machine": held[0][0].machine, "ideas": len(ideas), "speed_up_rank": None, "tax_rank": None}
        | {name: mean(name) for name in names},
        Overall,
    )
    return overall, max(noises, default=None)


def _ranked_overall(several: Sequence[tuple[Overall, float | None]]) -> list[Overall]:
    fit = [(o, n) for o, n in several if o.ideas == o.of and span(o.speed_up, o.speed_up_low, o.speed_up_high, n)]
    fast = ranked([(o.speed_up, o.speed_up_low, o.speed_up_high, n) for o, n in fit], largest=True)
    tax = ranked([(o.tax, o.tax_low, o.tax_high, n) for o, n in fit], largest=False)
    out = [msgspec.structs.replace(o, speed_up_rank=f, tax_rank=t) for (o, _), f, t in zip(fit, fast, tax, strict=True)]
    out.sort(key=lambda o: -(o.speed_up or 0))
    chosen = {id(o) for o, _ in fit}
    return out + sorted((o for o, _ in several if id(o) not in chosen), key=lambda o: -o.ideas)


# -- what changed ------------------------------------------------------------------------------------------------------


def _changes(ordered: Sequence[Submission]) -> dict[str, Change]:
    """What each submission changed when it came, in the order of the times that the submissions name."""
    best: dict[BoardKey, tuple[str, float]] = {}  # of each board the machine that leads it, and the most it may have
    before: dict[str, Submission] = {}
    out = {}
    for submission in ordered:
        if submission.reproduces is not None:
            out[submission.digest] = _change(submission, None, [])
            continue
        leads = []
        for entry in submission.entries:
            if is_calibration(entry) or why_unranked(entry, submission.noise):
                continue
            low, high = _reach(entry, submission.noise)
            first = best.get(entry.board)
            if first is None or low > first[1]:
                best[entry.board] = (submission.machine.slug, high)
                if first is not None and first[0] != submission.machine.slug:
                    leads.append(f"{entry.workload} {entry.label} {entry.mode}, {entry.backend} {entry.device}")
        out[submission.digest] = _change(submission, before.get(submission.machine.slug), leads)
        before[submission.machine.slug] = submission
    return out


def _reach(entry: Entry, noise: float | None) -> Span:
    """The least and the most that the speed-up of an entry with a rank may be."""
    against = entry.against
    within = span(against.speed_up, against.speed_up_low, against.speed_up_high, noise)
    assert within is not None
    assert against.speed_up is not None
    return min(within[0], against.speed_up), max(within[1], against.speed_up)


def _change(submission: Submission, before: Submission | None, leads: list[str]) -> Change:
    then = {} if before is None else {(e.board, e.place): e for e in before.entries}
    counts = {"faster": 0, "slower": 0, "ties": 0}
    moved: list[tuple[float, str]] = []
    for entry in submission.entries:
        old = then.get((entry.board, entry.place))
        if old is None or not entry.time_s or not old.time_s:
            continue
        now_span = span(entry.time_s, entry.time_low_s, entry.time_high_s, submission.noise)
        old_span = span(old.time_s, old.time_low_s, old.time_high_s, before.noise if before else None)
        verdict = _moved(now_span, old_span)
        counts[verdict] += 1
        if verdict != "ties":
            name = f"{entry.workload} {entry.label} {entry.mode}, {entry.backend} {entry.device}"
            moved.append((entry.time_s / old.time_s, name))
    return Change(
        leads=leads,
        against=None if before is None else before.digest,
        best=min((m for m in moved if m[0] < 1), default=None),
        worst=max((m for m in moved if m[0] > 1), default=None),
        **counts,
    )


def _moved(now: Span | None, then: Span | None) -> Literal["faster", "slower", "ties"]:
    if now is None or then is None or (now[0] <= then[1] and then[0] <= now[1]):
        return "ties"
    return "faster" if now[1] < then[0] else "slower"

"""A campaign: one plan on many machines, side by side. Ideas down, machines across, and how the ranks of ideas shift.

A campaign is a folder with `campaign.json`, in which `runs/MACHINE/RUN/` are submissions like any others: nothing but
where they lie is taken from it.
"""

from __future__ import annotations

import hashlib
import stat
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from harness.figures.lottery import shift_of
from harness.leaderboard.boards import is_calibration
from harness.leaderboard.submission import Entry, Machine, Submission
from harness.records.text import plain
from harness.stats.ranks import RankInterval, rank_intervals

CAMPAIGN = "campaign.json"
RUNS = "runs"
MOST_MACHINES = 24  # columns of a page, by name
MOST_CAMPAIGNS = 200

Place = tuple[str, str]  # backend and device
Idea = tuple[str, ...]  # what makes a board


class CampaignMachine(msgspec.Struct, frozen=True, kw_only=True):
    """A column: what the campaign calls the machine, its hardware, and whether its ranks are held against others'.

    `alike`: it has the sources that most machines of the campaign have. `submissions` are its runs, the oldest first.
    """

    name: str
    machine: Machine
    alike: bool
    submissions: list[Submission]


class CampaignCell(msgspec.Struct, frozen=True, kw_only=True):
    """An idea on one machine, from the newest of its runs that has it; `rank` among the ideas that all have."""

    entry: Entry
    submission: str
    rank: RankInterval | None


class CampaignRow(msgspec.Struct, frozen=True, kw_only=True):
    """An idea on one backend and device. `cells` has a place for each machine, None where it was not measured.

    `shift` is by how many ranks the idea moves at least between the machines of equal sources, 0 where its rank is sure
    and the same on all, None where nothing can be told; of `ranked` ideas.
    """

    first: Entry
    cells: list[CampaignCell | None]
    shift: int | None
    ranked: int


class CampaignBoard(msgspec.Struct, frozen=True, kw_only=True):
    """One campaign; `slug` is a digest of its submissions, so that it is the same wherever its folder lies."""

    slug: str
    machines: list[CampaignMachine]
    rows: list[CampaignRow]
    unseen: int  # machines beyond MOST_MACHINES


def member_of(folder: Path) -> tuple[Path, str] | None:
    """The campaign in whose `runs/MACHINE/RUN` a results folder lies, and MACHINE; None of none."""
    if len(folder.parents) < 3 or folder.parents[1].name != RUNS:
        return None
    campaign = folder.parents[2]
    try:
        regular = stat.S_ISREG((campaign / CAMPAIGN).lstat().st_mode)
    except OSError:
        return None
    return (campaign, plain(folder.parent.name, 60)) if regular else None


def campaigns(read: Iterable[tuple[Path, Submission]], accepted: Sequence[Submission]) -> list[CampaignBoard]:
    """The campaigns that the folders `read` are of, with their submissions as they were `accepted`."""
    known = {submission.digest: submission for submission in accepted}
    members: dict[Path, dict[str, list[Submission]]] = defaultdict(lambda: defaultdict(list))
    for folder, submission in read:
        found = member_of(folder)
        if found is not None and submission.digest in known:
            members[found[0]][found[1]].append(known[submission.digest])
    made = {campaign.slug: campaign for campaign in map(_campaign, members.values())}
    return [made[slug] for slug in sorted(made)][:MOST_CAMPAIGNS]


def _campaign(members: Mapping[str, Sequence[Submission]]) -> CampaignBoard:
    digests = sorted(s.digest for several in members.values() for s in several)
    names = sorted(members)
    shown = {n: sorted(members[n], key=lambda s: (s.started_at or "", s.digest)) for n in names[:MOST_MACHINES]}
    sources = {name: msgspec.json.encode(several[-1].sources, order="deterministic") for name, several in shown.items()}
    counts = Counter(sources.values())
    usual = max(counts, key=lambda digest: (counts[digest], digest))
    machines = [
        CampaignMachine(name=name, machine=several[-1].machine, alike=sources[name] == usual, submissions=list(several))
        for name, several in shown.items()
    ]
    return CampaignBoard(
        slug=hashlib.sha256("\n".join([*names, *digests]).encode()).hexdigest()[:24],
        machines=machines,
        rows=_rows(list(shown.values()), [machine.alike for machine in machines]),
        unseen=max(0, len(names) - MOST_MACHINES),
    )


Held = dict[tuple[Idea, Place], tuple[Entry, Submission]]


def _rows(machines: Sequence[Sequence[Submission]], alike: Sequence[bool]) -> list[CampaignRow]:
    held = [_newest(several) for several in machines]
    places = sorted({place for found in held for _, place in found})
    ranks = {place: _ranks(held, alike, place) for place in places}
    out = []
    for idea, place in sorted({key for found in held for key in found}):
        here = [found.get((idea, place)) for found in held]
        mine = ranks[place].get(idea, {})
        cells = [
            None if one is None else CampaignCell(entry=one[0], submission=one[1].digest, rank=mine.get(number))
            for number, one in enumerate(here)
        ]
        first = next(cell.entry for cell in cells if cell is not None)
        shift = shift_of(list(mine.values())) if len(mine) > 1 else None
        out.append(CampaignRow(first=first, cells=cells, shift=shift, ranked=len(ranks[place])))
    return out


def _newest(several: Sequence[Submission]) -> Held:
    """Of every idea and place the entry of the newest run that has it; a reproduction chose no paths of its own."""
    out: Held = {}
    for submission in several:
        if submission.reproduces is None:
            out |= {(e.board, e.place): (e, submission) for e in submission.entries if not is_calibration(e)}
    return out


def _ranks(held: Sequence[Held], alike: Sequence[bool], place: Place) -> dict[Idea, dict[int, RankInterval]]:
    """By idea its rank on each machine of equal sources, among the ideas that all of these have a speed-up of."""
    known = {
        number: {
            idea: (entry, submission)
            for (idea, where), (entry, submission) in found.items()
            if where == place and entry.against.speed_up is not None
        }
        for number, found in enumerate(held)
        if alike[number]
    }
    known = {number: found for number, found in known.items() if found}
    common = sorted(set.intersection(*(set(found) for found in known.values()))) if len(known) > 1 else []
    out: dict[Idea, dict[int, RankInterval]] = defaultdict(dict)
    for number, found in known.items() if len(common) > 1 else ():
        entries = [found[idea] for idea in common]
        noises = [submission.noise for _, submission in entries if submission.noise is not None]
        ranks = rank_intervals(
            [entry.against.speed_up or 0.0 for entry, _ in entries],
            [_interval(entry) for entry, _ in entries],
            max(noises, default=None),
        )
        for idea, rank in zip(common, ranks, strict=True):
            out[idea][number] = rank
    return dict(out)


def _interval(entry: Entry) -> tuple[float, float] | None:
    low, high = entry.against.speed_up_low, entry.against.speed_up_high
    return None if low is None or high is None else (low, high)

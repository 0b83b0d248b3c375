"""The boards: all entries of one idea at one point, who leads and who ties. Pure functions.

Ranked is time alone: the idea's speed-up and tax on one backend and device of one machine, against its principal twin.
Energy is ranked apart for each source. What was compiled and not run never comes here.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

import msgspec

from harness.leaderboard.submission import Entry, Machine, Submission, TrustLevel
from harness.stats.equivalence import span
from harness.stats.ranks import RankInterval, rank_intervals

# An entry whose interval, widened by its run's A/A noise, spans more than this factor could have almost any rank; it is
# shown without one.
WIDEST = 4.0

BoardKey = tuple[str, str, str, str, str]


HeldEntry = tuple[Submission, Entry]


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """An entry on a board. Ranks are intervals, None where `why` says why not; whoever may be the first leads.

    `level` is how far its submission may be believed.
    """

    entry: Entry
    submission: str
    machine: Machine
    speed_up_rank: RankInterval | None
    tax_rank: RankInterval | None
    why: str | None = None
    level: TrustLevel = "self-reported"


class EnergyStanding(msgspec.Struct, frozen=True, kw_only=True):
    """An entry on a board of energy tax; `rank` among those of the same source only."""

    entry: Entry
    submission: str
    machine: Machine
    rank: RankInterval | None


class Board(msgspec.Struct, frozen=True, kw_only=True):
    """All entries of one idea at one point; `energy` is by source."""

    workload: str
    point: str
    mode: str
    dtype: str
    twin: str
    standings: list[Standing]
    energy: dict[str, list[EnergyStanding]]


def is_calibration(entry: Entry) -> bool:
    """Whether the entry is a dense computation held against itself, whose ratio is 1 by definition."""
    against = entry.against
    return (against.twin_workload, against.twin_point, against.twin_mode) == (entry.workload, entry.point, entry.mode)


def why_unranked(entry: Entry, noise: float | None) -> str | None:
    """Why an entry has no rank, in a few words; None where it has one."""
    against = entry.against
    if entry.path is None:
        return "no path is ok"
    if against.speed_up is None:
        return f"its twin has no time: {against.twin_outcome}"
    if against.tax is None:
        return "no tax is known"
    where = span(against.speed_up, against.speed_up_low, against.speed_up_high, noise)
    if where is None:
        return "one process and no A/A control: nothing says how sure it is"
    return f"too unsure: between {where[0]:.3g}× and {where[1]:.3g}×" if where[1] > WIDEST * where[0] else None


def ranked(
    held: Sequence[tuple[float | None, float | None, float | None, float | None]], largest: bool
) -> list[RankInterval]:
    """Rank intervals of (value, low, high, noise) with known spans; 1 is the largest or the smallest value."""
    spans = [span(*figure) for figure in held]
    values = [figure[0] or 0.0 for figure in held]
    if largest:
        return rank_intervals(values, spans)
    return rank_intervals([1 / v for v in values], [s and (1 / s[1], 1 / s[0]) for s in spans])


def boards(current: Sequence[HeldEntry]) -> dict[str, list[Board]]:
    """The boards of every workload; a dense computation held against itself is on none."""
    by_board: dict[BoardKey, list[HeldEntry]] = defaultdict(list)
    for submission, entry in current:
        if not is_calibration(entry):
            by_board[entry.board].append((submission, entry))
    out: dict[str, list[Board]] = defaultdict(list)
    for key, held in sorted(by_board.items(), key=lambda item: [_natural(part) for part in item[0]]):
        workload, point, mode, dtype, twin = key
        out[workload].append(
            Board(
                workload=workload,
                point=point,
                mode=mode,
                dtype=dtype,
                twin=twin,
                standings=_standings(held),
                energy=_energy(held),
            )
        )
    return dict(out)


def _natural(text: str) -> list[tuple[bool, float, str]]:
    """So that block=8 comes before block=16."""
    parts = re.split(r"([0-9]{1,15}(?:\.[0-9]{1,15})?)", text)
    return [(True, float(p), "") if k % 2 else (False, 0.0, p) for k, p in enumerate(parts)]


def _by_name(held: HeldEntry) -> tuple[str, ...]:
    return (held[1].device, held[1].backend, held[0].machine.title, held[0].machine.slug)


def _standings(held: Sequence[HeldEntry]) -> list[Standing]:
    held = sorted(held, key=_by_name)
    whys = [why_unranked(entry, submission.noise) for submission, entry in held]
    fit = [h for h, why in zip(held, whys, strict=True) if why is None]
    facts = [(e.against, s.noise) for s, e in fit]
    fast = ranked([(a.speed_up, a.speed_up_low, a.speed_up_high, n) for a, n in facts], largest=True)
    tax = ranked([(a.tax, a.tax_low, a.tax_high, n) for a, n in facts], largest=False)
    out = [
        Standing(entry=e, submission=s.digest, machine=s.machine, speed_up_rank=f, tax_rank=t, level=s.level)
        for (s, e), f, t in zip(fit, fast, tax, strict=True)
    ]
    out.sort(key=lambda s: -(s.entry.against.speed_up or 0))
    return out + [
        Standing(
            entry=e, submission=s.digest, machine=s.machine, speed_up_rank=None, tax_rank=None, why=why, level=s.level
        )
        for (s, e), why in zip(held, whys, strict=True)
        if why is not None
    ]


def _energy(held: Sequence[HeldEntry]) -> dict[str, list[EnergyStanding]]:
    by_source: dict[str, list[HeldEntry]] = defaultdict(list)
    for submission, entry in sorted(held, key=_by_name):
        if entry.against.energy_tax is not None and entry.energy_source != "none":
            by_source[entry.energy_source].append((submission, entry))
    out = {}
    for source, several in sorted(by_source.items()):
        known = [h for h in several if span(*_joules(h[1]), h[0].noise)]
        placed = ranked([(*_joules(e), s.noise) for s, e in known], largest=False)
        standing = [
            EnergyStanding(entry=e, submission=s.digest, machine=s.machine, rank=rank)
            for (s, e), rank in zip(known, placed, strict=True)
        ]
        out[source] = sorted(standing, key=lambda s: s.entry.against.energy_tax or 0.0)
    return out


def _joules(entry: Entry) -> tuple[float | None, float | None, float | None]:
    against = entry.against
    return against.energy_tax, against.energy_tax_low, against.energy_tax_high

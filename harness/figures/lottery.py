"""The lottery: how an idea's rank by speed-up moves between backends, devices and machines."""

from __future__ import annotations

from collections import defaultdict
from itertools import combinations

import msgspec

from harness.figures.frame import Table, rows_of
from harness.stats.intervals import none_if_nan
from harness.stats.ranks import RankInterval, gap, rank_intervals

Entry = tuple[str, str, str, str]  # workload, point, mode, dtype
Found = tuple[float, float, float]  # a speed-up with its interval


class Shift(msgspec.Struct, frozen=True, kw_only=True):
    """An idea's rank by speed-up in every place ("backend device", with the run where there are several).

    Ranked are the ideas that have a speed-up in every place, so that the ranks mean the same; an idea that has not has
    none. A rank is an interval, from 1 + how many ideas are surely better there to n − how many are surely worse.
    `shift` is by how many ranks the idea moves at least: the largest gap between the intervals of two places, 0 for an
    idea whose rank is the same and sure in all of them, None where nothing can be told.
    """

    workload: str
    point: str
    mode: str
    dtype: str
    ranks: dict[str, RankInterval | None]
    speed_ups: dict[str, float | None]
    shift: int | None

    @property
    def ranked(self) -> bool:
        """Whether the idea has a rank in every place."""
        return all(rank is not None for rank in self.ranks.values())


def lottery_shift(best: Table, compared: Table, noise: float | None = None) -> list[Shift]:
    """How ideas change places between backends, devices and machines; the largest movers first.

    Headline points against their principal twin; `noise` is the A/A noise inside which two ideas cannot be told apart.
    """
    found = _speed_ups(best, compared)
    known = {e: {p: s for p, s in at.items() if s[0] == s[0]} for e, at in found.items()}
    places = sorted({p for at in known.values() for p in at})
    places = [p for p in places if sum(p in at for at in known.values()) >= 2]
    common = [e for e, at in known.items() if places and all(p in at for p in places)]
    if len(places) < 2 or len(common) < 2:
        return []
    by_place: dict[str, dict[Entry, RankInterval]] = {}
    for place in places:
        entries = [known[e][place] for e in common]
        spans = [(low, high) if low == low and high == high else None for _, low, high in entries]
        by_place[place] = dict(zip(common, rank_intervals([s for s, *_ in entries], spans, noise), strict=True))
    out = []
    for entry, at in found.items():
        placed = {place: by_place[place].get(entry) for place in places}
        speed = {place: none_if_nan(at.get(place, (None,))[0]) for place in places}
        name, point, mode, dtype = entry
        shift = shift_of([rank for rank in placed.values() if rank is not None])
        out.append(
            Shift(workload=name, point=point, mode=mode, dtype=dtype, ranks=placed, speed_ups=speed, shift=shift)
        )
    return sorted(out, key=lambda s: (not s.ranked, -(s.shift or 0), s.shift is None, s.workload, s.point))


def _speed_ups(best: Table, compared: Table) -> dict[Entry, dict[str, Found]]:
    rows = rows_of(best)
    runs = len({row["run"] for row in rows}) > 1
    found: dict[Entry, dict[str, Found]] = defaultdict(dict)
    for figures in rows_of(compared):
        row = rows[figures["idea"]]
        if figures["principal"] and row["headline"] and figures["twin"] != figures["idea"]:
            place = f"{row['backend']} {row['device']}" + (f" {row['run']}" if runs else "")
            found[row["workload"], row["point"], row["mode"], row["dtype"]][place] = (
                figures["speed_up"],
                figures["speed_up_low"],
                figures["speed_up_high"],
            )
    return found


def shift_of(ranks: list[RankInterval]) -> int | None:
    """The largest gap between two; 0 of ranks that are sure and the same; else None: it cannot be told."""
    moved = max((gap(a, b) for a, b in combinations(ranks, 2)), default=0)
    same = bool(ranks) and len(set(ranks)) == 1 and ranks[0].low == ranks[0].high
    return moved or (0 if same else None)

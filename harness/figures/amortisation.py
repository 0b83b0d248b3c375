"""After how many calls what is paid once, compiling or converting, is paid back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from harness.figures.best_paths import Paths, timed
from harness.figures.frame import Table, rows_of, whole

_PLACE = ("run", "mode", "dtype", "backend", "device")


class Amortised(msgspec.Struct, frozen=True, kw_only=True):
    """After how many calls a cost that is paid once is paid back; `calls` None means never: each call is no faster.

    `compile`: the best compiled or graph path against the best eager one of the same workload, extra first call and
    conversion over the gain of each later call; `cache` says whether the compile cache was cold. `convert`: the best
    path against its principal twin, extra conversion over the gain of each call.
    """

    kind: Literal["compile", "convert"]
    run: str
    workload: str
    point: str
    mode: str
    dtype: str
    backend: str
    device: str
    headline: bool
    path: str
    against: str
    cache: str | None
    extra_s: float
    gain_s: float
    calls: int | None


def amortisation(
    frame: Table, best: Table, compared: Table, *, all_points: bool = True, paths: Paths | None = None
) -> list[Amortised]:
    """Calls until compilation and until conversion are paid back, for every best path where both sides ran.

    Of headline points only unless `all_points`. `paths` are those of the frame's rows, where they are known.
    """
    rows = rows_of(frame)
    paths = paths or Paths(rows)
    out = []
    sides = [
        [[k for k in indices if (rows[k]["execution"] == "eager") is eager] for eager in (False, True)]
        for indices in paths.places.values()
        if all_points or any(rows[k]["headline"] for k in indices)
    ]
    for made, eager in sorted(sides):
        fastest, other = paths.choose(timed(rows, made)), paths.choose(timed(rows, eager))
        if fastest is not None and other is not None:
            headline = any(rows[k]["headline"] for k in made)
            row, against = {**whole(rows[fastest]), "headline": headline}, rows[other]
            out.append(_amortised("compile", row, against, _once(row) - _once(against), first=1))
    found = rows_of(best)
    for row in rows_of(compared):
        idea, twin = found[row["idea"]], found[row["twin"]]
        asked = row["principal"] and (all_points or idea["headline"])
        if asked and row["twin"] >= 0 and twin is not idea and idea["path"] and twin["path"]:
            extra = idea["convert_s"] - twin["convert_s"]
            out.append(_amortised("convert", idea, twin, extra, first=0))
    return [item for item in out if item is not None and (all_points or item.headline)]


def _once(row: Mapping[str, Any]) -> float:
    return float(row["first_call_s"] + row["convert_s"])


def _amortised(
    kind: Literal["compile", "convert"], row: Mapping[str, Any], against: Mapping[str, Any], extra: float, first: int
) -> Amortised | None:
    gain = against["time_s"] - row["time_s"]
    if math.isnan(extra) or math.isnan(gain):
        return None
    calls = None
    if extra <= 0:
        calls = 1 if gain >= 0 else None
    elif gain > 0:
        # The 1e-9 keeps 9.000000001 calls of rounding from being ten.
        calls = first + max(1, math.ceil(extra / gain - 1e-9))
    facts = {name: row[name] for name in ("workload", "point", "headline", "path", *_PLACE)}
    return Amortised(
        kind=kind, against=against["path"], cache=row["compile_cache"], extra_s=extra, gain_s=gain, calls=calls, **facts
    )

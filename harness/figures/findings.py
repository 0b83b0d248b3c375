"""What several cases say together: break-even, amortisation, lottery shift."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal, TypeAlias

import msgspec
import pandas as pd

from harness.figures.best_paths import GROUP, Paths, grouped
from harness.figures.frame import rows_of
from harness.records.points import point_name
from harness.stats.intervals import SINGLE, none_if_nan, ranks
from workloads.discovery import workloads

DENSITY = "density"
Curve: TypeAlias = tuple[float, float, float, float]  # a value of the axis, T, its lower and its upper bound

_PLACE = ("run", "mode", "dtype", "backend", "device")


class BreakEven(msgspec.Struct, frozen=True, kw_only=True):
    """Where a sweep over an axis meets its principal twin, T = 1.

    `axis` is one that the workload declares to break even on, `density` where it declares none. `value` is the last
    crossing of an idea that is faster below it, the first of one that is faster `above` it; None for `never` and
    `always` (in the range measured, from `range_low` to `range_high`). `low` and `high` are where the curves of T's
    upper and lower bounds cross; None with `open_low`/`open_high` when that lies outside the range, None without when T
    has no interval. `not_monotone`: T crosses 1 more than once, or downwards over density; `crossings` has every one.
    """

    run: str
    workload: str
    point: str
    mode: str
    dtype: str
    backend: str
    device: str
    verdict: Literal["crosses", "never", "always", "not_monotone"]
    value: float | None
    low: float | None
    high: float | None
    open_low: bool
    open_high: bool
    range_low: float
    range_high: float
    points: int
    crossings: list[float]
    axis: str = DENSITY
    above: bool = False

    @property
    def sentence(self) -> str:
        """The finding in words, without what it is about."""
        if self.verdict in ("always", "never"):
            measured = f"in the range measured, {self.axis} {self.range_low:g}–{self.range_high:g}"
            return f"{self.verdict} faster than dense {measured}"
        if self.verdict == "not_monotone":
            at = ", ".join(f"{d:.2g}" for d in self.crossings)
            return f"not monotone: crosses dense at {self.axis} {at}"
        low = f"<{self.range_low:g}" if self.open_low else None if self.low is None else f"{self.low:.2g}"
        high = f">{self.range_high:g}" if self.open_high else None if self.high is None else f"{self.high:.2g}"
        interval = f" [{low}, {high}]" if low and high else ""
        side = "above" if self.above else "below"
        if self.value is None:
            near = high if self.above else low
            return f"faster than dense {side} {self.axis} {near}, a tie with dense from there on"
        return f"faster than dense {side} {self.axis} {self.value:.2g}{interval}"


def break_even_axes(workload: str) -> tuple[str, ...]:
    """The axes that a workload declares to break even on; `density` where it declares none, or is not known here."""
    known = workloads()[0].get(workload)
    declared = () if known is None else tuple(name for name, axis in known.axes.items() if axis.break_even)
    return declared or (DENSITY,)


def break_even(best: pd.DataFrame, compared: pd.DataFrame, noise: float | None = None) -> list[BreakEven]:
    """Every sweep of two or more values of an axis, by log-log interpolation of T of the best paths.

    `noise` is the run's A/A noise as a share: a T that it can explain is a tie and decides nothing, and the interval is
    where T with that margin passes 1. A T of single processes, as most of a sweep, has the margin of those (SINGLE).
    """
    rows = rows_of(best, ["params", *GROUP])
    curves: dict[tuple[Any, ...], list[Curve]] = defaultdict(list)
    columns = ("idea", "principal", "time_ratio", "time_ratio_low", "time_ratio_high")
    for idea, principal, *ratios in zip(*(compared[c].tolist() for c in columns), strict=True):
        row = rows[idea]
        for axis in break_even_axes(row["workload"]):
            value = row["params"].get(axis)
            if not principal or not isinstance(value, float | int) or value <= 0 or not ratios[0] > 0:
                continue
            others = point_name({name: v for name, v in row["params"].items() if name != axis})
            key = (row["workload"], others, axis, row["seed"], *(row[name] for name in _PLACE))
            curves[key].append((float(value), *ratios))
    out = []
    for (workload, others, axis, _, *place), curve in sorted(curves.items()):
        if len({value for value, *_ in curve}) >= 2:
            where = dict(zip(_PLACE, place, strict=True))
            facts = _crossing(sorted(curve), noise)
            if axis != DENSITY and facts["verdict"] == "not_monotone":
                facts = _from_above(sorted(curve), noise) or facts
            out.append(BreakEven(workload=workload, point=others, axis=axis, **where, **facts))
    return out


def _from_above(curve: Sequence[Curve], noise: float | None) -> dict[str, Any] | None:
    """The same for an idea that is faster at large values: the axis is read as 1/value. None where it is not so."""
    facts = _crossing([(1 / value, t, low, high) for value, t, low, high in reversed(curve)], noise)
    if facts["verdict"] != "crosses":
        return None

    def back(x: float | None) -> float | None:
        return None if x is None else 1 / x

    return facts | {
        "above": True,
        "value": back(facts["value"]),
        "crossings": [1 / x for x in reversed(facts["crossings"])],
        "low": back(facts["high"]),
        "high": back(facts["low"]),
        "open_low": facts["open_high"],
        "open_high": facts["open_low"],
        "range_low": curve[0][0],
        "range_high": curve[-1][0],
    }


def _crossing(curve: Sequence[Curve], noise: float | None) -> dict[str, Any]:
    values, ratios, lows, highs = (list(column) for column in zip(*curve, strict=True))
    floor = noise or 0.0
    margins = [1 + (max(floor, SINGLE) if noise is not None and math.isnan(low) else floor) for low in lows]
    at = _crossings(values, ratios)
    facts: dict[str, Any] = {"range_low": values[0], "range_high": values[-1], "points": len(curve)}
    facts |= {"crossings": at, "value": None, "low": None, "high": None, "open_low": False, "open_high": False}
    # Faster or not; ties within the noise say nothing.
    clear = [t < 1 for t, margin in zip(ratios, margins, strict=True) if not 1 <= max(t, 1 / t) < margin]
    if not any(clear):
        return facts | {"verdict": "never"}
    if all(clear) and len(clear) == len(ratios):
        return facts | {"verdict": "always"}
    if clear != sorted(clear, reverse=True):
        return facts | {"verdict": "not_monotone", "value": at[0] if at and ratios[0] < 1 else None}
    facts |= {"verdict": "crosses", "value": at[-1] if at else None}
    if noise:
        lows = [min(t / m, t if math.isnan(b) else b) for t, m, b in zip(ratios, margins, lows, strict=True)]
        highs = [max(t * m, t if math.isnan(b) else b) for t, m, b in zip(ratios, margins, highs, strict=True)]
    if any(math.isnan(bound) for bound in (*lows, *highs)):
        return facts
    first = (_crossings(values, highs) if highs[0] < 1 else [])[:1]
    last = _crossings(values, lows)[-1:]
    return facts | {
        "low": first[0] if first else None,
        "high": last[0] if last else None,
        "open_low": not first,
        "open_high": not last,
    }


def _crossings(values: Sequence[float], ratios: Sequence[float]) -> list[float]:
    """Values where the ratio passes 1, straight between neighbours in log value and log ratio."""
    out = []
    for (d0, t0), (d1, t1) in pairwise(zip(values, ratios, strict=True)):
        if (t0 < 1) != (t1 < 1):
            share = -math.log(t0) / (math.log(t1) - math.log(t0))
            out.append(math.exp(math.log(d0) + share * (math.log(d1) - math.log(d0))))
    return out


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


def amortisation(frame: pd.DataFrame, best: pd.DataFrame, compared: pd.DataFrame) -> list[Amortised]:
    """Calls until compilation and until conversion are paid back, for every best path where both sides ran."""
    columns = ["path", "time_s", "first_call_s", "convert_s", "compile_cache", "headline", *GROUP]
    rows = rows_of(frame, columns)
    status, execution, time, paired = (frame[c].tolist() for c in ("status", "execution", "time_s", "paired"))
    paths = Paths(time, paired)
    out = []
    for indices in grouped(frame).values():
        timed = [k for k in indices if status[k] == "ok" and time[k] == time[k]]
        eager = paths.choose([k for k in timed if execution[k] == "eager"])
        made = paths.choose([k for k in timed if execution[k] != "eager"])
        if eager is not None and made is not None:
            extra = _once(rows[made]) - _once(rows[eager])
            out.append(_amortised("compile", rows[made], rows[eager], extra, first=1))
    best_rows = rows_of(best, columns)
    for idea, twin, principal in zip(*(compared[c].tolist() for c in ("idea", "twin", "principal")), strict=True):
        if principal and twin >= 0 and twin != idea and best_rows[idea]["path"] and best_rows[twin]["path"]:
            extra = best_rows[idea]["convert_s"] - best_rows[twin]["convert_s"]
            out.append(_amortised("convert", best_rows[idea], best_rows[twin], extra, first=0))
    return [item for item in out if item is not None]


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


class Shift(msgspec.Struct, frozen=True, kw_only=True):
    """An idea's rank by speed-up in every place ("backend device", with the run where there are several).

    Ranked are the ideas that have a speed-up in every place, so that the ranks mean the same; an idea that has not has
    none. `shift` is its worst rank minus its best.
    """

    workload: str
    point: str
    mode: str
    dtype: str
    ranks: dict[str, int | None]
    speed_ups: dict[str, float | None]
    shift: int | None


def lottery_shift(best: pd.DataFrame, compared: pd.DataFrame, noise: float | None = None) -> list[Shift]:
    """How ideas change places between backends, devices and machines; the largest movers first.

    Headline points against their principal twin; `noise` is the A/A noise inside which two ideas tie.
    """
    rows = rows_of(best, ("headline", *GROUP))
    runs = len({row["run"] for row in rows}) > 1
    found: dict[tuple[str, ...], dict[str, tuple[float, float, float]]] = defaultdict(dict)
    columns = ("idea", "twin", "principal", "speed_up", "speed_up_low", "speed_up_high")
    for idea, twin, principal, *speed_ups in zip(*(compared[c].tolist() for c in columns), strict=True):
        row = rows[idea]
        if principal and row["headline"] and twin != idea:
            place = f"{row['backend']} {row['device']}" + (f" {row['run']}" if runs else "")
            found[row["workload"], row["point"], row["mode"], row["dtype"]][place] = (*speed_ups,)
    known = {e: {p: s for p, s in at.items() if s[0] == s[0]} for e, at in found.items()}
    places = sorted({p for at in known.values() for p in at})
    places = [p for p in places if sum(p in at for at in known.values()) >= 2]
    common = [e for e, at in known.items() if places and all(p in at for p in places)]
    if len(places) < 2 or len(common) < 2:
        return []
    by_place: dict[str, dict[tuple[str, ...], int]] = {}
    for place in places:
        entries = [known[e][place] for e in common]
        spans = [(low, high) if low == low and high == high else None for _, low, high in entries]
        by_place[place] = dict(zip(common, ranks([s for s, *_ in entries], spans, noise), strict=True))
    out = []
    for entry in found:
        placed = {place: by_place[place].get(entry) for place in places}
        numbers = [rank for rank in placed.values() if rank is not None]
        speed = {place: none_if_nan(found[entry].get(place, (None,))[0]) for place in places}
        shift = max(numbers) - min(numbers) if numbers else None
        name, point, mode, dtype = entry
        out.append(
            Shift(workload=name, point=point, mode=mode, dtype=dtype, ranks=placed, speed_ups=speed, shift=shift)
        )
    return sorted(out, key=lambda s: (1 if s.shift is None else -s.shift, s.workload, s.point))

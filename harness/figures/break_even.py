"""Where an idea begins to pay: the value of a swept axis at which its sparse forms take as long as the dense twin."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Container, Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal, TypeAlias

import msgspec

from harness.figures.best_paths import best_rows, place_of
from harness.figures.frame import Rows, Table, rows_of
from harness.figures.sweep_ratios import TwinPaths, time_ratio
from harness.figures.twins import compared_rows
from harness.records.points import point_name
from workloads.base import Definition
from workloads.discovery import workloads

DENSITY = "density"

_PLACE = ("run", "mode", "dtype", "backend", "device")
Axes: TypeAlias = Mapping[str, Sequence[str]]  # of each workload those that it breaks even on


class CurvePoint(msgspec.Struct, frozen=True, kw_only=True):
    """T = t(idea)/t(twin) at one value of the axis, by the fastest path that skips the zeros.

    `case` is the key of that path's record. `low` and `high` hold the margins that `sweep_ratios` states.
    """

    value: float
    path: str
    case: str
    time_ratio: float
    low: float
    high: float


class BreakEven(msgspec.Struct, frozen=True, kw_only=True):
    """Where a sweep over an axis meets its principal twin, T = 1.

    `axis` is one that the workload declares to break even on, `density` where it declares none. `curve` has T at every
    value, of formulations that skip the zeros: one that multiplies with them is the dense product over again, which
    would keep T at 1. A point is surely faster or slower where its bounds say so, else a tie, which decides nothing.

    `value` is the first crossing on the way from the last value that is surely faster to the first that is surely
    slower, which lie below and `above` it or the other way round; None where there is none. `low` and `high` are where
    the upper and the lower bounds of T cross 1 on that way; None, with `open_low` or `open_high`, where the range ends
    in ties. Of ties alone the verdict is `tie`. `not_monotone`: surely slower below a value that is surely faster; no
    value is given, `crossings` has every one. `unknown`: formulations on the curve that no workload known here has, so
    that nobody can say whether they skip the zeros.
    """

    run: str
    workload: str
    point: str
    mode: str
    dtype: str
    backend: str
    device: str
    verdict: Literal["crosses", "never", "always", "tie", "not_monotone"]
    value: float | None
    low: float | None
    high: float | None
    open_low: bool
    open_high: bool
    range_low: float
    range_high: float
    points: int
    crossings: list[float]
    curve: list[CurvePoint] = []
    unknown: list[str] = []
    axis: str = DENSITY
    above: bool = False

    @property
    def sentence(self) -> str:
        """The finding in words, without what it is about."""
        if not self.unknown:
            return self._found
        return f"{self._found} (whether {', '.join(self.unknown)} skips the zeros is not known here)"

    @property
    def _found(self) -> str:
        measured = f"in the range measured, {self.axis} {self.range_low:g}–{self.range_high:g}"
        if self.verdict in ("always", "never"):
            return f"{self.verdict} faster than dense {measured}"
        if self.verdict == "tie":
            return f"a tie with dense {measured}"
        if self.verdict == "not_monotone":
            at = ", ".join(f"{d:.2g}" for d in self.crossings)
            return f"not monotone: crosses dense at {self.axis} {at}"
        low = f"<{self.range_low:g}" if self.low is None else f"{self.low:.2g}"
        high = f">{self.range_high:g}" if self.high is None else f"{self.high:.2g}"
        side, other = ("above", "below") if self.above else ("below", "above")
        if self.value is not None:
            return f"faster than dense {side} {self.axis} {self.value:.2g} [{low}, {high}]"
        faster_until, slower_from = (high, low) if self.above else (low, high)
        if self.open_low is not self.above:
            return f"slower than dense {other} {self.axis} {slower_from}, a tie with dense {side} it"
        return f"faster than dense {side} {self.axis} {faster_until}, a tie with dense from there on"


def break_even_axes(workload: Definition | None) -> tuple[str, ...]:
    """The axes that a workload declares to break even on; `density` where it declares none, or is not known here."""
    declared = () if workload is None else tuple(name for name, axis in workload.axes.items() if axis.break_even)
    return declared or (DENSITY,)


def multiplies_zeros(workload: Definition | None, mode: Any, formulation: str) -> bool | None:
    """Whether a formulation multiplies with the zeros, too; None where no workload known here has it."""
    form = None if workload is None else workload.formulations.get(mode, {}).get(formulation)
    return None if form is None else form.multiplies_zeros


def break_even(table: Table, noise: float | None = None, best: Rows | None = None) -> list[BreakEven]:
    """Every sweep of two or more values of an axis, from a `frame` or its rows, by log-log interpolation of T.

    T is of the fastest path at each value that does not multiply with the zeros, against the twin's best path.
    `noise` is the run's A/A noise as a share, by which every T is unsure at least. `best` are the table's `best_rows`,
    where these are known: most points have no path that multiplies with the zeros, and then theirs is the same.
    """
    definitions = workloads()[0]  # once: its files are looked at on every call
    rows = rows_of(table)
    axes = {name: break_even_axes(definitions.get(name)) for name in {row["workload"] for row in rows}}
    rows = _of_sweeps(rows, axes, best or rows)
    known: dict[tuple[str, Any, str], bool | None] = {}
    fit: Rows = []
    dense_again: set[tuple[Any, ...]] = set()
    for row in rows:
        form = (row["workload"], row["mode"], row["formulation"])
        if form not in known:
            known[form] = multiplies_zeros(definitions.get(form[0]), *form[1:])
        if known[form]:
            dense_again.add(place_of(row))
        else:
            fit.append(row)
    curves = _curves(rows, _best_of(fit, dense_again, best), axes, noise or 0.0)
    out = []
    for (workload, others, axis, _, *place), curve in sorted(curves.items(), key=lambda item: item[0]):
        if len({point.value for point in curve}) >= 2:
            curve = sorted(curve, key=lambda point: point.value)
            where: dict[str, Any] = dict(zip(_PLACE, place, strict=True))
            used = {(workload, where["mode"], point.path.partition("/")[0]) for point in curve}
            unknown = sorted(form for _, _, form in used if known.get((workload, where["mode"], form)) is None)
            facts: dict[str, Any] = {"unknown": unknown, "curve": curve, "points": len(curve)}
            facts |= {"range_low": curve[0].value, "range_high": curve[-1].value} | _crossing(curve, axis)
            out.append(BreakEven(workload=workload, point=others, axis=axis, **where, **facts))
    return out


def _of_sweeps(rows: Rows, axes: Axes, points: Rows) -> Rows:
    """The rows of workloads that were measured at two or more values of an axis, and of their twins.

    `points` are rows of every place at which any of them is.
    """
    values: dict[tuple[str, str], set[Any]] = defaultdict(set)
    twins: dict[str, set[str]] = defaultdict(set)
    for row in points:
        workload = row["workload"]
        for axis in axes[workload]:
            values[workload, axis].add(row["params"].get(axis))
        if row["twins"]:
            twins[workload].add(row["twins"][0].workload)
    swept = {workload for (workload, _), found in values.items() if len(found - {None}) >= 2}
    wanted = swept.union(*(twins[workload] for workload in swept))
    return [row for row in rows if row["workload"] in wanted]


def _best_of(rows: Rows, others: Container[tuple[Any, ...]], best: Rows | None) -> Rows:
    """`best_rows` of `rows`, which are all of the table's but at the places `others`; `best` are those of the table."""
    known = {place: row for row in best or () if (place := place_of(row)) not in others}
    places = [place_of(row) for row in rows]
    made = best_rows([row for row, place in zip(rows, places, strict=True) if place not in known])
    known |= {place_of(row): row for row in made}
    return [known[place] for place in dict.fromkeys(places)]


def _curves(cases: Rows, best: Rows, axes: Axes, noise: float) -> dict[tuple[Any, ...], list[CurvePoint]]:
    """T at every value of every sweep: by workload, the other axes, the axis, seed, and place."""
    twins = TwinPaths(cases)
    curves: dict[tuple[Any, ...], list[CurvePoint]] = defaultdict(list)
    for figures in compared_rows(best, most=1, times_only=True):
        row = best[figures["idea"]]
        for axis in axes[row["workload"]]:
            value = row["params"].get(axis)
            if not isinstance(value, float | int) or value <= 0 or not row["path"]:
                continue
            found = time_ratio(row, None if figures["twin"] < 0 else best[figures["twin"]], figures, twins)
            if found is None:
                continue
            margin = 1 + max(noise, found.margin)
            bounds = (found.low, found.high) if found.low == found.low else (found.ratio, found.ratio)
            point = CurvePoint(
                value=float(value),
                path=row["path"],
                case=row["key"],
                time_ratio=found.ratio,
                low=min(bounds[0], found.ratio / margin),
                high=max(bounds[1], found.ratio * margin),
            )
            others = point_name({name: v for name, v in row["params"].items() if name != axis})
            curves[row["workload"], others, axis, row["seed"], *(row[name] for name in _PLACE)].append(point)
    return curves


def _crossing(curve: Sequence[CurvePoint], axis: str) -> dict[str, Any]:
    """What `BreakEven` says of a curve, in the order of its values."""
    values = [point.value for point in curve]
    columns = [[getattr(point, name) for point in curve] for name in ("time_ratio", "low", "high")]
    facts = _from_below(values, *columns)
    if axis != DENSITY and facts["verdict"] in ("not_monotone", "never"):
        # An idea that is faster at large values: the axis is read as 1/value.
        other = _from_below([1 / value for value in reversed(values)], *(column[::-1] for column in columns))
        if other["verdict"] == "crosses":
            return _back(other)
    return facts


def _from_below(
    values: Sequence[float], ratios: Sequence[float], lows: Sequence[float], highs: Sequence[float]
) -> dict[str, Any]:
    """For an idea that is faster at small values."""
    at = _crossings(values, ratios)
    facts: dict[str, Any] = {"crossings": at, "value": None, "low": None, "high": None}
    facts |= {"open_low": False, "open_high": False}
    faster = [k for k, high in enumerate(highs) if high < 1]
    slower = [k for k, low in enumerate(lows) if low > 1]
    if not faster and not slower:
        return facts | {"verdict": "tie"}
    if faster and slower and faster[-1] > slower[0]:
        return facts | {"verdict": "not_monotone"}
    if not slower and faster[-1] == len(values) - 1:
        return facts | {"verdict": "always"}
    if not faster and slower[0] == 0:
        return facts | {"verdict": "never"}
    first, last = faster[-1] if faster else 0, slower[0] if slower else len(values) - 1
    upwards = _upwards(values[first : last + 1], ratios[first : last + 1])
    return facts | {
        "verdict": "crosses",
        "value": upwards[0] if upwards else None,
        "low": _upwards(values[first : first + 2], highs[first : first + 2])[0] if faster else None,
        "high": _upwards(values[last - 1 : last + 1], lows[last - 1 : last + 1])[0] if slower else None,
        "open_low": not faster,
        "open_high": not slower,
    }


def _back(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Of an axis that was read as 1/value."""
    value, low, high = (None if facts[name] is None else 1 / facts[name] for name in ("value", "low", "high"))
    return {
        **facts,
        "above": True,
        "value": value,
        "crossings": [1 / x for x in reversed(facts["crossings"])],
        "low": high,
        "high": low,
        "open_low": facts["open_high"],
        "open_high": facts["open_low"],
    }


def _crossings(values: Sequence[float], ratios: Sequence[float]) -> list[float]:
    """Values where the ratio passes 1, straight between neighbours in log value and log ratio."""
    out = []
    for (d0, t0), (d1, t1) in pairwise(zip(values, ratios, strict=True)):
        if (t0 < 1) != (t1 < 1):
            share = -math.log(t0) / (math.log(t1) - math.log(t0))
            out.append(math.exp(math.log(d0) + share * (math.log(d1) - math.log(d0))))
    return out


def _upwards(values: Sequence[float], ratios: Sequence[float]) -> list[float]:
    """Those of `_crossings` at which the ratio rises past 1."""
    pairs = pairwise(zip(values, ratios, strict=True))
    return [x for (a, t), (b, u) in pairs if t < 1 <= u for x in _crossings([a, b], [t, u])]

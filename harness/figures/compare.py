"""Runs against runs, or two backends or devices of one, case by case: how the times differ, and whether by chance.

Pure functions on records. The ratio is t(B)/t(A): above 1, B is slower.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from math import exp
from statistics import median
from typing import Any, Literal

import msgspec

from harness.figures.best_paths import best_rows
from harness.figures.comparable import Difference, hosts_differ
from harness.figures.compare_rows import ComparisonRow, Kind, Pair, by_key, case_name, speed_ups, times
from harness.figures.frame import GROUP, case_rows
from harness.records.record import Record
from harness.stats.changes import FALSE_ALARM, Judgement, Null, judge, null, prior

FIELDS = ("backend", "device", "execution", "formulation")  # of a case, by which one run can be compared
READS = "ratio = time of B / time of A: above 1, B is slower"
READS_MACHINES = (
    "ratio = T on B / T on A, T the time of the idea over that of its dense twin on the same machine: above 1, the "
    "idea pays less on B"
)
LEFT_OUT = "{side} left out what is the best path of the other: give it more time, or measure all by --exhaustive"
NO_DRIFT = "no dense row with two rounds on both sides tells what of it is the host's"


class Only(msgspec.Struct, frozen=True, kw_only=True):
    """What one side has and the other has not."""

    kind: Kind
    case: str
    side: Literal["A", "B"]


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """All that `compare` says: rows with what got worse first.

    `drift` is the ratio that the dense rows have in common, taken out of all ratios of times; None where nothing was.
    `spread` and `speed_up_spread` are the standard deviations, as shares, by which rows of equal code differ here
    beside what their processes show. `detectable` is the median over best paths. `false_alarm` is the rate at which
    equal code gets a verdict in any row of times, and again in any of speed-ups; half of it is slower.
    """

    a: str
    b: str
    runs: tuple[int, int]
    reads: str
    drift: float | None
    spread: float | None
    speed_up_spread: float | None
    false_alarm: float
    detectable: float | None
    hosts_differ: bool
    differences: list[Difference]
    rows: list[ComparisonRow]
    only: list[Only]

    def worse(self, share: float) -> list[ComparisonRow]:
        """Rows that broke, and those that are surely slower and may be so by `share` or more: their interval holds it.

        Where the hosts differ times say nothing of the code, and only speed-ups count.
        """
        slower = [r for r in self.rows if r.verdict == "slower" and r.high is not None and r.high > 1 + share]
        counted = [r for r in slower if r.kind == "speed-up" or not self.hosts_differ]
        return [*(r for r in self.rows if r.broken), *counted]


def compare(
    a: Sequence[Record],
    b: Sequence[Record],
    *,
    names: tuple[str, str],
    by: str | None = None,
    differences: Sequence[Difference] = (),
    machines: bool = False,
) -> Comparison:
    """Best paths, speed-ups and identical cases of `b` against those of `a`, what got worse first.

    Either side may hold the records of several runs: what the processes of a run share then counts once a run. `by` is
    the field that differs on purpose and so is no part of what is matched; where `differences` name the dtype or the
    seed, neither is that. What equal code would show is taken from the rows themselves (`harness.stats.changes`)
    unless something other than the code differs on purpose, by `by` or by `differences`.

    `machines`: the two are of unlike machines, on which speed-ups alone mean the same. Their ratios of ratios are the
    rows, and most of them may well differ, so that none is taken for what equal machines would show.
    """
    free = {by, *(d.field for d in differences if d.field in ("dtype", "seed"))} - {None}
    kept = [[r for r in records if not r.control] for records in (a, b)]
    cases = [case_rows(records) for records in kept]
    best = [best_rows(side) for side in cases]
    fields = [name for name in GROUP if name != "run" and name not in free]
    more = [*fields, *(name for name in ("formulation", "execution") if name not in free)]
    pairs: list[Pair] = []
    only: list[Only] = []
    kinds: tuple[tuple[Kind, list[str], list[list[dict[str, Any]]]], ...] = (
        ("best path", fields, best),
        ("case", more, cases),
    )
    for kind, matched, found in kinds if not machines else ():
        left, right = (by_key(side, matched) for side in found)
        pairs += [times(kind, left[key], right[key], matched, fields) for key in left if key in right]
        only += [Only(kind=kind, case=case_name(left[key][0], matched), side="A") for key in left if key not in right]
        only += [Only(kind=kind, case=case_name(right[key][0], matched), side="B") for key in right if key not in left]
    pairs += speed_ups(best, fields)
    if by is None and not machines:
        tried = [{(*(row[name] for name in fields), row["path"]) for row in side} for side in cases]
        pairs = [_of_what_both_tried(pair, len(fields), tried) for pair in pairs]
    runs = (max(1, len({r.run for r in kept[0]})), max(1, len({r.run for r in kept[1]})))
    return _judged(pairs, only, names, runs, by, differences, machines=machines)


def _of_what_both_tried(pair: Pair, fields: int, tried: Sequence[Set[tuple[Any, ...]]]) -> Pair:
    """Without a verdict where the best path of one side was left out by the other: nobody knows what it takes there."""
    where, row = pair.identity[1 : 1 + fields], pair.row
    if pair.kind == "case" or row.path_a == row.path_b or None in (row.path_a, row.path_b):
        return pair
    for paths, side, there in ((row.path_a, "B", tried[1]), (row.path_b, "A", tried[0])):
        if any((*where, path) not in there for path in str(paths).split(" | ")):
            return pair._replace(change=None, row=msgspec.structs.replace(row, why=LEFT_OUT.format(side=side)))
    return pair


def _judged(
    pairs: Sequence[Pair],
    only: list[Only],
    names: tuple[str, str],
    runs: tuple[int, int],
    by: str | None,
    differences: Sequence[Difference],
    *,
    machines: bool,
) -> Comparison:
    """The verdicts: of times in one family, of speed-ups in another."""
    differ = hosts_differ(differences)
    known = [(pair, pair.change) for pair in pairs if pair.change is not None]
    absolute = {pair.identity: change for pair, change in known if pair.kind != "speed-up"}
    dense = {pair.identity: change for pair, change in known if pair.kind != "speed-up" and pair.dense}
    ratios = {pair.identity: change for pair, change in known if pair.kind == "speed-up"}
    under: Null | None = prior(runs)
    under_ratios: Null | None = prior(runs, cases=2)
    if absolute and by is None and not differ:
        under = null([*absolute.values()], [*dense.values()], prior(runs))
    if ratios and by is None and not machines:
        under_ratios = null([*ratios.values()], None, prior(runs, cases=2))
    found: dict[tuple[Any, ...], Judgement] = {}
    for family, each in ((absolute, under), (ratios, under_ratios)):
        if each is not None:
            found |= dict(zip(family, judge([*family.values()], each), strict=True))
    drift = exp(under.drift) if under is not None and under.drift else None
    rows = [_with_verdict(p, found.get(p.identity), drift or 1.0) for p in pairs]
    rows.sort(key=_worst_first)
    reads = (
        READS_MACHINES
        if machines
        else READS
        if drift is None
        else f"{READS}; the hosts' drift, {drift:.3g}× in the dense rows, is taken out"
    )
    least = [r.detectable for r in rows if r.kind == "best path" and r.detectable is not None]
    return Comparison(
        a=names[0],
        b=names[1],
        runs=runs,
        reads=reads,
        drift=drift,
        spread=under.sd if absolute and under is not None else None,
        speed_up_spread=under_ratios.sd if ratios and under_ratios is not None else None,
        false_alarm=FALSE_ALARM,
        detectable=median(least) if least else None,
        hosts_differ=differ,
        differences=list(differences),
        rows=rows,
        only=only,
    )


def _with_verdict(pair: Pair, found: Judgement | None, drift: float) -> ComparisonRow:
    row = pair.row
    if found is not None:
        called = "tie" if found.p > FALSE_ALARM else "slower" if found.ratio > 1 else "faster"
        figures = {name: getattr(found, name) for name in ("ratio", "low", "high", "p", "detectable")}
        return msgspec.structs.replace(row, verdict=called, **figures)
    if row.ratio is not None and pair.kind != "speed-up":
        row = msgspec.structs.replace(row, ratio=row.ratio / drift)
    return row if pair.change is None else msgspec.structs.replace(row, why=NO_DRIFT)


def _worst_first(row: ComparisonRow) -> tuple[int, float]:
    order = {"slower": 1, "tie": 2, "faster": 3, None: 4}
    return (0 if row.broken else order[row.verdict], -(row.ratio or 0.0))

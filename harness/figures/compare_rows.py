"""What a comparison compares: either side's best paths, speed-ups and cases, as rows that nobody has judged yet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import exp, log
from statistics import fmean, median
from typing import Any, Literal, NamedTuple

import msgspec

from harness.figures.frame import GROUP
from harness.records.points import point_name
from harness.stats.changes import LogRatio, change
from harness.stats.process_times import Process, paired_ratios, that_count

Kind = Literal["best path", "speed-up", "case"]


class ComparisonRow(msgspec.Struct, frozen=True, kw_only=True):
    """One computation on both sides; every figure is None where it is unknown.

    `kind` says what is compared: the time of either side's best path; the time of the best path over that of its
    principal twin, round by round (`ratio` is T(B)/T(A), whatever the hosts' speed); or the time of one and the same
    case. `ratio` is that of the geometric means over rounds without the hosts' drift, `low` and `high` its own 95 %
    interval, which holds what differs from run to run. `verdict` is B's: faster, slower or tie, where `p` is Holm's
    over all rows of times, or of speed-ups; None without two rounds on both sides, and `why` says so. `detectable` is
    the share by which B must differ to be called different in 4 of 5 comparisons. `broken` is a case that was ok in A
    and is not in B. Several paths of several runs are joined by " | ".
    """

    kind: Kind
    case: str
    ratio: float | None
    low: float | None
    high: float | None
    verdict: str | None
    why: str | None
    p: float | None
    detectable: float | None
    broken: bool
    time_a_s: float | None
    time_b_s: float | None
    speed_up_a: float | None = None
    speed_up_b: float | None = None
    path_a: str | None
    path_b: str | None
    outcome_a: str
    outcome_b: str
    processes_a: int
    processes_b: int
    rounds_a: int
    rounds_b: int


class Pair(NamedTuple):
    """A row before it is judged: what it is (the same for a case and the best path that it is), and its change."""

    kind: Kind
    identity: tuple[Any, ...]
    dense: bool
    change: LogRatio | None
    row: ComparisonRow


_Key = tuple[Any, ...]
_Samples = list[list[float]]  # a list a run, a value a round


def case_name(row: Mapping[str, Any], fields: Sequence[str]) -> str:
    """`unstructured_sparse/csr forward torch eager cpu float32 [k=8,m=8]`, of the fields that are matched."""
    first = "/".join(str(row[name]) for name in ("workload", "formulation") if name in fields)
    order = ("mode", "backend", "execution", "device", "dtype")
    seed = f" seed {row['seed']}" if "seed" in fields and row["seed"] else ""
    return " ".join([first, *(str(row[n]) for n in order if n in fields)]) + f" [{point_name(row['params'])}]{seed}"


def by_key(rows: Sequence[dict[str, Any]], fields: Sequence[str]) -> dict[_Key, list[dict[str, Any]]]:
    """What is matched → its row in every run."""
    out: dict[_Key, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        out[tuple(row[name] for name in fields)].append(row)
    return out


def times(
    kind: Kind,
    a: Sequence[Mapping[str, Any]],
    b: Sequence[Mapping[str, Any]],
    matched: Sequence[str],
    fields: Sequence[str],
) -> Pair:
    """The times of one computation: its rows of `a` and of `b`, which agree in `matched`; `fields` are of any path."""
    sides = [[_rounds(row) for row in rows if row["process_s"]] for rows in (a, b)]
    row = _row(kind, a, b, matched, sides)
    identity = ("time", *(a[0][name] for name in fields), row.path_a, row.path_b)
    return Pair(kind, identity, not a[0]["twins"], change(*sides), row)


def _rounds(row: Mapping[str, Any]) -> list[float]:
    """A time a round: two processes of one round met the same minute of the host, and say no more than one."""
    return [_mean([p.centre_s for p in same]) for same in _of_rounds(row).values()]


def _of_rounds(row: Mapping[str, Any]) -> dict[int, list[Process]]:
    out: dict[int, list[Process]] = defaultdict(list)
    for process in that_count(row["paired"]):
        out[process.round].append(process)
    return out


def _mean(values: Sequence[float]) -> float:
    return exp(fmean(map(log, values)))


def speed_ups(best: Sequence[Sequence[dict[str, Any]]], fields: Sequence[str]) -> list[Pair]:
    """Of every best path whose principal twin ran beside it, on both sides: its time over the twin's in each round."""
    sides: list[dict[_Key, list[tuple[dict[str, Any], list[float]]]]] = []
    for rows in best:
        at = {tuple(row[name] for name in GROUP): row for row in rows}
        ratios: dict[_Key, list[tuple[dict[str, Any], list[float]]]] = defaultdict(list)
        for row in rows:
            for ref in row["twins"][:1]:
                where = {"workload": ref.workload, "point": point_name(ref.params), "mode": ref.mode}
                twin = at.get(tuple((row | where)[name] for name in GROUP))
                found = [] if twin is None else _paired(_of_rounds(row), _of_rounds(twin))
                if found:
                    ratios[tuple(row[name] for name in fields)].append((row, found))
        sides.append(ratios)
    left, right = sides
    return [_speed_up(left[key], right[key], fields) for key in left if key in right]


def _paired(idea: Mapping[int, list[Process]], twin: Mapping[int, list[Process]]) -> list[float]:
    found = [paired_ratios(idea[number], twin[number]) for number in idea if number in twin]
    return [_mean(ratios) for ratios in found if ratios]


def _speed_up(
    a: Sequence[tuple[dict[str, Any], list[float]]],
    b: Sequence[tuple[dict[str, Any], list[float]]],
    fields: Sequence[str],
) -> Pair:
    sides = [[ratios for _, ratios in side] for side in (a, b)]
    row = _row("speed-up", [r for r, _ in a], [r for r, _ in b], fields, sides)
    gains = [exp(-fmean(log(_mean(ratios)) for ratios in side)) for side in sides]
    row = msgspec.structs.replace(row, speed_up_a=gains[0], speed_up_b=gains[1], broken=False)
    return Pair("speed-up", ("speed-up", *(a[0][0][name] for name in fields)), False, change(*sides), row)


def _row(
    kind: Kind,
    a: Sequence[Mapping[str, Any]],
    b: Sequence[Mapping[str, Any]],
    fields: Sequence[str],
    samples: Sequence[_Samples],
) -> ComparisonRow:
    """Without a verdict; the ratio is that of the means over runs of the means over rounds."""
    column = "status" if "status" in a[0] else "outcome"
    timed = [bool(side) for side in samples]
    times_s = [
        median(found) if found else None for found in ([r["time_s"] for r in s if r["process_s"]] for s in (a, b))
    ]
    means = [fmean(log(_mean(run)) for run in side) if side else 0.0 for side in samples]
    paths = [" | ".join(dict.fromkeys(r["path"] for r in side if r["process_s"])) or None for side in (a, b)]
    few = [name for name, side in zip("AB", samples, strict=True) if max(map(len, side), default=0) < 2]
    return ComparisonRow(
        kind=kind,
        case=case_name(a[0], fields),
        ratio=exp(means[1] - means[0]) if all(timed) else None,
        low=None,
        high=None,
        verdict=None,
        why=f"fewer than two rounds in {' and '.join(few)}" if few and all(timed) else None,
        p=None,
        detectable=None,
        broken=timed[0] and not timed[1],
        time_a_s=times_s[0],
        time_b_s=times_s[1],
        path_a=paths[0],
        path_b=paths[1],
        outcome_a=" | ".join(dict.fromkeys(str(r[column]) for r in a)),
        outcome_b=" | ".join(dict.fromkeys(str(r[column]) for r in b)),
        processes_a=sum(int(r["processes"]) for r in a),
        processes_b=sum(int(r["processes"]) for r in b),
        rounds_a=sum(map(len, samples[0])),
        rounds_b=sum(map(len, samples[1])),
    )

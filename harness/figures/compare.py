"""Two runs, or two backends or devices of one, case by case: how the times differ and whether by more than noise.

Pure functions on records. The ratio is t(B)/t(A): above 1, B is slower.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan
from typing import Any, Literal

import msgspec
import numpy as np

from harness.figures.best_paths import GROUP, best_paths
from harness.figures.comparable import Difference
from harness.figures.frame import frame, rows_of
from harness.records.points import point_name
from harness.records.record import Record
from harness.stats.intervals import SINGLE, Floats, median_distribution, none_if_nan, verdict

FIELDS = ("backend", "device", "execution", "formulation")  # of a case, by which one run can be compared
READS = "ratio = time of B / time of A: above 1, B is slower"
_TAILS = (0.025, 0.975)
_ATOMS = 1000  # most values of a bootstrap distribution that are kept

Kind = Literal["best path", "case"]


class ComparisonRow(msgspec.Struct, frozen=True, kw_only=True):
    """One computation on both sides; every figure is None where it is unknown.

    `kind` says whether each side's best path is compared, or one and the same case. `ratio` is time_b_s / time_a_s,
    `low` and `high` its 95 % interval, None where a side has one process only. `verdict` is B's: faster, slower or tie,
    None where a side has no time. `broken` is a case that was ok in A and is not in B.
    """

    kind: Kind
    case: str
    ratio: float | None
    low: float | None
    high: float | None
    verdict: str | None
    broken: bool
    time_a_s: float | None
    time_b_s: float | None
    path_a: str | None
    path_b: str | None
    outcome_a: str
    outcome_b: str
    processes_a: int
    processes_b: int


class Only(msgspec.Struct, frozen=True, kw_only=True):
    """What one side has and the other has not."""

    kind: Kind
    case: str
    side: Literal["A", "B"]


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """All that `compare` says: rows with what got worse first; `noise` is the larger noise of the two, a share."""

    a: str
    b: str
    reads: str
    noise: float | None
    differences: list[Difference]
    rows: list[ComparisonRow]
    only: list[Only]

    def worse(self, share: float) -> list[ComparisonRow]:
        """Rows in which B is slower by more than `share`, and not by noise alone; and those that broke."""
        slower = [r for r in self.rows if r.verdict == "slower" and r.ratio is not None and r.ratio > 1 + share]
        return [*(r for r in self.rows if r.broken), *slower]


def ratio_interval(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
    """95 % interval of median(b)/median(a) for the times of the processes of either side; NaN under two on one side.

    Runs at different times have no pairs, so both sides are resampled independently. Nothing is drawn: each median has
    its ideal bootstrap distribution (`intervals.median_distribution`), and the ratio that of their product.
    """
    if len(a) < 2 or len(b) < 2:
        return nan, nan
    (under, w_under), (over, w_over) = (_thinned(*median_distribution(np.array(x, np.float64))) for x in (a, b))
    ratios = np.divide.outer(over, under).ravel()
    order = np.argsort(ratios)
    reached = np.cumsum(np.multiply.outer(w_over, w_under).ravel()[order])
    low, high = (float(ratios[order[np.argmax(reached >= q - 1e-9)]]) for q in _TAILS)
    return low, high


def _thinned(values: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """At most `_ATOMS` values of equal weight where there are more."""
    if len(values) <= _ATOMS:
        return values, weights
    order = np.argsort(values)
    at = np.searchsorted(np.cumsum(weights[order]), (np.arange(_ATOMS) + 0.5) / _ATOMS)
    return values[order][np.minimum(at, len(values) - 1)], np.full(_ATOMS, 1 / _ATOMS)


def compare(
    a: Sequence[Record],
    b: Sequence[Record],
    *,
    names: tuple[str, str],
    noise: float | None,
    by: str | None = None,
    differences: Sequence[Difference] = (),
) -> Comparison:
    """Best paths and identical cases of `b` against those of `a`, what got worse first.

    `noise` is that of both as a share, drift between groups included; two times of a single process each are called
    different only when they differ by `SINGLE` or more. `by` is the field that differs on purpose and so is no part of
    what is matched; where `differences` name the dtype or the seed, neither is that.
    """
    free = {by, *(d.field for d in differences if d.field in ("dtype", "seed"))} - {None}
    sides = [frame([r for r in records if not r.control]) for records in (a, b)]
    kinds: tuple[tuple[Kind, list[list[dict[str, Any]]], tuple[str, ...]], ...] = (
        ("best path", [rows_of(best_paths(side)) if len(side) else [] for side in sides], ()),
        ("case", [rows_of(side) for side in sides], ("formulation", "execution")),
    )
    rows: list[ComparisonRow] = []
    only: list[Only] = []
    for kind, found, more in kinds:
        fields = [name for name in (*GROUP, *more) if name != "run" and name not in free]
        left, right = ({tuple(row[name] for name in fields): row for row in side} for side in found)
        rows += [_row(kind, left[key], right[key], fields, noise) for key in left if key in right]
        only += [Only(kind=kind, case=_name(left[key], fields), side="A") for key in left if key not in right]
        only += [Only(kind=kind, case=_name(right[key], fields), side="B") for key in right if key not in left]
    rows.sort(key=_worst_first)
    return Comparison(
        a=names[0], b=names[1], reads=READS, noise=noise, differences=list(differences), rows=rows, only=only
    )


def _worst_first(row: ComparisonRow) -> tuple[int, float]:
    order = {"slower": 1, "tie": 2, "faster": 3, None: 4}
    return (0 if row.broken else order[row.verdict], -(row.ratio or 0.0))


def _name(row: Mapping[str, Any], fields: Sequence[str]) -> str:
    """`unstructured_sparse/csr forward torch eager cpu float32 [k=8,m=8]`, of the fields that are matched."""
    first = "/".join(str(row[name]) for name in ("workload", "formulation") if name in fields)
    order = ("mode", "backend", "execution", "device", "dtype")
    seed = f" seed {row['seed']}" if "seed" in fields and row["seed"] else ""
    return " ".join([first, *(str(row[n]) for n in order if n in fields)]) + f" [{point_name(row['params'])}]{seed}"


def _row(
    kind: Kind, a: Mapping[str, Any], b: Mapping[str, Any], fields: Sequence[str], noise: float | None
) -> ComparisonRow:
    ratio = b["time_s"] / a["time_s"] if a["time_s"] else nan
    low, high = ratio_interval(a["process_s"], b["process_s"]) if ratio == ratio else (nan, nan)
    floor = noise if low == low else max(noise or 0.0, SINGLE)
    outcomes = [str(row["outcome"] if kind == "best path" else row["status"]) for row in (a, b)]
    timed = [row["time_s"] == row["time_s"] for row in (a, b)]
    return ComparisonRow(
        kind=kind,
        case=_name(a, fields),
        ratio=none_if_nan(ratio),
        low=none_if_nan(low),
        high=none_if_nan(high),
        verdict=verdict(ratio, low, high, floor),
        broken=timed[0] and not timed[1],
        time_a_s=none_if_nan(a["time_s"]),
        time_b_s=none_if_nan(b["time_s"]),
        path_a=a["path"] if timed[0] else None,
        path_b=b["path"] if timed[1] else None,
        outcome_a=outcomes[0],
        outcome_b=outcomes[1],
        processes_a=int(a["processes"]),
        processes_b=int(b["processes"]),
    )

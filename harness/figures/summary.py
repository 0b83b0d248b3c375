"""The one place where the figures of the main table are made, as frozen facts that every format prints."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

import msgspec

from harness.figures.amortisation import Amortised, amortisation
from harness.figures.answer import answer
from harness.figures.basis import Basis, basis_of
from harness.figures.best_paths import Paths, best_rows
from harness.figures.blame import Blame, blame
from harness.figures.bounds import Bounds
from harness.figures.break_even import BreakEven, break_even
from harness.figures.ceilings import CEILINGS_ALONE, Ceiling, ceilings
from harness.figures.chips import ChipRow, across_chips
from harness.figures.datasheets import Datasheet, datasheets
from harness.figures.estimates import EstimateRow, estimate_rows, is_estimated
from harness.figures.frame import Rows, Table, rows_of
from harness.figures.lottery import Shift, lottery_shift
from harness.figures.modelled import ModelledRow, is_modelled, modelled_rows
from harness.figures.portability import Failure, Portability, PortabilityCell, explain_outcomes, matrix, portability
from harness.figures.suspects import Suspect, suspects
from harness.figures.table_rows import Against, Row
from harness.figures.twins import compared_rows
from harness.records.record import Record
from harness.stats.intervals import none_if_nan, verdict
from harness.stats.noise import floor_of
from harness.stats.power import detectable, family_error
from harness.stats.process_times import that_count
from harness.stats.trend import level
from workloads.base import Value

__all__ = ["Against", "Row", "Summary", "main_table", "summarise"]


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """All that a report says. `outcomes` counts cases by status; `dense` has the twins of the rows; `noise` is A/A.

    `detectable` is the median of the rows' against their principal twin, `false_call` the chance that at least one of
    so many rows is called faster or slower where none is (`stats.power.family_error`); None without intervals.
    `estimates` has what was compiled for a chip and not run, of which nothing stands in the other tables' figures.
    `modelled` has what was reckoned on devices that files describe, by itself likewise; `portability` and `matrix` have
    nothing of it, for nothing ran. `chips` holds the estimates against each other, where there are two chips or more.
    `suspects` are computations of which every path is wrong. `left_out` counts cases that were not tried, by reason.
    `disturbed` has what the runs' own notes say that the machine did beside, where these are known.
    `answer` is all of it in at most six sentences.
    `matrix` is what ran where; formats for reading print it where `all_points` were asked for.
    """

    records: int
    rows: list[Row]
    dense: list[Row]
    ceilings: list[Ceiling]
    break_even: list[BreakEven]
    amortisation: list[Amortised]
    portability: list[Portability]
    matrix: list[PortabilityCell]
    lottery: list[Shift]
    failures: list[Failure]
    outcomes: dict[str, int]
    estimates: list[EstimateRow]
    datasheets: list[Datasheet]
    noise: float | None
    all_points: bool = False
    suspects: list[Suspect] = []
    disturbed: list[str] = []
    detectable: float | None = None
    false_call: float | None = None
    left_out: dict[str, int] = {}
    answer: list[str] = []
    chips: list[ChipRow] = []
    modelled: list[ModelledRow] = []


def summarise(
    records: Sequence[Record],
    *,
    all_points: bool = False,
    noise: float | None = None,
    left_out: Mapping[str, int] | None = None,
    cells: bool = True,
    amortised: bool = True,
    basis: Basis | None = None,
) -> Summary:
    """Everything that a report says about the records of one run or several.

    `noise` is the A/A noise as a share; without it, what the runs' own controls found. `left_out` is what the runs did
    not try, by reason (`figures.left_out.counts`). Who shows no `matrix`, nor what `portability` has of its `cells`, or
    no `amortisation`, need not wait for them. `basis` is that of the records, where it is known.
    """
    basis = basis_of(records) if basis is None else basis
    noise = floor_of(basis.controls) if noise is None else noise
    records = [record for record in records if not record.control]
    of_devices = {record.case.device: record for record in records}.items()  # any of its records tells what it is
    modelled = {device for device, record in of_devices if is_modelled(record)}
    compiled = {device for device, record in of_devices if is_estimated(record)}
    run = [record for record in records if record.case.device not in modelled] if modelled else records
    of_run = [row for row in basis.rows if row["device"] not in modelled] if modelled else basis.rows
    table = [row for row in of_run if row["device"] not in compiled] if compiled else of_run
    paths = Paths(table)
    best = best_rows(table, paths)
    tried = best_rows(of_run) if compiled else best
    compared = compared_rows(best, headlines=not all_points)
    limits = basis.limits
    rows, dense = _rows(best, compared, Bounds(table, limits), all_points, noise)
    of_matrix = matrix(run) if cells else []
    sweeps = break_even(table, noise, best)
    estimates = estimate_rows(records, all_points=all_points) if compiled else []
    sure = [a for row in rows if (a := row.principal) is not None and a.detectable is not None]
    return Summary(
        records=len(records),
        rows=rows,
        dense=dense,
        ceilings=limits.all,
        break_even=sweeps,
        amortisation=amortisation(table, best, compared, all_points=all_points, paths=paths) if amortised else [],
        portability=portability(tried, of_matrix),
        matrix=of_matrix,
        lottery=lottery_shift(best, compared, noise),
        failures=explain_outcomes(records),
        outcomes=dict(Counter(record.status for record in records).most_common()),
        datasheets=datasheets(run),
        estimates=estimates,
        chips=across_chips(estimates),
        modelled=modelled_rows(records, all_points=all_points) if modelled else [],
        noise=noise,
        all_points=all_points,
        suspects=suspects(run),
        detectable=median(a.detectable for a in sure if a.detectable is not None) if sure else None,
        false_call=family_error((a.rounds for a in sure), len(basis.controls)) if sure else None,
        left_out=dict(left_out or {}),
        answer=answer(rows, sweeps, limits),
    )


def main_table(table: Table, *, all_points: bool = False, noise: float | None = None) -> list[Row]:
    """The ideas' rows, from a `frame` or its rows: headline points only unless `all_points`."""
    rows = rows_of(table)
    best = best_rows(rows)
    return _rows(best, compared_rows(best, headlines=not all_points), Bounds(rows, ceilings(rows)), all_points, noise)[
        0
    ]


def _rows(
    rows: Rows, compared: Rows, bounds: Bounds, all_points: bool, noise: float | None
) -> tuple[list[Row], list[Row]]:
    """The ideas' rows and, apart, those of the twins that these name."""
    against: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for ratio in compared:
        against[ratio["idea"]].append(ratio)
    shown = [k for k in against if all_points or rows[k]["headline"]]
    twins = {against_twin["twin"] for k in shown for against_twin in against[k] if against_twin["twin"] >= 0} - set(
        shown
    )
    if all_points or not against:
        twins |= {k for k in range(len(rows)) if k not in against and rows[k]["workload"] not in CEILINGS_ALONE}
    out = []
    for wanted in (shown, twins):
        labels = _labels([rows[k] for k in wanted])
        ordered = sorted(wanted, key=lambda k: _order(rows[k]))
        out.append([_row(rows, k, labels[rows[k]["workload"]], against.get(k, []), bounds, noise) for k in ordered])
    return out[0], out[1]


def _labels(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """For every workload, the axes in which its rows differ."""
    values: dict[str, dict[str, set[Value]]] = defaultdict(lambda: defaultdict(set))
    for row in rows:
        axes = values[row["workload"]]
        for name, value in row["params"].items():
            axes[name].add(value)
    return {workload: [n for n, seen in axes.items() if len(seen) > 1] for workload, axes in values.items()}


def _order(row: Mapping[str, Any]) -> tuple[Any, ...]:
    axes = [(name, isinstance(value, str), value) for name, value in row["params"].items()]
    return (row["workload"], row["mode"], axes, row["dtype"], row["device"], row["backend"], row["run"], row["seed"])


def _row(
    rows: Rows, k: int, axes: Sequence[str], against: Sequence[Mapping[str, Any]], bounds: Bounds, noise: float | None
) -> Row:
    row = rows[k]
    memory = none_if_nan(row["memory_bytes"])
    computed: dict[str, Any] = {
        "label": ", ".join(f"{name}={row['params'][name]}" for name in axes if name in row["params"]),
        "memory_bytes": None if memory is None else int(memory),
        "roofline_share": bounds.share(row),
        "share_suspect": bounds.impossible(row),
        "against": [_against(rows, figures, bounds, noise) for figures in against],
        "steady": level(process.slices_s for process in that_count(row["paired"])),
    }
    plain: dict[str, Any] = {name: row[name] for name in _PLAIN if name not in computed}
    plain = {name: None if value != value else value for name, value in plain.items()}
    return Row(**plain, **computed)


def _against(rows: Rows, figures: Mapping[str, Any], bounds: Bounds, noise: float | None) -> Against:
    ratio, low, high = (figures[name] for name in ("time_ratio", "time_ratio_low", "time_ratio_high"))
    least = None
    if low == low and figures["idea"] != figures["twin"]:
        least = detectable(low, high, figures["rounds"], noise)
    parts = blame(rows[figures["idea"]], rows[figures["twin"]] if figures["twin"] >= 0 else None, figures, bounds)
    plain: dict[str, Any] = {name: figures[name] for name in _COMPARED}
    plain = {name: None if value != value else value for name, value in plain.items()}
    return Against(**plain, **msgspec.structs.asdict(parts), verdict=verdict(ratio, low, high, noise), detectable=least)


_PLAIN = Row.__struct_fields__
_COMPARED = [n for n in Against.__struct_fields__ if n not in (*Blame.__struct_fields__, "verdict", "detectable")]

"""A stored run measured again: each published row, its speed-up then and now, and whether they are the same. Pure.

Speed-ups are compared, never times: they are ratios within one machine and travel to another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from harness.errors import nearest
from harness.figures.comparable import Difference, differences
from harness.figures.summary import Against, Row, Summary
from harness.records.record import Case, Record
from harness.records.store import Run
from harness.stats.equivalence import RatioChange, Sameness, ratio_change, sameness, span

RowKey = tuple[str, str, str, str, str, str]


class ReproducedRow(msgspec.Struct, frozen=True, kw_only=True):
    """A published row and what came of it again; None where a figure is unknown.

    `speed_up` and its interval are those published, `speed_up_again` those of this run, `ratio` the second over the
    first, with an interval that holds both runs' intervals and noise. `why` says what kept a verdict away, or what
    failed. Times are for information: `time_s` of then, `time_again_s` of now.
    """

    row: str
    workload: str
    point: str
    label: str
    mode: str
    dtype: str
    backend: str
    device: str
    path: str | None
    twin_path: str | None
    speed_up: float | None
    speed_up_low: float | None
    speed_up_high: float | None
    speed_up_again: float | None
    speed_up_again_low: float | None
    speed_up_again_high: float | None
    ratio: float | None
    low: float | None
    high: float | None
    verdict: Sameness
    why: str | None
    time_s: float | None
    time_again_s: float | None


class Reproduction(msgspec.Struct, frozen=True, kw_only=True):
    """All that `reproduce` says. `of` is the stored run, `run` the new one; noises are A/A, as shares.

    `margin`: speed-ups that differ by no more than the factor 1 + margin are the same. `same_kind`: the two machines
    are equal hardware. `differences` are the conditions that differ (then / now).
    """

    of: str
    run: str
    same_kind: bool
    margin: float
    noise: float | None
    noise_again: float | None
    differences: list[Difference]
    rows: list[ReproducedRow]

    def count(self, verdict: Sameness) -> int:
        """Rows of a verdict."""
        return sum(row.verdict == verdict for row in self.rows)


# -- which rows --------------------------------------------------------------------------------------------------------


def published_rows(summary: Summary) -> list[Row]:
    """The headline rows that claim a speed-up; a dense computation held against itself claims none."""
    return [row for row in summary.rows if row.headline and row.principal is not None and not _calibration(row)]


def _calibration(row: Row) -> bool:
    against = row.against[0]
    return (against.twin_workload, against.twin_point, against.twin_mode) == (row.workload, row.point, row.mode)


def row_name(row: Row) -> str:
    """`unstructured_sparse forward torch cpu float32 density=0.1,k=1024,m=1024,n=128`."""
    return f"{row.workload} {row.mode} {row.backend} {row.device} {row.dtype} {row.point}"


def chosen_rows(rows: Sequence[Row], wanted: Iterable[str]) -> list[Row]:
    """The rows that have every word of one of `wanted` in their name, axes apart by commas or blanks; all of none.

    UserError for words that no row has together.
    """
    asked = [text.replace(",", " ").split() for text in wanted]
    if not asked:
        return list(rows)
    words = [set(row_name(row).replace(",", " ").split()) for row in rows]
    for several in asked:
        if not any(set(several) <= own for own in words):
            known = sorted(set().union(*words))
            strange = next((word for word in several if word not in known), None)
            raise nearest("row with", strange or " ".join(several), known if strange else map(row_name, rows))
    return [row for row, own in zip(rows, words, strict=True) if any(set(several) <= own for several in asked)]


def cases_of(row: Row, records: Iterable[Record]) -> tuple[Case | None, Case | None]:
    """The cases of a row's best path and of its principal twin's, among the records of its run."""
    against = row.against[0]
    idea = (row.workload, row.point, row.mode, row.path)
    twin = (against.twin_workload, against.twin_point, against.twin_mode, against.twin_path)
    found: dict[tuple[str | None, ...], Case] = {}
    for record in records:
        case = record.case
        if (case.dtype, case.backend, case.device) == (row.dtype, row.backend, row.device) and not record.control:
            found[case.workload, case.point, case.mode, f"{case.formulation}/{case.execution}"] = case
    return found.get(idea), found.get(twin)


def unknown(row: Row) -> str | None:
    """Why a published row claims nothing that could be reproduced; None where it does."""
    against = row.against[0]
    if row.path is None:
        return f"it was not ok: {row.outcome}"
    if against.speed_up is None:
        return f"its twin had no time: {against.twin_outcome}"
    return "it was measured in one process, and has no interval" if against.speed_up_low is None else None


# -- what came of them -------------------------------------------------------------------------------------------------


def reproduction(
    was: Run,
    now: Run,
    rows: Sequence[Row],
    summaries: tuple[Summary, Summary],
    whys: Mapping[str, str],
    *,
    same_kind: bool,
    margin: float,
) -> Reproduction:
    """The `rows` of the run `was` held against the run `now`; `whys` has what was not measured, by the row's name."""
    again = {_key(row): row for row in summaries[1].rows}
    noises = (summaries[0].noise, summaries[1].noise)
    found = [_judged(row, again.get(_key(row)), noises, whys.get(row_name(row)), margin) for row in rows]
    return Reproduction(
        of=was.info.run,
        run=now.info.run,
        same_kind=same_kind,
        margin=margin,
        noise=noises[0],
        noise_again=noises[1],
        differences=conditions(was, now),
        rows=found,
    )


def conditions(was: Run, now: Run) -> list[Difference]:
    """What differs between two runs and may decide a ratio, the versions of the packages that both name included."""
    found = differences(was.records, now.records, (was.info, now.info))
    found = [difference for difference in found if not difference.field.startswith("shapes of")]
    versions = [(n, was.info.versions[n], v) for n, v in now.info.versions.items() if n in was.info.versions]
    return found + [Difference(field=name, a=then, b=here) for name, then, here in versions if then != here]


def _key(row: Row) -> RowKey:
    return (row.workload, row.point, row.mode, row.dtype, row.backend, row.device)


def _judged(
    row: Row, again: Row | None, noises: tuple[float | None, float | None], why: str | None, margin: float
) -> ReproducedRow:
    was, now = row.against[0], again.principal if again is not None else None
    verdict, change = held_against((was, noises[0]), (now, noises[1]), margin)
    why = unknown(row) or why
    if why is None and change is None:
        verdict, why = _without_a_figure(again, now)
    fields = ("workload", "point", "label", "mode", "dtype", "backend", "device", "path", "time_s")
    return ReproducedRow(
        row=row_name(row),
        **{name: getattr(row, name) for name in fields},
        twin_path=was.twin_path,
        speed_up=was.speed_up,
        speed_up_low=was.speed_up_low,
        speed_up_high=was.speed_up_high,
        speed_up_again=now.speed_up if now else None,
        speed_up_again_low=now.speed_up_low if now else None,
        speed_up_again_high=now.speed_up_high if now else None,
        ratio=change.ratio if change else None,
        low=change.low if change else None,
        high=change.high if change else None,
        verdict=verdict,
        why=why,
        time_again_s=again.time_s if again else None,
    )


def held_against(
    was: tuple[Against, float | None], now: tuple[Against | None, float | None], margin: float
) -> tuple[Sameness, RatioChange | None]:
    """Two speed-ups of one row, each with its run's A/A noise: the verdict, and how the second differs.

    No verdict without an interval on both sides: what one process says is as unsure as it is.
    """
    spans = []
    for against, noise in (was, now):
        if against is None or against.speed_up is None or against.speed_up_low is None:
            return "cannot tell", None
        within = span(against.speed_up, against.speed_up_low, against.speed_up_high, noise)
        if within is None:
            return "cannot tell", None
        spans.append((against.speed_up, within))
    change = ratio_change(*spans[0], *spans[1])
    return sameness(change, margin), change


def _without_a_figure(again: Row | None, now: Against | None) -> tuple[Sameness, str]:
    """Of a row that claimed a speed-up and has none with an interval here."""
    if again is None or now is None:
        return "cannot tell", "it was not measured again"
    if again.path is None:
        return "not reproduced", f"its path was ok there and is not here: {again.reason or again.outcome}"
    if now.speed_up is None:
        return "cannot tell", f"its twin has no time here: {now.twin_outcome}"
    return "cannot tell", "it was measured in one process here, and has no interval"

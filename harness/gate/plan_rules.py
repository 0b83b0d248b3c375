"""What a run must hold by its own plan, which is made anew from its run.json: what is missing is as false as what is
wrong. A twin from which the fast formulations were taken out makes every speed-up too good."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from harness.errors import UserError
from harness.figures.ceilings import CEILING_STREAM, CEILINGS_ALONE
from harness.gate.known import Known
from harness.gate.refusal import Refusal, refusal
from harness.planning import plan, retold
from harness.planning.contenders import neglected
from harness.planning.plan import Planned
from harness.planning.reasons import BEATEN, LATE
from harness.planning.standing import standings
from harness.records.record import Case, Record
from harness.records.store import INFO, RECORDS, REPRODUCES, RunInfo
from harness.records.text import plain
from workloads.base import Definition

MOST_POINTS = 1_000  # combinations of axes, dtypes and devices in a plan that is made anew
MOST_PLANS = 20  # that are kept for the next submission of the same request
# Formulations of dense twins that came after the first runs were published, with the day from which on every run has
# them: an earlier run of sources that are no release cannot have tried them.
SINCE = {
    ("dense_matmul", "transposed"): "2026-11-26",
    ("dense_matmul", "row"): "2026-11-26",
    ("dense_matmul", "vector"): "2026-11-26",
    ("dense_conv", "nhwc_packed"): "2026-11-26",
    ("dense_mlp", "by_hand_transposed"): "2026-11-27",
    ("dense_block", "columns"): "2026-11-29",
    ("dense_mlp", "columns"): "2026-11-29",
    ("dense_block", "packed"): "2026-11-29",
    ("dense_mlp", "packed"): "2026-11-29",
    ("causal_attention", "blocked_bounded"): "2026-11-29",
}
# The ceilings beyond the dense rate and the bandwidth: a run that began before has none of them, and is asked for none.
CEILINGS_SINCE = "2026-11-28"
_LATER_CEILINGS = CEILINGS_ALONE - {CEILING_STREAM}
_MORE = "give the run more time by --resume --budget, or measure all by --exhaustive"
_REMEDY = "publish every record of the run, or finish it with --resume"
_SURE = 2  # of the fastest formulations of a survey one is taken on every sweep
_Keep: TypeAlias = Callable[[Iterable[Planned]], list[Planned]]


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """The cases of a plan, and the same by what they are looked up by: of thousands a few are missing."""

    cases: list[Planned]
    by_key: dict[str, Planned]
    by_place: dict[tuple[str, ...], list[Planned]]
    surveys: dict[tuple[object, ...], list[Planned]]  # by their family

    @classmethod
    def of(cls, cases: list[Planned]) -> _Plan:
        by_place: dict[tuple[str, ...], list[Planned]] = defaultdict(list)
        surveys: dict[tuple[object, ...], list[Planned]] = defaultdict(list)
        for planned in cases:
            by_place[planned.case.place].append(planned)
            if planned.survey:
                surveys[planned.family].append(planned)
        by_key = {planned.case.key: planned for planned in cases}
        return cls(cases=cases, by_key=by_key, by_place=by_place, surveys=surveys)


_PLANS: dict[tuple[str, ...], tuple[Mapping[str, Definition], _Plan]] = {}


def check(
    info: RunInfo,
    records: Sequence[Record],
    read: Iterable[Record],
    known: Known,
    *,
    same_sources: bool,
    released: bool,
) -> Iterator[Refusal]:
    """Every case that the run's plan has and its records have not, though nothing says why.

    `records` has one sound record a case, `read` whatever was read: what is refused by itself is not missing.
    `same_sources`: measured by the very code that validates, so that its plan is this one. Of other sources the plan is
    this one as far as the run knows it: its points, and the formulations that it tried anywhere. A dense twin must have
    all that this harness has, unless the sources are those of a release (`released`).
    """
    try:
        made = _made_anew(info, known)
    except (UserError, ValueError, TypeError, ArithmeticError, LookupError) as error:
        yield refusal("plan", INFO, f"its command line plans nothing: {error}", "publish run.json as it was written")
        return
    if made is None:
        return
    ours = [r for r in records if not r.control]
    keep = _as_far_as_known(info, ours, same_sources=same_sources, released=released)
    there = {record.case.key: record for record in (*read, *ours) if not record.control}
    left_out = {case for cases in info.left_out.values() for case in cases}
    missing = keep([planned for key, planned in made.by_key.items() if key not in there])
    missing = [p for p in missing if str(p.case) not in left_out] if left_out else missing
    surveyed = [p for p in missing if p.survey]
    yield from _missing(surveyed, "was to be tried by every run of this plan")
    swept = _swept_away([p for p in missing if not p.survey], made, keep, there, left_out)
    yield from _missing(swept, "was to be swept, for its formulation came first where it was surveyed")
    if left_out:
        yield from _beaten_by_nothing(keep(made.cases), there, info)
        twins = _twins(ours)
        of_twins = keep([p for p in made.cases if (p.case.workload, p.case.mode) in twins])
        yield from _slow_twins(of_twins, there, left_out)


def expected(info: RunInfo, known: Known) -> list[Planned] | None:
    """The plan of the run, made anew; UserError where its words plan nothing.

    None where its points were of files, and of a reproduction, which has the paths that another run published.
    """
    made = _made_anew(info, known)
    return None if made is None else made.cases


def _made_anew(info: RunInfo, known: Known) -> _Plan | None:
    """The plan of `expected`."""
    if info.settings.get(REPRODUCES) is not None:
        return None
    ask = retold.ask_of(info.command, info.settings.get("preset"), info.settings.get("seed"))
    if ask is None:
        return None
    count = len(ask.dtypes) * len(ask.devices)
    for values in ask.axes.values():
        count *= max(1, len(values))
    if count > MOST_POINTS:
        raise UserError(f"over {MOST_POINTS} combinations of axes, dtypes and devices")
    if not ask.backends:
        there = [b for b in known.backends.values() if b.default and set(b.distributions[:1]) & set(info.versions)]
        ask = replace(ask, backends=tuple(b.name for b in there))
    if not ask.backends:
        return None
    key = (repr(ask), *known.backends)
    kept = _PLANS.get(key)
    if kept is None or kept[0] is not known.workloads:
        kept = (known.workloads, _Plan.of(plan.cases(ask, known.workloads, known.backends)))
        if len(_PLANS) >= MOST_PLANS:
            _PLANS.clear()
        _PLANS[key] = kept
    return kept[1]


def _as_far_as_known(info: RunInfo, records: Sequence[Record], *, same_sources: bool, released: bool) -> _Keep:
    """What keeps, of cases of the plan, those that the run knows of.

    Of other sources these are the cases at points that the run has, of formulations that it tried anywhere, and of its
    twins of any formulation that there was when it began, unless it is `released`.
    """
    began = info.started_at
    points = {record.case.place for record in records}
    tried = {record.case.way for record in records}
    twins = set() if released else _twins(records)

    def dense(c: Case) -> bool:
        return (c.workload, c.mode) in twins and began >= SINCE.get((c.workload, c.formulation), "")

    def keep(cases: Iterable[Planned]) -> list[Planned]:
        if began < CEILINGS_SINCE:
            cases = [p for p in cases if p.case.workload not in _LATER_CEILINGS]
        if same_sources:
            return list(cases)
        return [p for p in cases if p.case.place in points and (p.case.way in tried or dense(p.case))]

    return keep


def _twins(records: Iterable[Record]) -> set[tuple[str, str]]:
    """The workloads and modes that are twins of what was measured."""
    every = {id(record.twins): record.twins for record in records}.values()  # equal ones are one, where they were read
    return {(twin.workload, twin.mode) for twins in every for twin in twins}


def _slow_twins(cases: Sequence[Planned], there: Container[str], left_out: Collection[str]) -> Iterator[Refusal]:
    """Of each point of a twin from which something was left out that is known to be faster than all that was tried.

    A run has no time for all, and takes the reason from nobody but itself; but what is likely the best it tries first.
    """
    points: dict[tuple[object, ...], list[Planned]] = defaultdict(list)
    for planned in cases:
        points[planned.point].append(planned)
    for at_point in points.values():
        gone = (planned for planned in at_point if str(planned.case) in left_out)
        found = neglected(gone, [planned for planned in at_point if planned.case.key in there])
        if found is not None:
            best, faster = found
            said = f"{plain(best.case, 160)} was left out of a dense twin, and on a known machine is "
            said += f"{faster:.1f} times faster than whatever was tried"
            yield refusal("slow-twin", RECORDS, said, _MORE)


def _swept_away(
    missing: Sequence[Planned], made: _Plan, keep: _Keep, there: Mapping[str, Record], left_out: Container[str]
) -> list[Planned]:
    """Of each point of a sweep from which the best of its survey are gone without a word of any of them, those."""
    at_points: dict[tuple[str, ...], list[Planned]] = defaultdict(list)
    for planned in missing:
        at_points[planned.case.place].append(planned)
    surveys = {family: keep(made.surveys.get(family, ())) for family in {planned.family for planned in missing}}
    first = [[p for p in found if p.case.place == found[0].case.place] for found in surveys.values()]
    sure = dict(zip(surveys, _best_of(first, there), strict=True))
    out = []
    for place, several in at_points.items():
        gone = [planned for planned in several if planned.case.formulation in sure[planned.family]]
        if gone:
            at_place = keep(made.by_place[place])
            have = {p.case.formulation for p in at_place if p.case.key in there or str(p.case) in left_out}
            if not have & set(sure[gone[0].family]):
                out += gone
    return out


def _best_of(surveys: Sequence[Sequence[Planned]], there: Mapping[str, Record]) -> list[list[str]]:
    """The formulations that were the fastest at the point of each survey."""
    orders = [dict.fromkeys(planned.case.formulation for _, planned in found) for found in standings(surveys, there)]
    return [list(order)[:_SURE] for order in orders]


def _beaten_by_nothing(cases: Sequence[Planned], there: Container[str], info: RunInfo) -> Iterator[Refusal]:
    """Of what was left out of sweeps for another at its point: where there is no other, and what was surveyed."""
    late, beaten = (set(info.left_out.get(reason, ())) for reason in (LATE, BEATEN))
    if not beaten:
        return
    others = {p.point for p in cases if p.case.key in there or str(p.case) in late}
    for planned in cases:
        if str(planned.case) in beaten and (planned.survey or planned.point not in others):
            said = f"{plain(planned.case, 160)} was left out for another at its point, "
            said += "and was to be surveyed" if planned.survey else "where no other was measured"
            yield refusal("left-out", INFO, said, "publish run.json as it was written")


def _missing(cases: Sequence[Planned], why: str) -> Iterator[Refusal]:
    """One refusal for the cases of a workload on a backend, with the first of them."""
    groups: dict[tuple[str, str, str], list[Planned]] = defaultdict(list)
    for planned in cases:
        c = planned.case
        groups[c.workload, c.backend, c.device].append(planned)
    for found in groups.values():
        more = f" and {len(found) - 1} more of it" if len(found) > 1 else ""
        yield refusal("missing-case", RECORDS, f"{plain(found[0].case, 160)}{more} {why}, and has no record", _REMEDY)

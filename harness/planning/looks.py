"""What is measured first, and what is looked at after it: purely, from the plan and the records so far.

The first rounds take what is most likely the best path of every headline point and of its twins. A look is one short
window, in one group with the best that is known of the same point, or of the twin for the points of a sweep, so that
all times are pairs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence

import msgspec

from harness.measuring.settings import Sampling
from harness.planning.contenders import neglected
from harness.planning.foresight import Foresight
from harness.planning.groups import MEMBERS, InterleavedGroup, Member, MemberKey, fits, twin_points
from harness.planning.options import Options
from harness.planning.plan import Planned
from harness.planning.standing import observed, standing
from harness.records.record import Record

LOOK_SHARE = 0.25  # of the window: a look only has to find what is worth the rounds
LOOK_LONG_S = 0.05  # and of calls as long as this two samples show it
SWEEP_SHARE = 0.6  # what has one process only, and is published
LIKELY = 0.5  # promise of what may well be the best path of its point
SLOWER = 1.05  # times slower than its twin: less may be noise, which no other path mends
# Twins of as much work as the idea has: what multiplies with the zeros does more than these.
_NO_MORE_WORK = frozenset({"equal_work", "active_width"})


def firsts(plan: Sequence[Planned], foresight: Foresight) -> list[Planned]:
    """Of every headline point and its principal twin the path that is expected to be the best.

    Where nothing is known it is the first formulation, eager and compiled.
    """
    headline = [planned for planned in plan if planned.headline]
    wanted = {point for planned in headline for point in (planned.point, *twin_points(planned)[:1])}
    points: dict[tuple[object, ...], list[Planned]] = defaultdict(list)
    for planned in plan:
        if planned.repeated and planned.point in wanted:
            points[planned.point].append(planned)
    out = []
    for cases in points.values():
        known = [(expected, planned) for planned in cases if (expected := foresight.expected(planned)) is not None]
        if known:
            out.append(min(known, key=lambda entry: entry[0])[1])
        else:
            first = [planned for planned in cases if planned.case.formulation == cases[0].case.formulation]
            out += [planned for planned in first if planned.case.execution != "graph"]
    return out


def looks(
    cases: Iterable[Planned],
    plan: Sequence[Planned],
    records: Mapping[MemberKey, Record],
    memory_bytes: int | None = None,
    *,
    together: bool = True,
) -> list[InterleavedGroup]:
    """Groups of the `cases` that have no record yet, each with the best that is known where there is one.

    Cases of a survey and of repeated points go with the best of their own point; those of a sweep, a family together,
    with the best of their twin. The order is kept within these. A group takes MEMBERS at most and what fits into
    `memory_bytes`; unless `together`, each case is by itself, and nothing can be compared.
    """
    points: dict[tuple[object, ...], list[Planned]] = defaultdict(list)
    for planned in plan:
        points[planned.point].append(planned)
    ok = {key: record for (key, control), record in records.items() if not control}

    def best(point: tuple[object, ...]) -> Planned | None:
        entries = standing(points.get(point, ()), ok)
        return entries[0][1] if entries else None

    beside: dict[tuple[object, ...], tuple[list[Planned], list[Planned]]] = {}
    for planned in cases:
        if (planned.case.key, False) in records:
            continue
        own = planned.survey or planned.repeated
        key: tuple[object, ...] = planned.point if own else (*planned.family, "swept")
        wanted = [planned.point] if own else twin_points(planned)[:1]
        if not together:
            key, wanted = (planned.case.key,), []
        if key not in beside:
            beside[key] = ([found for p in wanted if (found := best(p)) is not None], [])
        beside[key][1].append(planned)
    out: list[InterleavedGroup] = []
    for anchors, looked_at in beside.values():
        group: list[Planned] = []
        for planned in looked_at:
            if group and not (
                len(anchors) + len(group) < MEMBERS and fits([*anchors, *group, planned], records, memory_bytes)
            ):
                out.append(_group(len(out), anchors, group))
                group = []
            group.append(planned)
        out.append(_group(len(out), anchors, group))
    return out


def worth(
    cases: Iterable[Planned], foresight: Foresight, behind: Mapping[tuple[object, ...], float] | None = None
) -> float:
    """How likely the best path is among cases, a second: with cold caches, so that a resumed run has the same order.

    As many times as likely counts a case of a point that is in `behind`.
    """
    looked_at, weights = list(cases), behind or {}
    seconds = sum(foresight.seconds(planned, cold=True, again=False) for planned in looked_at)
    promised = sum(_promise(planned, foresight, weights) * weights.get(planned.point, 1.0) for planned in looked_at)
    return promised / max(seconds, 1e-9)


def doubting(
    cases: Iterable[Planned], foresight: Foresight, behind: Mapping[tuple[object, ...], float]
) -> list[Planned]:
    """Those that may well show that a point in `behind` is not slower than its twin, of points that seem to be."""
    return [p for p in cases if behind.get(p.point, 0.0) > SLOWER and _promise(p, foresight, behind) >= LIKELY]


def neglected_twins(plan: Iterable[Planned], tried: Container[str]) -> list[Planned]:
    """Of each dense twin the path that is known to be much faster than all that was tried of it, if there is one.

    Such a twin makes every speed-up against it too good, and what has one may not be published (`gate.plan_rules`).
    `tried` has keys.
    """
    points: dict[tuple[object, ...], list[Planned]] = defaultdict(list)
    twins: set[tuple[object, ...]] = set()
    for planned in plan:
        points[planned.point].append(planned)
        twins.update(twin_points(planned))
    out = []
    for cases in (points[point] for point in points if point in twins):
        there = [planned for planned in cases if planned.case.key in tried]
        found = neglected((planned for planned in cases if planned.case.key not in tried), there)
        out += [] if found is None else [found[0]]
    return out


def _promise(planned: Planned, foresight: Foresight, behind: Mapping[tuple[object, ...], float]) -> float:
    """How likely it is the best path of its point.

    One that multiplies with the zeros does what the dense twin does. Where that is faster than what is known of the
    point, it is as likely as any, however slow it was where there were few zeros left to multiply with.
    """
    promised = foresight.promise(planned)
    as_twin = planned.multiplies_zeros and planned.point in behind and planned.twins[0].kind not in _NO_MORE_WORK
    return max(1.0, promised) if as_twin else promised


def behind_twins(plan: Iterable[Planned], records: Mapping[str, Record]) -> dict[tuple[object, ...], float]:
    """By point, how many times slower than its principal dense twin the best known of its paths is; if it is slower.

    Such a point is looked at before others.
    """
    best: dict[tuple[object, ...], float] = {}
    twins: dict[tuple[object, ...], tuple[object, ...]] = {}
    for planned in plan:
        for twin in twin_points(planned)[:1]:
            twins[planned.point] = twin
        record = records.get(planned.case.key)
        for _, seconds, _ in observed(record) if record is not None else ():
            best[planned.point] = min(seconds, best.get(planned.point, seconds))
    ratios = {point: best[point] / best[twin] for point, twin in twins.items() if point in best and twin in best}
    return {point: ratio for point, ratio in ratios.items() if ratio > 1}


def _group(number: int, anchors: Sequence[Planned], looked_at: Sequence[Planned]) -> InterleavedGroup:
    return InterleavedGroup(number, tuple(Member(planned) for planned in (*anchors, *looked_at)))


def window(group: InterleavedGroup, options: Options) -> Sampling:
    """What cases get that may yet be measured again, or never will be compared with an interval; a group has one."""
    whole = options.sampling
    if not options.rounds:
        return msgspec.structs.replace(whole, slices=1)
    again = all(member.planned.repeated for member in group.members)
    share = LOOK_SHARE if again else SWEEP_SHARE
    return msgspec.structs.replace(
        whole,
        window_s=share * whole.window_s,
        min_samples=4,
        slices=max(1, round(share * whole.slices)),
        long_s=LOOK_LONG_S if again else whole.long_s,
    )

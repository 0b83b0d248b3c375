"""Which paths to try first and which to leave out, learnt from records; purely.

What was far behind on every known machine, or was refused by the same version of the framework, need not be tried
again by a run that has little time. Some of it is tried all the same, drawn by the run's seed, so that what is known is
tested by every run; where one of those wins, its kind is tried in full.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import geometric_mean

from backends.ops import Scalar
from harness.planning import reasons
from harness.planning.learnt import Learnt, known, machine_name, merged, packaged, version_of
from harness.planning.lookup import Lookup, Sight
from harness.planning.plan import Planned
from harness.planning.reasons import FACTOR, REFUSED
from harness.planning.standing import standing
from harness.records.record import Record

SAMPLE = 0.05  # of what is left out, tried all the same,
SAMPLE_MOST = 12  # cases at most
NEARER = 1.0  # e-folds by which a point must be further away than the nearest, to say nothing beside it
NEAR = 1.5  # times faster at most is what a run may leave out of a dense twin: honest ones left out 1.22
FAR = 4.0  # e-folds between two points beyond which one says nothing of the other: matrix times vector of a product


@dataclass(frozen=True, slots=True)
class Choice:
    """What a run leaves out, by the case's key, with the reason in words; `sampled` would be, and is tried."""

    left_out: dict[str, str]
    sampled: dict[str, str]


class Contenders:
    """What is known of every path. `own` names the devices at hand, `versions` is what is installed, as in run.json."""

    def __init__(self, learnt: Learnt, versions: Mapping[str, str], own: Collection[str] = ()) -> None:
        self.lookup = Lookup(learnt, own)
        self._versions = versions

    def expected(self, planned: Planned) -> float | None:
        """Its time over that of the best path there; None where nothing is known, so that it must be tried.

        Only what was seen about as near as the nearest counts: on this machine if it was, else the geometric mean.
        """
        sights = [s for s in self._near(planned) if s.over_best is not None]
        reach = NEARER + min((s.distance for s in sights), default=0.0)
        nearest = [s for s in sights if s.distance <= reach]
        figures = [s.over_best for s in [s for s in nearest if s.own] or nearest if s.over_best is not None]
        return geometric_mean(figures) if figures else None

    def closest(self, planned: Planned) -> float | None:
        """Its time over that of the best path there, where it did best; None where nothing is known."""
        return _least(self._near(planned))

    def refused(self, planned: Planned) -> str | None:
        """The version that refused it before, if that is installed now and no known machine ran it near there."""
        return self._refused(planned, self._near(planned))

    def choose(self, plan: Sequence[Planned], seed: int | str, factor: float = FACTOR) -> Choice:
        """What to leave out of a plan and what of that to try all the same: SAMPLE of it, one to SAMPLE_MOST.

        A path that is surveyed stays if it came close at any point that is swept after it, and its sweep with it: the
        survey knows more. Every point keeps the best of what is asked for.
        """
        whys = self._reasons(plan, factor)
        surveyed = {_path(p): p.case.key in whys for p in plan if p.survey}
        for planned in plan:
            if not planned.survey and not surveyed.get(_path(planned), True):
                whys.pop(planned.case.key, None)
        keys = sorted(p.case.key for p in plan if p.case.key in whys and (p.survey or _path(p) not in surveyed))
        random.Random(f"{seed}:left out").shuffle(keys)
        sampled = set(keys[: max(1, min(SAMPLE_MOST, round(SAMPLE * len(keys))))])
        return Choice(
            left_out={key: why for key, why in whys.items() if key not in sampled},
            sampled={key: why for key, why in whys.items() if key in sampled},
        )

    def _reasons(self, plan: Sequence[Planned], factor: float) -> dict[str, str]:
        """Why a case need not be tried, of those that need not."""
        near = {planned.case.key: self._near(planned) for planned in plan}
        least = {key: _least(sights) for key, sights in near.items()}
        swept: dict[tuple[object, ...], list[float]] = defaultdict(list)
        points: dict[tuple[object, ...], list[Planned]] = defaultdict(list)
        for planned in plan:
            points[planned.point].append(planned)
            figure = least[planned.case.key]
            if figure is not None:
                swept[_path(planned)].append(figure)
        out: dict[str, str] = {}
        for at_point in points.values():
            figures = {p.case.key: _close(p, least[p.case.key], swept) for p in at_point}
            asked = [figure for figure in figures.values() if figure is not None]  # the best may not be among them
            limit = factor * max(1.0, min(asked, default=1.0))
            why: dict[str, str] = {}
            for planned in at_point:
                key, figure = planned.case.key, figures[planned.case.key]
                version = self._refused(planned, near[key])
                if version is not None:
                    why[key] = reasons.refused(planned.case.backend, version)
                elif figure is not None and figure > limit:
                    why[key] = reasons.slow(factor)
            if len(why) == len(at_point):
                del why[at_point[0].case.key]
            out |= why
        return out

    def _refused(self, planned: Planned, near: Sequence[Sight]) -> str | None:
        if not near or any(sight.over_best is not None for sight in near):
            return None
        now = version_of(planned.case.backend, self._versions)
        return now if any(now in sight.versions for sight in near) else None

    def _near(self, planned: Planned) -> list[Sight]:
        return [sight for sight in self.lookup.sights(planned) if sight.distance <= FAR]


@cache
def published() -> Contenders:
    """What comes with the package, which is the same for whoever measures and for whoever looks at what was."""
    return Contenders(packaged(), {})


def neglected(gone: Iterable[Planned], tried: Sequence[Planned]) -> tuple[Planned, float] | None:
    """Of paths of a point that were not tried the one known as the fastest, and how many times faster than any tried.

    None where it is not over NEAR times so, or where nothing is known or was tried.
    """
    known = published()
    figures = [(near, p) for p in gone if (near := known.closest(p)) is not None]
    if not figures or not tried:
        return None
    near, best = min(figures, key=lambda entry: entry[0])
    faster = min(known.closest(p) or 1.0 for p in tried) / near
    return (best, faster) if faster > NEAR else None


def _least(sights: Sequence[Sight]) -> float | None:
    return min((sight.over_best for sight in sights if sight.over_best is not None), default=None)


def _path(planned: Planned) -> tuple[object, ...]:
    return (*planned.family, planned.case.formulation, planned.case.execution)


def _close(planned: Planned, figure: float | None, swept: Mapping[tuple[object, ...], Sequence[float]]) -> float | None:
    """Its figure, of a case of the survey the least in its whole family: the survey decides what is swept."""
    return figure if figure is None or not planned.survey else min(swept[_path(planned)])


def contenders(folder: Path, machine: Mapping[str, Scalar], versions: Mapping[str, str]) -> Contenders:
    """All that is known: what comes with the package, and the user's own runs of this machine, kept in `folder`."""
    own = known(folder, machine)
    names = {machine_name(machine), *(device.name for device in own.machines)}
    return Contenders(merged(packaged(), own), versions, names)


# -- what was tried all the same -----------------------------------------------------------------------------------


def kind(planned: Planned) -> tuple[str, str, str, str]:
    """What is tried in full when one of it wins: a formulation of a workload in one backend on one device."""
    c = planned.case
    return (c.workload, c.backend, c.device, c.formulation)


def to_retry(plan: Sequence[Planned], choice: Choice, records: Mapping[str, Record]) -> list[Planned]:
    """What was left out and must be tried now, by the records so far.

    All of a kind of which a sampled case was as fast as the best of its point, or ran though it was said to be refused;
    and what was slow, where nothing that was tried ran.
    """
    points: dict[tuple[object, ...], list[Planned]] = defaultdict(list)
    for planned in plan:
        points[planned.point].append(planned)
    kinds: set[tuple[str, str, str, str]] = set()
    bare: set[tuple[object, ...]] = set()
    for point, at_point in points.items():
        stand = {planned.case.key: ratio for ratio, planned in standing(at_point, records)}
        tried = [p for p in at_point if p.case.key not in choice.left_out]
        if tried and not stand and all(p.case.key in records for p in tried):
            bare.add(point)
        for planned in at_point:
            why, ratio = choice.sampled.get(planned.case.key), stand.get(planned.case.key)
            if why is not None and ratio is not None and (why.startswith(REFUSED) or ratio == 1):
                kinds.add(kind(planned))
    slow = {key for key, why in choice.left_out.items() if not why.startswith(REFUSED)}
    return [
        p
        for p in plan
        if (p.case.key in choice.left_out and kind(p) in kinds) or (p.case.key in slow and p.point in bare)
    ]

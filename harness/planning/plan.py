"""From a request to cases, purely: no framework is imported and nothing is run here.

A run has three steps. The survey measures every formulation and execution at the survey points. The sweep goes to the
other points with those that came close there. The rounds repeat the best of every point, each time in fresh processes
and in shuffled order, ideas in one group with their twins (`groups`). Which go on: `selection`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product

from backends.dtypes import ITEM_BYTES, itemsize
from backends.ops import EXECUTIONS, Backend, Device, Execution
from harness.errors import PlanError, nearest
from harness.records.record import Case, TwinRef, WorkFacts
from workloads.base import Definition, Mode, Params, Point, Value
from workloads.facts import faults, twins_of, work_of

PRESETS = ("smoke", "ideas", "quick", "standard", "full")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What a user asks for. Empty tuples mean all; `axes` overrides axes of every workload that has them."""

    preset: str = "quick"
    workloads: tuple[str, ...] = ()
    backends: tuple[str, ...] = ()
    devices: tuple[str, ...] = ("cpu",)
    dtypes: tuple[str, ...] = ("float32",)
    executions: tuple[str, ...] = ()
    formulations: tuple[str, ...] = ()
    seed: int = 0
    axes: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    points: Mapping[str, tuple[Point, ...]] = field(default_factory=dict)  # instead of the preset's, by workload


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A case with what is known of it before it runs."""

    case: Case
    work: WorkFacts
    twins: tuple[TwinRef, ...]
    headline: bool
    repeated: bool  # at a headline point or a twin of one: its best paths are measured again in the rounds
    survey: bool
    group: str
    multiplies_zeros: bool = False

    @cached_property
    def point(self) -> tuple[object, ...]:
        """What the cases that compete for one best path have in common. Kept: the gate asks for it again and again."""
        c = self.case
        return (c.workload, tuple(sorted(c.params.items())), c.mode, c.dtype, c.backend, c.device)

    @cached_property
    def family(self) -> tuple[object, ...]:
        """What a survey point has in common with the points that are swept after it, kept likewise."""
        c = self.case
        return (c.workload, self.group, c.mode, c.dtype, c.backend, c.device)


def cases(ask: Ask, workloads: Mapping[str, Definition], backends: Mapping[str, Backend]) -> list[Planned]:
    """Every case of the request, ideas with their twins and the machine's ceilings; PlanError if a name is unknown."""
    chosen = _chosen("workload", ask.workloads, [n for n, w in workloads.items() if w.role != "twin"], workloads)
    formulations = {f for w in workloads.values() for by in w.formulations.values() for f in by}
    _chosen("formulation", ask.formulations, [], formulations)
    _chosen("execution", ask.executions, [], EXECUTIONS)
    runners = _chosen("backend", ask.backends, [n for n, b in backends.items() if b.default], backends)
    if ask.preset not in PRESETS:
        raise nearest("preset", ask.preset, PRESETS)
    for device in ask.devices:
        try:
            Device.parse(device)
        except ValueError as error:
            raise PlanError(str(error)) from None
    ideas = [n for n in chosen if workloads[n].role != "ceiling"]
    ceilings = [n for n, w in workloads.items() if w.role == "ceiling"]  # every run measures its own
    plan: dict[str, Planned] = {}
    for name in [*ideas, *(c for c in [*ceilings, *chosen] if c not in ideas)]:
        workload = workloads[name]
        points = ask.points.get(name) or _points(workload, ask, workloads)
        if not points and name in ask.workloads:
            have = ", ".join(workload.presets) or "none"
            raise PlanError(f"{name} has no point in preset {ask.preset}; its presets are {have}")
        for point in points:
            only = ask.formulations if workload.role == "idea" else ()
            for planned in _expand(workload, point, ask, runners, backends, workloads, only):
                _add(plan, planned)
    if ask.preset == "smoke":
        plan = _once(plan.values())
    _refuse_ceilings_alone(ask, plan.values(), [n for n in chosen if n in ideas], workloads)
    return list(plan.values())


def _hold(workload: Definition, workloads: Mapping[str, Definition], points: Sequence[Point]) -> None:
    """PlanError with the first fault of a workload's facts at the points to be measured."""
    found = faults(workload, workloads, points, twinless=True)
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise PlanError(f"{found[0]}{more}")


def _refuse_ceilings_alone(
    ask: Ask, plan: Iterable[Planned], chosen: Sequence[str], workloads: Mapping[str, Definition]
) -> None:
    """PlanError where nothing of a workload that was asked for, or nothing but ceilings, would run; it says what is."""
    ran = {planned.case.workload for planned in plan}
    for name in ask.workloads:
        if name not in ran:
            have = "; ".join(f"{mode}: {', '.join(by)}" for mode, by in workloads[name].formulations.items())
            wish = ", ".join([*ask.formulations, *ask.executions]) or ask.preset
            raise PlanError(f"{name} has nothing that fits {wish}; its formulations are {have}")
    if not ran or (chosen and not ran & set(chosen)):
        raise PlanError("nothing to run: no point, formulation and execution fits what was asked; see `list`")


def _telling(workload: Definition, points: Sequence[Point]) -> list[Point]:
    """The points at which some formulation runs for the first time."""
    seen: set[tuple[Mode, str]] = set()
    out = []
    for point in points:
        new = {(point.mode, n) for n, f in workload.formulations[point.mode].items() if f.applies(point.params)} - seen
        if new:
            out.append(point)
            seen |= new
    return out


def _once(plan: Iterable[Planned]) -> dict[str, Planned]:
    """`smoke` compares nothing: each formulation once, each execution once a workload, each idea with some twin.

    A formulation goes with the execution that its backend names first, its cheapest to try.
    """
    seen: set[tuple[object, ...]] = set()
    out: dict[str, Planned] = {}
    for planned in plan:
        c = planned.case
        formulation = (c.workload, c.mode, c.backend, c.device, c.formulation)
        execution = (c.workload, c.backend, c.device, c.execution, "execution")
        point = (*planned.point, "point")
        if {formulation, execution, point} - seen:
            out[c.key] = planned
            seen |= {formulation, execution, point}
    return out


def _chosen(kind: str, asked: Sequence[str], default: Sequence[str], known: Iterable[str]) -> list[str]:
    names = list(known)
    for name in asked:
        if name not in names:
            raise nearest(kind, name, names)
    return list(dict.fromkeys(asked)) or list(default)


def _points(workload: Definition, ask: Ask, workloads: Mapping[str, Definition]) -> list[Point]:
    """The preset's points, their axes overridden: every combination of the values given, each measured in full."""
    points = list(workload.presets.get(ask.preset, ()))
    _hold(workload, workloads, points)
    if ask.preset == "smoke":
        points = _telling(workload, points)
    overrides = {axis: values for axis, values in ask.axes.items() if axis in workload.axes}
    if workload.role == "idea" and overrides:
        out: dict[str, Point] = {}
        for point in points:
            for values in product(*overrides.values()):
                params = {**point.params, **dict(zip(overrides, values, strict=True))}
                out.setdefault(f"{params}{point.mode}", Point(params, point.mode))
        points = list(out.values())
    return points


def _expand(
    workload: Definition,
    point: Point,
    ask: Ask,
    runners: Sequence[str],
    backends: Mapping[str, Backend],
    workloads: Mapping[str, Definition],
    only: Sequence[str],
) -> Iterable[Planned]:
    """The cases of one point and of its twins.

    Secondary twins are for the headline points, and there they take what came close for the principal one, of whatever
    idea whose group has the same name: several may have one dense product as their twin.
    """
    try:
        params = workload.check(point.params)
        twins = twins_of(workload, params, point.mode) if workload.role == "idea" else ()
    except ValueError as error:
        raise PlanError(str(error)) from None
    refs = tuple(
        TwinRef(kind=t.kind, workload=t.workload, params=dict(t.params), mode=t.mode, dtype=t.dtype) for t in twins
    )
    tolerances = workload.tolerances_at(params)
    for name, dtype, device in product(workload.formulations[point.mode], ask.dtypes, ask.devices):
        if (only and name not in only) or not workload.formulations[point.mode][name].applies(params):
            continue
        if (dtype, point.mode) not in tolerances:
            have = sorted({d for d, mode in tolerances if mode == point.mode})
            if dtype not in ITEM_BYTES:
                raise nearest("dtype", dtype, have)
            raise PlanError(f"{workload.name} has no dtype {dtype} in mode {point.mode}; it has {', '.join(have)}")
        for runner in runners:
            for execution in _executions(backends[runner], device, workload, name, point.mode):
                if ask.executions and execution not in ask.executions:
                    continue
                yield Planned(
                    case=Case(
                        workload=workload.name,
                        formulation=name,
                        params=dict(params),
                        dtype=dtype,
                        mode=point.mode,
                        backend=runner,
                        execution=execution,
                        device=device,
                        seed=ask.seed,
                    ),
                    work=_work(workload, params, point.mode, dtype),
                    twins=refs,
                    headline=point.headline and workload.role == "idea",
                    repeated=point.headline,
                    survey=point.survey,
                    group=point.group,
                    multiplies_zeros=workload.formulations[point.mode][name].multiplies_zeros,
                )
    for twin in twins:
        principal = twin is twins[0]
        if twin.workload == workload.name or not (principal or point.headline):
            continue
        dense = workloads.get(twin.workload)
        if dense is None:
            raise PlanError(f"{workload.name} names the twin {twin.workload!r}, and no file defines that workload")
        surveyed = point.survey and (principal or twin.dtype is not None)  # no other of its family has its dtype
        like = Point(twin.params, twin.mode, surveyed, point.headline, f"twins {point.group}")
        asked = ask if twin.dtype is None else replace(ask, dtypes=(twin.dtype,))
        yield from _expand(dense, like, asked, runners, backends, workloads, ())


def _executions(backend: Backend, device: str, workload: Definition, name: str, mode: Mode) -> Sequence[Execution]:
    """What a backend has on a device: where programs are compiled and not run, compiling is all there is.

    A ceiling is no contender: it is not planned in what its formulation has not, nor a single operation twice.
    """
    there = ("compiled",) if Device.parse(device).ahead_of_time else backend.executions
    if workload.role != "ceiling":
        return there
    own = workload.formulations[mode][name].executions
    return [execution for execution in there if own is None or execution in own][: 1 if workload.lone else None]


def _work(workload: Definition, params: Params, mode: Mode, dtype: str) -> WorkFacts:
    try:
        work = work_of(workload, params, mode, itemsize(dtype))
    except ValueError as error:  # axes that are good each and do not go together
        raise PlanError(str(error)) from None
    return WorkFacts(useful_flop=work.useful_flop, least_bytes=work.least_bytes, live_bytes=work.live_bytes)


def _add(plan: dict[str, Planned], planned: Planned) -> None:
    known = plan.get(planned.case.key)
    if known is None:
        plan[planned.case.key] = planned
        return
    # Wanted twice (a dense product is the twin of many): the wider wish holds.
    first = planned if planned.survey and not known.survey else known
    plan[planned.case.key] = Planned(
        case=first.case,
        work=first.work,
        twins=known.twins or planned.twins,
        headline=known.headline or planned.headline,
        repeated=known.repeated or planned.repeated,
        survey=known.survey or planned.survey,
        group=first.group,
        multiplies_zeros=first.multiplies_zeros,
    )

"""How long a whole run will take: it is played with what is expected of its cases, by the code that plans the real one.

So it knows what is left out, which formulations go on to the sweep, how many members the groups of the rounds have, and
what of a run that goes on was done before. What a batch takes is pace times its processes and stretch times its windows
(`RunCosts`), both learnt.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import TypeAlias

from backends.device import is_ahead_of_time
from harness.measuring.settings import Sampling
from harness.planning import selection
from harness.planning.batches import SHARED
from harness.planning.foresight import Foresight
from harness.planning.groups import InterleavedGroup, Member, MemberKey, has_its_rounds, raced
from harness.planning.learnt import usual_inputs_s
from harness.planning.looks import firsts, looks, window
from harness.planning.options import LONG_GROUP_S, Options
from harness.planning.plan import Planned
from harness.records.points import point_name
from harness.records.record import SCHEMA, Case, Record, Timing, Trial
from harness.stats.process_times import centre

UNKNOWN = 1.5  # how many times slower than the best a path is taken to be of which nothing is known
STEP = 1e-3  # by which such paths are told apart
ALWAYS = ("start", "first rounds", "sweep")  # the steps of a preset for which there is time whatever they take
CALL_S = 1e-3  # of a call, where nothing is known

Known: TypeAlias = Callable[[Case], bool]


def forecast(
    plan: Sequence[Planned],
    foresight: Foresight,
    options: Options,
    compiled: Known,
    records: Mapping[MemberKey, Record] | None = None,
) -> dict[str, float]:
    """Seconds of each step of a run that is yet to come, without the limits of time; `plan` is what is tried of it.

    `records` are what there is so far; with none, what a run takes before its first process is part of it. `compiled`
    says of a case whether the compile caches hold its program.
    """
    return _Play(plan, foresight, options, compiled, records or {}).seconds()


def cold_share(plan: Sequence[Planned], foresight: Foresight, compiled: Known) -> float:
    """Which share of the programs that a run measures first is yet to be compiled."""
    here = [planned for planned in plan if not is_ahead_of_time(planned.case.device)]
    programs = [planned.case for planned in firsts(here, foresight) if planned.case.execution == "compiled"]
    return sum(not compiled(case) for case in programs) / max(1, len(programs))


def within_limits(
    seconds: float, options: Options, elapsed_s: float = 0.0, *, cold: float = 0.0, least_s: float = 0.0
) -> float:
    """Seconds that are left of a run after `elapsed_s`, by its budget and the time of its preset.

    `cold` is the `cold_share` of when it began; `least_s` are done whatever the time.
    """
    if options.budget_s is not None:
        left = max(0.0, options.budget_s - elapsed_s)
        return left if options.precision is not None else min(seconds, left)
    enough_s = options.enough_with(cold)
    if enough_s is not None:
        seconds = min(seconds, max(least_s, enough_s - elapsed_s))
    return seconds if options.ends_s is None else min(seconds, max(0.0, options.ends_s - elapsed_s))


def group_s(
    group: InterleavedGroup,
    sampling: Sampling,
    foresight: Foresight,
    records: Mapping[MemberKey, Record],
    compiled: Known,
) -> float:
    """Seconds that a group adds to a run, prepared side by side with others where that is done."""
    processes_s = windows_s = 0.0
    for member in group.members:
        planned = member.planned
        known = records.get((planned.case.key, False))
        processes_s += foresight.seconds(planned, cold=not compiled(planned.case), again=known is not None)
        if (known is None or known.time is not None) and not foresight.refuses(planned):
            call_s = foresight.call_s(planned) if centre(known) is None else centre(known)
            windows_s += _window_s(sampling, call_s or 0.0)
    costs = foresight.costs
    alone = group.server[1] != SHARED
    return (1.0 if alone else costs.pace) * processes_s + (1.0 if alone else costs.stretch) * windows_s


def _window_s(sampling: Sampling, call_s: float) -> float:
    fewest = sampling.long_samples if call_s >= sampling.long_s else sampling.min_samples
    return max(sampling.window_s, fewest * call_s)


class _Play:
    """One run as it is expected; `_records` gets what it would measure."""

    def __init__(
        self,
        plan: Sequence[Planned],
        foresight: Foresight,
        options: Options,
        compiled: Known,
        records: Mapping[MemberKey, Record],
    ) -> None:
        self._plan, self._foresight, self._options, self._compiled = plan, foresight, options, compiled
        self._records = dict(records)
        self._took: dict[str, float] = defaultdict(float)
        # Inputs are kept where compiled programs are: of a point of which one is there, they are there.
        self._made = {_inputs(p.case) for p in plan if p.case.execution == "compiled" and compiled(p.case)}
        self._made |= {_inputs(record.case) for record in records.values()}
        self._points: dict[tuple[object, ...], list[Planned]] = defaultdict(list)
        for planned in plan:
            self._points[planned.point].append(planned)
        self._times: dict[str, float] = {}

    def seconds(self) -> dict[str, float]:
        """Play all steps."""
        if not self._records:
            self._took["start"] = self._foresight.costs.start_s
        first = self._options.first_rounds
        here = [planned for planned in self._plan if not is_ahead_of_time(planned.case.device)]
        cases = firsts(here, self._foresight) if first else []
        for round_ in range(1, first + 1):
            self._round("first rounds", cases, round_)
        self._look("survey", [planned for planned in self._plan if planned.survey])
        self._look("sweep", selection.sweep(self._plan, self._cases(), self._foresight)[0])
        left = selection.finalists(here, self._cases()) if self._options.rounds else []
        for round_ in range(first + 1, self._options.most_rounds + 1):
            self._round("rounds", left, round_)
            left = selection.finalists(left, self._cases())
        return dict(self._took)

    def _cases(self) -> dict[str, Record]:
        return {key: record for (key, control), record in self._records.items() if not control}

    def _round(self, step: str, cases: Sequence[Planned], round_: int) -> None:
        options = self._options
        for group in raced(cases, self._plan, self._records, options):
            if has_its_rounds(group, round_, self._records, options):
                continue
            if round_ <= options.long_rounds or self._group_s(group, options.sampling) <= LONG_GROUP_S:
                self._measure(step, group, options.sampling, round_)

    def _look(self, step: str, cases: Sequence[Planned]) -> None:
        options, queues = self._options, defaultdict[tuple[str, str], float](float)
        here = []
        for planned in cases:
            if not is_ahead_of_time(planned.case.device):
                here.append(planned)
            elif (planned.case.key, False) not in self._records:  # every framework compiles by itself
                cold = not self._compiled(planned.case)
                queue = (planned.case.backend, planned.case.device)
                queues[queue] += self._foresight.seconds(planned, cold=cold, again=False)
                self._keep(step, Member(planned), 0)
        self._took[step] += max(queues.values(), default=0.0)
        groups = looks(here, self._plan, self._records, options.memory_bytes, together=options.rounds > 0)
        for group in groups:
            self._measure(step, group, window(group, options), 0)

    def _group_s(self, group: InterleavedGroup, sampling: Sampling) -> float:
        return group_s(group, sampling, self._foresight, self._records, self._compiled)

    def _measure(self, step: str, group: InterleavedGroup, sampling: Sampling, round_: int) -> None:
        self._took[step] += self._group_s(group, sampling)
        for member in group.members:
            self._keep(step, member, round_)

    def _keep(self, step: str, member: Member, round_: int) -> None:
        """Add the inputs that are wanted for the first time, and what the process is expected to find."""
        planned = member.planned
        inputs = _inputs(planned.case)
        if inputs not in self._made:
            self._made.add(inputs)
            self._took[step] += self._foresight.costs.inputs * usual_inputs_s([planned.work])
        known = self._records.get(member.key)
        refused = known.time is None if known is not None else self._foresight.refuses(planned)
        time_s = centre(known) or self._time_s(planned)
        self._records[member.key] = known if known and refused else _played(planned, known, time_s, round_, refused)

    def _time_s(self, planned: Planned) -> float:
        """Expected seconds of a call: as many times the best path's as is expected, whatever else is known of it."""
        if planned.case.key not in self._times:
            at_point = self._points[planned.point]
            ratios = {p.case.key: self._ratio(p, number) for number, p in enumerate(at_point)}
            measured = [(p, centre(self._records.get((p.case.key, False)))) for p in at_point]
            known = [(p, seconds) for p, seconds in measured if seconds]
            known = known or [(p, seconds) for p in at_point if (seconds := self._foresight.call_s(p))]
            best_s = median(seconds / ratios[p.case.key] for p, seconds in known) if known else CALL_S
            self._times |= {key: ratio * best_s for key, ratio in ratios.items()}
        return self._times[planned.case.key]

    def _ratio(self, planned: Planned, number: int) -> float:
        expected = self._foresight.expected(planned)
        return UNKNOWN + STEP * number if expected is None else expected


def _inputs(case: Case) -> tuple[str, ...]:
    return (case.workload, point_name(case.params), case.mode, case.dtype)


def _played(planned: Planned, known: Record | None, time_s: float, round_: int, refused: bool) -> Record:
    """A record with one process more, which took what is expected."""
    trial = Trial(
        round=round_,
        order=0,
        started_at="",
        wall_s=0.0,
        open_s=0.0,
        convert_s=0.0,
        trace_s=None,
        compile_s=None,
        first_call_s=0.0,
        compile_cache=None,
        warmup_s=[],
        calls_per_sample=1,
        steady=True,
        drift=0.0,
        cpu_s=0.0,
        window_s=0.0,
    )
    before = known.time if known is not None else None
    timing = Timing(
        first_call_s=0.0,
        compile_s=None,
        convert_s=0.0,
        samples_s=[*(before.samples_s if before else []), [time_s]],
        steady=True,
        drift=0.0,
        trials=[*(before.trials if before else []), trial],
    )
    return Record(
        schema=SCHEMA,
        run="",
        case=planned.case,
        status="unsupported" if refused else "ok",
        reason=None,
        failure_class=None,
        fallback=None,
        verdict=None,
        time=None if refused else timing,
        memory=known.memory if known is not None else None,
        energy=None,
        work=planned.work,
        twins=[],
        headline=planned.headline,
        settings={},
        environment={},
        started_at="",
    )

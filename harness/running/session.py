"""What every step of a run shares: servers, records, the time that passed; an answer is stored before the next case."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from backends.device import is_ahead_of_time, is_modelled
from backends.ops import Backend, Device, Scalar
from harness.machine import facts
from harness.measuring.settings import Sampling
from harness.planning.batches import SHARED
from harness.planning.forecast import cold_share, forecast, group_s, within_limits
from harness.planning.foresight import Foresight, Ignorance
from harness.planning.groups import InterleavedGroup, Member, MemberKey
from harness.planning.options import LOOKS_OF_REST, RESERVED, Options
from harness.planning.plan import Planned
from harness.planning.reasons import BEATEN, LATE
from harness.records import timestamps
from harness.records.merging import with_next
from harness.records.record import KEPT, OTHER_INPUTS, Case, Record
from harness.records.store import Store
from harness.running.compiled_before import CompiledBefore
from harness.running.logs import Logs
from harness.running.progress import Watch
from harness.running.recall import Recall
from harness.running.recording import record
from harness.running.servers import Pool
from harness.running.stopping import unbroken
from harness.running.time_left import TimeLeft
from harness.worker.client import Answer
from harness.worker.messages import CaseJob
from harness.worker.strays import LEFT


@dataclass(slots=True)
class RunClock:
    """Where the wall time goes; the parts and what is left over go into run.json."""

    began: float = field(default_factory=time.monotonic)
    phases: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self.began

    @contextlib.contextmanager
    def timing(self, phase: str) -> Iterator[None]:
        """Add what passes inside to a phase, also where it is interrupted."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.phases[phase] += time.monotonic() - began


class BudgetSpentError(Exception):
    """Making inputs took what was left of the budget: nothing was measured of what they were made for."""


class Session:
    """One run while it lasts. `chosen` is what of a compiler's was kept at the survey point, of a family's cases."""

    def __init__(
        self,
        plan: Sequence[Planned],
        backends: Mapping[str, Backend],
        options: Options,
        store: Store,
        watch: Watch,
        told: Callable[[Session], None] = lambda _: None,
        foresight: Foresight | None = None,
    ) -> None:
        self.plan = list(plan)
        self.foresight = foresight or Ignorance()
        self.time_left = TimeLeft(lambda: sum(self.forecast().values()))
        self.told = told
        self.options = options
        self.store = store
        self.watch = watch
        self.clock = RunClock()
        # What was compiled for a device that is not there decides nothing; all else comes back as the run goes its way.
        ahead = [r for r in store.before if is_ahead_of_time(r.case.device)]
        self.records: dict[MemberKey, Record] = {(r.case.key, r.control): r for r in ahead}
        here = [r for r in store.before if not is_ahead_of_time(r.case.device) and not is_modelled(r.case.device)]
        self._recall = Recall(here)
        self.pool = Pool(self.plan, backends, options, store.folder / ".scratch", watch, self.clock.phases)
        self.chosen: dict[tuple[object, ...], str] = {}
        self.first_s = 0.0  # after how many seconds the first rounds ended
        self.reserved_s = 0.0  # seconds that sweeps leave to the rounds of what the looks found
        self.notes: list[str] = []
        self.left_out: dict[str, list[str]] = {}
        self.late: list[Planned] = []  # what there was no time to look at
        self.beaten: list[Planned] = []  # of sweeps, what is known better at its point
        self._logs = Logs(store.folder)
        self._compiled = CompiledBefore(options.cache, store.info)
        # Group numbers go on from the largest that is stored: a resumed run must not take two groups for one.
        self._heat = self._recall.last_group
        self._cold = cold_share(self.plan, self.foresight, self.compiled_before)  # when it began

    def cases(self) -> dict[str, Record]:
        """The records so far, without controls, by the key of their case."""
        return {key: record for (key, control), record in self.records.items() if not control}

    def compiled_before(self, case: Case) -> bool:
        """Whether the compile caches hold its program."""
        return self._compiled.warm(case)

    def kept_in_survey(self) -> dict[tuple[object, ...], str]:
        """By formulation, execution and family: which of a compiler's settings won the trial at the survey point."""
        cases = self.cases()
        found = {path(p): cases[p.case.key].settings.get(KEPT) for p in self.plan if p.case.key in cases and p.survey}
        return {place: kept for place, kept in found.items() if isinstance(kept, str)}

    def forecast(self) -> dict[str, float]:
        """Seconds of each step that is yet to come, by what is known now."""
        return forecast(self.plan, self.foresight, self.options, self.compiled_before, self.records)

    def expected_s(self, group: InterleavedGroup, sampling: Sampling) -> float:
        """Seconds that a group is expected to add to the run."""
        return group_s(group, sampling, self.foresight, self.records, self.compiled_before)

    def spent(self, next_s: float = 0.0) -> bool:
        """Whether the budget has no room for `next_s` more seconds."""
        budget = self.options.budget_s
        return budget is not None and self.clock.elapsed + next_s > budget

    @property
    def enough_s(self) -> float | None:
        """After how many seconds a preset has what it needs: later with cold compile caches than with warm ones."""
        return self.options.enough_with(self._cold)

    def past_looks(self, next_s: float = 0.0) -> bool:
        """Whether what takes `next_s` would end too late, so that there would be no time for sweeps and rounds."""
        times = [time for time in (self.options.budget_s, self.enough_s) if time is not None]
        share = self.options.looks_share
        if not times or share is None:
            return False
        rest_s = max(0.0, min(times) - self.first_s)
        return self.clock.elapsed + next_s > max(share * min(times), self.first_s + LOOKS_OF_REST * rest_s)

    def past_sweeps(self, next_s: float = 0.0) -> bool:
        """Whether what takes `next_s` would end after the time of the preset, less what is reserved for rounds."""
        return self.enough_s is not None and self.clock.elapsed + next_s + self.reserved_s > self.enough_s

    def reserve(self, late_s: float) -> None:
        """Let sweeps leave that much time to rounds, and no more than half of what the preset has left."""
        rest_s = (self.enough_s or 0.0) - self.clock.elapsed
        self.reserved_s = max(0.0, min(late_s, RESERVED * rest_s))

    def measure(
        self,
        groups: Sequence[InterleavedGroup],
        sampling: Callable[[InterleavedGroup], Sampling],
        round_: int = 0,
    ) -> bool:
        """Measure groups and store what came of them; `sampling` says how long of the members of each.

        What is stored of them by an earlier part of the run is not measured again; False where that is all.
        BudgetSpentError where making their inputs left no time of the budget.
        """
        samplings = {group.number: sampling(group) for group in groups}  # of whole groups
        groups = self._missing(groups, samplings, round_)
        if not groups:
            return False
        self.watch.now(str(groups[0].members[0].planned.case))
        if self.options.budget_s is not None:
            self.pool.make_inputs([member.planned for group in groups for member in group.members])
            if self.spent():
                raise BudgetSpentError
        groups = sorted(groups, key=self._slowest_s, reverse=True)  # what compiles long begins first, or a core is idle
        expected_s = sum(self.expected_s(group, samplings[group.number]) for group in groups)
        began, apart_s = time.monotonic(), self._apart_s()

        def job(group: InterleavedGroup, member: Member, data: str) -> CaseJob:
            # The energy of an accelerator takes long to read: it is left to the rounds where there will be some.
            last = round_ > 0 or not (member.planned.repeated and self.options.rounds)
            return self.job(member, data, samplings[group.number], last=last)

        heats = {group.number: self._heat + count for count, group in enumerate(groups, 1)}
        self._heat += len(groups)

        def made(
            state: Mapping[str, Scalar], group: InterleavedGroup, place: int, answer: Answer
        ) -> tuple[Member, Answer, Record]:
            member = group.members[place]
            return member, answer, self._record(member, answer, place, round_, heats[group.number], state)

        if any(group.server[1] != SHARED for group in groups):  # an answer waits for no other
            self.pool.measure(groups, job, round_, lambda *came: self.keep([made(facts.state(), *came)]))
        else:
            answers, state = self.pool.measure(groups, job, round_), facts.state()
            came = zip(groups, answers, strict=True)
            self.keep([made(state, group, *one) for group, of_group in came for one in enumerate(of_group)])
        apart_s = self._apart_s() - apart_s
        self.time_left.done(expected_s, time.monotonic() - began - apart_s, apart_s)
        left_s = within_limits(self.time_left.seconds, self.options, self.clock.elapsed, cold=self._cold)
        self.watch.left(left_s)
        self.told(self)
        return True

    def _missing(
        self, groups: Sequence[InterleavedGroup], samplings: Mapping[int, Sampling], round_: int
    ) -> list[InterleavedGroup]:
        """Of groups what is not stored yet; what is stored becomes part of the records."""
        left = []
        for group in groups:
            stored = self._recall.of(group, round_)
            if stored:  # the forecast counted it
                self.time_left.done(0.0, 0.0, apart_s=self.expected_s(group, samplings[group.number]))
            for member in group.members:
                if member.key in stored:
                    self._know(member.key, stored[member.key])
            members = tuple(member for member in group.members if member.key not in stored)
            if members:
                left.append(InterleavedGroup(group.number, members))
        return left

    def _know(self, key: MemberKey, made: Record) -> None:
        known = self.records.get(key)
        self.records[key] = with_next(known, made) if known else made

    def _slowest_s(self, group: InterleavedGroup) -> float:
        """Seconds that the member takes to prepare which takes longest."""
        cases = [member.planned for member in group.members]
        return max(self.foresight.seconds(p, cold=not self.compiled_before(p.case), again=False) for p in cases)

    def _apart_s(self) -> float:
        """What went into imports, inputs and counting so far."""
        return sum(self.clock.phases[name] for name in ("import_s", "inputs_and_references_s", "counting_s"))

    def job(self, member: Member, data: str, sampling: Sampling, *, last: bool = True) -> CaseJob:
        """What a process is sent; what an earlier one of the case found out is not found out again."""
        options, planned = self.options, member.planned
        known = self.records.get((planned.case.key, False))
        # What a trial kept at the survey point is kept over the sweep: its cases differ in one axis, and can be long.
        surveyed = None if planned.survey else self.chosen.get(path(planned))
        keep = known.settings.get(KEPT) if known else surveyed
        on_host = Device.parse(planned.case.device).kind == "cpu"  # elsewhere the allocator tells it for nothing
        return CaseJob(
            case=planned.case,
            data=data,
            threads=options.threads,
            cache=str(options.cache),
            sampling=sampling,
            power=options.power,
            watch=member.key not in self.records,
            recheck=last and not member.control and (known is None or OTHER_INPUTS not in known.settings),
            metered=last or on_host,
            keep=keep if isinstance(keep, str) else None,
            memory=known.memory if known and on_host else None,
            baseline=self.pool.baselines.get(planned.case.device),
            compiled_before=self._compiled.has(planned.case),
        )

    def _record(
        self, member: Member, answer: Answer, order: int, round_: int, group: int | None, state: Mapping[str, Scalar]
    ) -> Record:
        return record(
            member.planned,
            answer.measured,
            run=self.store.info.run,
            round_=round_,
            order=order,
            group=group,
            control=member.control,
            started_at=timestamps.now("milliseconds"),
            environment=state,
            executed=self.pool.counts.of(member.planned.case),
        )

    def keep(self, found: Sequence[tuple[Member, Answer, Record]]) -> None:
        """Store what came of members before anything else runs; what is stored is known, also if the run is stopped."""
        with unbroken():
            self.store.append(*(made for _, _, made in found))
            for member, _, made in found:
                self._know(member.key, made)
        for member, answer, made in found:
            self._logs.keep(member.planned.case, answer)
            if made.time is not None and made.case.execution == "compiled":
                self._compiled.add(made.case)
            mismatch = made.settings.get("threads_mismatch")
            if mismatch and (note := f"{member.planned.case.backend}: {mismatch}") not in self.notes:
                self.notes.append(note)
            if left := made.settings.get(LEFT):
                self.notes.append(f"{member.planned.case} left processes running, which were ended: {left}")

    def keep_alone(self, member: Member, answer: Answer) -> None:
        """Store what came of a member that was in no group."""
        made = self._record(member, answer, 0, 0, None, facts.state())
        self.keep([(member, answer, made)])

    def finish(self) -> None:
        """Write what the whole run took and noted into run.json."""
        before, now = self.store.info, self.clock  # a resumed run took what it took before, too
        phases = {k: before.phases_s.get(k, 0.0) + now.phases.get(k, 0.0) for k in {**before.phases_s, **now.phases}}
        said = [*self.pool.counts.notes, *([self._logs.note] if self._logs.note else [])]
        tried = {str(record.case) for record in (*self.store.before, *self.records.values())}
        ours = {LATE: self.late, BEATEN: self.beaten}
        whys = {**self.left_out, **{why: [str(planned.case) for planned in cases] for why, cases in ours.items()}}
        left_out = {why: [case for case in cases if case not in tried] for why, cases in whys.items()}
        info = msgspec.structs.replace(
            before,
            ended_at=timestamps.now(),
            phases_s={k: round(v, 3) for k, v in phases.items()},
            wall_s=round((before.wall_s or 0.0) + now.elapsed, 3),
            notes=list(dict.fromkeys((*before.notes, *self.notes, *said))),  # a run that goes on finds much again
            left_out={why: cases for why, cases in left_out.items() if cases},
        )
        self.store.write_info(info)


def path(planned: Planned) -> tuple[object, ...]:
    """What a survey point has in common with the points that are swept after it, of one formulation and execution."""
    return (*planned.family, planned.case.formulation, planned.case.execution)

"""Carries out a plan: data first, then survey, sweep and rounds; every answer becomes a record before the next case."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec

from backends.device import is_ahead_of_time
from backends.ops import Backend, Device, Scalar
from harness.machine import state
from harness.measuring.settings import Sampling
from harness.planning import selection
from harness.planning.groups import InterleavedGroup, Member, MemberKey, interleaved_groups, width
from harness.planning.options import Options
from harness.planning.plan import Planned
from harness.records.record import KEPT, Record
from harness.records.store import Store, merge
from harness.running.progress import Watch
from harness.running.recording import record
from harness.running.servers import Pool
from harness.running.side_by_side import side_by_side
from harness.worker.client import Answer
from harness.worker.messages import CaseJob

MOST_ROUNDS = 60  # of one group: an interval that is not narrow by then will not become so
LONG_GROUP_S = (
    40.0  # a group as long as this has FEWEST_ROUNDS: what varies between processes is small beside its calls
)

SURVEY_SHARE = 0.2  # of the window: the survey only has to find what is worth the rounds
SURVEY_LONG_S = 0.1  # and of calls as long as this two samples show it
SWEEP_SHARE = 0.25  # what has one process only


@dataclass(slots=True)
class _Clock:
    """Where the wall time goes; the parts and what is left over go into run.json."""

    began: float = field(default_factory=time.monotonic)
    phases: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.began


class Runner:
    """One run over one plan. `execute` returns when all is done, the budget is spent or the user interrupts."""

    def __init__(
        self, plan: Sequence[Planned], backends: Mapping[str, Backend], options: Options, store: Store, watch: Watch
    ) -> None:
        self._plan = list(plan)
        self._options = options
        self._store = store
        self._watch = watch
        self._clock = _Clock()
        self._records: dict[MemberKey, Record] = {(r.case.key, r.control): r for r in store.before}
        self._pool = Pool(self._plan, backends, options, store.folder / ".scratch", watch, self._clock.phases)
        self._cut: set[int] = set()  # groups that had no more than `long_rounds`
        self._chosen: dict[tuple[object, ...], str] = {}  # what of a compiler's was kept, of a formulation in a family
        self._group_s: dict[int, float] = {}  # what each group took when it last ran
        self.notes: list[str] = []

    def execute(self) -> dict[MemberKey, Record]:
        """Run survey, sweep and rounds. KeyboardInterrupt passes through; everything measured is in the store."""
        try:
            with self._pool, ExitStack() as stack:
                stack.callback(self._judge_machine, state.read())  # before the servers close
                self._step("survey", [p for p in self._plan if p.survey])
                self._chosen = self._kept_in_survey()
                swept, left_out = selection.sweep(self._plan, self._cases())
                if left_out:
                    self.notes.append(
                        f"{len(left_out)} cases of the sweeps were not run: at the survey point their formulation was "
                        f"over {selection.SWEEP_FACTOR:g} times slower than the best (calls of {selection.LONG_S:g} s "
                        f"or more: {selection.LONG_SWEEP_FACTOR:g}), or its other execution faster"
                    )
                self._step("sweep", swept)
                self._race()
        finally:
            self._finish()
        return self._records

    def _kept_in_survey(self) -> dict[tuple[object, ...], str]:
        """By formulation, execution and family: which of a compiler's settings won the trial at the survey point."""
        cases = self._cases()
        found = {
            _compiled(p): cases[p.case.key].settings.get(KEPT) for p in self._plan if p.case.key in cases and p.survey
        }
        return {place: kept for place, kept in found.items() if isinstance(kept, str)}

    def _judge_machine(self, before: Mapping[str, Scalar]) -> None:
        """Note what the machine did meanwhile that disturbs the run, each with its number and what to do."""
        found = state.warnings(before, state.read(), self._options.threads)
        self.notes += [f"the machine disturbed the run: {warning.sentence}" for warning in found]

    # -- cases --------------------------------------------------------------------------------------------------------

    def _step(self, name: str, plan: Sequence[Planned]) -> None:
        """Survey or sweep: every case alone, in shuffled order; before them what is only compiled, side by side."""
        began = time.monotonic()
        order = selection.shuffled(plan, self._options.seed, 0)
        self._watch.begin(name, len(order))
        order = self._compile(name, order)
        for number, planned in enumerate(order):
            if self._spent():
                self.notes.append(
                    f"the budget ended in the {name}: {len(order) - number} of {len(order)} cases were not run"
                )
                break
            if (planned.case.key, False) not in self._records:
                self._watch.now(str(planned.case))
                (answer,) = self._ask([Member(planned)], self._short(planned))
                self._keep(Member(planned), answer, order=number)
            self._watch.done()
        self._clock.phases[f"{name}_s"] += time.monotonic() - began

    def _compile(self, name: str, order: Sequence[Planned]) -> list[Planned]:
        """The cases whose device is compiled for and not run, all frameworks at once; returns the others."""
        queues: dict[tuple[str, str], list[Planned]] = defaultdict(list)
        for planned in order:
            if is_ahead_of_time(planned.case.device):
                if (planned.case.key, False) in self._records:
                    self._watch.done()
                else:
                    queues[planned.case.backend, planned.case.device].append(planned)

        def abandon() -> None:
            for key in queues:
                self._pool.close(*key)

        def ask(planned: Planned) -> Answer:
            return self._ask([Member(planned)], self._short(planned))[0]

        left = sum(map(len, queues.values()))
        with closing(side_by_side(queues.values(), ask, abandon)) as answers:
            for planned, answer in answers:
                self._watch.now(str(planned.case))
                self._keep(Member(planned), answer, order=0)
                self._watch.done()
                left -= 1
                if left and self._spent():
                    self.notes.append(f"the budget ended in the {name}: {left} cases were not compiled")
                    break
        return [planned for planned in order if not is_ahead_of_time(planned.case.device)]

    def _race(self) -> None:
        """The rounds: the best of every point in groups with their twins; what falls behind in one leaves the next."""
        began = time.monotonic()
        rounds, left = self._options.rounds, selection.finalists(self._plan, self._cases())
        for round_ in range(1, rounds + 1):
            groups = self._groups(left)
            if not self._round(f"round {round_} of {rounds}", groups, round_):
                break
            left = selection.finalists(left, self._cases())
        else:
            if self._options.precision is not None and rounds:
                self._narrow(self._groups(left), self._options.precision)
        if self._cut:
            cut = f"{len(self._cut)} groups that took over {LONG_GROUP_S:.0f} s"
            self.notes.append(f"{cut} had {self._options.long_rounds} rounds of {rounds}")
        self._clock.phases["rounds_s"] += time.monotonic() - began

    def _groups(self, plan: Sequence[Planned]) -> list[InterleavedGroup]:
        return interleaved_groups(plan, self._records, self._options.seed, self._options.memory_bytes)

    def _round(self, name: str, groups: Sequence[InterleavedGroup], round_: int) -> bool:
        """Every group once, in shuffled order, long ones in the first rounds only; False when the time ended in it."""
        self._watch.begin(name, len(groups))
        long = round_ > self._options.long_rounds
        order = selection.shuffled(groups, self._options.seed, round_)
        enough = self._options.enough_s
        if round_ == 1:
            enough = self._options.ends_s
            order = order if enough is None else sorted(order, key=self._expected_s)
        for number, group in enumerate(order):
            took = self._expected_s(group)
            if self._spent(took) or (enough is not None and self._clock.elapsed + took > enough):
                ended = "the budget" if self._spent(took) else f"the time of this preset ({enough:.0f} s)"
                self.notes.append(f"{ended} ended in {name}: {len(groups) - number} of {len(groups)} groups missing")
                return False
            if long and took > LONG_GROUP_S:
                self._cut.add(group.number)
            else:
                self._run_group(group, round_, number)
            self._watch.done()
        return True

    def _expected_s(self, group: InterleavedGroup) -> float:
        """Seconds that a group took, or what its members took alone, without compiling, and their windows."""
        known = self._group_s.get(group.number)
        if known is not None:
            return known
        records = (self._records.get((member.planned.case.key, False)) for member in group.members)
        times = [record.time for record in records if record is not None and record.time is not None]
        alone = sum(time.trials[0].wall_s - time.trials[0].first_call_s for time in times)
        return alone + len(group.members) * self._options.sampling.window_s

    def _narrow(self, groups: Sequence[InterleavedGroup], precision: float) -> None:
        """More groups where the intervals are widest, until all are narrow enough or the budget ends."""
        rounds = {group.number: self._options.rounds for group in groups}
        self._watch.begin(f"narrowing to ±{precision:.3g}", 0)
        while True:
            wide = sorted(((width(g, self._records), g.number, g) for g in groups), reverse=True)
            wide = [(w, n, g) for w, n, g in wide if w > precision]
            worth = [(w, g) for w, n, g in wide if rounds[n] < MOST_ROUNDS]
            worth = [(w, g) for w, g in worth if not self._spent(self._group_s.get(g.number, 0.0))]
            if not worth:
                break
            span, group = worth[0]
            rounds[group.number] += 1
            self._watch.now(f"{group.members[0].planned.case} (±{span:.1%})")
            self._run_group(group, rounds[group.number], 0)
        left = len(wide)
        extra = sum(rounds.values()) - self._options.rounds * len(rounds)
        self.notes.append(
            f"{extra} groups more went where intervals were widest; "
            + (f"{left} of {len(groups)} are still wider than" if left else "all are within")
            + f" ±{100 * precision:.3g} %"
        )

    def _run_group(self, group: InterleavedGroup, round_: int, order: int) -> None:
        if all(self._known(member, round_) for member in group.members):
            return
        self._watch.now(str(group.members[0].planned.case))
        began = time.monotonic()
        for member, answer in zip(group.members, self._ask(group.members, self._options.sampling, round_), strict=True):
            self._keep(member, answer, order, round_, group=1000 * round_ + group.number)
        self._group_s[group.number] = time.monotonic() - began

    def _known(self, member: Member, round_: int) -> bool:
        """Whether a resumed run has this already."""
        record = self._records.get(member.key)
        if record is None:
            return False
        return record.time is None or any(t.round == round_ for t in record.time.trials)

    def _spent(self, next_s: float = 0.0) -> bool:
        budget = self._options.budget_s
        return budget is not None and self._clock.elapsed + next_s > budget

    def _keep(self, member: Member, answer: Answer, order: int, round_: int = 0, group: int | None = None) -> None:
        """Store what came of a member before anything else runs."""
        started_at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        made = record(
            member.planned,
            answer.measured,
            run=self._store.info.run,
            round_=round_,
            order=order,
            group=group,
            control=member.control,
            started_at=started_at,
        )
        self._store.append(made)
        known = self._records.get(member.key)
        self._records[member.key] = merge([known, made])[0] if known else made
        mismatch = made.settings.get("threads_mismatch")
        if mismatch and (note := f"{member.planned.case.backend}: {mismatch}") not in self.notes:
            self.notes.append(note)
        trial = answer.measured.trial
        framework = trial.wall_s - trial.open_s if trial else 0.0
        self._clock.phases["measuring_compiling_checking_s"] += framework
        self._clock.phases["isolation_s"] += (answer.wall_s - framework) if trial else 0.0
        self._clock.phases["failed_cases_s"] += 0.0 if trial else answer.wall_s

    def _ask(self, members: Sequence[Member], sampling: Sampling, seed: int = 0) -> list[Answer]:
        return self._pool.ask(members, lambda member, data: self._job(member, data, sampling), seed)

    def _job(self, member: Member, data: str, sampling: Sampling) -> CaseJob:
        options = self._options
        planned = member.planned
        known = self._records.get((planned.case.key, False))
        # What a trial kept at the survey point is kept over the sweep: its cases differ in one axis, and can be long.
        keep = (
            known.settings.get(KEPT)
            if known
            else None
            if member.planned.survey
            else self._chosen.get(_compiled(member.planned))
        )
        on_host = Device.parse(planned.case.device).kind == "cpu"  # elsewhere the allocator tells it for nothing
        return CaseJob(
            case=planned.case,
            data=data,
            threads=options.threads,
            cache=str(options.cache),
            sampling=sampling,
            power=options.power,
            watch=member.key not in self._records,
            keep=keep if isinstance(keep, str) else None,
            memory=known.memory if known and on_host else None,
            baseline=self._pool.baselines.get(planned.case.device),
        )

    def _short(self, planned: Planned) -> Sampling:
        """What a case gets that may yet be measured again, or never will be compared with an interval."""
        whole = self._options.sampling
        if not self._options.rounds:
            return msgspec.structs.replace(whole, turns=1)
        if planned.repeated:
            return msgspec.structs.replace(
                whole, window_s=SURVEY_SHARE * whole.window_s, min_samples=4, turns=1, long_s=SURVEY_LONG_S
            )
        return msgspec.structs.replace(whole, window_s=SWEEP_SHARE * whole.window_s, min_samples=4, turns=1)

    def _cases(self) -> dict[str, Record]:
        return {key: record for (key, control), record in self._records.items() if not control}

    def _finish(self) -> None:
        before, now = self._store.info, self._clock  # a resumed run took what it took before, too
        phases = {k: before.phases_s.get(k, 0.0) + now.phases.get(k, 0.0) for k in {**before.phases_s, **now.phases}}
        info = msgspec.structs.replace(
            before,
            ended_at=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            phases_s={k: round(v, 3) for k, v in phases.items()},
            wall_s=round((before.wall_s or 0.0) + now.elapsed, 3),
            notes=[*before.notes, *self.notes],
        )
        self._store.write_info(info)


def _compiled(planned: Planned) -> tuple[object, ...]:
    """What a survey point has in common with the points that are swept after it, of one formulation and execution."""
    return (*planned.family, planned.case.formulation, planned.case.execution)

"""What every step of a run shares: servers, records, the time that passed; an answer is stored before the next case."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from backends.ops import Backend, Device
from harness.measuring.settings import Sampling
from harness.planning.groups import Member, MemberKey
from harness.planning.options import Options
from harness.planning.plan import Planned
from harness.records import timestamps
from harness.records.record import KEPT, Record
from harness.records.store import Store, merge
from harness.running.logs import Logs
from harness.running.progress import Watch
from harness.running.recording import record
from harness.running.servers import Pool
from harness.worker.client import Answer
from harness.worker.messages import CaseJob


@dataclass(slots=True)
class RunClock:
    """Where the wall time goes; the parts and what is left over go into run.json."""

    began: float = field(default_factory=time.monotonic)
    phases: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self.began


class Session:
    """One run while it lasts. `chosen` is what of a compiler's was kept at the survey point, of a family's cases."""

    def __init__(
        self, plan: Sequence[Planned], backends: Mapping[str, Backend], options: Options, store: Store, watch: Watch
    ) -> None:
        self.plan = list(plan)
        self.options = options
        self.store = store
        self.watch = watch
        self.clock = RunClock()
        self.records: dict[MemberKey, Record] = {(r.case.key, r.control): r for r in store.before}
        self.pool = Pool(self.plan, backends, options, store.folder / ".scratch", watch, self.clock.phases)
        self.chosen: dict[tuple[object, ...], str] = {}
        self.notes: list[str] = []
        self._logs = Logs(store.folder)

    def cases(self) -> dict[str, Record]:
        """The records so far, without controls, by the key of their case."""
        return {key: record for (key, control), record in self.records.items() if not control}

    def kept_in_survey(self) -> dict[tuple[object, ...], str]:
        """By formulation, execution and family: which of a compiler's settings won the trial at the survey point."""
        cases = self.cases()
        found = {
            _compiled(p): cases[p.case.key].settings.get(KEPT) for p in self.plan if p.case.key in cases and p.survey
        }
        return {place: kept for place, kept in found.items() if isinstance(kept, str)}

    def spent(self, next_s: float = 0.0) -> bool:
        """Whether the budget has no room for `next_s` more seconds."""
        budget = self.options.budget_s
        return budget is not None and self.clock.elapsed + next_s > budget

    def ask(self, members: Sequence[Member], sampling: Sampling, seed: int = 0, *, last: bool = True) -> list[Answer]:
        """Measure members together, where the device can be shared; `seed` is of the order of their slices.

        Unless it is the `last` that is heard of them, the energy of an accelerator is left to later processes.
        """
        return self.pool.ask(members, lambda member, data: self.job(member, data, sampling, last=last), seed)

    def job(self, member: Member, data: str, sampling: Sampling, *, last: bool = True) -> CaseJob:
        """What a process is sent; what an earlier one of the case found out is not found out again."""
        options, planned = self.options, member.planned
        known = self.records.get((planned.case.key, False))
        # What a trial kept at the survey point is kept over the sweep: its cases differ in one axis, and can be long.
        surveyed = None if planned.survey else self.chosen.get(_compiled(planned))
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
            metered=last or on_host,
            keep=keep if isinstance(keep, str) else None,
            memory=known.memory if known and on_host else None,
            baseline=self.pool.baselines.get(planned.case.device),
        )

    def keep(self, member: Member, answer: Answer, order: int, round_: int = 0, group: int | None = None) -> None:
        """Store what came of a member before anything else runs."""
        made = record(
            member.planned,
            answer.measured,
            run=self.store.info.run,
            round_=round_,
            order=order,
            group=group,
            control=member.control,
            started_at=timestamps.now("milliseconds"),
        )
        self.store.append(made)
        self._logs.keep(member.planned.case, answer)
        known = self.records.get(member.key)
        self.records[member.key] = merge([known, made])[0] if known else made
        mismatch = made.settings.get("threads_mismatch")
        if mismatch and (note := f"{member.planned.case.backend}: {mismatch}") not in self.notes:
            self.notes.append(note)
        trial = answer.measured.trial
        framework = trial.wall_s - trial.open_s if trial else 0.0
        self.clock.phases["measuring_compiling_checking_s"] += framework
        self.clock.phases["isolation_s"] += (answer.wall_s - framework) if trial else 0.0
        self.clock.phases["failed_cases_s"] += 0.0 if trial else answer.wall_s

    def finish(self) -> None:
        """Write what the whole run took and noted into run.json."""
        before, now = self.store.info, self.clock  # a resumed run took what it took before, too
        phases = {k: before.phases_s.get(k, 0.0) + now.phases.get(k, 0.0) for k in {**before.phases_s, **now.phases}}
        said = [self._logs.note] if self._logs.note else []
        info = msgspec.structs.replace(
            before,
            ended_at=timestamps.now(),
            phases_s={k: round(v, 3) for k, v in phases.items()},
            wall_s=round((before.wall_s or 0.0) + now.elapsed, 3),
            notes=[*before.notes, *self.notes, *said],
        )
        self.store.write_info(info)


def _compiled(planned: Planned) -> tuple[object, ...]:
    """What a survey point has in common with the points that are swept after it, of one formulation and execution."""
    return (*planned.family, planned.case.formulation, planned.case.execution)

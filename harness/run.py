"""Carries out a plan: data first, then survey, sweep and rounds; every answer becomes a record before the next case."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from backends.ops import Backend, Device, Scalar
from harness import machine_state, plan
from harness.energy import Baseline, baseline
from harness.heats import Heat, Lane, Place, width
from harness.heats import heats as make_heats
from harness.job import CaseJob, DataJob, PowerModel, Sampling
from harness.plan import Planned
from harness.progress import Watch
from harness.record import KEPT, Record
from harness.recording import record, refused
from harness.side_by_side import side_by_side
from harness.spawn import Answer, Server, ServerError
from harness.store import Store, merge

WINDOWS = {
    "smoke": Sampling(window_s=0.02, min_samples=4, turns=2),
    "quick": Sampling(window_s=0.24, turns=20),
    "standard": Sampling(window_s=0.6, turns=60),
    "full": Sampling(window_s=1.0, turns=100),
}
ROUNDS = {"smoke": 0, "quick": 3, "standard": 5, "full": 5}
FEWEST_ROUNDS = 3  # of every heat before a budget goes where intervals are widest
MOST_ROUNDS = 60  # of one heat: an interval that is not narrow by then will not become so
LONG_HEAT_S = 40.0  # a heat as long as this has FEWEST_ROUNDS: what differs between processes is small beside its calls
ENOUGH_S = {"standard": 3300.0}  # no second heat begins later than this, so that the preset ends within an hour;
ENDS_S = {"standard": 3540.0}  # and on a machine that is slower still no first one that would end later than this
SURVEY_SHARE = 0.2  # of the window: the survey only has to find what is worth the rounds
SURVEY_LONG_S = 0.1  # and of calls as long as this two samples show it
SWEEP_SHARE = 0.25  # what has one process only
DATA_TIMEOUT_S = 1800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to carry a plan out.

    `rounds` heats for each best path, of which long ones have `long_rounds`; after `enough_s` each has one, the short
    ones first, if it is over by `ends_s`. With `precision`, more of them where intervals are wider, while `budget_s`
    lasts.
    """

    rounds: int
    long_rounds: int
    timeout_s: float
    threads: int
    sampling: Sampling
    power: PowerModel
    cache: Path
    seed: int
    budget_s: float | None = None
    enough_s: float | None = None
    ends_s: float | None = None
    precision: float | None = None
    memory_bytes: int | None = None


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
        self, planned: Sequence[Planned], backends: Mapping[str, Backend], options: Options, store: Store, watch: Watch
    ) -> None:
        self._planned = list(planned)
        self._backends = backends
        self._options = options
        self._store = store
        self._watch = watch
        self._clock = _Clock()
        self._records: dict[Place, Record] = {(r.case.key, r.control): r for r in store.before}
        self._servers: dict[tuple[str, str], Server] = {}
        self._dead: dict[tuple[str, str], str] = {}
        self._baselines: dict[str, Baseline] = {}
        self._data: dict[str, Path | str] = {}
        self._scratch = store.folder / ".scratch"
        self._cut: set[int] = set()  # heats that had no more than `long_rounds`
        self._chosen: dict[tuple[object, ...], str] = {}  # what of a compiler's was kept, of a formulation in a family
        self._heat_s: dict[int, float] = {}  # what each heat took when it last ran
        self.notes: list[str] = []

    def execute(self) -> dict[Place, Record]:
        """Run survey, sweep and rounds. KeyboardInterrupt passes through; everything measured is in the store."""
        try:
            with ExitStack() as stack:
                self._rest()
                self._open_servers(stack)
                self._make_data()  # while the frameworks are imported
                self._await_servers()
                stack.callback(self._judge_machine, machine_state.read())  # before the servers close
                self._step("survey", [p for p in self._planned if p.survey])
                self._chosen = self._kept_in_survey()
                swept, left_out = plan.sweep(self._planned, self._cases())
                if left_out:
                    self.notes.append(
                        f"{len(left_out)} cases of the sweeps were not run: at the survey point their formulation was "
                        f"over {plan.SWEEP_FACTOR:g} times slower than the best (calls of {plan.LONG_S:g} s or more: "
                        f"{plan.LONG_SWEEP_FACTOR:g}), or its other execution faster"
                    )
                self._step("sweep", swept)
                self._race()
        finally:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._finish()
        return self._records

    def _kept_in_survey(self) -> dict[tuple[object, ...], str]:
        """By formulation, execution and family: which of a compiler's settings won the trial at the survey point."""
        cases = self._cases()
        found = {
            _compiled(p): cases[p.case.key].settings.get(KEPT)
            for p in self._planned
            if p.case.key in cases and p.survey
        }
        return {place: kept for place, kept in found.items() if isinstance(kept, str)}

    def _judge_machine(self, before: Mapping[str, Scalar]) -> None:
        """Note what the machine did meanwhile that spoils the run, each with its number and what to do."""
        found = machine_state.warnings(before, machine_state.read(), self._options.threads)
        self.notes += [f"the machine spoilt the run: {warning.sentence}" for warning in found]

    # -- servers and data -------------------------------------------------------------------------------------------

    def _rest(self) -> None:
        """Measure what a device takes at rest, before anything of ours runs; at once where nothing can be read."""
        for device in dict.fromkeys(p.case.device for p in self._planned):
            self._baselines[device] = baseline(Device.parse(device), self._options.power)

    def _server(self, stack: ExitStack, backend: Backend, device: str) -> Server:
        options = self._options
        server = Server(
            backend, Device.parse(device), options.threads, options.cache, memory_bytes=options.memory_bytes
        )
        return stack.enter_context(server)

    def _open_servers(self, stack: ExitStack) -> None:
        wanted = dict.fromkeys((p.case.backend, p.case.device) for p in self._planned)
        for name, device in wanted:
            self._servers[name, device] = self._server(stack, self._backends[name], device)
        self._numpy = self._servers.get(("numpy", "cpu")) or self._server(stack, self._backends["numpy"], "cpu")

    def _await_servers(self) -> None:
        began = time.monotonic()
        for key, server in self._servers.items():
            self._watch.say(f"importing {server.backend.title}")
            try:
                server.start()
            except ServerError as error:
                self._dead[key] = str(error)
                self._watch.say(str(error))
        self._clock.phases["import_s"] = time.monotonic() - began

    def _make_data(self) -> None:
        """Inputs and float64 references, once for all backends: a process a workload, so that a cache serves it."""
        began = time.monotonic()
        todo: dict[tuple[str, str, int], dict[str, Planned]] = defaultdict(dict)
        for one in self._planned:
            c = one.case
            todo[c.workload, c.dtype, c.seed].setdefault(_data_key(one), one)
        self._watch.begin("inputs and references", len(todo))
        for (workload, dtype, seed), points in todo.items():
            self._watch.now(workload)
            self._data_job(workload, dtype, seed, points)
            self._watch.done()
        self._clock.phases["inputs_and_references_s"] = time.monotonic() - began

    def _data_job(self, workload: str, dtype: str, seed: int, points: Mapping[str, Planned]) -> None:
        folders = {key: self._scratch / key for key in points}
        job = DataJob(
            workload=workload,
            points=[(p.case.params, p.case.mode) for p in points.values()],
            dtype=dtype,
            seed=seed,
            folders=[str(f) for f in folders.values()],
            threads=self._options.threads,
        )
        measured = self._numpy.run(job, DATA_TIMEOUT_S).measured
        if measured.status == "ok":
            self._data.update(folders)
        elif len(points) == 1:
            self._data.update(dict.fromkeys(points, f"no inputs or reference: {measured.reason}"))
        else:  # one bad point must not take the others with it
            for key, one in points.items():
                self._data_job(workload, dtype, seed, {key: one})

    # -- cases --------------------------------------------------------------------------------------------------------

    def _step(self, name: str, planned: Sequence[Planned]) -> None:
        """Survey or sweep: every case alone, in shuffled order; before them what is only compiled, side by side."""
        began = time.monotonic()
        order = plan.shuffled(planned, self._options.seed, 0)
        self._watch.begin(name, len(order))
        order = self._compile(name, order)
        for number, one in enumerate(order):
            if self._spent():
                self.notes.append(
                    f"the budget ended in the {name}: {len(order) - number} of {len(order)} cases were not run"
                )
                break
            if (one.case.key, False) not in self._records:
                self._watch.now(str(one.case))
                (answer,) = self._ask([Lane(one)], self._short(one))
                self._keep(Lane(one), answer, order=number)
            self._watch.done()
        self._clock.phases[f"{name}_s"] += time.monotonic() - began

    def _compile(self, name: str, order: Sequence[Planned]) -> list[Planned]:
        """The cases whose device is compiled for and not run, all frameworks at once; returns the others."""
        queues: dict[tuple[str, str], list[Planned]] = defaultdict(list)
        for one in order:
            if one.case.device.startswith("tpu-aot:"):
                if (one.case.key, False) in self._records:
                    self._watch.done()
                else:
                    queues[one.case.backend, one.case.device].append(one)

        def abandon() -> None:
            for key in queues:
                self._servers[key].close()

        def ask(one: Planned) -> Answer:
            return self._ask([Lane(one)], self._short(one))[0]

        left = sum(map(len, queues.values()))
        with closing(side_by_side(queues.values(), ask, abandon)) as answers:
            for one, answer in answers:
                self._watch.now(str(one.case))
                self._keep(Lane(one), answer, order=0)
                self._watch.done()
                left -= 1
                if left and self._spent():
                    self.notes.append(f"the budget ended in the {name}: {left} cases were not compiled")
                    break
        return [one for one in order if not one.case.device.startswith("tpu-aot:")]

    def _race(self) -> None:
        """The rounds: the best of every point in heats with their twins; what falls behind in one leaves the next."""
        began = time.monotonic()
        rounds, racing = self._options.rounds, plan.finalists(self._planned, self._cases())
        for round_ in range(1, rounds + 1):
            heats = self._heats(racing)
            if not self._round(f"round {round_} of {rounds}", heats, round_):
                break
            racing = plan.finalists(racing, self._cases())
        else:
            if self._options.precision is not None and rounds:
                self._narrow(self._heats(racing), self._options.precision)
        if self._cut:
            cut = f"{len(self._cut)} heats that took over {LONG_HEAT_S:.0f} s"
            self.notes.append(f"{cut} had {self._options.long_rounds} rounds of {rounds}")
        self._clock.phases["rounds_s"] += time.monotonic() - began

    def _heats(self, racing: Sequence[Planned]) -> list[Heat]:
        return make_heats(racing, self._records, self._options.seed, self._options.memory_bytes)

    def _round(self, name: str, heats: Sequence[Heat], round_: int) -> bool:
        """Every heat once, in shuffled order, long ones in the first rounds only; False when the time ended in it."""
        self._watch.begin(name, len(heats))
        long = round_ > self._options.long_rounds
        order = plan.shuffled(heats, self._options.seed, round_)
        enough = self._options.enough_s
        if round_ == 1:
            enough = self._options.ends_s
            order = order if enough is None else sorted(order, key=self._expected_s)
        for number, heat in enumerate(order):
            took = self._expected_s(heat)
            if self._spent(took) or (enough is not None and self._clock.elapsed + took > enough):
                ended = "the budget" if self._spent(took) else f"the time of this preset ({enough:.0f} s)"
                self.notes.append(f"{ended} ended in {name}: {len(heats) - number} of {len(heats)} heats missing")
                return False
            if long and took > LONG_HEAT_S:
                self._cut.add(heat.number)
            else:
                self._run_heat(heat, round_, number)
            self._watch.done()
        return True

    def _expected_s(self, heat: Heat) -> float:
        """Seconds that a heat took, or what its lanes took alone, without compiling, and their windows."""
        known = self._heat_s.get(heat.number)
        if known is not None:
            return known
        records = (self._records.get((lane.one.case.key, False)) for lane in heat.lanes)
        times = [record.time for record in records if record is not None and record.time is not None]
        alone = sum(time.trials[0].wall_s - time.trials[0].first_call_s for time in times)
        return alone + len(heat.lanes) * self._options.sampling.window_s

    def _narrow(self, heats: Sequence[Heat], precision: float) -> None:
        """More heats where the intervals are widest, until all are narrow enough or the budget ends."""
        rounds = {heat.number: self._options.rounds for heat in heats}
        self._watch.begin(f"narrowing to ±{precision:.3g}", 0)
        while True:
            wide = sorted(((width(h, self._records), h.number, h) for h in heats), reverse=True)
            wide = [(w, n, h) for w, n, h in wide if w > precision]
            worth = [(w, h) for w, n, h in wide if rounds[n] < MOST_ROUNDS]
            worth = [(w, h) for w, h in worth if not self._spent(self._heat_s.get(h.number, 0.0))]
            if not worth:
                break
            span, heat = worth[0]
            rounds[heat.number] += 1
            self._watch.now(f"{heat.lanes[0].one.case} (±{span:.1%})")
            self._run_heat(heat, rounds[heat.number], 0)
        left = len(wide)
        extra = sum(rounds.values()) - self._options.rounds * len(rounds)
        self.notes.append(
            f"{extra} heats more went where intervals were widest; "
            + (f"{left} of {len(heats)} are still wider than" if left else "all are within")
            + f" ±{100 * precision:.3g} %"
        )

    def _run_heat(self, heat: Heat, round_: int, order: int) -> None:
        if all(self._known(lane, round_) for lane in heat.lanes):
            return
        self._watch.now(str(heat.lanes[0].one.case))
        began = time.monotonic()
        for lane, answer in zip(heat.lanes, self._ask(heat.lanes, self._options.sampling, round_), strict=True):
            self._keep(lane, answer, order, round_, heat=1000 * round_ + heat.number)
        self._heat_s[heat.number] = time.monotonic() - began

    def _known(self, lane: Lane, round_: int) -> bool:
        """Whether a resumed run has this already."""
        record = self._records.get(lane.place)
        if record is None:
            return False
        return record.time is None or any(t.round == round_ for t in record.time.trials)

    def _spent(self, next_s: float = 0.0) -> bool:
        budget = self._options.budget_s
        return budget is not None and self._clock.elapsed + next_s > budget

    def _keep(self, lane: Lane, answer: Answer, order: int, round_: int = 0, heat: int | None = None) -> None:
        """Store what came of a lane before anything else runs."""
        started_at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        made = record(
            lane.one,
            answer.measured,
            run=self._store.info.run,
            round_=round_,
            order=order,
            heat=heat,
            control=lane.control,
            started_at=started_at,
        )
        self._store.append(made)
        known = self._records.get(lane.place)
        self._records[lane.place] = merge([known, made])[0] if known else made
        mismatch = made.settings.get("threads_mismatch")
        if mismatch and (note := f"{lane.one.case.backend}: {mismatch}") not in self.notes:
            self.notes.append(note)
        trial = answer.measured.trial
        framework = trial.wall_s - trial.open_s if trial else 0.0
        self._clock.phases["measuring_compiling_checking_s"] += framework
        self._clock.phases["isolation_s"] += (answer.wall_s - framework) if trial else 0.0
        self._clock.phases["failed_cases_s"] += 0.0 if trial else answer.wall_s

    def _ask(self, lanes: Sequence[Lane], sampling: Sampling, seed: int = 0) -> list[Answer]:
        """An answer for each lane; lanes that can run share a heat, where the device is one that can be shared."""
        key = (lanes[0].one.case.backend, lanes[0].one.case.device)
        jobs: list[CaseJob] = []
        answers: list[Answer | None] = []
        for lane in lanes:
            data = self._data.get(_data_key(lane.one), "no inputs were made")
            ready = key not in self._dead and not isinstance(data, str)
            answers.append(None if ready else refused(self._dead.get(key, str(data))))
            if ready:
                jobs.append(self._job(lane, str(data), sampling))
        try:
            server, timeout_s = self._servers[key], self._options.timeout_s
            if key[1] == "cpu":
                ran = server.heat(jobs, timeout_s, seed) if jobs else []
            else:  # one process at a time on an accelerator: its lanes follow each other closely instead
                ran = [server.run(job, timeout_s) for job in jobs]
        except ServerError as error:
            self._dead[key] = str(error)
            ran = [refused(str(error))] * len(jobs)
        rest = iter(ran)
        return [next(rest) if answer is None else answer for answer in answers]

    def _job(self, lane: Lane, data: str, sampling: Sampling) -> CaseJob:
        options = self._options
        known = self._records.get((lane.one.case.key, False))
        # What a trial kept at the survey point is kept over the sweep: its cases differ in one axis, and can be long.
        keep = known.settings.get(KEPT) if known else None if lane.one.survey else self._chosen.get(_compiled(lane.one))
        on_host = Device.parse(lane.one.case.device).kind == "cpu"  # elsewhere the allocator tells it for nothing
        return CaseJob(
            case=lane.one.case,
            data=data,
            threads=options.threads,
            cache=str(options.cache),
            sampling=sampling,
            power=options.power,
            watch=lane.place not in self._records,
            keep=keep if isinstance(keep, str) else None,
            memory=known.memory if known and on_host else None,
            baseline=self._baselines.get(lane.one.case.device),
        )

    def _short(self, one: Planned) -> Sampling:
        """What a case gets that may yet be measured again, or never will be compared with an interval."""
        whole = self._options.sampling
        if not self._options.rounds:
            return msgspec.structs.replace(whole, turns=1)
        if one.repeated:
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


def _compiled(one: Planned) -> tuple[object, ...]:
    """What a survey point has in common with the points that are swept after it, of one formulation and execution."""
    return (*one.family, one.case.formulation, one.case.execution)


def _data_key(one: Planned) -> str:
    c = one.case
    text = msgspec.json.encode([c.workload, c.params, c.mode, c.dtype, c.seed], order="deterministic")
    return hashlib.sha256(text).hexdigest()[:16]

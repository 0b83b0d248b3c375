"""Carries out a plan: data first, then survey, sweep and rounds; every answer becomes a record before the next case."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from backends.ops import Backend, Device
from harness import machine, plan
from harness.job import CaseJob, DataJob, Measured, PowerModel, Sampling
from harness.plan import Planned
from harness.progress import Watch
from harness.record import SCHEMA, Record, Timing, Trial
from harness.spawn import Answer, Server, ServerError
from harness.store import Store, merge

WINDOWS = {
    "smoke": Sampling(window_s=0.02, min_samples=4),
    "quick": Sampling(window_s=0.2),
    "standard": Sampling(window_s=1.0),
    "full": Sampling(window_s=1.0),
}
SURVEY_SHARE = 0.3  # of the window: the survey only has to find what is worth the rounds
SWEEP_SHARE = 0.4  # what has one process only
DATA_TIMEOUT_S = 1800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to carry a plan out."""

    rounds: int
    timeout_s: float
    threads: int
    sampling: Sampling
    power: PowerModel
    cache: Path
    seed: int
    budget_s: float | None = None
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
        self._records: dict[str, Record] = {_place(r.case.key, r.control): r for r in store.before}
        self._servers: dict[tuple[str, str], Server] = {}
        self._dead: dict[tuple[str, str], str] = {}
        self._data: dict[str, Path | str] = {}
        self._scratch = store.folder / ".scratch"
        self.notes: list[str] = []

    def execute(self) -> dict[str, Record]:
        """Run survey, sweep and rounds. KeyboardInterrupt passes through; everything measured is in the store."""
        try:
            with ExitStack() as stack:
                self._open_servers(stack)
                self._make_data()  # while the frameworks are imported
                self._await_servers()
                self._step("survey", [p for p in self._planned if p.survey], 0)
                swept, left_out = plan.sweep(self._planned, self._records)
                if left_out:
                    self.notes.append(
                        f"{len(left_out)} cases of the sweeps were not run: at the survey point their formulation was "
                        f"over {plan.SWEEP_FACTOR:g} times slower than the best, or its other execution faster"
                    )
                self._step("sweep", swept, 0)
                again = plan.finalists(self._planned, self._records)
                controls = plan.controls(again, self._options.seed)
                for round_ in range(1, self._options.rounds):
                    self._step(f"round {round_ + 1} of {self._options.rounds}", again, round_, controls)
        finally:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._finish()
        return self._records

    # -- servers and data -------------------------------------------------------------------------------------------

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

    def _step(self, name: str, planned: Sequence[Planned], round_: int, controls: Sequence[Planned] = ()) -> None:
        began = time.monotonic()
        both = [*((one, False) for one in planned), *((one, True) for one in controls)]
        order = plan.shuffled(both, self._options.seed, round_)
        if not order:
            return
        self._watch.begin(name, len(order))
        for number, (one, control) in enumerate(order):
            if self._options.budget_s is not None and self._clock.elapsed > self._options.budget_s:
                self.notes.append(
                    f"the budget ended in {name}: {len(order) - number} of {len(order)} cases were not run"
                )
                break
            if not self._known(one, round_, control):
                self._watch.now(str(one.case))
                self._one(one, round_, number, control)
            self._watch.done()
        self._clock.phases[f"{name.split()[0]}_s"] += time.monotonic() - began

    def _known(self, one: Planned, round_: int, control: bool) -> bool:
        """Whether a resumed run has this already."""
        record = self._records.get(_place(one.case.key, control))
        if record is None:
            return False
        return record.time is None or any(t.round == round_ for t in record.time.trials)

    def _one(self, one: Planned, round_: int, order: int, control: bool) -> None:
        started_at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        answer = self._ask(one, round_)
        record = _record(one, answer.measured, self._store.info.run, round_, order, started_at)
        record = msgspec.structs.replace(record, control=control, headline=record.headline and not control)
        self._store.append(record)
        place = _place(one.case.key, control)
        known = self._records.get(place)
        self._records[place] = merge([known, record])[0] if known else record
        trial = answer.measured.trial
        framework = trial.wall_s - trial.open_s if trial else 0.0
        self._clock.phases["measuring_compiling_checking_s"] += framework
        self._clock.phases["isolation_s"] += (answer.wall_s - framework) if trial else 0.0
        self._clock.phases["failed_cases_s"] += 0.0 if trial else answer.wall_s

    def _ask(self, one: Planned, round_: int) -> Answer:
        case, options = one.case, self._options
        key = (case.backend, case.device)
        data = self._data.get(_data_key(one), "no inputs were made")
        if key in self._dead:
            return _no(self._dead[key])
        if isinstance(data, str):
            return _no(data)
        job = CaseJob(
            case=case,
            data=str(data),
            threads=options.threads,
            cache=str(options.cache),
            sampling=self._sampling(one, round_),
            power=options.power,
        )
        try:
            return self._servers[key].run(job, options.timeout_s)
        except ServerError as error:
            self._dead[key] = str(error)
            return _no(str(error))

    def _sampling(self, one: Planned, round_: int) -> Sampling:
        whole = self._options.sampling
        if round_ > 0 or self._options.rounds == 1:
            return whole
        share = SURVEY_SHARE if one.repeated else SWEEP_SHARE
        return msgspec.structs.replace(whole, window_s=share * whole.window_s, min_samples=4)

    def _finish(self) -> None:
        info = msgspec.structs.replace(
            self._store.info,
            ended_at=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            phases_s={k: round(v, 3) for k, v in self._clock.phases.items()},
            wall_s=round(self._clock.elapsed, 3),
            notes=[*self._store.info.notes, *self.notes],
        )
        self._store.write_info(info)


def _place(key: str, control: bool) -> str:
    return f"{key} control" if control else key


def _data_key(one: Planned) -> str:
    c = one.case
    text = msgspec.json.encode([c.workload, c.params, c.mode, c.dtype, c.seed], order="deterministic")
    return hashlib.sha256(text).hexdigest()[:16]


def _no(reason: str) -> Answer:
    return Answer(Measured(status="error", reason=reason, failure_class="other"), 0.0)


def _record(one: Planned, measured: Measured, run: str, round_: int, order: int, started_at: str) -> Record:
    trial = measured.trial
    return Record(
        schema=SCHEMA,
        run=run,
        case=one.case,
        status=measured.status,
        reason=measured.reason,
        failure_class=measured.failure_class,
        fallback=measured.fallback,
        verdict=measured.verdict,
        time=None if trial is None else _timing(trial, measured.samples_s, round_, order),
        memory=measured.memory,
        energy=measured.energy,
        work=one.work,
        twins=list(one.twins),
        headline=one.headline,
        settings=measured.settings,
        environment=machine.state(),
        started_at=started_at,
    )


def _timing(trial: Trial, samples_s: list[float], round_: int, order: int) -> Timing:
    placed = msgspec.structs.replace(trial, round=round_, order=order)
    return Timing(
        first_call_s=trial.first_call_s,
        compile_s=trial.compile_s,
        convert_s=trial.convert_s,
        samples_s=[samples_s],
        steady=trial.steady,
        drift=trial.drift,
        trials=[placed],
    )

"""The fork servers of a run, one a framework and device: open, then prepare and measure groups of processes."""

from __future__ import annotations

import functools
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias

import msgspec

from backends.ops import Backend, Device
from harness.measuring.energy.sources import Baseline, baseline
from harness.planning.batches import SHARED
from harness.planning.groups import InterleavedGroup, Member
from harness.planning.options import Options
from harness.planning.plan import Planned
from harness.running.executed import ExecutedCounts
from harness.running.inputs import Inputs
from harness.running.progress import Watch
from harness.running.recording import refused
from harness.worker.client import START_S, Answer, Server, ServerError
from harness.worker.messages import CaseJob

ServerKey: TypeAlias = tuple[str, str]  # a backend and a device
# What is sent, from a group, a member of it and the folder of its inputs.
MakeJob: TypeAlias = Callable[[InterleavedGroup, Member, str], CaseJob]
# What takes an answer as soon as there is one, with its group and its place in it.
Take: TypeAlias = Callable[[InterleavedGroup, int, Answer], object]
Step: TypeAlias = Callable[[ServerKey, Server], object]
NUMPY: ServerKey = ("numpy", "cpu")  # whose server makes the inputs
MOST_DEATHS = 3  # of one server, after which nothing more is asked of it
PHASES = ("preparing_s", "measuring_s", "finishing_s")


class Pool:
    """A context manager: on entry a device's rest is measured and servers start; on leaving all ends.

    A server that cannot start, or inputs that cannot be made, are no error here: each case that wanted them is answered
    with the reason. `scratch` is a folder of its own, removed on leaving. `phases` is told the seconds that each part
    took.
    """

    def __init__(
        self,
        plan: Sequence[Planned],
        backends: Mapping[str, Backend],
        options: Options,
        scratch: Path,
        watch: Watch,
        phases: dict[str, float],
    ) -> None:
        self._plan, self._backends, self._options = plan, backends, options
        self._scratch, self._watch, self._phases = scratch, watch, phases
        self._servers: dict[ServerKey, Server] = {}
        self._dead: dict[ServerKey, str] = {}
        self._deaths: dict[ServerKey, int] = defaultdict(int)
        self._stack = ExitStack()
        self.baselines: dict[str, Baseline] = {}
        self.counts = ExecutedCounts(options.timeout_s)

    def __enter__(self) -> Self:
        self._stack.callback(shutil.rmtree, self._scratch, ignore_errors=True)
        try:
            for device in dict.fromkeys(p.case.device for p in self._plan):
                self.baselines[device] = baseline(Device.parse(device), self._options.power)
            self._open()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _open(self) -> None:
        """Start every server; what they import is waited for where a server is first wanted."""
        for name, device in dict.fromkeys((p.case.backend, p.case.device) for p in self._plan):
            self._servers[name, device] = self._server(self._backends[name], device)
        if NUMPY not in self._servers:
            self._servers[NUMPY] = self._server(self._backends[NUMPY[0]], NUMPY[1])
        options = self._options
        self._inputs = Inputs(
            lambda: self._servers[NUMPY], self._scratch, options.cache, options.threads, options.timeout_s
        )
        self._stack.callback(self._inputs.trim)

    def _server(self, backend: Backend, device: str) -> Server:
        options = self._options
        server = Server(
            backend,
            Device.parse(device),
            options.threads,
            options.cache,
            memory_bytes=options.memory_bytes,
            start_s=max(START_S, options.timeout_s),
            tf32=options.tf32,
        )
        return self._stack.enter_context(server)

    def close(self, key: ServerKey) -> None:
        """End one server now, with whatever it runs."""
        self._servers[key].close()

    def ask(self, member: Member, job: MakeJob) -> Answer:
        """The answer of one member, by a process of its own; nothing else is waited for."""
        ((answer,),) = self._alone([InterleavedGroup(0, (member,))], job)
        return answer

    def make_inputs(self, cases: Sequence[Planned]) -> None:
        """Make the inputs and references of cases now, and count what each executes.

        A server that dies of it is started again, at first.
        """
        began = time.monotonic()
        while NUMPY not in self._dead:
            try:
                self._inputs.make(cases, abreast=self._options.threads)
                break
            except ServerError as error:
                self.bury(NUMPY, error)
        else:
            self._inputs.refuse(cases, self._dead[NUMPY])
        self._phases["inputs_and_references_s"] += time.monotonic() - began
        self._count(cases)

    def _count(self, cases: Sequence[Planned]) -> None:
        began = time.monotonic()
        folders = [(planned.case, self._inputs.of(planned)) for planned in cases]
        made = [(case, folder) for case, folder in folders if isinstance(folder, Path)]
        for last in (False, True):  # what is counted must not cost the server that makes the inputs
            if NUMPY in self._dead:
                break
            try:
                self.counts.count(self._servers[NUMPY], made, abreast=self._options.threads)
                break
            except ServerError as error:
                self.bury(NUMPY, error)
                if last:
                    self.counts.give_up(str(error))
        self._phases["counting_s"] += time.monotonic() - began

    def measure(
        self, groups: Sequence[InterleavedGroup], job: MakeJob, seed: int = 0, take: Take = lambda *_: None
    ) -> list[list[Answer]]:
        """An answer for each member of each group.

        All are prepared at once and nothing is measured meanwhile; then the groups are measured one after the other,
        each in turns; then all go on to their end. On an accelerator members follow each other instead, and `take` is
        given each answer as soon as it is there.
        """
        self.make_inputs([member.planned for group in groups for member in group.members])
        if any(group.server[1] != SHARED for group in groups):
            return self._alone(groups, job, take)
        return _Batch(self, groups, job, seed).answers()

    def _alone(
        self, groups: Sequence[InterleavedGroup], job: MakeJob, take: Take = lambda *_: None
    ) -> list[list[Answer]]:
        answers: list[list[Answer]] = []
        for group in groups:
            answers.append([])
            for place, member in enumerate(group.members):
                answers[-1].append(self._one(group, member, job))
                take(group, place, answers[-1][-1])
        return answers

    def _one(self, group: InterleavedGroup, member: Member, job: MakeJob) -> Answer:
        made, key = self.job(group, member, job), group.server
        if isinstance(made, Answer):
            return made
        try:
            return self._servers[key].run(_whole(made), self._options.timeout_s)
        except ServerError as error:
            return self.bury(key, error)

    def job(self, group: InterleavedGroup, member: Member, job: MakeJob) -> CaseJob | Answer:
        """What is sent for a member, or the answer if nothing can be."""
        if group.server in self._dead:
            return refused(self._dead[group.server])
        folder = self._inputs.of(member.planned)
        return folder if isinstance(folder, Answer) else job(group, member, str(folder))

    def server(self, key: ServerKey) -> Server:
        """One of the servers, started; ServerError if it cannot be."""
        server = self._servers[key]
        if server.ready is None:
            began = time.monotonic()
            self._watch.say(f"importing {server.backend.title}")
            server.start()
            self._phases["import_s"] += time.monotonic() - began
        return server

    def bury(self, key: ServerKey, error: ServerError) -> Answer:
        """The answer for what was asked of a server. One that was killed while it worked is started again, at first."""
        self._deaths[key] += 1
        if self._servers[key].ready is not None and self._deaths[key] <= MOST_DEATHS:
            self._servers[key].close()
            self._servers[key] = self._server(self._backends[key[0]], key[1])
        else:
            self._dead[key] = str(error)
        self._watch.say(str(error))
        return refused(str(error))

    def spent(self, phase: str, began: float) -> None:
        """Add the seconds since `began` to a phase."""
        self._phases[phase] += time.monotonic() - began

    @property
    def options(self) -> Options:
        """How the run is carried out."""
        return self._options


class _Batch:
    """Groups of several servers that are prepared at once."""

    def __init__(self, pool: Pool, groups: Sequence[InterleavedGroup], job: MakeJob, seed: int) -> None:
        self._pool, self._seed = pool, seed
        self._found: list[list[CaseJob | Answer]] = [
            [pool.job(group, member, job) for member in group.members] for group in groups
        ]
        self._of: dict[ServerKey, list[int]] = defaultdict(list)  # the groups of each server, by number
        for number, group in enumerate(groups):
            if any(isinstance(entry, CaseJob) for entry in self._found[number]):
                self._of[group.server].append(number)

    def answers(self) -> list[list[Answer]]:
        """Prepare, measure, finish."""
        for phase, step in zip(PHASES, (self._prepare, self._measure, self._finish), strict=True):
            began = time.monotonic()
            step()
            self._pool.spent(phase, began)
        return [[entry for entry in found if isinstance(entry, Answer)] for found in self._found]

    def _prepare(self) -> None:
        timeout_s, threads = self._pool.options.timeout_s, self._pool.options.threads
        abreast = threads  # of every server: one whose programs take long to compile must not leave a core idle
        beside = abreast * len(self._of) - 1

        def begin(key: ServerKey, server: Server) -> None:
            server.begin(self._jobs(key, beside), timeout_s, abreast)

        self._each(begin)
        self._each(lambda _, server: server.prepared())

    def _jobs(self, key: ServerKey, beside: int) -> list[tuple[list[CaseJob], int]]:
        groups = [[entry for entry in self._found[number] if isinstance(entry, CaseJob)] for number in self._of[key]]
        if len(self._of) == 1:
            beside = min(beside, sum(map(len, groups)) - 1)
        return [
            ([msgspec.structs.replace(job, beside=beside) for job in jobs], 1000 * self._seed + number)
            for number, jobs in zip(self._of[key], groups, strict=True)
        ]

    def _measure(self) -> None:
        order = [(number, key) for key, numbers in self._of.items() for number in numbers]
        for number, key in sorted(order):
            self._with(key, functools.partial(self._measure_one, number))

    def _measure_one(self, number: int, key: ServerKey, server: Server) -> None:
        server.measure(self._of[key].index(number))

    def _finish(self) -> None:
        self._each(lambda _, server: server.finish())
        self._each(lambda key, server: self._take(key, server.answers()))

    def _take(self, key: ServerKey, answers: Sequence[Sequence[Answer]]) -> None:
        for number, came in zip(self._of[key], answers, strict=True):
            rest = iter(came)
            self._found[number] = [entry if isinstance(entry, Answer) else next(rest) for entry in self._found[number]]

    def _each(self, step: Step) -> None:
        for key in list(self._of):
            self._with(key, step)

    def _with(self, key: ServerKey, step: Step) -> None:
        """Do a step with a server that lives; where it dies of it, all that was asked of it is answered so."""
        if key not in self._of:
            return
        try:
            step(key, self._pool.server(key))
        except ServerError as error:
            answer = self._pool.bury(key, error)
            for number in self._of.pop(key):
                self._found[number] = [entry if isinstance(entry, Answer) else answer for entry in self._found[number]]


def _whole(job: CaseJob) -> CaseJob:
    """The job with a window of one slice: there is nobody to take slices in turn with."""
    return msgspec.structs.replace(job, sampling=msgspec.structs.replace(job.sampling, slices=1))

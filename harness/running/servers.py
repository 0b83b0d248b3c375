"""The fork servers of a run, one a framework and device, and the inputs that they share: open, then ask."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from backends.ops import Backend, Device
from harness.measuring.energy.sources import Baseline, baseline
from harness.planning.groups import Member
from harness.planning.options import Options
from harness.planning.plan import Planned
from harness.running.progress import Watch
from harness.running.recording import refused
from harness.worker.client import Answer, Server, ServerError
from harness.worker.messages import CaseJob, DataJob

DATA_TIMEOUT_S = 1800.0


class Pool:
    """A context manager: on entry a device's rest is measured, servers start and inputs are made; on leaving all ends.

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
        self._servers: dict[tuple[str, str], Server] = {}
        self._dead: dict[tuple[str, str], str] = {}
        self._data: dict[str, Path | Answer] = {}
        self._stack = ExitStack()
        self.baselines: dict[str, Baseline] = {}

    def __enter__(self) -> Self:
        self._stack.callback(shutil.rmtree, self._scratch, ignore_errors=True)
        try:
            self._rest()
            self._open()
            self._make_data()  # while the frameworks are imported
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def ask(self, members: Sequence[Member], job: Callable[[Member, str], CaseJob], seed: int = 0) -> list[Answer]:
        """An answer for each member; those that can run share a group, where the device is one that can be shared.

        `job` makes what is sent, from a member and the folder of its inputs.
        """
        key = (members[0].planned.case.backend, members[0].planned.case.device)
        jobs: list[CaseJob] = []
        answers: list[Answer | None] = []
        for member in members:
            data = self._data.get(_data_key(member.planned)) or refused("no inputs were made")
            if key in self._dead:
                data = refused(self._dead[key])
            answers.append(data if isinstance(data, Answer) else None)
            if isinstance(data, Path):
                jobs.append(job(member, str(data)))
        try:
            server, timeout_s = self._servers[key], self._options.timeout_s
            if key[1] == "cpu":
                ran = server.interleave(jobs, timeout_s, seed) if jobs else []
            else:  # one process at a time on an accelerator: its members follow each other closely instead
                ran = [server.run(_whole(job), timeout_s) for job in jobs]
        except ServerError as error:
            self._dead[key] = str(error)
            ran = [refused(str(error))] * len(jobs)
        rest = iter(ran)
        return [next(rest) if answer is None else answer for answer in answers]

    def close(self, backend: str, device: str) -> None:
        """End one server now, with whatever it runs."""
        self._servers[backend, device].close()

    def _rest(self) -> None:
        """Measure what a device takes at rest, before anything of ours runs; at once where nothing can be read."""
        for device in dict.fromkeys(p.case.device for p in self._plan):
            self.baselines[device] = baseline(Device.parse(device), self._options.power)

    def _server(self, backend: Backend, device: str) -> Server:
        options = self._options
        server = Server(
            backend, Device.parse(device), options.threads, options.cache, memory_bytes=options.memory_bytes
        )
        return self._stack.enter_context(server)

    def _open(self) -> None:
        wanted = dict.fromkeys((p.case.backend, p.case.device) for p in self._plan)
        for name, device in wanted:
            self._servers[name, device] = self._server(self._backends[name], device)
        self._numpy = self._servers.get(("numpy", "cpu")) or self._server(self._backends["numpy"], "cpu")

    def _start(self) -> None:
        began = time.monotonic()
        for key, server in self._servers.items():
            self._watch.say(f"importing {server.backend.title}")
            try:
                server.start()
            except ServerError as error:
                self._dead[key] = str(error)
                self._watch.say(str(error))
        self._phases["import_s"] = time.monotonic() - began

    def _make_data(self) -> None:
        """Inputs and float64 references, once for all backends: a process a workload, so that a cache serves it."""
        began = time.monotonic()
        todo: dict[tuple[str, str, int], dict[str, Planned]] = defaultdict(dict)
        for planned in self._plan:
            c = planned.case
            todo[c.workload, c.dtype, c.seed].setdefault(_data_key(planned), planned)
        self._watch.begin("inputs and references", len(todo))
        for (workload, dtype, seed), points in todo.items():
            self._watch.now(workload)
            self._data_job(workload, dtype, seed, points)
            self._watch.done()
        self._phases["inputs_and_references_s"] = time.monotonic() - began

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
        made = self._numpy.run(job, DATA_TIMEOUT_S)
        if made.measured.status == "ok":
            self._data.update(folders)
        elif len(points) == 1:
            why = refused(f"no inputs or reference: {made.measured.reason}", made.log)
            self._data.update(dict.fromkeys(points, why))
        else:  # one bad point must not take the others with it
            for key, point in points.items():
                self._data_job(workload, dtype, seed, {key: point})


def _whole(job: CaseJob) -> CaseJob:
    """The job with a window of one slice: there is nobody to take slices in turn with."""
    return msgspec.structs.replace(job, sampling=msgspec.structs.replace(job.sampling, slices=1))


def _data_key(planned: Planned) -> str:
    c = planned.case
    text = msgspec.json.encode([c.workload, c.params, c.mode, c.dtype, c.seed], order="deterministic")
    return hashlib.sha256(text).hexdigest()[:16]

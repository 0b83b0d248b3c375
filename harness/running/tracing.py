"""One more fresh process of a case, for its framework's own profiler: no run, no clock and no record."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from pathlib import Path

from backends.numpy_backend import BACKEND as NUMPY
from backends.ops import Backend, Device
from harness.errors import UserError
from harness.machine import facts
from harness.measuring.settings import PowerModel, Sampling
from harness.planning.plan import Planned
from harness.records import timestamps, traces
from harness.records.disk import why
from harness.records.traces import CaseTrace
from harness.running.inputs import Inputs
from harness.worker import folder as temporary
from harness.worker.client import Answer, Server, ServerError
from harness.worker.messages import CaseJob, TraceJob

WINDOW_S = 0.3  # of calls that are profiled


class Tracing:
    """How to trace: with `threads` cores, `cache` for programs and inputs, a limit for a process; files in `folder`.

    `tf32` as in a run.
    """

    def __init__(
        self, folder: Path, cache: Path, threads: int, timeout_s: float, memory_bytes: int | None, *, tf32: bool = False
    ) -> None:
        self._folder, self._cache, self._threads, self._tf32 = folder, cache, threads, tf32
        self._timeout_s, self._memory_bytes = timeout_s, memory_bytes
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"-o {folder} cannot be made ({why(error)}); name another folder") from None

    def trace(self, planned: Planned, backend: Backend, keep: str | None = None) -> CaseTrace | Answer:
        """The trace, stored with its file; the answer of the process where it did not come so far.

        `keep` is the setting of the compiler that a run kept. UserError where the framework does not start, or the
        files cannot be written.
        """
        started_at = timestamps.now()
        with ExitStack() as stack:
            scratch = stack.enter_context(temporary.scratch())
            try:
                data = self._inputs(planned, scratch)
                if isinstance(data, Answer):
                    return data
                server = stack.enter_context(self._server(backend, planned.case.device))
                made = scratch / f"trace{traces.CHROME}"
                job = TraceJob(case_job=self._job(planned, data, keep), file=str(made), window_s=WINDOW_S)
                answer = server.run(job, self._timeout_s)
            except ServerError as error:
                raise UserError(str(error)) from None
            traced = answer.measured.traced
            if traced is None:
                return answer
            file = self._folder / f"{traces.stem(planned.case)}{traces.CHROME}"
            try:
                shutil.move(made, file)
            except OSError as error:
                raise UserError(f"{file} cannot be written ({why(error)}); name another folder with -o") from None
        trace = CaseTrace(
            rows=traced.rows,
            case=planned.case,
            profiler=traced.profiler,
            versions=facts.versions([backend]),
            threads=self._threads,
            traced_calls=traced.calls,
            window_s=traced.window_s,
            untraced_call_s=traced.untraced_call_s,
            started_at=started_at,
            file=file.name,
        )
        traces.store(trace, self._folder)
        return trace

    def _inputs(self, planned: Planned, scratch: Path) -> Path | Answer:
        """The folder of its inputs and reference, kept from a run or made now by NumPy's server."""
        with ExitStack() as stack:

            def numpy() -> Server:
                return stack.enter_context(self._server(NUMPY, "cpu"))

            inputs = Inputs(numpy, scratch, self._cache, self._threads, self._timeout_s)
            inputs.make([planned], abreast=1)
            return inputs.of(planned)

    def _server(self, backend: Backend, device: str) -> Server:
        return Server(
            backend,
            Device.parse(device),
            self._threads,
            self._cache,
            memory_bytes=self._memory_bytes,
            tf32=self._tf32,
        )

    def _job(self, planned: Planned, data: Path, keep: str | None) -> CaseJob:
        """A case that is prepared as for a measurement; what comes after the clock is not asked for."""
        return CaseJob(
            case=planned.case,
            data=str(data),
            threads=self._threads,
            cache=str(self._cache),
            sampling=Sampling(),
            power=PowerModel(),
            watch=False,
            recheck=False,
            metered=False,
            keep=keep,
        )

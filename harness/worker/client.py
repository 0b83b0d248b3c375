"""The main process's handle on a backend's fork server: start it in its environment, send a job, get an outcome."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from backends.ops import Backend, Device, Scalar
from harness.records.record import FAILED
from harness.records.text import one_line
from harness.worker import folder, outcome, printed, strays
from harness.worker.environment import environment, memory_limit
from harness.worker.messages import (
    FINISH,
    MEASURE,
    Exit,
    Exits,
    GroupJobs,
    Job,
    Measured,
    MemberJob,
    Ready,
    Request,
)

START_S = 120.0  # that an import may take at least: the first from a network's file system is slow
GONE_S = 5.0  # from the end of its answers to its own
RAISED = FAILED - {"wrong"}  # what leaves a traceback; wrong outputs leave what frameworks say anyway


class ServerError(Exception):
    """The server of a backend could not start; the message says why, in one sentence."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a job, and how long the round trip to a fresh process took.

    `log` has the words of a process that failed or printed: its traceback and output, of limited size.
    """

    measured: Measured
    wall_s: float
    log: str | None = None


class Server:
    """One fork server. Use as a context manager; `run` and `group` may be called any number of times, one at a time.

    `tf32` asks TF32 of the framework. A `bare` one imports nothing ahead: for a question that needs no compiler.
    """

    def __init__(
        self,
        backend: Backend,
        device: Device,
        threads: int,
        cache: Path,
        *,
        memory_bytes: int | None = None,
        start_s: float = START_S,
        tf32: bool = False,
        bare: bool = False,
    ) -> None:
        self._start_s = start_s
        self.backend, self.device, self.cache = backend, device, cache
        self.environ = environment(backend, device, threads, cache, tf32=tf32)
        self._memory_bytes = memory_limit(device, memory_bytes)
        self._folder, self._alive = folder.locked()
        self._log = Path(self._folder.name) / "server.log"
        self._mark = strays.mark(Path(self._folder.name).name)
        self.environ[strays.OWNER] = self._mark
        self.environ["TMPDIR"] = folder.for_others(Path(self._folder.name))
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "harness.worker.server", backend.name, *(["bare"] if bare else [])],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self.environ,
                start_new_session=True,  # Ctrl-C is for us to handle
            )
        self.ready: Ready | None = None
        self._asked: list[GroupJobs] = []
        self._kills, self._timeout_s = _oom_kills(), 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def start(self) -> Ready:
        """Wait until the framework is imported, no longer than `start_s`; ServerError if it cannot be."""
        if self.ready is None:
            limit_s = self._start_s
            if not self._speaks(limit_s):
                self._kill()
                said = f"; its last words: {words}" if (words := self._words()) else ""
                raise ServerError(
                    f"{self.backend.title} was not imported after {limit_s:g} s, and was ended{said}; "
                    f"see where it hangs: {sys.executable} -X faulthandler -c 'import {self.backend.module}'"
                )
            line = self._line()
            ready = msgspec.json.decode(line, type=Ready) if line else None
            if ready is None or ready.error is not None:
                why = f"its process {self._end()}" if ready is None else one_line(ready.error or "")
                raise ServerError(f"{self.backend.title} does not import: {why}; try: {self.backend.install}")
            self.ready = ready
        return self.ready

    def _speaks(self, limit_s: float) -> bool:
        """Whether it has said something within the limit, or ended; cuts its log meanwhile."""
        until = time.monotonic() + limit_s
        answers: Any = self._process.stdout  # a file, which `wait` takes like any object with a descriptor
        there: list[Any] = []
        while not there and (left := until - time.monotonic()) > 0:
            there = wait([answers], min(left, printed.LOOK_S))
            printed.bound(self._log)
        return bool(there)

    def _end(self) -> str:
        """How the server ended, by signal or code, and its last words."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(GONE_S)
        self._kill()  # where it closed its pipes and stayed
        code = self._process.returncode
        memory = " (the kernel ran out of memory)" if code == -signal.SIGKILL and _oom_kills() > self._kills else ""
        words = self._words()
        said = f"; its last words: {words}" if words else ", and left no words"
        return f"{'was ' if code < 0 else ''}{outcome.ended(code)}{memory}{said}"

    def _words(self) -> str:
        lines = printed.last_lines(self._log)
        return one_line(lines[-1]) if lines else ""

    def run(self, job: Job, timeout_s: float) -> Answer:
        """Do `job` in a fresh process and wait for it. Every way to end is an outcome; ServerError only for our own."""
        return self.interleave([job], timeout_s)[0]

    def interleave(self, jobs: Sequence[Job], timeout_s: float, seed: int = 0) -> list[Answer]:
        """Do `jobs` in a fresh process each, all alive at once and measured in turns; an answer each, in order."""
        self.begin([(jobs, seed)], timeout_s)
        self.prepared()
        self.measure(0)
        self.finish()
        return self.answers()[0]

    def each(self, jobs: Sequence[Job], timeout_s: float, abreast: int) -> list[Answer]:
        """Do `jobs` that measure nothing in a fresh process each, `abreast` at once; an answer each, in order."""
        self.begin([([job], 0) for job in jobs], timeout_s, abreast)
        self.prepared()
        self.finish()
        return [answer for (answer,) in self.answers()]

    # -- the same in steps, so that several servers can prepare at once while nothing is measured --------------------

    def begin(self, groups: Sequence[tuple[Sequence[Job], int]], timeout_s: float, abreast: int = 1) -> None:
        """Let the processes of groups prepare, `abreast` at once: of each its jobs and the seed of its turns' order."""
        self.start()
        place = Path(self._folder.name)
        for stale in place.glob("case*"):
            stale.unlink()
        folder.for_others(place)
        names = (str(place / f"case{number}") for number in itertools.count())
        asked = [
            GroupJobs(
                members=[
                    MemberJob(job=job, result=f"{name}.json", log=f"{name}.log")
                    for job, name in zip(jobs, names, strict=False)
                ],
                seed=seed,
            )
            for jobs, seed in groups
        ]
        self._asked, self._kills = asked, _oom_kills()
        request = Request(groups=asked, abreast=abreast, timeout_s=timeout_s, memory_bytes=self._memory_bytes)
        self._timeout_s = timeout_s
        self._tell(msgspec.json.encode(request) + b"\n")

    def prepared(self) -> None:
        """Wait until every process that `begin` was given is prepared, or has ended."""
        self._heard()

    def measure(self, group: int) -> None:
        """Measure one of the groups, from 0, and wait for it; nothing else should run meanwhile."""
        self._tell(MEASURE % group)
        self._heard()

    def finish(self) -> None:
        """Let all processes go on to their end; `answers` waits for it."""
        self._tell(FINISH)

    def answers(self) -> list[list[Answer]]:
        """What came of every process, by group."""
        exits = msgspec.json.decode(self._heard(), type=Exits).exits
        killed = _oom_kills() > self._kills
        return [
            [_answer(*pair, self._timeout_s, self.cache, killed) for pair in zip(group.members, ends, strict=True)]
            for group, ends in zip(self._asked, exits, strict=True)
        ]

    def _tell(self, line: bytes) -> None:
        if self._process.stdin is None:
            raise ServerError(f"the server of {self.backend.title} is closed")
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
        except BrokenPipeError:
            raise ServerError(f"the server of {self.backend.title} {self._end()}") from None

    def _heard(self) -> bytes:
        line = self._line()
        if not line:
            raise ServerError(f"the server of {self.backend.title} {self._end()}")
        return line

    def _line(self) -> bytes:
        return self._process.stdout.readline() if self._process.stdout else b""

    def close(self) -> None:
        """Kill the server and whatever it runs or has left; safe to call twice."""
        self._kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        self._alive.release()
        self._folder.cleanup()

    def _kill(self) -> None:
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # its cases have groups of their own and die with it,
            self._process.wait()
        strays.end_marked(self._mark)  # and what they started does not


def _answer(member: MemberJob, end: Exit, timeout_s: float, cache: Path, oom_killed: bool) -> Answer:
    result, log = Path(member.result), Path(member.log)
    if result.exists():
        measured = msgspec.json.decode(result.read_bytes(), type=Measured)
        kept = printed.words(log) if measured.printed or measured.status in RAISED else None
        if measured.reason is not None:  # a compiler that finds no room is refused by its framework
            folder.refuse_full(log.parent, cache, f"{measured.reason}\n{kept}", answered=True)
        return Answer(measured, end.wall_s, kept)
    words = os.strerror(errno.ENOSPC) if end.code == folder.NO_ROOM else printed.words(log) or ""
    folder.refuse_full(log.parent, cache, words, answered=False)
    phase = log.with_suffix(".phase")
    where = (phase.read_text() if phase.exists() else "") or "starting"
    if end.timed_out:
        status, kind, reason = outcome.of_timeout(timeout_s, where)
    else:
        killed = end.code == -signal.SIGKILL and oom_killed
        status, kind, reason = outcome.of_exit(end.code, where, printed.last_lines(log), killed)
    settings: dict[str, Scalar] = {strays.LEFT: "; ".join(end.strays)} if end.strays else {}
    measured = Measured(status=status, reason=reason, failure_class=kind, settings=settings)
    return Answer(measured, end.wall_s, printed.words(log))


def _oom_kills() -> int:
    """How often the kernel has killed for memory on this machine since it started."""
    try:
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    except OSError:
        pass
    return 0

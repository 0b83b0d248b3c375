"""This computer: one command after another. It tries a plan out, and measures one machine through several pythons."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence

import psutil

from harness.errors import UserError
from harness.fleet.description import MachineKind
from harness.fleet.engines.base import Finished, Heard, Job
from harness.fleet.engines.wrapper import begin, code_of, last_words, wrapped
from harness.records.disk import why

_LOOK_S = 0.2  # between looks: each costs what is measured beside


class LocalEngine:
    """Every machine of the file is this computer, so one of them is there at a time. Commands outlive their driver."""

    keeps = True
    at_once: int | None = 1  # two runs would disturb each other

    def __init__(self) -> None:
        self._machines: list[str] = []
        self._running: dict[str, tuple[Job, psutil.Process | None]] = {}  # None: it ended before it was ours
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def connect(self, kinds: Mapping[str, MachineKind]) -> None:
        """All are here."""
        self._machines = [machine for kind in kinds.values() for machine in kind.machines]

    def there(self) -> Sequence[str]:
        """All of them."""
        return self._machines

    def missing(self) -> Mapping[str, str]:
        """None is."""
        return {}

    def start(self, job: Job) -> str:
        """Start it in a session of its own; UserError where its Python or folder is not there."""
        begin(job.log)
        try:
            child = subprocess.Popen(
                wrapped(job.argv(str(job.results)), job.log),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=job.folder,
                env={**os.environ, **job.kind.env},
                start_new_session=True,
            )
        except OSError as error:
            raise UserError(f"{job.attempt} cannot be started in {job.folder} ({why(error)})") from None
        process = psutil.Process(child.pid)
        self._running[job.attempt] = (job, process)
        self._children[job.attempt] = child
        return f"{child.pid} {process.create_time()}"

    def adopt(self, job: Job) -> bool:
        """Whether its process lives, or has left an exit code that nobody has read."""
        process = _alive(job.place)
        if process is None and code_of(job.log) is None:
            return False
        self._running[job.attempt] = (job, process)
        return True

    def heard(self, timeout_s: float) -> Sequence[Heard]:
        """Which commands have ended."""
        until = time.monotonic() + timeout_s
        while True:
            ended = [heard for name in list(self._running) if (heard := self._ended(name))]
            if ended or time.monotonic() >= until:
                return ended
            time.sleep(_LOOK_S)

    def _ended(self, name: str) -> Heard | None:
        job, process = self._running[name]
        child = self._children.get(name)
        lives = child.poll() is None if child is not None else _lives(process)
        code = code_of(job.log)
        if code is None and lives:
            return None
        if code is None:  # the shell was killed: its command goes, too
            code = 128 + signal.SIGKILL
            if process is not None:
                with contextlib.suppress(OSError):
                    os.killpg(process.pid, signal.SIGTERM)
        del self._running[name]
        self._children.pop(name, None)
        if child is not None:
            child.wait()
        return Finished(attempt=name, code=code, said=last_words(job.log))

    def stored(self, attempt: str, size: int) -> None:
        """The command stores its records itself."""

    def stop(self, attempt: str) -> None:
        """SIGTERM to its shell, which passes it on."""
        if attempt in self._running:
            _, process = self._running[attempt]
            if process is not None:
                with contextlib.suppress(psutil.Error):
                    process.terminate()

    def forget(self, attempt: str) -> None:
        """Nothing is kept but the log."""

    def close(self) -> None:
        """Whatever runs goes on."""


def _alive(place: str | None) -> psutil.Process | None:
    """The process of a place, unless its number has gone to another since."""
    pid, _, created = (place or "").partition(" ")
    try:
        process = psutil.Process(int(pid))
        same = process.create_time() == float(created)
    except (psutil.Error, ValueError):
        return None
    return process if same and _lives(process) else None


def _lives(process: psutil.Process | None) -> bool:
    """Whether it has not ended. Of an earlier driver's child nobody may take the exit code, as in a container."""
    try:
        return process is not None and process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False

"""What an engine does for the driver: it says which machines are there, starts commands there, tells what comes."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from harness.fleet.description import MachineKind
from harness.machine.digest import ROOT

STOPPED = (129, 130, 131, 143)  # exit codes of a run that was asked to end: everything measured is kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A run of hwlottery to be carried to a machine. It goes on, by the same command, where it was stopped.

    `results` is its folder on the driver's side, `log` the file for what it prints, `stored` how many bytes of its
    records came before, `place` where an earlier driver had it.
    """

    attempt: str
    machine: str
    kind: MachineKind
    options: Sequence[str]
    results: Path
    log: Path
    stored: int = 0
    place: str | None = None

    def argv(self, out: str, python: str = sys.executable) -> list[str]:
        """The command that writes to `out`; `python` is used where the machine names none."""
        return [self.kind.python or python, "-m", "harness", "run", "--resume", "--out", out, *self.options]

    @property
    def folder(self) -> str:
        """Where the command begins: the checkout of the machine, or one where the driver's own is."""
        return self.kind.folder or str(ROOT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Lines of an attempt's records from a byte on, and its run.json where that changed."""

    attempt: str
    offset: int = 0
    piece: bytes = b""
    files: Mapping[str, bytes] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The command of an attempt has ended by itself. `said` is the end of what it printed."""

    attempt: str
    code: int
    said: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """An attempt is lost, with its machine or without; nothing more comes of it."""

    attempt: str
    why: str


Heard = Progress | Finished | Gone


class Engine(Protocol):
    """How commands get to machines. Nothing is tried again by the engine itself."""

    keeps: bool  # results are on the driver's disk, so that a run which was stopped goes on there as the same attempt
    at_once: int | None  # how many jobs it bears

    def connect(self, kinds: Mapping[str, MachineKind]) -> None:
        """Get hold of the machines; UserError where that cannot be."""

    def there(self) -> Sequence[str]:
        """The names of the machines that are there now."""

    def missing(self) -> Mapping[str, str]:
        """Kinds of which no machine is there, and why, as a sentence."""

    def start(self, job: Job) -> str:
        """Start a job, or the rest of one that was stopped; the place of it."""

    def adopt(self, job: Job) -> bool:
        """Whether a job that an earlier driver started is still there, and is ours now."""

    def heard(self, timeout_s: float) -> Sequence[Heard]:
        """What happened; waits at most so long for anything to."""

    def stored(self, attempt: str, size: int) -> None:
        """Acknowledge that so many bytes of the records of an attempt are on the disk."""

    def stop(self, attempt: str) -> None:
        """Ask a job to end as Ctrl-C would; it is heard of once it has."""

    def forget(self, attempt: str) -> None:
        """Give up what is kept of a job that has ended."""

    def close(self) -> None:
        """Let go of the machines; jobs go on where the engine can leave them."""

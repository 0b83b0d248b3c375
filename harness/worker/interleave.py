"""A group: several fresh processes alive at once, of which one at a time has the turn.

A machine that is shared changes its speed within a second, and two processes measured one after the other differ by
that. Here an idea, its twins and an A/A control are all prepared first, each alone, and then take slices of their
windows in turn, in an order drawn anew every time: what the machine does to one it does to all, and cancels in their
ratio (randomised interleaving, Bakshy & Frachtenberg 2015, "Design and Analysis of Benchmarking Experiments for
Distributed Internet Services", applied at the scale of slices). A process that has not the turn blocks in a read; its
thread pools sleep. One member alone is the ordinary case.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import ForkContext, ForkProcess
from pathlib import Path

from harness.worker.messages import Exit, MemberJob, Request

IDLE_WAIT_S, POLL_S = 0.02, 5e-4  # how long a member may go on after its slice, and between two looks
READY, GO, REST, DONE, FINISH = b"ready", b"go", b"rest", b"done", b"finish"


class Baton:
    """The turn of a process in a group: it says where it is and reads the answer."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def ready(self) -> None:
        """Wait for the first slice."""
        self._say(READY)

    def rest(self) -> None:
        """Wait for the next slice."""
        self._say(REST)

    def done(self) -> None:
        """Wait until every member is done."""
        self._say(DONE)

    def _say(self, word: bytes) -> None:
        self._connection.send_bytes(word)
        self._connection.recv_bytes()


@dataclass(slots=True)
class _MemberProcess:
    """The server's end of one member."""

    process: ForkProcess
    connection: Connection
    timeout_s: float
    word: bytes | None = None  # what it said last; None once it has ended
    timed_out: bool = False
    wall_s: float = 0.0
    code: int | None = field(default=None)

    def listen(self) -> None:
        """Wait for its next word, or its end; blocks on the connection, no polling."""
        began = time.perf_counter()
        try:
            if self.connection.poll(self.timeout_s):
                self.word = self.connection.recv_bytes()
            else:
                self.timed_out, self.word = True, None
        except (EOFError, OSError):
            self.word = None
        if self.word is None:
            self.end()
        self.wall_s += time.perf_counter() - began

    def tell(self, word: bytes) -> None:
        """Give it the turn, or let it finish, and wait for its next word."""
        try:
            self.connection.send_bytes(word)
        except OSError:
            self.word = None  # it died while it waited
            self.end()
            return
        self.listen()

    def end(self) -> None:
        """Reap the process and whatever it started."""
        if not self.timed_out:
            self.process.join(self.timeout_s)  # it has closed its end: it is ending
            self.timed_out = self.process.is_alive()
        if self.process.pid is not None:
            _kill_group(self.process.pid)
        self.process.join()
        self.code = self.process.exitcode
        self.process.close()
        self.connection.close()


def run(request: Request, fork: ForkContext, child: Callable[[MemberJob, Request, Connection], None]) -> list[Exit]:
    """Run the members of `request` through their group; `child` is what a forked process does with its own."""
    members: list[_MemberProcess] = []
    for job in request.members:
        ours, theirs = fork.Pipe()
        began = time.perf_counter()
        process = fork.Process(target=child, args=(job, request, theirs))
        process.start()
        theirs.close()  # so that its end is ours to read as the end of the file
        member = _MemberProcess(process, ours, request.timeout_s)
        member.wall_s = time.perf_counter() - began
        member.listen()
        members.append(member)
    _take_slices([member for member in members if member.word == READY], random.Random(request.seed))
    for member in members:
        while member.word is not None:
            member.tell(FINISH)
    return [Exit(code=member.code, timed_out=member.timed_out, wall_s=member.wall_s) for member in members]


def _take_slices(members: Sequence[_MemberProcess], order: random.Random) -> None:
    """Give each of the members a slice in turn, until none wants another."""
    measuring = list(members)
    while measuring:
        order.shuffle(measuring)
        for member in measuring:
            member.tell(GO)
            if member.word is not None and member.process.pid is not None:
                wait_until_idle(member.process.pid)
        measuring = [member for member in measuring if member.word == REST]


def wait_until_idle(pid: int) -> None:
    """Wait until the threads of a process sleep, IDLE_WAIT_S at most: pools spin for a while after their last work.

    libgomp's do so for some milliseconds, as long as the next member's slice, which would have a core less.
    """
    deadline = time.perf_counter() + IDLE_WAIT_S
    busy = _running(Path(f"/proc/{pid}/task").glob("*/stat"))
    while busy and time.perf_counter() < deadline:
        time.sleep(POLL_S)
        busy = _running(busy)


def _running(stats: Iterable[Path]) -> list[Path]:
    """Those of the threads, each by its `/proc/PID/task/TID/stat` (proc(5)), that are on a core or wait for one."""
    busy = []
    for stat in stats:
        with contextlib.suppress(OSError, IndexError):  # a thread that has ended is at rest
            if stat.read_bytes().rpartition(b")")[2].split(maxsplit=1)[0] == b"R":
                busy.append(stat)
    return busy


def _kill_group(leader: int) -> None:
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return  # nothing of it is left
    except PermissionError:
        os.kill(leader, signal.SIGKILL)  # it died before it had a group of its own

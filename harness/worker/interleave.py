"""Groups: several fresh processes alive at once, of which one at a time has the turn.

A machine that is shared changes its speed within a second, and two processes measured one after the other differ by
that. Here an idea, its twins and an A/A control are all prepared first, and then take slices of their windows in turn,
in an order drawn anew every time: what the machine does to one it does to all, and cancels in their ratio (randomised
interleaving, Bakshy & Frachtenberg 2015, "Design and Analysis of Benchmarking Experiments for Distributed Internet
Services", applied at the scale of slices). A process that has not the turn blocks in a read; its thread pools sleep.
One member alone is the ordinary case.

Nothing is timed while processes prepare, so several do at once, on all cores, for several groups; what must be timed
to prepare (a compiler's settings tried against each other) waits for the turn, too.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkContext, ForkProcess
from pathlib import Path
from typing import TypeAlias

from harness.measuring import waiting
from harness.worker import printed, strays
from harness.worker.messages import Exit, MemberJob, Request

IDLE_WAIT_S, POLL_S = 0.02, 5e-4  # how long a member may go on after its slice, and between two looks
QUIET, READY, GO, REST, DONE, FINISH = b"quiet", b"ready", b"go", b"rest", b"done", b"finish"

Child: TypeAlias = Callable[[MemberJob, Request, Connection], None]


class Baton:
    """The turn of a process in a group: it says where it is and reads the answer."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def quiet(self) -> None:
        """Wait until nothing else runs, to time something while preparing."""
        self._say(QUIET)

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
class MemberProcess:
    """The server's end of one member."""

    process: ForkProcess
    connection: Connection
    timeout_s: float
    log: Path
    word: bytes | None = None  # what it said last; None once it has ended
    timed_out: bool = False
    wall_s: float = 0.0
    code: int | None = field(default=None)
    strays: list[str] = field(default_factory=list)

    def listen(self) -> None:
        """Wait for its next word, or its end; blocks on the connection, and looks at the log now and then."""
        began = now = time.perf_counter()
        there = False
        while not there and now - began < self.timeout_s:
            there = self.connection.poll(min(printed.LOOK_S, began + self.timeout_s - now))
            now = time.perf_counter()
            if now - began >= printed.LOOK_S:
                printed.bound(self.log)
        self.hear(late=not there)
        self.wall_s += time.perf_counter() - began

    def hear(self, *, late: bool) -> None:
        """Take the word that is there, or its end; `late` where nothing came in time."""
        try:
            self.timed_out, self.word = late, None if late else self.connection.recv_bytes()
        except (EOFError, OSError):
            self.word = None
        if self.word is None:
            self.end()

    def tell(self, word: bytes) -> None:
        """Give it the turn, or let it finish, and wait for its next word."""
        if self.send(word):
            self.listen()

    def send(self, word: bytes) -> bool:
        """Whether it is there to take the word."""
        try:
            self.connection.send_bytes(word)
        except OSError:
            self.word = None  # it died while it waited
            self.end()
            return False
        return True

    def end(self) -> None:
        """Reap the process and whatever it started."""
        if not self.timed_out:
            self.process.join(self.timeout_s)  # it has closed its end: it is ending
            self.timed_out = self.process.is_alive()
        if self.process.pid is not None:
            _kill_group(self.process.pid)
        self.process.kill()  # it may not have come to have a group of its own
        self.process.join()
        self.code = self.process.exitcode
        self.process.close()
        if self.code:  # one that ends as it should has looked itself; what this one left is ours now
            self.strays = strays.end_children(but=[p.pid for p in multiprocessing.active_children() if p.pid])
        self.connection.close()


class Groups:
    """The groups of one request: `prepare`, then `measure` each, then `finish`."""

    def __init__(self, request: Request, fork: ForkContext, child: Child) -> None:
        self._request, self._fork, self._child = request, fork, child
        self._members: list[list[MemberProcess]] = []

    def prepare(self) -> None:
        """Start all members, `abreast` of them at once, until each is ready, waits for quiet or has ended."""
        started: list[MemberProcess] = []
        jobs = (job for group in self._request.groups for job in group.members)

        def start() -> MemberProcess | None:
            job = next(jobs, None)
            if job is not None:
                started.append(self._start(job))
            return started[-1] if job is not None else None

        _abreast(start, self._request.abreast, self._request.timeout_s)
        rest = iter(started)
        self._members = [[next(rest) for _ in group.members] for group in self._request.groups]

    def _start(self, job: MemberJob) -> MemberProcess:
        ours, theirs = self._fork.Pipe()
        process = self._fork.Process(target=self._child, args=(job, self._request, theirs))
        process.start()
        theirs.close()  # so that its end is ours to read as the end of the file
        return MemberProcess(process, ours, self._request.timeout_s, Path(job.log))

    def measure(self, number: int) -> None:
        """Take the slices of one group; what its members have to time before comes first, one after the other."""
        members = self._members[number]
        for member in members:
            while member.word == QUIET:
                member.tell(GO)
        ready = [member for member in members if member.word == READY]
        _take_slices(ready, random.Random(self._request.groups[number].seed))

    def finish(self) -> list[list[Exit]]:
        """Let all go on to their end, `abreast` of them at once; how each ended."""
        members = deque(member for group in self._members for member in group if member.word is not None)

        def tell() -> MemberProcess | None:
            while members:
                member = members.popleft()
                if member.send(FINISH):
                    return member
            return None

        _abreast(tell, self._request.abreast, self._request.timeout_s, last=True)
        return [
            [Exit(code=m.code, timed_out=m.timed_out, wall_s=m.wall_s, strays=m.strays) for m in group]
            for group in self._members
        ]


def _abreast(begin: Callable[[], MemberProcess | None], abreast: int, timeout_s: float, *, last: bool = False) -> None:
    """`begin` members until there are none, `abreast` at once, and hear each; to their `last` word, which is none."""
    under_way: dict[Connection, tuple[MemberProcess, float]] = {}
    while True:
        while len(under_way) < abreast:
            began = time.perf_counter()
            member = begin()
            if member is None:
                break
            under_way[member.connection] = (member, began)
        if not under_way:
            return
        oldest = min(began for _, began in under_way.values())
        left = max(0.0, oldest + timeout_s - time.perf_counter())
        there = wait(list(under_way), min(left, printed.LOOK_S))
        for member, _ in under_way.values():
            printed.bound(member.log)
        for connection, (member, began) in list(under_way.items()):
            now = time.perf_counter()
            late = connection not in there and now - began >= timeout_s
            if connection in there or late:
                del under_way[connection]
                member.hear(late=late)
                member.wall_s += now - began
                while last and member.word is not None and member.send(FINISH):
                    member.listen()


def _take_slices(members: Sequence[MemberProcess], order: random.Random) -> None:
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
    busy = waiting.running(Path(f"/proc/{pid}/task").glob("*/stat"))
    while busy and time.perf_counter() < deadline:
        time.sleep(POLL_S)
        busy = waiting.running(busy)


def _kill_group(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # nothing of it is left, or it has none of its own
        os.killpg(leader, signal.SIGKILL)

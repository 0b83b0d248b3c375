"""Machines, commands and a network that a test plays: what is sent may be lost, come twice, or late."""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.errors import UserError
from harness.fleet.engines.base import Finished, Gone, Progress

INFO = b'{"schema": 1, "run": "x", "started_at": "", "ended_at": null, "command": [], "machine": {}, "versions": {}, '
INFO += b'"settings": {}, "sources": {}}'


@dataclass
class Node:
    """A command on a machine: the lines that it has written, and how it ended."""

    machine: str
    lines: int = 0
    written: bytes = b""
    code: int | None = None
    alive: bool = True

    def write(self):
        self.written += b'{"line": %d}\n' % self.lines
        self.lines += 1


@dataclass
class Network:
    """An engine without machines: jobs become nodes, questions become messages, and a test delivers them."""

    machines: list[str]
    keeps: bool = False
    at_once: int | None = None
    nodes: dict[str, Node] = field(default_factory=dict)
    messages: list = field(default_factory=list)
    delivered: list = field(default_factory=list)
    acknowledged: dict[str, int] = field(default_factory=dict)
    stopped: list[str] = field(default_factory=list)
    refuses: bool = False

    def connect(self, kinds):
        pass

    def there(self):
        return self.machines

    def missing(self):
        return {}

    def start(self, job):
        if self.refuses:
            raise UserError("the node is gone")
        self.nodes.setdefault(job.attempt, Node(job.machine)).code = None
        self.acknowledged[job.attempt] = job.stored
        return f"node of {job.machine}"

    def adopt(self, job):
        node = self.nodes.get(job.attempt)
        self.acknowledged[job.attempt] = job.stored
        return node is not None and node.alive

    def ask(self, attempt):
        """A question to a node, answered as the engine of Ray does: what follows, else how it ended."""
        node, offset = self.nodes[attempt], self.acknowledged[attempt]
        piece = node.written[offset:]
        if piece or node.code is None:
            self.messages.append(Progress(attempt=attempt, offset=offset, piece=piece, files={"run.json": INFO}))
        else:
            self.messages.append(Finished(attempt=attempt, code=node.code, said="words"))

    def lose(self, attempt):
        """What Ray says of a node that it takes for dead, be it so or not."""
        self.messages.append(Gone(attempt=attempt, why="the node is lost"))

    def heard(self, timeout_s):
        heard, self.delivered = self.delivered, []
        return heard

    def stored(self, attempt, size):
        self.acknowledged[attempt] = size

    def stop(self, attempt):
        self.stopped.append(attempt)
        self.nodes[attempt].code = 143

    def forget(self, attempt):
        pass

    def close(self):
        pass

"""Ray: an actor on each node that runs one command. What travels there is an argv and JSON, and lines come back.

Ray tries nothing again by itself. A node is taken whole: by its labels, a resource of one unit, and all its CPUs and
GPUs, so that nothing else which Ray starts runs beside a measurement.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backends.install import install_hint
from harness.errors import UserError
from harness.fleet import labels
from harness.fleet.description import MachineKind
from harness.fleet.engines import remote
from harness.fleet.engines.base import Finished, Gone, Heard, Job, Progress
from harness.fleet.engines.wrapper import last_words
from harness.records.store import INFO, RECORDS
from harness.records.text import plain

RESOURCE = "hwlottery"
NODE_ID = "ray.io/node-id"
POLL_S = 2.0  # between questions to one node: each wakes a process there
KEEP_S = 86400.0  # for which a node keeps what nobody asks for


@dataclass(slots=True, eq=False)
class _Carried:
    """A job on its way: its actor, its node, the answer that is waited for, and how much is stored of it."""

    job: Job
    actor: Any
    node: str
    stored: int
    asked_at: float
    answer: Any = None
    known: int = 0  # CRC-32 of the run.json that is stored


class RayEngine:
    """Nodes of a cluster at `address`; without one, this computer as the only node of a Ray of its own."""

    keeps = False
    at_once: int | None = None

    def __init__(
        self,
        campaign: str,
        *,
        address: str | None = None,
        resource: str = RESOURCE,
        poll_s: float = POLL_S,
        keep_s: float = KEEP_S,
    ) -> None:
        self._campaign, self._address, self._resource = campaign, address, resource
        self._poll_s, self._keep_s = poll_s, keep_s
        self._kinds: Mapping[str, MachineKind] = {}
        self._ray: Any = None
        self._jobs: dict[str, _Carried] = {}
        self._nodes: dict[str, str] = {}  # of each machine
        self._seen: set[str] = set()  # nodes that were alive at the last look

    def connect(self, kinds: Mapping[str, MachineKind]) -> None:
        """Join the cluster, or start one; UserError where Ray is not installed, or the address leads nowhere."""
        if importlib.util.find_spec("ray") is None:
            raise UserError(f'engine = "ray" needs Ray, which is not installed; try: {install_hint("ray")}')
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray

        self._kinds, self._ray = kinds, ray
        if self._address is None:
            whole = [machine for kind in kinds.values() for machine in kind.machines]
            if len(whole) > 1:
                raise UserError(
                    f"the file names {len(whole)} machines and this computer is one: without address the Ray that is "
                    "started here has one node; give [ray] address, or leave one machine"
                )
        options: dict[str, Any] = {"namespace": f"hwlottery-{self._campaign}", "log_to_driver": False}
        if self._address is None:
            (kind,) = kinds.values()
            options |= {"address": "local", "resources": {self._resource: 1}, "labels": dict(kind.labels)}
            options |= {"include_dashboard": False}
        else:
            options |= {"address": self._address}
        try:
            ray.init(configure_logging=False, **options)
        except Exception as error:  # Ray has many, of no common kind
            raise UserError(_unjoined(self._address, error)) from None
        ray.cloudpickle.register_pickle_by_value(remote)

    def there(self) -> Sequence[str]:
        """The machines whose node is alive: each keeps its node while that lives, and gets another afterwards."""
        alive = {node["NodeID"]: node for node in self._alive()}
        self._seen = set(alive)
        self._nodes = {machine: node for machine, node in self._nodes.items() if node in alive}
        for kind in self._kinds.values():
            taken = set(self._nodes.values())
            fit = [name for name, node in alive.items() if name not in taken and self._fits(node, kind)]
            for machine in kind.machines:
                if machine not in self._nodes and fit:
                    self._nodes[machine] = fit.pop(0)
        return list(self._nodes)

    def _alive(self) -> list[Mapping[str, Any]]:
        return [node for node in self._ray.nodes() if node["Alive"]]

    def _fits(self, node: Mapping[str, Any], kind: MachineKind) -> bool:
        selector = {key: (value,) for key, value in kind.labels.items()}
        return node["Resources"].get(self._resource, 0) >= 1 and labels.meets(node.get("Labels", {}), selector)

    def missing(self) -> Mapping[str, str]:
        """What the nodes lack: the resource, or a label."""
        if self._ray is None:
            return {}
        found = {}
        nodes = {node["NodeID"][:8]: node for node in self._alive()}
        for kind in self._kinds.values():
            if any(machine in self._nodes for machine in kind.machines):
                continue
            selector = {key: (value,) for key, value in kind.labels.items()}
            fit = [name for name, node in nodes.items() if labels.meets(node.get("Labels", {}), selector)]
            if fit:
                one = f"""--resources='{{"{self._resource}": 1}}'"""
                found[kind.name] = f"node {fit[0]} has no free resource {self._resource}; start it with {one}"
            else:
                ours = {
                    name: {k: v for k, v in node.get("Labels", {}).items() if not k.startswith("ray.io/")}
                    for name, node in nodes.items()
                }
                found[kind.name] = labels.nearest(selector, ours) if any(ours.values()) else _unlabelled(kind, ours)
        return found

    # -- jobs

    def start(self, job: Job) -> str:
        """An actor on the machine's node, which starts the command; UserError where the node is not there any more."""
        node = self._nodes.get(job.machine)
        held = {one["NodeID"]: one["Resources"] for one in self._alive()}.get(node or "")
        if node is None or held is None:
            raise UserError(f"the node of {job.machine} is gone")
        actor = (
            self._ray.remote(remote.Remote)
            .options(
                name=job.attempt,
                lifetime="detached" if self._address else None,
                num_cpus=held.get("CPU", 0),
                num_gpus=held.get("GPU", 0),
                resources={self._resource: 1},
                label_selector={**job.kind.labels, NODE_ID: node},
                max_restarts=0,
                max_task_retries=0,
            )
            .remote(job.argv(remote.OUT, remote.PYTHON), job.folder, dict(job.kind.env), RECORDS, INFO, self._keep_s)
        )
        self._jobs[job.attempt] = _Carried(job, actor, node, 0, time.monotonic())
        return node

    def adopt(self, job: Job) -> bool:
        """Whether the actor of an earlier driver lives; it goes on from what is stored."""
        try:
            actor = self._ray.get_actor(job.attempt)
        except ValueError:
            return False
        node = job.place or ""
        # At the first look machines got nodes as they came: whoever got this one there gets another.
        self._nodes = {machine: other for machine, other in self._nodes.items() if other != node}
        self._nodes[job.machine] = node
        self._jobs[job.attempt] = _Carried(job, actor, node, job.stored, 0.0)
        return True

    def heard(self, timeout_s: float) -> Sequence[Heard]:
        """Ask every actor in its turn, and take the answers that came."""
        gone = [carried for carried in self._jobs.values() if carried.node not in self._seen]
        if gone:  # an actor that never got to its node would be waited for without an end
            for carried in gone:
                self._give_up(carried)
            return [Gone(attempt=c.job.attempt, why=f"Ray lost node {c.node[:8]}") for c in gone]
        now = time.monotonic()
        for carried in self._jobs.values():
            if carried.answer is None and now - carried.asked_at >= self._poll_s:
                carried.answer = carried.actor.read.remote(carried.stored, carried.known)
                carried.asked_at = now
        waited = {carried.answer: carried for carried in self._jobs.values() if carried.answer is not None}
        if not waited:
            time.sleep(min(timeout_s, self._poll_s))
            return []
        ready, _ = self._ray.wait(list(waited), num_returns=len(waited), timeout=min(timeout_s, self._poll_s))
        return [heard for answer in ready for heard in self._answered(waited[answer])]

    def _answered(self, carried: _Carried) -> list[Heard]:
        name, answer = carried.job.attempt, carried.answer
        carried.answer = None
        try:
            came = self._ray.get(answer)
        except self._ray.exceptions.ActorUnavailableError:
            return []  # for a time, as where the network fails: asked again, until its node is given up
        except self._ray.exceptions.RayError as error:
            self._give_up(carried)
            return [Gone(attempt=name, why=_why(error, carried.node))]
        if INFO in came["files"]:
            carried.known = zlib.crc32(came["files"][INFO])
        heard: list[Heard] = []
        if came["piece"] or came["files"]:
            heard.append(Progress(attempt=name, offset=came["offset"], piece=came["piece"], files=came["files"]))
        if came["piece"]:
            carried.asked_at = 0.0  # there may be more: ask at once
        if came["code"] is not None:
            carried.job.log.write_bytes(came["printed"])
            heard.append(Finished(attempt=name, code=came["code"], said=last_words(carried.job.log)))
        return heard

    def _give_up(self, carried: _Carried) -> None:
        """Forget a job; its actor, which may live, ends, so that its node is free."""
        del self._jobs[carried.job.attempt]
        with contextlib.suppress(Exception):
            self._ray.kill(carried.actor)

    def stored(self, attempt: str, size: int) -> None:
        """What is asked for next is what follows on it."""
        if attempt in self._jobs:
            self._jobs[attempt].stored = size

    def stop(self, attempt: str) -> None:
        """Ask its command to end."""
        if attempt in self._jobs:
            self._jobs[attempt].actor.stop.remote()

    def forget(self, attempt: str) -> None:
        """End its actor, which removes what it kept; the node is free then."""
        carried = self._jobs.pop(attempt, None)
        if carried is None:
            return
        with contextlib.suppress(Exception):
            self._ray.get(carried.actor.discard.remote(), timeout=10)
        with contextlib.suppress(Exception):
            self._ray.kill(carried.actor)

    def close(self) -> None:
        """Leave the cluster, where what runs goes on; a Ray of our own ends with all in it."""
        if self._ray is not None and self._ray.is_initialized():
            self._ray.shutdown()


def _unlabelled(kind: MachineKind, nodes: Mapping[str, Any]) -> str:
    """What to do where no node has a label."""
    if not nodes:
        return "the cluster has no node"
    asked = ",".join(f"{key}={value}" for key, value in kind.labels.items())
    return f"no node of the cluster has a label; start the node with --labels={asked}"


def _unjoined(address: str | None, error: Exception) -> str:
    """Why there is no cluster, and what to do."""
    said = plain(error).rstrip(".")
    if address is not None:
        do = "give [ray] address as `ray start` printed it, and have the cluster's token here where it asks for one"
        return f"the cluster at {address} cannot be joined: {said}; {do}"
    do = "set TMPDIR to a folder of a shorter name" if "AF_UNIX" in said else "see what `ray start --head` says here"
    return f"Ray cannot be started here: {said}; {do}"


def _why(error: Exception, node: str) -> str:
    """A lost actor in a sentence; Ray's own words are pages."""
    kind = type(error).__name__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [kind]
    if getattr(error, "actor_init_failed", False):  # a traceback: what was raised stands last
        return plain(f"nothing can be started on node {node[:8]} ({lines[-1]})")
    return plain(f"Ray lost node {node[:8]} or its worker there ({kind}: {lines[0]})")

"""A Ray of several nodes on this computer, for what tries fleets: nodes may be killed, and others take their place."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import Any

import psutil

TRIES = 5  # to start a node


class Nodes:
    """A Ray on this computer: a head without CPUs, and two nodes of one kind."""

    def __init__(self) -> None:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        from ray.cluster_utils import Cluster

        self._cluster: Any = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 0, "include_dashboard": False, "include_log_monitor": False},
        )
        self._ours = [self._node() for _ in range(2)]
        self._cluster.wait_for_nodes()
        self.address: str = self._cluster.address

    def _node(self) -> Any:
        for _ in range(TRIES):
            with contextlib.suppress(Exception):  # Ray's own, of no common kind: a busy computer is slow to start it
                return self._cluster.add_node(num_cpus=1, resources={"hwlottery": 1}, labels={"kind": "spare"})
        raise RuntimeError("no node of Ray can be started")

    def raylets(self) -> list[int]:
        """The processes of the two nodes."""
        return [node.all_processes["raylet"][0].process.pid for node in self._ours]

    def lose(self, number: int) -> None:
        """Take a node away as a power cut would: SIGKILL of its raylet."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.raylets()[number], signal.SIGKILL)

    def mend(self) -> None:
        """Put others in the place of nodes that are dead: killed, or given up by Ray on a computer that was halted."""
        for number, raylet in enumerate(self.raylets()):
            if _dead(raylet):
                with contextlib.suppress(Exception):  # Ray's own, of no common kind
                    self._cluster.remove_node(self._ours[number], allow_graceful=False)
                self._ours[number] = self._node()

    def workers(self) -> list[psutil.Process]:
        """The processes that carry a run."""
        found = []
        for raylet in self.raylets():
            with contextlib.suppress(psutil.Error):
                found += [child for child in psutil.Process(raylet).children() if "ray::Remote" in child.cmdline()[0]]
        return found

    def shutdown(self) -> None:
        """End all of it."""
        self._cluster.shutdown()


def _dead(number: int) -> bool:
    try:
        return psutil.Process(number).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True

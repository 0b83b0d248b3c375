"""What machine this is: the facts that every record and every leaderboard page needs, read with psutil and /proc."""

from __future__ import annotations

import importlib.metadata
import os
import platform

import psutil

from backends.ops import Backend, Scalar
from harness.machine import linux as readers
from harness.machine import processor
from harness.machine.state import read


def facts() -> dict[str, Scalar]:
    """CPU, memory, operating system and Python; None where the system does not tell. No host name: it is nobody's."""
    return {
        "cpu": processor.name(),
        "cpu_id": processor.identity(),
        "architecture": platform.machine(),
        "cores_physical": psutil.cpu_count(logical=False),
        "cores_logical": psutil.cpu_count(),
        "cores_usable": usable_cores(),
        "quota_cores": readers.quota_cores(readers.cgroups("")),
        "memory_bytes": psutil.virtual_memory().total,
        "memory_limit_bytes": readers.memory_limit(readers.cgroups("")),
        "swap_bytes": psutil.swap_memory().total,
        "os": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "virtual_machine": _hypervisor(),
        "frequency_governor": readers.text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
    }


def state() -> dict[str, Scalar]:
    """What changes from minute to minute: free memory, and everything that `harness.machine.state.read` reads."""
    return {
        "memory_available_bytes": psutil.virtual_memory().available,
        "swap_used_bytes": psutil.swap_memory().used,
        **read(),
    }


def usable_cores() -> int:
    """Cores that this process may keep busy: those it may run on, and no more than a container's quota feeds.

    All of the machine's where the system does not tell.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = readers.quota_cores(readers.cgroups(""))
    return cores if quota is None else max(1, min(cores, int(quota)))


def memory_limit_bytes() -> int:
    """Nine tenths of what can still be had here: free memory, or the container's limit where that is lower."""
    available = psutil.virtual_memory().available
    limit = readers.memory_limit(readers.cgroups(""))
    return int(0.9 * (available if limit is None else min(available, limit)))


def versions(backends: list[Backend]) -> dict[str, str]:
    """Installed versions of every distribution that a backend or a measurement rests on."""
    names = [d for b in backends for d in b.distributions]
    found: dict[str, str] = {}
    for name in sorted({*names, "numpy", "scipy", "hwlottery", "pandas", "psutil", "scikit-learn"}):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _hypervisor() -> bool | None:
    flags = processor.flags()
    return "hypervisor" in flags if flags else None

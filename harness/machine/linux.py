"""Readers of the machine's state: each takes the file system's root ("" is the real one) and says None for unknown.

Sources: proc(5); the kernel's accounting/psi.rst, admin-guide/cgroup-v2.rst and cgroup-v1, scheduler/sched-bwc.rst,
admin-guide/pm/cpufreq.rst. Plain `open` and no `Path`: they stand before and after every case.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from functools import cache

_CORES = 8  # clock rates are read of so many cores at most, to stay cheap on large machines
_UNLIMITED = 1 << 60  # cgroup v1 writes a number above this where there is no limit
Groups = Mapping[str, Sequence[str]]


def text(path: str) -> str | None:
    """The words of a file, None where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:  # a name may be in any encoding
            return file.read().strip()
    except (OSError, ValueError):
        return None


def integer(path: str) -> int | None:
    """The number in a file, None where there is none."""
    found = text(path)
    return int(found) if found is not None and found.isdecimal() else None


@cache
def _ticks() -> int:
    return os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


def cpu(root: str) -> tuple[float | None, float | None]:
    """Seconds that all cores together were busy, and that the host of a virtual machine took from them."""
    found = re.match(r"cpu\s+([\d ]+)", text(f"{root}/proc/stat") or "")
    if found is None:
        return None, None
    user, nice, system, _idle, _iowait, irq, softirq, *rest = (int(n) / _ticks() for n in found.group(1).split())
    return user + nice + system + irq + softirq, rest[0] if rest else None


def cpu_of(root: str, pids: Sequence[int]) -> float | None:
    """CPU seconds of `pids`, of what they started and of what those have already waited for."""
    total, waiting, seen = 0, list(pids), set[int]()
    while waiting:
        pid = waiting.pop()
        line = None if pid in seen else text(f"{root}/proc/{pid}/stat")
        if line is None:
            continue
        seen.add(pid)
        fields = line.rpartition(")")[2].split()  # the name in brackets may hold blanks
        total += sum(map(int, fields[11:15]))  # utime, stime, cutime, cstime
        try:
            tasks = os.listdir(f"{root}/proc/{pid}/task")
        except OSError:
            continue
        for task in tasks:
            waiting += map(int, (text(f"{root}/proc/{pid}/task/{task}/children") or "").split())
    return total / _ticks() if seen else None


def load(root: str) -> float | None:
    """Tasks that ran or wanted to, on average over a minute."""
    found = text(f"{root}/proc/loadavg")
    return float(found.split()[0]) if found else None


def frequency(root: str) -> tuple[float | None, float | None]:
    """Mean clock rate of the first cores that this process may use, and the highest that they can reach, Hz."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    folders = [f"{root}/sys/devices/system/cpu/cpu{core}/cpufreq" for core in list(cores)[:_CORES]]
    rates = [kilohertz for f in folders if (kilohertz := integer(f"{f}/scaling_cur_freq")) is not None]
    highest = [kilohertz for f in folders if (kilohertz := integer(f"{f}/cpuinfo_max_freq")) is not None]
    return (1e3 * sum(rates) / len(rates) if rates else None), (1e3 * max(highest) if highest else None)


def throttles(root: str) -> int | None:
    """How often the first core and its package have throttled for heat since the system started (x86 only)."""
    folder = f"{root}/sys/devices/system/cpu/cpu0/thermal_throttle"
    counts = (integer(f"{folder}/{name}_throttle_count") for name in ("core", "package"))
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def swapped(root: str) -> int | None:
    """Pages that went to swap or came from it since the system started."""
    moved = re.findall(r"^pswp(?:in|out) (\d+)$", text(f"{root}/proc/vmstat") or "", re.MULTILINE)
    return sum(map(int, moved)) if moved else None


def memory_pressure(root: str) -> float | None:
    """Seconds in which some task waited for memory, since the system started."""
    found = re.search(r"^some .*\btotal=(\d+)", text(f"{root}/proc/pressure/memory") or "", re.MULTILINE)
    return int(found.group(1)) / 1e6 if found else None


def on_battery(root: str) -> bool | None:
    """Whether a battery is giving; None where none is to be seen."""
    folder = f"{root}/sys/class/power_supply"
    try:
        supplies = [f"{folder}/{name}" for name in os.listdir(folder)]
    except OSError:
        return None
    batteries = [s for s in supplies if text(f"{s}/type") == "Battery" and text(f"{s}/scope") != "Device"]  # no mouse's
    return any(text(f"{s}/status") == "Discharging" for s in batteries) if batteries else None


# -- control groups -----------------------------------------------------------------------------------------------


@cache
def cgroups(root: str) -> Groups:
    """By controller ("" is version 2): its folder for this process and those above it, whose limits hold as well."""
    found: dict[str, list[str]] = {}
    for line in (text(f"{root}/proc/self/cgroup") or "").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, name = rest.partition(":")
        for controller in controllers.split(","):
            top = f"{root}/sys/fs/cgroup/{controller}".rstrip("/")
            parts = [part for part in name.split("/") if part]
            # In a container the name is often the host's and its folder not there: the top is then the container's own.
            folders = ["/".join([top, *parts[:depth]]) for depth in range(len(parts), -1, -1)]
            found[controller] = folders if os.path.isdir(folders[0]) else [top]
    return found


def quota_cores(groups: Groups) -> float | None:
    """Cores that the container may use at a time, None where there is no such limit."""
    limits = []
    for folder in groups.get("", ()):
        quota, _, period = (text(f"{folder}/cpu.max") or "").partition(" ")
        if quota.isdecimal() and period.isdecimal():
            limits.append(int(quota) / int(period))
    for folder in groups.get("cpu", ()):
        quota_us, period_us = integer(f"{folder}/cpu.cfs_quota_us"), integer(f"{folder}/cpu.cfs_period_us")
        if quota_us and period_us:
            limits.append(quota_us / period_us)
    return min(limits, default=None)


def quota_stopped(groups: Groups) -> float | None:
    """Seconds for which the quota has stopped the container."""
    for controller, name, unit in (("", "throttled_usec", 1e-6), ("cpu", "throttled_time", 1e-9)):
        for folder in groups.get(controller, ()):
            found = re.search(rf"^{name} (\d+)$", text(f"{folder}/cpu.stat") or "", re.MULTILINE)
            if found:
                return int(found.group(1)) * unit
    return None


def memory_limit(groups: Groups) -> int | None:
    """Bytes that the container may use, None where there is no such limit."""
    files = [f"{folder}/memory.max" for folder in groups.get("", ())]
    files += [f"{folder}/memory.limit_in_bytes" for folder in groups.get("memory", ())]
    limits = [limit for limit in map(integer, files) if limit is not None and limit < _UNLIMITED]
    return min(limits, default=None)


def memory_used(groups: Groups) -> int | None:
    """Bytes of the limited container, without the cache of files that can be dropped; None without a limit."""
    if memory_limit(groups) is None:
        return None
    names = (("", "memory.current", "inactive_file"), ("memory", "memory.usage_in_bytes", "total_inactive_file"))
    for controller, name, cached in names:
        for folder in groups.get(controller, ()):
            used = integer(f"{folder}/{name}")
            if used is not None:
                found = re.search(rf"^{cached} (\d+)$", text(f"{folder}/memory.stat") or "", re.MULTILINE)
                return used - int(found.group(1)) if found else used
    return None

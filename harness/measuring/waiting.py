"""How long the threads of this process were ready to run and had no core: what a starved window is known by.

Two threads on one core, or somebody else's work beside them, make a slice slow for a reason that is not its own. The
kernel counts that time for every thread (`/proc/PID/task/TID/schedstat`, second figure, ns: Documentation/scheduler/
sched-stats of Linux); a thread that sleeps or is blocked adds nothing to it.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

_TASKS = "/proc/self/task"


def clock() -> Callable[[], float] | None:
    """A function that gives the seconds waited so far, by all threads there are; None where the kernel does not say."""
    try:
        waited_s()
    except (OSError, IndexError, ValueError):
        return None
    return waited_s


def waited_s() -> float:
    """Seconds that the threads of this process have waited for a core."""
    waited = 0
    for task in os.listdir(_TASKS):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError), open(f"{_TASKS}/{task}/schedstat", "rb") as f:
            waited += int(f.read().split()[1])
    return waited / 1e9


def wanted_s() -> float:
    """Seconds that the threads of this process but the caller's have had a core, or waited for one.

    Where the kernel does not count it for each thread, the seconds of the whole process on a core.
    """
    if clock() is None:
        return time.process_time()
    own, wanted = str(threading.get_native_id()), 0
    for task in os.listdir(_TASKS):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError), open(f"{_TASKS}/{task}/schedstat", "rb") as f:
            wanted += sum(map(int, f.read().split()[:2])) if task != own else 0
    return wanted / 1e9


def running(stats: Iterable[Path]) -> list[Path]:
    """Those of the threads, each by its `/proc/PID/task/TID/stat` (proc(5)), that are on a core or wait for one."""
    busy = []
    for stat in stats:
        with contextlib.suppress(OSError, IndexError):  # a thread that has ended is at rest
            if stat.read_bytes().rpartition(b")")[2].split(maxsplit=1)[0] == b"R":
                busy.append(stat)
    return busy

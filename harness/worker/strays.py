"""Processes that were started and not ended: found however far they went from who started them, named, and killed.

A process that leaves its group and session, or whose parent ends, is still a descendant: whoever adopts orphans
(prctl(2), PR_SET_CHILD_SUBREAPER) gets it as a child. The server and every process of a case do. What survives the
server itself is known by a word in its environment, which its descendants inherit. Linux only: elsewhere there is the
process group alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil

OWNER = "HWLOTTERY_OWNER"  # PID, start and PID namespace of who started a server, and what tells its servers apart
LEFT = "left_running"  # the setting of a record that names what its process left
ROUNDS = 50  # of killing what is found: a process that forks as fast as it is killed must not keep us for ever
PAUSE_S = 2e-3
_SUBREAPER = 36  # linux/prctl.h
_NAME = 80  # characters of a command line that are kept


def adopt() -> None:
    """Let orphans among this process's descendants become its children."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)


def end_children(but: Iterable[int] = ()) -> list[str]:
    """Kill the children of this process and all below them, but those in `but`, and name them.

    Where there is no child at all it costs one system call.
    """
    spared = frozenset(but)
    named: dict[int, str] = {}
    for _ in range(ROUNDS if _has_children() else 0):
        found = [child for child in _below(psutil.Process(), recursive=False) if child.pid not in spared]
        if not found:
            break
        for child in found:
            for process in (child, *_below(child)):
                _kill(process, named)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child.pid, os.WNOHANG)
        time.sleep(PAUSE_S)
    return list(named.values())


def end_marked(mark: str) -> list[str]:
    """Kill every process of this user whose environment has `mark` as OWNER, and name them."""
    named: dict[int, str] = {}
    for _ in range(ROUNDS):
        found = [pid for pid, owner in _marked() if owner == mark and pid != os.getpid()]
        if not found:
            break
        for pid in found:
            with contextlib.suppress(psutil.Error):
                _kill(psutil.Process(pid), named)
        time.sleep(PAUSE_S)
    return list(named.values())


def end_leftovers() -> list[str]:
    """Kill what runs that were killed have left, whoever started them being gone; of this user, and name them."""
    named: list[str] = []
    for mark in {owner for _, owner in _marked() if _abandoned(owner)}:
        named += end_marked(mark)
    return named


def mark(name: str) -> str:
    """What the environment of a server says of who started it; `name` tells it from others of this process."""
    return f"{os.getpid()}:{_started(os.getpid())}:{_namespace()}:{name}"


def _abandoned(owner: str) -> bool:
    """Whether who is named is of this PID namespace and lives no more."""
    pid, started, namespace, _ = (*owner.split(":", 3), "", "", "", "")[:4]
    return pid.isdecimal() and bool(namespace) and namespace == _namespace() and _started(int(pid)) != started


def _started(pid: int) -> str:
    """Clock ticks from the start of the machine to that of a process; empty where it lives no more."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return "" if fields[0] in (b"Z", b"X") else fields[19].decode()  # 22nd of proc_pid_stat(5)
    except (OSError, IndexError):
        return ""


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid").strip("pid:[]")
    except OSError:
        return ""


def _marked() -> Iterator[tuple[int, str]]:
    """Every process of this user that has OWNER in its environment, with what it says."""
    wanted = f"{OWNER}=".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            for entry in (folder / "environ").read_bytes().split(b"\0"):
                if entry.startswith(wanted):
                    yield int(folder.name), entry[len(wanted) :].decode(errors="replace")


def _has_children() -> bool:
    if not hasattr(os, "waitid"):
        return True  # as far as is known
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)  # leaves them all to be waited for
        return True
    return False


def _below(process: psutil.Process, *, recursive: bool = True) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error, OSError):
        return process.children(recursive)
    return []


def _kill(process: psutil.Process, named: dict[int, str]) -> None:
    """Kill it, and name it if it was alive; a process that has ended, or is another's, is left."""
    with contextlib.suppress(psutil.Error):
        if process.status() == psutil.STATUS_ZOMBIE:
            return
        words = " ".join(word.rpartition(os.sep)[2] for word in process.cmdline()) or process.name()  # nobody's folder
        process.send_signal(signal.SIGKILL)
        named.setdefault(process.pid, f"{words[:_NAME]} (process {process.pid})")

"""The fork server of one backend: `python -m harness.worker.server NAME` imports it once, then forks per request.

It starts no runtime (no thread pool, no device), so that a fork of it is a fresh process with the import already paid.
Requests are JSON lines on stdin, exits JSON lines on stdout; answers of the forked processes travel by file.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import BinaryIO

import msgspec

from backends.device import is_ahead_of_time
from backends.discovery import backends
from harness.machine import processor
from harness.worker import case, interleave, printed, strays
from harness.worker.messages import FINISH, MEASURED, PREPARED, Exits, MemberJob, Ready, Request
from workloads.discovery import workloads

PR_SET_PDEATHSIG = 1


def main(name: str) -> None:
    """Serve requests for backend `name` until stdin closes."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what a framework prints goes to the log, never between our lines
    _die_with_parent()
    strays.adopt()
    _keep_to(int(os.environ["HWLOTTERY_THREADS"]))
    started = time.perf_counter()
    error = None
    try:
        found, _ = backends()
        ahead = is_ahead_of_time(os.environ["HWLOTTERY_DEVICE"])
        for module in (*(found[name].ahead if ahead else found[name].preload), *case.PRELOAD):
            importlib.import_module(module)
        workloads()  # loads their files, once for all cases
        gc.collect()
        gc.freeze()  # a fork's collector must not walk, and so copy, what the framework left on the heap
    except (Exception, SystemExit) as failure:
        error = f"{type(failure).__name__}: {failure}"
    import_s = time.perf_counter() - started
    sys.stdout.flush()  # what an import printed is no case's
    _answer(answers, Ready(error=error, import_s=import_s, threads=_threads()))
    fork = multiprocessing.get_context("fork")

    def child(member: MemberJob, request: Request, connection: Connection) -> None:
        answers.close()
        _child(member, request, connection)

    for line in sys.stdin.buffer:
        groups = interleave.Groups(msgspec.json.decode(line, type=Request), fork, child)
        groups.prepare()
        answers.write(PREPARED)
        for word in sys.stdin.buffer:
            if word == FINISH:
                break
            groups.measure(int(word.split()[1]))
            answers.write(MEASURED)
        _answer(answers, Exits(exits=groups.finish()))


def _answer(stream: BinaryIO, message: msgspec.Struct) -> None:
    stream.write(msgspec.json.encode(message) + b"\n")


def _child(member: MemberJob, request: Request, connection: Connection) -> None:
    os.setsid()  # a group of its own, so that a timeout reaches what it started
    _die_with_parent()
    strays.adopt()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    log = os.open(member.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    stdout = printed.standard_output()
    if request.memory_bytes is not None:
        # RLIMIT_DATA counts what is allocated, not the address space that a runtime reserves.
        resource.setrlimit(resource.RLIMIT_DATA, (request.memory_bytes, request.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    measured = case.answer(member.job, Path(member.log).with_suffix(".phase"), interleave.Baton(connection))
    result = Path(member.result)
    partial = result.with_suffix(".partial")
    left = strays.end_children()
    settings = {**measured.settings, strays.LEFT: "; ".join(left)} if left else measured.settings
    partial.write_bytes(msgspec.json.encode(msgspec.structs.replace(measured, printed=stdout.used, settings=settings)))
    partial.rename(result)
    # The answer is safe. Runtimes that cannot shut down in a forked process must not turn it into a crash.
    sys.stdout.flush()
    os._exit(0)


def _keep_to(count: int) -> None:
    """Every framework gets the same cores, before it counts them; a core each before the second thread of any.

    Where the system binds no process to cores (macOS) the counts of threads alone must do.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, processor.spread(os.sched_getaffinity(0))[:count])


def _threads() -> int:
    """Threads of this process, as the system counts them, or else Python."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return threading.active_count()


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1])

"""The fork server of one backend: `python -m harness.worker.server NAME` imports it once, then forks per request.

It starts no runtime (no thread pool, no device), so that a fork of it is a fresh process with the import already paid.
Requests are JSON lines on stdin, exits JSON lines on stdout; answers of the forked processes travel by file.
"""

from __future__ import annotations

import ctypes
import errno
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
from typing import Any, BinaryIO

import msgspec

from backends.device import is_ahead_of_time, kind_of
from backends.discovery import backends
from harness.machine import processor
from harness.worker import case, folder, interleave, printed, strays
from harness.worker.messages import FINISH, MEASURED, PREPARED, Exits, MemberJob, Ready, Request
from workloads.discovery import workloads

PR_SET_PDEATHSIG = 1
CUDA_NOT_INITIALIZED = 3  # CUDA_ERROR_NOT_INITIALIZED: what cuda.h's functions say before cuInit


def main(name: str, *, bare: bool = False) -> None:
    """Serve requests for backend `name` until stdin closes; a `bare` server imports nothing before it is asked."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what a framework prints goes to the log, never between our lines
    _die_with_parent()
    strays.adopt()
    _keep_to(int(os.environ["HWLOTTERY_THREADS"]))
    started = time.perf_counter()
    error, device = None, os.environ["HWLOTTERY_DEVICE"]
    try:
        preload(name, device, bare=bare)
        workloads()  # loads their files, once for all cases
        error = started_cuda() if kind_of(device) == "cuda" else None
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


def preload(name: str, device: str, *, bare: bool) -> None:
    """Import what cases are forked with."""
    found, _ = backends()
    modules = found[name].ahead if is_ahead_of_time(device) else found[name].preload
    for module in () if bare else (*modules, *case.PRELOAD):
        importlib.import_module(module)


def started_cuda(driver: Any = None) -> str | None:
    """Why a fork of this process could not use CUDA: what was imported has started it here; None where it has not.

    PyTorch asks NVML whether there is a GPU, and where NVML does not answer, without a word the driver itself.
    """
    try:
        code = (driver or ctypes.CDLL("libcuda.so.1")).cuDeviceGetCount(ctypes.byref(ctypes.c_int()))
    except (OSError, AttributeError):
        return None  # no driver: a case says so in the framework's words
    if code == CUDA_NOT_INITIALIZED:
        return None
    return (
        f"importing the framework started CUDA in the process that cases are forked from (cuDeviceGetCount returns "
        f"{code}), and a fork cannot use it; see that NVML, which is asked first, answers (nvidia-smi)"
    )


def _answer(stream: BinaryIO, message: msgspec.Struct) -> None:
    stream.write(msgspec.json.encode(message) + b"\n")


def _child(member: MemberJob, request: Request, connection: Connection) -> None:
    try:
        _answered(member, request, connection)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        os._exit(folder.NO_ROOM)
    # The answer is safe. Runtimes that cannot shut down in a forked process must not turn it into a crash.
    os._exit(0)


def _answered(member: MemberJob, request: Request, connection: Connection) -> None:
    """Do the job and leave its answer; OSError where it cannot be written."""
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
    sys.stdout.flush()


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
    main(sys.argv[1], bare="bare" in sys.argv[2:])

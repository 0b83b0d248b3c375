"""A workload whose formulations misbehave in every way that the spec names. Copied into a folder by the tests."""

import ctypes
import errno
import os
import sys
import time
from pathlib import Path

import numpy as np

from workloads.base import Axis, Definition, Formulation, Point, Work


def _prepare(ops, x, params):
    return [ops.asarray(x["x"])]


def _good(ops, params):
    return lambda x: (x + 1,)


def _segfault(ops, params):
    def run(x):
        ctypes.string_at(0)

    return run


def _greedy(ops, params):
    def run(x):
        held = []
        while True:
            held.append(np.empty((1 << 24,)))

    return run


def _sleeper(ops, params):
    def run(x):
        if os.fork() == 0:  # a child of the case must not outlive it either
            time.sleep(600)
        time.sleep(600)

    return run


def _liar(ops, params):
    return lambda x: (x + 1.01,)


def _widener(ops, params):
    return lambda x: (x + np.float64(1),)


def _raiser(ops, params):
    def run(x):
        raise ValueError("this computation is ill-posed\nand goes on about it")

    return run


def _leaver(ops, params):
    def run(x):
        print("leaving now", file=sys.stderr, flush=True)
        os._exit(7)

    return run


def _exiter(ops, params):
    return lambda x: sys.exit(3)


def _talker(ops, params):
    def run(x):
        print("x" * (1 << 20), flush=True)  # far more than a pipe holds
        return (x + 1,)

    return run


def _refuser(ops, params):
    from backends.ops import Unsupported

    raise Unsupported("this framework has no operation named frobnicate")


def _hoarder(ops, params):
    size = 64 << 20

    def run(x):
        held = np.ones(size, np.uint8)
        return (x + 1 + 0 * held[0],)

    return run


def _busy(ops, params):
    def run(x):
        until = time.process_time() + 0.05
        while time.process_time() < until:
            pass
        return (x + 1,)

    return run


def _late_leaver(ops, params):
    calls = []

    def run(x):
        calls.append(0)
        if len(calls) == 8:  # within the window: the first calls check and estimate
            os._exit(7)
        return (x + 1,)

    return run


def _late_sleeper(ops, params):
    calls = []

    def run(x):
        calls.append(0)
        if len(calls) == 8:
            time.sleep(600)
        return (x + 1,)

    return run


def _gil_holder(ops, params):
    def run(x):
        ctypes.PyDLL(None).sleep(600)  # no other thread of this process gets to run

    return run


def _aborter(ops, params):
    return lambda x: os.abort()


def _quiet_leaver(ops, params):
    return lambda x: os._exit(0)


def _flood(ops, params):
    def run(x):
        line = b"x" * (1 << 20)
        for _ in range(1100):
            os.write(1, line)
        return (x + 1,)

    return run


def _daemons(ops, params):
    """Leaves a process behind that has left the group and the session, and whose parent has ended."""

    def run(x):
        if not (Path(__file__).parent / "daemon").exists():
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    (Path(__file__).parent / "daemon").write_text(str(os.getpid()))
                    os.execvp("sleep", ["sleep", "601"])
                os._exit(0)
            os.wait()
        return (x + 1,)

    return run


def _daemons_and_dies(ops, params):
    leave = _daemons(ops, params)

    def run(x):
        leave(x)
        os.abort()

    return run


def _killed(ops, params):
    return lambda x: os.kill(os.getpid(), 9)


def _no_room(ops, params):
    """Finds the disk full as long as a file `full` lies beside this one."""

    def run(x):
        if (Path(__file__).parent / "full").exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return (x + 1,)

    return run


def _no_room_and_dies(ops, params):
    """As a compiler that a framework started and did not hear."""

    def run(x):
        os.write(2, f"fatal error: when writing output: {os.strerror(errno.EDQUOT)}\n".encode())
        os.abort()

    return run


def _noted(what, seconds):
    """Note from when to when this process did something, beside this file: `WHAT-PID` with two times."""
    began = time.monotonic()
    time.sleep(seconds)
    (Path(__file__).parent / f"{what}-{os.getpid()}").write_text(f"{began} {time.monotonic()}")


def _slow_starter(ops, params):
    _noted("starting", 0.3)
    return lambda x: (x + 1,)


def _trier(ops, params):
    ops.before_trial()
    _noted("trying", 0.2)
    return lambda x: (x + 1,)


def _restore(outputs, x, params):
    return {"y": outputs[0]}


WORKLOAD = Definition(
    name="misbehaving",
    title="everything that can go wrong",
    source="tests",
    axes={"n": Axis(help="length", low=1)},
    presets={"smoke": (Point({"n": 16}),)},
    inputs=lambda params, seed: {"x": np.arange(float(params["n"]))},
    reference=lambda x, params, mode: {"y": x["x"] + 1},
    formulations={
        "forward": {
            name[1:]: Formulation(note=name, prepare=_prepare, step=step, restore=_restore)
            for name, step in list(globals().items())
            if name
            in ("_good", "_segfault", "_greedy", "_sleeper", "_liar", "_raiser", "_leaver", "_talker", "_exiter")
            or name in ("_refuser", "_hoarder", "_busy", "_late_leaver", "_late_sleeper", "_widener")
            or name in ("_slow_starter", "_trier", "_gil_holder", "_aborter", "_quiet_leaver", "_flood", "_killed")
            or name in ("_daemons", "_daemons_and_dies", "_no_room", "_no_room_and_dies")
        }
    },
    work=lambda params, mode, itemsize: Work(1, 1, 1),
    twins=lambda params, mode: (),
)

"""Every signal that asks a process to end ends a run as Ctrl-C does: what was measured is kept, nothing is left."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGXCPU)
# What else ends a process that has no use for it: a scheduler's warning, a timer, a power failure. Not everywhere all.
_ENDING = tuple(
    getattr(signal, name)
    for name in ("SIGUSR1", "SIGUSR2", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGPWR", "SIGIO", "SIGSTKFLT")
    if hasattr(signal, name)
)


class Stopped(KeyboardInterrupt):
    """The run was asked to end, by the signal `number`."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


_unbroken: list[None] = []  # one for each `unbroken` that is entered
_waiting: list[Stopped] = []  # what was asked meanwhile


@contextlib.contextmanager
def unbroken() -> Iterator[None]:
    """Do what is inside to its end: a signal that asks the run to stop meanwhile is raised after it."""
    _unbroken.append(None)
    try:
        yield
    finally:
        _unbroken.pop()
    if _waiting and not _unbroken:
        raise _waiting.pop()


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Raise Stopped for the first of the signals; further ones are ignored, so that cleaning up is not cut short.

    What is ignored already (by `nohup`) stays so, and what somebody else here has a use for. Only the main thread can
    be told; elsewhere nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (*ASKING, *_ENDING)}
    heard = [number for number in ASKING if before[number] is not signal.SIG_IGN]
    heard += [number for number in _ENDING if before[number] is signal.SIG_DFL]

    def stop(number: int, _: FrameType | None) -> None:
        for each in heard:
            signal.signal(each, signal.SIG_IGN)
        if _unbroken:
            _waiting.append(Stopped(number))
            return
        raise Stopped(number)

    for number in heard:
        signal.signal(number, stop)
    try:
        yield
    finally:
        _waiting.clear()
        for number in heard:
            signal.signal(number, before[number])

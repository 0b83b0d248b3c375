"""Turns what happened to a process into an outcome of the spec: status, class of failure, and one sentence.

Classes after Mince et al. 2023, "The Grand Illusion: The Myth of Software Portability and Implications for ML
Progress" (arXiv:2309.07181), which groups why functions fail when they are moved to other hardware.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence

from harness.records.record import FailureClass, Status
from harness.records.text import ONE_LINE, one_line
from workloads.authoring.functions import WorkloadError

# Words by which allocators say that memory ran out, in an exception or in a dying process's last lines.
_MEMORY = re.compile(
    r"RESOURCE_EXHAUSTED|out of memory|\bOOM\b|bad_alloc|can't allocate memory|cannot allocate memory"
    r"|Unable to allocate|failed to allocate|Resource exhausted|ENOMEM",
    re.IGNORECASE,
)
_TYPE = re.compile(r"dtype|data type|unsupported type|expected .* but got .*(Float|Half|Int)", re.IGNORECASE)
_FOLDERS = re.compile(r"(?<![\w.])/(?:[^\s/:]+/)+(?=[^\s/:]+\.py:\d)")


def of_refusal(words: str) -> tuple[Status, FailureClass, str]:
    """The framework said that it does not do this."""
    kind: FailureClass = "type" if _TYPE.search(words) else "not_implemented"
    return "unsupported", kind, one_line(words)


def of_exception(error: BaseException, place: str | None = None) -> tuple[Status, FailureClass, str]:
    """A computation raised; `place` is the line of an author's file at which it did."""
    words = f"{type(error).__name__}: {error}"
    if isinstance(error, WorkloadError):  # a sentence with its place; a record tells nobody's folders
        words = _FOLDERS.sub("", str(error))
    if isinstance(error, MemoryError) or _MEMORY.search(words):
        return "oom", "memory", one_line(words)
    if isinstance(error, NotImplementedError):
        return of_refusal(words)
    kind: FailureClass = "type" if isinstance(error, TypeError) and "dtype" in words else "other"
    return "error", kind, _placed(words, place)


def _placed(words: str, place: str | None) -> str:
    """One line with the place behind it, which is never cut off."""
    behind = "" if place is None else f" ({place})"
    return one_line(words, ONE_LINE - len(behind)) + behind


def of_exit(
    code: int | None, phase: str, lines: Sequence[str], memory_killed: bool
) -> tuple[Status, FailureClass, str]:
    """A process ended without an answer; `lines` are its last, `memory_killed` whether the kernel killed for memory."""
    words = f"; its last words: {one_line(lines[-1])}" if lines else ""
    if memory_killed or _MEMORY.search("\n".join(lines[-20:])):
        return "oom", "memory", f"ran out of memory while {phase}{words}"
    if code == -signal.SIGKILL:
        words = f", from outside: neither for its time nor, as far as the kernel says, for memory{words}"
    return "crash", "other", f"{ended(code)} while {phase}{words}"


def ended(code: int | None) -> str:
    """How a process ended, by its exit code as Python has it: a negative one is a signal."""
    if code is None or code >= 0:
        return f"exited with code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def of_timeout(seconds: float, phase: str) -> tuple[Status, FailureClass, str]:
    """A process was killed at its time limit."""
    return "timeout", "timeout", f"not done after {seconds:g} s, while {phase}; --timeout sets the limit"

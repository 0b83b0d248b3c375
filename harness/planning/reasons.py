"""Why a case is left out of a run, in the words of run.json: made here, and told apart here from what was typed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from backends.ops import Scalar

FACTOR = 3.0  # a path that took this many times longer than the best, on every known machine, is left out
REFUSED = "refused by"  # how such a reason begins
BEATEN = "of sweeps, which another run there is expected to beat"  # by what earlier runs say of that point
LATE = "for which the time of the run did not last"  # less likely to be the best than what was tried
INTERRUPTED = "interrupted in "  # how the note of a run begins that was asked to end
_SLOW = re.compile(r"over ([0-9]+(?:\.[0-9]+)?) times slower than the best on every known machine")
_REFUSED = re.compile(rf"{REFUSED} (\S+) [^\s()]+ \(hwlottery [^\s()]+\), as before")


def slow(factor: float) -> str:
    """What was over `factor` times slower than the best wherever it was measured."""
    return f"over {factor:g} times slower than the best on every known machine"


def refused(backend: str, version: str) -> str:
    """What a framework refused; `version` is its own and its adapter's, as `version_of` has it."""
    return f"{REFUSED} {backend} {version}, as before"


def ran_out(settings: Mapping[str, Scalar], notes: Iterable[str]) -> bool:
    """Whether the time of a run can have ended: it had a limit, or was interrupted."""
    limited = any(settings.get(name) is not None for name in ("budget_s", "enough_s"))
    return limited or any(note.startswith(INTERRUPTED) for note in notes)


def fault(reason: str, case: str) -> str | None:
    """Why a reason is none for which a run leaves out `case`, given in words as run.json has it; None where it is."""
    if reason in (LATE, BEATEN):
        return None
    slow_ = _SLOW.fullmatch(reason)
    if slow_ is not None:
        return None if float(slow_[1]) >= FACTOR else f"it was less than {FACTOR:g} times slower"
    refused_ = _REFUSED.fullmatch(reason)
    if refused_ is None:
        return "no such reason is known"
    return None if f" {refused_[1]} " in case.partition(" [")[0] else f"{refused_[1]} is not its framework"

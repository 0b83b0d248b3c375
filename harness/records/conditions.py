"""The conditions of a run: what must be the same when it goes on, and where two differ, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from backends.ops import Scalar
from harness.records.text import plain

# Of the machine, what does not change from minute to minute; memory is left out: containers round it.
MACHINE = (
    *("cpu", "architecture", "cores_physical", "cores_logical", "cores_usable", "quota_cores"),
    *("os", "python", "virtual_machine"),
)
LIMITS = ("budget_s",)  # of one part of a run: the next may have more
_SHOWN = 4  # differences in a sentence
_VALUE = 60  # characters of a value


class RunConditions(Protocol):
    """What a run says of its conditions: run.json."""

    @property
    def machine(self) -> Mapping[str, Scalar]:
        """Facts of the machine."""

    @property
    def settings(self) -> Mapping[str, Scalar]:
        """What decides how it is carried out."""

    @property
    def versions(self) -> Mapping[str, str]:
        """Versions of the packages that it rests on."""

    @property
    def sources(self) -> Mapping[str, str]:
        """Digests of the code."""


def differing(was: RunConditions, now: RunConditions) -> list[str]:
    """What differs between a run and what is to go on with it: `threads (1 in the run, 2 now)`; empty where nothing."""
    found = list(_of("", {k: was.machine.get(k) for k in MACHINE}, {k: now.machine.get(k) for k in MACHINE}))
    found += _of("", was.settings, now.settings, without=LIMITS, known=True)
    found += _of("", was.versions, now.versions)
    short_was, short_now = ({k: v[:8] for k, v in info.sources.items()} for info in (was, now))
    found += _of("sources of ", short_was, short_now)
    return found


def sentence(found: Sequence[str]) -> str:
    """The differences as one list, the first of them named."""
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return "; ".join(found[:_SHOWN]) + more


def _of(
    name: str,
    was: Mapping[str, Scalar],
    now: Mapping[str, Scalar],
    without: Sequence[str] = (),
    *,
    known: bool = False,
) -> Iterator[str]:
    """What differs; with `known` what only one side has counts for nothing: runs of earlier versions tell less."""
    for key in dict.fromkeys((*was, *now)):
        if key in without or (known and (key not in was or key not in now)):
            continue
        a, b = was.get(key), now.get(key)
        if a != b:
            yield f"{name}{key} ({_said(a)} in the run, {_said(b)} now)"


def _said(value: Scalar) -> str:
    return "unknown" if value is None else plain(value, _VALUE)

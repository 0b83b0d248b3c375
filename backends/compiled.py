"""A callable that is ready to be timed, and what the framework ran instead of what was asked.

Imports nothing of ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias

Array: TypeAlias = Any  # the framework's own array
Matrix: TypeAlias = Any  # the framework's own sparse operand, or a tuple of its arrays
Scalar: TypeAlias = str | int | float | bool | None
Execution = Literal["eager", "graph", "compiled"]
FallbackKind = Literal["densified", "host", "uncompiled", "substituted"]

EXECUTIONS: tuple[Execution, ...] = ("eager", "graph", "compiled")


class Unsupported(Exception):  # noqa: N818 - it is an outcome, and named as in the records
    """The framework says no here; the message is its own words, or names what it offers instead."""


class Fallback(NamedTuple):
    """Something else that the framework ran without a word, as it was seen to run.

    `densified`: a sparse operand, or one of groups, became dense. `host`: on an accelerator, work or values went to
    the host. `uncompiled`: code asked to be compiled ran as in eager. `substituted`: another product than the format's
    own, or than that of so few bits.
    """

    kind: FallbackKind
    what: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """A callable ready to be timed, and what making it cost.

    An adapter may try several settings of its compiler; the figures are those of the one kept, and `flags`, which may
    fill in only with the first call, name it. A refusal (Unsupported) may also come from the first call. `trace_s` and
    `compile_s` are None where the framework does both inside the first call. `traces()` counts how often the framework
    traced or compiled since it was made; a timed region in which it grows is not a measurement.

    `kept` names the setting that won a trial, or was told; None where there is only one.

    `peak_bytes` is the allocator's peak of a call, where later calls do not go through the allocator (a recorded CUDA
    graph): then no window can tell it.

    `fallbacks(operands)` says what else the framework ran instead, by watching one more call or reading the program:
    called after the clock, since both take time and watching may slow the calls that follow.
    """

    call: Callable[..., tuple[Array, ...]]
    trace_s: float | None = None
    compile_s: float | None = None
    temp_bytes: int | None = None
    flags: Mapping[str, Scalar] = field(default_factory=dict)
    kept: str | None = None
    peak_bytes: int | None = None
    traces: Callable[[], int] = lambda: 0
    fallbacks: Callable[[Sequence[Array | Matrix]], Sequence[Fallback]] = lambda _: ()

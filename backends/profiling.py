"""What a framework's own profiler tells of a few calls: when each ran, and the operations on each thread or stream.

A backend that has a profiler names a module of its own in `Backend.profiler`, which is imported by a process that is to
be profiled and by no other. It has two functions:

- `prepare()`, before anything is compiled, sets what makes a compiler name its kernels;
- `profile(ops, call, operands, count, file)` makes `count` calls, writes a trace that Chrome and Perfetto open to
  `file` (gzipped JSON), and returns a `Profile`.

Imports nothing but the standard library and our own types.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

from backends.compiled import Array, Matrix
from backends.ops import Ops

CALL = "hwlottery call"  # how each call is marked in the profile

# What each kernel of a program of XLA does: its text, or the opcodes inside each instruction of it by name.
Program: TypeAlias = str | Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class ProfiledOperation:
    """One operation as a profiler saw it, in nanoseconds of the profiler's clock.

    `track` is the thread or stream that ran it: on one track what lies inside another is part of it. `program` names
    the program of XLA that it is of. `about` are names of others that tell more of it: what launched a kernel.
    """

    name: str
    start_ns: int
    end_ns: int
    track: str
    program: str = ""
    about: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What was seen: `calls` are the first and last nanosecond of each call, its outputs waited for.

    `programs` are named; several may have one name, as the same operation of eager JAX has at several shapes.
    """

    profiler: str
    calls: Sequence[tuple[int, int]]
    operations: Sequence[ProfiledOperation]
    programs: Sequence[tuple[str, Program]] = ()


class CompiledCall(Protocol):
    """A compiled callable, as `Compiled.call`."""

    def __call__(self, *operands: Array | Matrix) -> Sequence[Array]:
        """The outputs."""


class Profiler(Protocol):
    """A module that profiles."""

    def prepare(self) -> None:
        """Make what is compiled from now on name its kernels."""

    def profile(
        self, ops: Ops, call: CompiledCall, operands: Sequence[Array | Matrix], count: int, file: Path
    ) -> Profile:
        """Make `count` calls under the profiler."""

"""What a user asks of a run, typed, and the two things that the rest works with: what to plan and how to carry it out.

The command makes a `RunRequest` once from the values of its options. Everything here is pure: what has to be read from
the machine is handed in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from harness.errors import UserError, nearest
from harness.measuring.settings import PowerModel
from harness.planning.options import (
    COMPILING_S,
    ENDS_S,
    ENOUGH_S,
    FEWEST_ROUNDS,
    LOOKS_SHARE,
    ROUNDS,
    WINDOWS,
    Options,
)
from harness.planning.plan import PRESETS, Ask
from harness.records.record import FAILED, Status
from workloads.base import Definition, Point, Value

Axes: TypeAlias = Mapping[str, tuple[Value, ...]]

PRECISION = 0.02  # an interval that reaches less than this share from its middle is narrow enough
TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """The options of `run`. Empty tuples and None mean that nothing was said."""

    preset: str = "quick"
    workloads: tuple[str, ...] = ()
    workload_files: tuple[Path, ...] = ()  # of the user's own; absolute
    backends: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    models: tuple[str, ...] = ()  # the files that describe those of them that are modelled, as typed
    dtypes: tuple[str, ...] = ()
    executions: tuple[str, ...] = ()
    formulations: tuple[str, ...] = ()
    axes: Axes = field(default_factory=dict)  # values for every idea that has the axis
    matrices: tuple[str, ...] = ()  # files, or FILE:TENSOR
    seed: int = 0
    rounds: int | None = None  # interleaved groups of each best path
    budget_s: float | None = None
    precision: float | None = None  # share of an interval's middle, else PRECISION; only with a budget
    timeout_s: float = TIMEOUT_S  # of a case
    threads: int | None = None
    memory_limit_bytes: int | None = None  # of a case
    tf32: bool = False  # float32 products in TF32, in every framework
    core_w: float | None = None
    core_low_w: float | None = None
    core_high_w: float | None = None
    memory_w_per_gb: float | None = None
    out: Path | None = None
    resume: bool = False
    retry: tuple[str, ...] = ()  # outcomes that are measured again by a run that goes on
    wait: bool = True  # for another run on this machine
    exhaustive: bool = False  # try what earlier runs say can be left out, too
    only_contenders: bool = False  # leave it out, although what to run is named
    dry_run: bool = False
    as_json: bool = False
    arguments: tuple[str, ...] = ("run",)  # of the command line, as they were typed

    @property
    def tries_all(self) -> bool:
        """Whether nothing is left out: as asked, in `smoke`, and where the user says what to run by name."""
        if self.only_contenders:
            return False
        named = self.workloads or self.workload_files or self.formulations or self.executions or self.matrices
        return self.exhaustive or self.preset == "smoke" or bool(named or self.axes)

    @property
    def narrows(self) -> bool:
        """Whether a budget goes where intervals are widest: the user gave one and no number of rounds."""
        return self.budget_s is not None and self.rounds is None


def ask(
    request: RunRequest,
    workloads: Mapping[str, Definition],
    backends: Sequence[str],
    points: Mapping[str, Sequence[Point]] | None = None,
    own: Sequence[str] = (),
) -> Ask:
    """What to plan; UserError for an axis that no idea has.

    `backends` are those to run. `points` stand in place of a preset's, by workload, and these workloads run where none
    is named; else the user's `own`, those of `workload_files`; else all.
    """
    known = sorted({axis for w in workloads.values() if w.role == "idea" for axis in w.axes})
    for axis in request.axes:
        if axis not in known:
            raise nearest("axis", axis, known)
    points = points or {}
    return Ask(
        preset=request.preset,
        workloads=request.workloads or tuple(dict.fromkeys((*points, *own))),
        backends=tuple(backends),
        devices=request.devices or ("cpu",),
        dtypes=request.dtypes or ("float32",),
        executions=request.executions,
        formulations=request.formulations,
        seed=request.seed,
        axes=request.axes,
        points={name: tuple(chosen) for name, chosen in points.items()},
    )


def rounds(request: RunRequest) -> int:
    """Interleaved groups of each best path: as asked, else the preset's, or the fewest where a budget adds more."""
    if request.preset not in PRESETS:
        raise nearest("preset", request.preset, PRESETS)
    if request.rounds is not None:
        return request.rounds
    usual = ROUNDS[request.preset]
    return FEWEST_ROUNDS if request.narrows and usual else usual


def options(request: RunRequest, *, cores: int, cache: Path, memory_bytes: int | None) -> Options:
    """How to carry the plan out on a machine with `cores` usable and `memory_bytes` for a case, unless limited.

    UserError for more threads than cores, or watts outside their own bounds. `cache` holds compiled programs.
    """
    threads = request.threads or cores
    if threads > cores:
        raise UserError(f"--threads {threads} is more than the {cores} cores usable here")
    ours = (
        request.rounds is None and request.budget_s is None and not request.exhaustive
    )  # what a user asks for is done
    count = rounds(request)
    return Options(
        rounds=count,
        long_rounds=FEWEST_ROUNDS if ours else count,
        enough_s=ENOUGH_S.get(request.preset) if ours else None,
        compiling_s=COMPILING_S.get(request.preset, 0.0) if ours else 0.0,
        ends_s=ENDS_S.get(request.preset) if ours else None,
        looks_share=None if request.tries_all else LOOKS_SHARE,
        timeout_s=request.timeout_s,
        threads=threads,
        sampling=WINDOWS[request.preset],
        power=_power(request),
        cache=cache,
        seed=request.seed,
        budget_s=request.budget_s,
        precision=(request.precision or PRECISION) if request.narrows else None,
        memory_bytes=request.memory_limit_bytes or memory_bytes,
        tf32=request.tf32,
    )


def _power(request: RunRequest) -> PowerModel:
    watts = {
        "core_w": request.core_w,
        "core_low_w": request.core_low_w,
        "core_high_w": request.core_high_w,
        "memory_w_per_gb": request.memory_w_per_gb,
    }
    power = PowerModel(**{name: given for name, given in watts.items() if given is not None})
    if not power.core_low_w <= power.core_w <= power.core_high_w:
        raise UserError(
            f"the watts of a core must lie between their bounds: found {power.core_low_w:g} ≤ {power.core_w:g} ≤ "
            f"{power.core_high_w:g}; set --core-watts, --core-watts-low and --core-watts-high together"
        )
    return power


def retried(request: RunRequest) -> frozenset[Status]:
    """The outcomes that are measured again; UserError for one that is no failure, and without a run that goes on."""
    for name in request.retry:
        if name not in FAILED:
            raise nearest("failure", name, sorted(FAILED))
    if request.retry and not request.resume:
        raise UserError("--retry is for a run that goes on: add --resume --out DIR")
    return frozenset(status for status in FAILED if status in request.retry)


def resuming(folder: Path) -> list[str]:
    """The arguments of the command line that goes on with the run in `folder`: the rest is taken from the run."""
    return ["run", "--resume", "--out", str(folder)]

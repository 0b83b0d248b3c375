"""The facts of a run, all frozen: what was asked (Case) and everything learnt from it (Record).

Records are JSON lines read and checked by msgspec. Field names carry units. Raw samples are kept; statistics are
derived elsewhere. The format's history:

schema 1 (2026-11): first.
schema 2 (2026-11): a record has `executed`, what one call really does, a verdict `gate_error` and `gate_limit`, and a
twin may have a dtype of its own; older ones have none of these. Of a modelled device it has `modelled`.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Any, Literal

import msgspec

from backends.ops import Execution, Scalar
from harness.records.points import point_name
from workloads.base import Mode, Value

SCHEMA = 2
OTHER_INPUTS = "other_inputs"  # in `settings`: what came of inputs that the process had not seen, after the clock
KEPT = "kept"  # in `settings`: what of a compiler's won a trial, which later processes of the case are told to keep

Status = Literal["ok", "wrong", "unsupported", "oom", "timeout", "crash", "error", "estimated", "modelled"]
FailureClass = Literal["not_implemented", "type", "timeout", "memory", "precision", "other"]  # Mince et al. 2023
EnergySource = Literal["counter", "sampled", "modelled", "none"]
FAILED: frozenset[Status] = frozenset({"wrong", "oom", "timeout", "crash", "error"})
ANSWERED: frozenset[Status] = frozenset({"ok", "estimated", "modelled"})  # each of another kind: nothing is wrong


class Case(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """One thing to measure. `params` holds every axis of the workload."""

    workload: str
    formulation: str
    params: dict[str, Value]
    dtype: str
    mode: Mode
    backend: str
    execution: Execution
    device: str
    seed: int = 0

    @cached_property
    def key(self) -> str:
        """A short name, the same in every run and on every machine. Kept: everything that joins records asks for it."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()[:16]

    @cached_property
    def point(self) -> str:
        """The name of `params`, kept likewise."""
        return point_name(self.params)

    @cached_property
    def place(self) -> tuple[str, ...]:
        """What the cases that compete for one best path have in common, kept likewise."""
        return (self.workload, self.point, self.mode, self.dtype, self.backend, self.device)

    @cached_property
    def way(self) -> tuple[str, ...]:
        """How its workload was computed, at whatever point; kept likewise."""
        return (self.workload, self.mode, self.formulation, self.execution, self.backend)

    @cached_property
    def columns(self) -> dict[str, Any]:
        """What a table says of the case itself, by the names of its columns; kept likewise, and never changed."""
        return {
            "workload": self.workload,
            "formulation": self.formulation,
            "execution": self.execution,
            "path": f"{self.formulation}/{self.execution}",
            "params": self.params,
            "point": self.point,
            "mode": self.mode,
            "dtype": self.dtype,
            "backend": self.backend,
            "device": self.device,
            "seed": self.seed,
        }

    @cached_property
    def words(self) -> str:
        """The case as it is named in sentences, kept likewise."""
        axes = ",".join(f"{k}={v}" for k, v in self.params.items())
        where = f"{self.backend} {self.execution} {self.device} {self.dtype}"
        return f"{self.workload}/{self.formulation} {self.mode} {where} [{axes}]"

    def __str__(self) -> str:
        return self.words


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The oracle's answer. `max_rel_error` is relative to the largest value of the worst output.

    `gate_error` is how far the output is from what it stands for, such as the product of what was not quantised, by the
    Frobenius norm: a fact of its own, since arithmetic may be right and the quality bad.
    """

    agrees: bool
    max_abs_error: float | None
    max_rel_error: float | None
    rtol: float
    atol: float | None
    reason: str | None = None
    gate_error: float | None = None
    gate_limit: float | None = None

    @property
    def passes(self) -> bool:
        """Whether a case of it may be timed: it agrees, and is inside its gate where it has one."""
        if self.gate_limit is None:
            return self.agrees
        return self.agrees and self.gate_error is not None and self.gate_error <= self.gate_limit


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One fresh process of a case: when it ran, what its first call cost and whether it settled.

    `heat` numbers the interleaved group in which it took slices in turn with others, None where it ran alone: times of
    one group are pairs. (`heat` and `turns` are the keys of published records; the code says group and slice.)
    `turns` is into how many slices its window was cut, `slices` how many samples each holds, those of the warm-up too;
    `repeated` of them were starved of a core and taken again, `starved` were so and count all the same. `beside` is how
    many others were prepared at the same time, which makes `first_call_s`, `compile_s` and `convert_s` upper bounds.
    """

    round: int
    order: int
    started_at: str
    wall_s: float
    open_s: float
    convert_s: float
    trace_s: float | None
    compile_s: float | None
    first_call_s: float
    compile_cache: Literal["cold", "warm"] | None
    warmup_s: list[float]
    calls_per_sample: int
    steady: bool
    drift: float
    cpu_s: float
    window_s: float
    heat: int | None = None
    turns: int = 1
    slices: list[int] = []
    repeated: int = 0
    starved: int = 0
    beside: int = 0


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds. `samples_s` and `trials` run in parallel, one entry a process; the single figures are the first's.

    `first_call_s` is the first call of the callable until every output is ready, tracing and compiling included.
    `drift` is the slope over the window as a share of its median; the largest of the trials.
    """

    first_call_s: float
    compile_s: float | None
    convert_s: float
    samples_s: list[list[float]]
    steady: bool
    drift: float
    trials: list[Trial]


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes. `host_peak_bytes` is what the operands hold and what one call takes on top, at its peak.

    `framework_bytes` is what compiling and calling left behind beside them: code, caches, stacks; None is unknown.
    """

    device_peak_bytes: int | None
    host_peak_bytes: int | None
    compiled_temp_bytes: int | None
    source: str
    framework_bytes: int | None = None


class Energy(msgspec.Struct, frozen=True, kw_only=True):
    """Joules per call with bounds; None is unknown, never 0. `net_j` is above the idle power, measured over `idle_s`.

    `domains` names the counters that were added up; `update_s` is how often they move.
    """

    gross_j: float | None
    net_j: float | None
    low_j: float | None
    high_j: float | None
    idle_w: float | None
    source: EnergySource
    window_s: float | None
    update_s: float | None
    note: str | None = None
    idle_s: float | None = None
    domains: list[str] = []


class EstimatedKernel(msgspec.Struct, frozen=True, kw_only=True):
    """A kernel of a GPU program that was not run, launched `count` times: its work, and the seconds of one.

    `time_s` is the longer of arithmetic and traffic by the card's rates, without the launch; `known` says that all of
    its arithmetic is in `flop`.
    """

    what: str
    count: int
    flop: float
    bytes: int
    time_s: float
    known: bool = True


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """What a compiler says of a program for a chip that was not there; None where it does not say.

    Of a TPU `flop`, `bytes_accessed` and `optimal_s` are XLA's cost model; `cycles` is the sum over the instructions of
    the optimised program that carry an estimate, `covered_share` how many of those that do work, and `uncovered` counts
    the others by kind. Of a GPU all of them are added up over `kernels_told`, counted from the operands of each: a
    kernel is covered where all of its arithmetic is known, and `optimal_s` has `launch_s` for every kernel. `kernels`
    is how many instructions do work, each a launch on a GPU; `libraries` counts the calls of libraries and Triton's
    kernels by their name in the program, and `loops` has a sentence for each loop that gathers or scatters.

    Bytes are of the chip's memory, which `fits` says they fit. `compile_s` is of this machine.
    """

    route: str
    chip: str
    trace_s: float
    compile_s: float
    flop: float | None
    bytes_accessed: float | None
    optimal_s: float | None
    argument_bytes: int
    output_bytes: int
    temp_bytes: int
    code_bytes: int
    fits: bool | None
    cycles: int | None
    covered_share: float | None
    uncovered: dict[str, int]
    compiler: str
    kernels: int | None = None
    libraries: dict[str, int] = {}
    launch_s: float | None = None
    kernels_told: list[EstimatedKernel] = []
    loops: list[str] = []


class Modelled(msgspec.Struct, frozen=True, kw_only=True):
    """What the model reckons of one call on a device that a file describes; nothing was run.

    `device` is the name in the file, `digest` that of what run.json has of it. `kind` is the class of the call, and
    `cases`, `median_error` and `p95_error` how far off the model was where measured cases of that class, through the
    same framework, were held to it: |reckoned / measured − 1|. `parts_s` are the seconds by the term that binds.
    """

    device: str
    digest: str
    kind: str
    time_s: float
    energy_j: float | None
    bound_by: str
    parts_s: dict[str, float]
    cases: int
    median_error: float
    p95_error: float


class WorkFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The formulas' values, from the workload."""

    useful_flop: int
    least_bytes: int
    live_bytes: int


class Executed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one call of the formulation really does, counted through `Ops` on shapes and never declared.

    `bytes` are read and written, each buffer once by an operation, of them `written_bytes`. A row that is gathered is
    gathered_bytes / gathered_rows wide; so with those that are scattered. `launches` are operations, where the case is
    compiled fused chains. Rules and conventions: backends/counting/totals.py.
    """

    matmul_flop: int
    other_flop: int
    bytes: int
    gathered_rows: int
    scattered_rows: int
    launches: int
    written_bytes: int = 0
    gathered_bytes: int = 0
    scattered_bytes: int = 0


class TwinRef(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """The dense-path computation that this case is held against; `dtype` where it is not the case's."""

    kind: str
    workload: str
    params: dict[str, Value]
    mode: Mode
    dtype: str | None = None

    @cached_property
    def point(self) -> str:
        """The name of `params`, as of a case."""
        return point_name(self.params)


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Everything learnt from one case. A `control` is the A in A/A: the case measured once more against itself.

    `executed` is None in records of before it was counted, and where it cannot be: the run's notes say why.
    """

    schema: int
    run: str
    case: Case
    status: Status
    reason: str | None
    failure_class: FailureClass | None
    fallback: str | None
    verdict: Verdict | None
    time: Timing | None
    memory: Memory | None
    energy: Energy | None
    work: WorkFacts
    twins: list[TwinRef]
    headline: bool
    settings: dict[str, Scalar]
    environment: dict[str, Scalar]
    started_at: str
    control: bool = False
    estimate: Estimate | None = None
    executed: Executed | None = None
    modelled: Modelled | None = None

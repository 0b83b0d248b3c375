"""From a job to a callable that was checked: open the device, put operands on it, compile, call once, compare.

Nothing of it is timed but what these steps cost by themselves. What only they need is gone when they return: the
outputs of the first call and the host's copies must stand in no window's memory.
"""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backends.discovery import backends
from backends.dtypes import tf32
from backends.ops import Array, Backend, Compiled, Device, HostArray, Matrix, Ops, Scalar, Unsupported
from harness.measuring import threads
from harness.measuring.correctness import disagrees, epsilon, judge
from harness.measuring.host_memory import HostPeak
from harness.measuring.turn import Turn
from harness.records.record import KEPT, FailureClass, Verdict
from harness.records.text import private
from harness.worker import outcome
from harness.worker.case_data import load_arrays, load_inputs
from harness.worker.messages import CaseJob
from workloads.authoring.functions import line_of
from workloads.base import Definition, Formulation
from workloads.conformance import wrong_dtypes

Phase = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds that a case costs before its first steady call."""

    open_s: float
    convert_s: float
    first_call_s: float


@dataclass(frozen=True, slots=True)
class Prepared:
    """A case as it may be timed, if `verdict` passes; else `failure_class` says what is wrong with its outputs."""

    ops: Ops
    compiled: Compiled
    operands: list[Matrix]
    peak: HostPeak | None  # None where an earlier process of the case told its memory
    verdict: Verdict
    failure_class: FailureClass | None
    settings: dict[str, Scalar]
    costs: Costs
    marks: list[int | None]  # checksums of the operands before any call, where they are looked at again


def prepare(job: CaseJob, workload: Definition, formulation: Formulation, phase: Phase, turn: Turn) -> Prepared:
    """All that comes before the clock; raises what the framework or the author's functions raise.

    Others may be prepared at the same time; where something must be timed, `turn` waits for quiet.
    """
    case = job.case
    phase("opening the device")
    ops, open_s = _open(backends()[0][case.backend], Device.parse(case.device))
    ops.before_trial = turn.quiet

    phase("preparing operands")
    peak = None if job.memory is not None else HostPeak()
    inputs = load_inputs(job)
    t0 = time.perf_counter()
    operands = list(formulation.prepare(ops, inputs, case.params))
    ops.wait(operands)
    convert_s = time.perf_counter() - t0
    if peak is not None:
        peak.prepared()
    marks = fingerprints(ops, operands) if job.recheck else []

    try:
        compiled, outputs, first_call_s = _first_call(job, ops, formulation, operands, phase)
    except Exception as failure:
        fault = _authors_fault(failure, job, ops, formulation, operands, phase)
        if fault is None:
            raise
        raise fault from failure

    phase("checking against the reference")
    host = [ops.to_numpy(output) for output in outputs]
    verdict, failure_class = _checked(job, workload, host, formulation.restore(host, inputs, case.params), inputs)
    settings = _settings(job, ops, compiled)
    return Prepared(
        ops=ops,
        compiled=compiled,
        operands=operands,
        peak=peak,
        verdict=verdict,
        failure_class=failure_class,
        settings=settings,
        costs=Costs(open_s, convert_s, first_call_s),
        marks=marks,
    )


def _open(backend: Backend, device: Device) -> tuple[Ops, float]:
    """Open the device and touch it, so that starting the runtime stands in no case's first call."""
    t0 = time.perf_counter()
    ops = backend.open(device)
    square = ops.asarray(np.ones((64, 64), np.float32))
    ops.wait([ops.matmul(square, square)])
    return ops, time.perf_counter() - t0


def _first_call(
    job: CaseJob, ops: Ops, formulation: Formulation, operands: Sequence[Matrix], phase: Phase
) -> tuple[Compiled, Sequence[Array], float]:
    """The callable that will be timed, the outputs of its first call, and the seconds until they were ready."""
    phase("compiling")
    t0 = time.perf_counter()
    compiled = ops.compile(formulation.step(ops, job.case.params), job.case.execution, operands, job.keep)
    t1 = time.perf_counter()
    phase("making the first call")
    outputs = compiled.call(*operands)
    ops.wait(outputs)
    t2 = time.perf_counter()
    # Where the adapter compiled ahead of time its own split counts, so that trying a second setting is not charged.
    ahead = None if compiled.compile_s is None else (compiled.trace_s or 0.0) + compiled.compile_s
    return compiled, outputs, (t2 - t1) + (t1 - t0 if ahead is None else ahead)


def _authors_fault(
    failure: Exception, job: CaseJob, ops: Ops, formulation: Formulation, operands: Sequence[Matrix], phase: Phase
) -> Exception | None:
    """What the step raises when it runs as it is, where a compiler failed with it: then it is no fault of the compiler.

    A compiler tells of an exception in the code that it traces as of something that it does not support, in its own
    words. None where the step runs, or is refused, or where `failure` names the author's line already.
    """
    named = line_of(failure, formulation.step) is not None and not isinstance(failure, Unsupported)
    eager = formulation.executions is None or "eager" in formulation.executions
    if job.case.execution == "eager" or named or not eager or outcome.of_exception(failure)[0] == "oom":
        return None
    phase("running without the compiler what it failed with")
    try:
        plain = ops.compile(formulation.step(ops, job.case.params), "eager", operands)
        ops.wait(plain.call(*operands))
    except Exception as error:
        refused = isinstance(error, Unsupported) or outcome.of_exception(error)[0] != "error"
        return None if refused or line_of(error, formulation.step) is None else error
    return None


def _checked(
    job: CaseJob,
    workload: Definition,
    host: Sequence[HostArray],
    restored: Mapping[str, HostArray],
    inputs: Mapping[str, HostArray],
) -> tuple[Verdict, FailureClass | None]:
    """The oracle's answer of the outputs, as the step gave them and by name, and the class of what is wrong."""
    case = job.case
    kind = Device.parse(case.device).kind
    tolerance = workload.tolerance(case.params, case.dtype, case.mode, kind, tf32=tf32())
    widened = wrong_dtypes(host, list(restored), case.dtype)
    if widened is not None:
        return disagrees(tolerance, widened), "type"
    reference = load_arrays(Path(job.data) / "reference")
    limit = workload.gate_limit(case.params)
    verdict = judge(restored, reference, inputs, tolerance, epsilon(case.dtype), limit)
    return verdict, None if verdict.passes else "precision"


def fingerprints(ops: Ops, operands: Sequence[Matrix]) -> list[int | None]:
    """A checksum of each dense operand; None of one that the framework does not show."""
    return [_checksum(ops, operand) for operand in operands]


def _checksum(ops: Ops, operand: Any) -> int | None:
    if not hasattr(operand, "__array__"):
        return None  # a framework's own matrix
    try:
        host = ops.to_numpy(operand)
        plain = np.ascontiguousarray(host)
        return None if host.dtype.kind == "O" else zlib.crc32(plain.reshape(-1).view(np.uint8).data)
    except Exception:  # it does not show it
        return None


# -- what is recorded of the process -----------------------------------------------------------------------------------


def _settings(job: CaseJob, ops: Ops, compiled: Compiled) -> dict[str, Scalar]:
    """What the framework, its compiler, threads and malloc were told or chose, as plain scalars."""
    own = ops.settings()
    chosen = {} if compiled.kept is None else {KEPT: compiled.kept}
    found = {**own, **compiled.flags, **chosen, **_threads(own, job.threads), **_malloc()}
    return {name: _plain(value, job.cache) for name, value in found.items()}


def _threads(settings: dict[str, Scalar], asked: int) -> dict[str, Scalar]:
    """The threads that were asked, those seen from inside, and in words where they differ."""
    seen = threads.observed(settings)
    pools = {f"threads_{name}": count for name, count in seen.items() if name not in settings}
    return {"threads_asked": asked, **pools, "threads_mismatch": threads.mismatch(seen, asked)}


def _malloc() -> dict[str, Scalar]:
    """How glibc's malloc was told to keep large blocks, the same for every framework (harness/worker/client.py)."""
    return {k.strip("_").lower(): int(v) for k, v in os.environ.items() if k.startswith("MALLOC_") and v.isdecimal()}


def _plain(value: Scalar, cache: str) -> Scalar:
    """A plain JSON scalar, whatever subclass a framework hands out; nobody's folder stands in a record."""
    if isinstance(value, str):
        return private(str(value), {cache: "<cache>"})
    for kind in (bool, int, float):
        if isinstance(value, kind):
            return kind(value)
    return value

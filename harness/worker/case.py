"""What happens inside the fresh process of one case: open, prepare, compile, check, and only then the clock.

It knows nothing of plans and stores: a job comes in, an answer goes out. Whatever a computation raises becomes an
outcome here; what kills the process is for the parent to tell.
"""

from __future__ import annotations

import os
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backends.device import is_ahead_of_time
from backends.discovery import backends
from backends.dtypes import itemsize
from backends.ops import Compiled, Device, Fallback, Matrix, Ops, Scalar, Unsupported
from harness.measuring import gpu_conditions, waiting
from harness.measuring.clock import Hooks, Timed, Window, sample
from harness.measuring.energy import sources
from harness.measuring.energy.meter import Meter, NoMeter
from harness.measuring.gpu_conditions import Conditions
from harness.measuring.host_memory import IN_ALLOCATOR, HostPeak
from harness.measuring.operation_classes import plain_kernel
from harness.measuring.steady_state import Settled, settle
from harness.measuring.turn import Alone, Turn, Waits
from harness.records import timestamps
from harness.records.record import OTHER_INPUTS, Memory, Trial, Verdict
from harness.records.text import one_line
from harness.worker import carry_on, check, compile_only, counting, outcome, recheck, tracing
from harness.worker.case_data import load_inputs, make_data
from harness.worker.messages import (
    CaseJob,
    ConformityJob,
    ContractJob,
    CountJob,
    DataJob,
    FactsJob,
    Job,
    Measured,
    TraceJob,
    TrainingJob,
)
from harness.worker.preparation import Phase, Prepared, prepare
from workloads.authoring.functions import WorkloadError, line_of
from workloads.base import Definition
from workloads.discovery import workloads

PRELOAD = ("scipy.stats", "ml_dtypes")  # what checking and the clock's statistics need, imported once in the server


def answer(job: Job, phase_file: Path, turn: Turn | None = None) -> Measured:
    """Do the job; never raises. `turn` is when a case may be measured: at once by default."""

    def phase(words: str) -> None:
        phase_file.write_text(words)

    try:
        if isinstance(job, CaseJob):
            with gpu_conditions.alone(Device.parse(job.case.device), phase):
                return _case(job, phase, turn or Alone())
        if isinstance(job, DataJob):
            return make_data(_workload(job.workload), job, phase)
        if isinstance(job, CountJob):
            return counting.count(job, phase)
        if isinstance(job, TrainingJob):
            return carry_on.carry_on(job, _workload(job.case.workload), phase)
        if isinstance(job, TraceJob):
            with gpu_conditions.alone(Device.parse(job.case_job.case.device), phase):
                return tracing.trace(job, _workload(job.case_job.case.workload), phase)
        if isinstance(job, FactsJob | ConformityJob | ContractJob):
            return check.answer(job, phase)
        return _devices()
    except Unsupported as refusal:
        status, kind, reason = outcome.of_refusal(str(refusal))
    except BaseException as error:
        traceback.print_exc()  # to the process's log, which the run keeps; the record carries one line
        status, kind, reason = outcome.of_exception(error, _place(job, error))
    return Measured(status=status, reason=reason, failure_class=kind)


def _place(job: Job, error: BaseException) -> str | None:
    """Where in the author's file an exception arose; None where the sentence says it, or it arose elsewhere."""
    if not isinstance(job, CaseJob) or isinstance(error, WorkloadError):
        return None
    formulation = _workload(job.case.workload).formulations[job.case.mode].get(job.case.formulation)
    return line_of(error, formulation.step) if formulation is not None else None


def _devices() -> Measured:
    name = os.environ["HWLOTTERY_BACKEND"]
    return Measured(status="ok", answer=[str(device) for device in backends()[0][name].devices()])


def _workload(name: str) -> Definition:
    found, broken = workloads()
    if name not in found:
        raise ValueError("; ".join(b.reason for b in broken) or f"no workload {name!r}")
    return found[name]


# -- one case -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Timed:
    """What the window gave; `kept` are the samples that nothing disturbed, `traced` how often the framework did so."""

    window: Window
    kept: list[float]
    conditions: Conditions
    meter: Meter
    allocator_peak: int | None
    traced: int


def _case(job: CaseJob, phase: Phase, turn: Turn) -> Measured:
    case = job.case
    started_at = timestamps.now("milliseconds")
    began = time.perf_counter()
    workload = _workload(case.workload)
    formulation = workload.formulations[case.mode][case.formulation]
    if formulation.executions is not None and case.execution not in formulation.executions:
        raise Unsupported(f"{case.formulation} has no execution {case.execution}")
    if is_ahead_of_time(case.device):
        return compile_only.case(job, formulation, lambda: load_inputs(job), phase)

    waits = Waits(turn)
    ready = prepare(job, workload, formulation, phase, waits)
    if not ready.verdict.passes:
        return Measured(
            status="wrong",
            reason=ready.verdict.reason,
            failure_class=ready.failure_class,
            verdict=ready.verdict,
            settings=ready.settings,
        )
    phase("waiting for its turn")
    prepared_s = time.perf_counter() - began - waits.quiet_s  # others prepared meanwhile
    turn.ready()
    phase("measuring")
    timed = _timed(job, ready, workload, turn)
    turn.done()
    began = time.perf_counter()
    if timed.traced:
        return _no_measurement(_RETRACED.format(timed.traced), ready.verdict)
    if (clock := recheck.replaced_clock()) is not None:
        return _no_measurement(clock, ready.verdict)
    tried: dict[str, Scalar] = {}
    if job.recheck:
        phase("checking with other inputs")
        fault, tried[OTHER_INPUTS] = recheck.fault(job, formulation, ready, timed.kept, timed.window.last)
        if fault is not None:
            return Measured(**fault._asdict())
    timed.window.last.clear()  # before memory is measured
    fallback, watched = _watched(job, ready) if job.watch or job.recheck else (None, {})
    phase("measuring memory")
    memory = job.memory or _memory(
        ready.ops, ready.compiled, ready.operands, ready.peak or HostPeak(), timed.allocator_peak
    )
    settled = settle(timed.kept)
    wall_s = prepared_s + timed.window.window_s + (time.perf_counter() - began)
    return Measured(
        status="ok",
        verdict=ready.verdict,
        trial=_trial(job, ready, timed.window, settled, started_at, wall_s),
        samples_s=settled.samples_s,
        memory=memory,
        energy=timed.meter.energy(
            calls=timed.window.metered,
            cpu_s=timed.window.cpu_s * timed.window.metered / timed.window.calls,
            memory_bytes=memory.host_peak_bytes,
        ),
        settings=ready.settings | timed.conditions.settings() | watched | tried,
        fallback=fallback,
    )


def _timed(job: CaseJob, ready: Prepared, workload: Definition, turn: Turn) -> _Timed:
    """Take the window. What the framework traced or compiled so far is counted when all that the window needs is there.

    The first flush of a device's caches compiles, too.
    """
    case, ops, compiled = job.case, ready.ops, ready.compiled
    conditions = Conditions(ops, workload.work(case.params, case.mode, itemsize(case.dtype)).live_bytes)
    meter: Meter = NoMeter("not metered: later processes of the case are")
    if job.metered:
        meter = sources.choose(ops.device, job.power, known=job.baseline)
    traces = compiled.traces()
    ops.reset_peak_bytes()
    window = sample(
        Timed(compiled.call, ready.operands, ops.wait, conditions.flush),
        job.sampling,
        turn,
        Hooks(meter.begin, meter.end, conditions.between, meter.least_window_s, waiting.clock()),
    )
    allocator_peak = ops.device_peak_bytes() if compiled.peak_bytes is None else compiled.peak_bytes
    kept = conditions.keep(window.samples_s)
    return _Timed(window, kept, conditions, meter, allocator_peak, compiled.traces() - traces)


def _trial(job: CaseJob, ready: Prepared, window: Window, settled: Settled, started_at: str, wall_s: float) -> Trial:
    """The facts of this process."""
    cached = job.case.execution == "compiled"
    return Trial(
        round=0,
        order=0,
        started_at=started_at,
        wall_s=wall_s,
        open_s=ready.costs.open_s,
        convert_s=ready.costs.convert_s,
        trace_s=ready.compiled.trace_s,
        compile_s=ready.compiled.compile_s,
        first_call_s=ready.costs.first_call_s,
        compile_cache=("warm" if job.compiled_before else "cold") if cached else None,
        warmup_s=settled.warmup_s,
        calls_per_sample=window.calls_per_sample,
        steady=settled.steady,
        drift=settled.drift,
        cpu_s=window.cpu_s,
        window_s=window.window_s,
        turns=len(window.slices),
        slices=window.slices,
        repeated=window.repeated,
        starved=window.starved,
        beside=job.beside,
    )


# -- after the clock ----------------------------------------------------------------------------------------------


def _memory(ops: Ops, compiled: Compiled, operands: list[Matrix], peak: HostPeak, allocator_peak: int | None) -> Memory:
    """The device's peak by its allocator; the host's by resident pages, whatever the framework.

    An allocator on the host (TensorFlow's) keeps its pages for the next tensor, so that none come or go with a call:
    what lies in it is its own peak, and resident pages tell what lies beside it, as XLA's scratch does. The sum is no
    less than the case's peak, since the two peaks need not be of one moment.

    Empties `operands`: it is the last that is done with them.
    """
    pooled = allocator_peak if ops.device.kind == "cpu" else None
    held = peak.measure(compiled.call, operands, ops.wait)
    source = peak.source
    if pooled is not None and held is not None:
        source += IN_ALLOCATOR
    elif pooled is None and allocator_peak is not None:
        when = "" if compiled.peak_bytes is None else " while its graph was recorded"
        source = f"allocator of {ops.device}{when}; host: {source}"
    return Memory(
        device_peak_bytes=None if pooled is not None else allocator_peak,
        host_peak_bytes=None if held is None else held.peak_bytes + (pooled or 0),
        compiled_temp_bytes=compiled.temp_bytes,
        source=source,
        framework_bytes=None if held is None else held.framework_bytes,
    )


def _watched(job: CaseJob, ready: Prepared) -> tuple[str | None, dict[str, Scalar]]:
    """What ran in place of what was asked, in words; the device's own time of a call and its kernels, where it tells.

    That it could not be seen is a fact too, never a failure. A profiler takes seconds to start: kernels are named in a
    process that may be published.
    """
    ops, compiled, operands = ready.ops, ready.compiled, ready.operands
    seen: dict[str, Scalar] = {}

    def looked(what: str, look: Callable[[], Any]) -> Any:
        try:
            return look()
        except Exception as error:
            seen[f"{what}_unknown"] = one_line(f"{type(error).__name__}: {error}")
            return None

    found: Sequence[Fallback] | None = ()
    if job.watch:
        seconds = looked("device_clock", lambda: ops.device_s(compiled.call, operands))
        if seconds is not None:
            seen["device_clock_s"] = seconds
        found = looked("fallbacks", lambda: compiled.fallbacks(operands))
    if job.recheck and (names := looked("kernels", lambda: ops.kernels(compiled.call, operands))):
        seen["kernels"] = _counted(names)
    return "; ".join(map(str, found or ())) or None, seen


MOST_KERNELS = 12  # that are named


def _counted(names: Sequence[str]) -> str:
    """Each of the names once, without what it is a template of, with how often it stands there."""
    counts = Counter(plain_kernel(name) for name in names)
    said = [f"{name} ×{count}" if count > 1 else name for name, count in counts.items()]
    return "; ".join([*said[:MOST_KERNELS], *([f"{len(said) - MOST_KERNELS} more"] if said[MOST_KERNELS:] else [])])


_RETRACED = "the framework traced or compiled {} more times inside the timed region"


def _no_measurement(reason: str, verdict: Verdict) -> Measured:
    return Measured(status="error", reason=reason, failure_class="other", verdict=verdict)

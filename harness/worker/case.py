"""What happens inside the fresh process of one case: open, prepare, compile, check, and only then the clock.

It knows nothing of plans and stores: a job comes in, an answer goes out. Whatever a computation raises becomes an
outcome here; what kills the process is for the parent to tell.
"""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from backends.device import is_ahead_of_time
from backends.discovery import backends
from backends.dtypes import itemsize
from backends.ops import Backend, Compiled, Device, Matrix, Ops, Scalar, Unsupported
from harness.measuring import gpu_conditions, threads
from harness.measuring.clock import sample
from harness.measuring.correctness import epsilon, judge, upcast
from harness.measuring.energy import sources
from harness.measuring.host_memory import HostPeak
from harness.measuring.steady_state import settle
from harness.measuring.turn import Alone, Turn
from harness.records.record import KEPT, Memory, Trial, Verdict
from harness.worker import compile_cache, compile_only, outcome
from harness.worker.case_data import load_arrays, load_inputs, make_data
from harness.worker.messages import CaseJob, DataJob, Job, Measured
from workloads.authoring.functions import WorkloadError, line_of
from workloads.base import Definition
from workloads.conformance import wrong_dtypes
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
        return _devices()
    except Unsupported as refusal:
        status, kind, reason = outcome.of_refusal(str(refusal))
    except BaseException as error:
        traceback.print_exc()  # to the process's log; the record carries one line
        status, kind, reason = outcome.of_exception(error)
        reason += _place(job, error)
    return Measured(status=status, reason=reason, failure_class=kind)


def _place(job: Job, error: BaseException) -> str:
    """Where in the author's file an exception arose; nothing where the sentence says it, or it arose elsewhere."""
    if not isinstance(job, CaseJob) or isinstance(error, WorkloadError):
        return ""
    by_name = _workload(job.case.workload).formulations[job.case.mode]
    line = line_of(error, by_name[job.case.formulation].step) if job.case.formulation in by_name else None
    return f" ({line})" if line else ""


def _devices() -> Measured:
    name = os.environ["HWLOTTERY_BACKEND"]
    return Measured(status="ok", answer=[str(device) for device in backends()[0][name].devices()])


def _workload(name: str) -> Definition:
    found, broken = workloads()
    if name not in found:
        raise ValueError("; ".join(b.reason for b in broken) or f"no workload {name!r}")
    return found[name]


# -- one case -----------------------------------------------------------------------------------------------------


def _case(job: CaseJob, phase: Callable[[str], None], turn: Turn) -> Measured:
    case = job.case
    started_at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    began = time.perf_counter()
    workload = _workload(case.workload)
    formulation = workload.formulations[case.mode][case.formulation]
    if formulation.executions is not None and case.execution not in formulation.executions:
        raise Unsupported(f"{case.formulation} has no execution {case.execution}")

    if is_ahead_of_time(case.device):
        return compile_only.case(job, formulation, lambda: load_inputs(job), phase)

    phase("opening the device")
    ops, open_s = _open(backends()[0][case.backend], Device.parse(case.device))
    cache_files = compile_cache.files(Path(job.cache)) if case.execution == "compiled" else 0

    phase("preparing operands")
    peak = HostPeak()
    inputs = load_inputs(job)
    t0 = time.perf_counter()
    operands = list(formulation.prepare(ops, inputs, case.params))
    ops.wait(operands)
    convert_s = time.perf_counter() - t0
    peak.prepared()

    phase("compiling")
    t0 = time.perf_counter()
    compiled = ops.compile(formulation.step(ops, case.params), case.execution, operands, job.keep)
    t1 = time.perf_counter()
    phase("making the first call")
    outputs = compiled.call(*operands)
    ops.wait(outputs)
    t2 = time.perf_counter()
    # Where the adapter compiled ahead of time its own split counts, so that trying a second setting is not charged.
    ahead = None if compiled.compile_s is None else (compiled.trace_s or 0.0) + compiled.compile_s
    first_call_s = (t2 - t1) + (t1 - t0 if ahead is None else ahead)

    phase("checking against the reference")
    host = [ops.to_numpy(output) for output in outputs]
    restored = formulation.restore(host, inputs, case.params)
    widened = wrong_dtypes(host, list(restored), case.dtype)
    if widened is not None:
        return Measured(status="error", reason=widened, failure_class="type")
    tolerance = workload.tolerances[case.dtype, case.mode]
    reference = load_arrays(Path(job.data) / "reference")
    verdict = judge(restored, reference, upcast(inputs), tolerance, epsilon(case.dtype))
    own = ops.settings()
    chosen = {} if compiled.kept is None else {KEPT: compiled.kept}
    found = {**own, **compiled.flags, **chosen, **_threads(own, job.threads), **_malloc()}
    settings = {name: _plain(value, job.cache) for name, value in found.items()}
    if not verdict.agrees:
        return Measured(
            status="wrong", reason=verdict.reason, failure_class="precision", verdict=verdict, settings=settings
        )
    del outputs, host, restored, reference, inputs

    phase("waiting for its turn")
    prepared_s = time.perf_counter() - began
    turn.ready()
    phase("measuring")
    conditions = gpu_conditions.Conditions(ops, workload.work(case.params, case.mode, itemsize(case.dtype)).live_bytes)
    meter = sources.choose(ops.device, job.power, known=job.baseline)
    traces = compiled.traces()  # after all that is made for the window: the first flush of a cache compiles, too
    ops.reset_peak_bytes()
    window = sample(
        compiled.call,
        operands,
        ops.wait,
        job.sampling,
        turn,
        meter.begin,
        meter.end,
        flush=conditions.flush,
        between=conditions.between,
        least_s=meter.least_window_s,
    )
    allocator_peak = ops.device_peak_bytes()
    kept = conditions.keep(window.samples_s)
    turn.done()
    began = time.perf_counter()
    if compiled.traces() != traces:
        return _retraced(compiled.traces() - traces, verdict)
    fallback, watched = _watched(ops, compiled, operands) if job.watch else (None, {})
    phase("measuring memory")
    memory = job.memory or _memory(ops, compiled, operands, peak, allocator_peak)
    settled = settle(kept)
    trial = Trial(
        round=0,
        order=0,
        started_at=started_at,
        wall_s=prepared_s + window.window_s + (time.perf_counter() - began),
        open_s=open_s,
        convert_s=convert_s,
        trace_s=compiled.trace_s,
        compile_s=compiled.compile_s,
        first_call_s=first_call_s,
        compile_cache=None if case.execution != "compiled" else compile_cache.state(Path(job.cache), cache_files),
        warmup_s=settled.warmup_s,
        calls_per_sample=window.calls_per_sample,
        steady=settled.steady,
        drift=settled.drift,
        cpu_s=window.cpu_s,
        window_s=window.window_s,
        turns=len(window.slices),
        slices=window.slices,
    )
    return Measured(
        status="ok",
        verdict=verdict,
        trial=trial,
        samples_s=settled.samples_s,
        memory=memory,
        energy=meter.energy(
            calls=window.metered,
            cpu_s=window.cpu_s * window.metered / window.calls,
            memory_bytes=memory.host_peak_bytes,
        ),
        settings=settings | conditions.settings() | watched,
        fallback=fallback,
    )


def _threads(settings: dict[str, Scalar], asked: int) -> dict[str, Scalar]:
    """The threads that were asked, those seen from inside, and in words where they differ."""
    seen = threads.observed(settings)
    pools = {f"threads_{name}": count for name, count in seen.items() if name not in settings}
    return {"threads_asked": asked, **pools, "threads_mismatch": threads.mismatch(seen, asked)}


def _malloc() -> dict[str, Scalar]:
    """How glibc's malloc was told to keep large blocks, the same for every framework (harness/worker/client.py)."""
    return {k.strip("_").lower(): int(v) for k, v in os.environ.items() if k.startswith("MALLOC_") and v.isdecimal()}


def _memory(ops: Ops, compiled: Compiled, operands: list[Matrix], peak: HostPeak, allocator_peak: int | None) -> Memory:
    """The device's peak by its allocator; the host's by the framework's own allocator there, else by resident pages.

    Empties `operands`: it is the last that is done with them.
    """
    on_host = ops.device.kind == "cpu"
    if on_host and allocator_peak is not None:
        return Memory(
            device_peak_bytes=None,
            host_peak_bytes=allocator_peak,
            compiled_temp_bytes=compiled.temp_bytes,
            source="peak of the framework's own allocator on the host",
        )
    held = peak.measure(compiled.call, operands, ops.wait)
    return Memory(
        device_peak_bytes=allocator_peak,
        host_peak_bytes=None if held is None else held.peak_bytes,
        compiled_temp_bytes=compiled.temp_bytes,
        source=peak.source if allocator_peak is None else f"allocator of {ops.device}; host: {peak.source}",
        framework_bytes=None if held is None else held.framework_bytes,
    )


def _watched(ops: Ops, compiled: Compiled, operands: Sequence[Matrix]) -> tuple[str | None, dict[str, Scalar]]:
    """What ran in place of what was asked, in words, and the device's own time of a call where it has a clock.

    That it could not be seen is a fact too, never a failure.
    """
    try:
        seconds = ops.device_s(compiled.call, operands)
        device_clock: dict[str, Scalar] = {} if seconds is None else {"device_clock_s": seconds}
        found = compiled.fallbacks(operands)
    except Exception as error:
        return None, {"fallbacks_unknown": outcome.one_line(f"{type(error).__name__}: {error}")}
    return "; ".join(map(str, found)) or None, device_clock


def _plain(value: Scalar, cache: str) -> Scalar:
    """A plain JSON scalar, whatever subclass a framework hands out; nobody's folder stands in a record."""
    if isinstance(value, str):
        return str(value).replace(cache, "<cache>")
    for kind in (bool, int, float):
        if isinstance(value, kind):
            return kind(value)
    return value


def _retraced(times: int, verdict: Verdict) -> Measured:
    reason = f"the framework traced or compiled {times} more times inside the timed region"
    return Measured(status="error", reason=reason, failure_class="other", verdict=verdict)


def _open(backend: Backend, device: Device) -> tuple[Ops, float]:
    """Open the device and touch it, so that starting the runtime stands in no case's first call."""
    t0 = time.perf_counter()
    ops = backend.open(device)
    square = ops.asarray(np.ones((64, 64), np.float32))
    ops.wait([ops.matmul(square, square)])
    return ops, time.perf_counter() - t0

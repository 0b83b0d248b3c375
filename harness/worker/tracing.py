"""Profiles a few calls of one case with its framework's own profiler, in a process in which nothing is measured."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from backends.discovery import backends
from backends.ops import Unsupported
from backends.profiling import Profiler
from harness.measuring import where_time_went
from harness.measuring.turn import Alone
from harness.worker.messages import Measured, ProfiledCalls, TraceJob
from harness.worker.preparation import Prepared, prepare
from workloads.base import Definition

UNTRACED = 5  # calls before the profiler is on, at most
MOST_CALLS = 20  # that are profiled: what they show does not change any more, and the file grows


def trace(job: TraceJob, workload: Definition, phase: Callable[[str], None]) -> Measured:
    """The table of the case, once its outputs were found right; Unsupported where its backend has no profiler."""
    case = job.case_job.case
    formulation = workload.formulations[case.mode][case.formulation]
    if formulation.executions is not None and case.execution not in formulation.executions:
        raise Unsupported(f"{case.formulation} has no execution {case.execution}")
    backend = backends()[0][case.backend]
    if backend.profiler is None:
        raise Unsupported(f"{backend.title} has no profiler of its own")
    module: Any = importlib.import_module(backend.profiler)
    profiler: Profiler = module
    profiler.prepare()
    ready = prepare(job.case_job, workload, formulation, phase, Alone())
    if not ready.verdict.passes:
        return Measured(status="wrong", reason=ready.verdict.reason, failure_class=ready.failure_class)
    phase("calling without the profiler")
    untraced_s = _untraced_s(ready, job.window_s)
    count = max(1, min(MOST_CALLS, int(job.window_s / max(untraced_s, 1e-9))))
    phase("profiling")
    profile = profiler.profile(ready.ops, ready.compiled.call, ready.operands, count, Path(job.file))
    phase("reading the profile")
    traced = ProfiledCalls(
        profiler=profile.profiler,
        rows=where_time_went.rows(profile),
        calls=len(profile.calls),
        window_s=where_time_went.window_s(profile.calls),
        untraced_call_s=untraced_s,
    )
    return Measured(status="ok", traced=traced)


def _untraced_s(ready: Prepared, window_s: float) -> float:
    """The median seconds of a few calls, no more of them than the window has room for."""
    seconds: list[float] = []
    while not seconds or (len(seconds) < UNTRACED and sum(seconds) < window_s):
        began = time.perf_counter()
        outputs = ready.compiled.call(*ready.operands)
        ready.ops.wait(outputs)
        seconds.append(time.perf_counter() - began)
    return median(seconds)

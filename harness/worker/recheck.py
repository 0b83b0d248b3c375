"""What is looked at once more after the clock: whether what was timed is the work that the case says, and all of it.

A computation can be fast because it was done before (a result kept by the identity or the content of its operands), is
not done yet (by threads that go on after the call), is not done at all (an answer that was found somewhere), or because
the clock is another. The callable that was timed is given other inputs of the same shapes here, once a case, and held
to their own reference and to the time that it took in the window.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from backends.device import Device
from backends.ops import HostArray, Matrix
from harness.measuring import clock as measuring_clock
from harness.measuring import waiting
from harness.measuring.correctness import epsilon, judge
from harness.records.record import FailureClass, Status, Verdict
from harness.records.text import one_line
from harness.worker.case_data import OTHER, load_arrays, load_inputs
from harness.worker.messages import CaseJob
from harness.worker.preparation import Prepared, fingerprints
from workloads.base import Definition, Formulation
from workloads.conformance import reversed_values

FACTOR = 10.0  # times as long as in the window with inputs that it has not seen: no cache of a processor is that much
LEAST_S = 5e-5  # a shorter call may be so by what it costs to call at all
LONG_S = 0.02  # a call that takes long whether or not threads are awake
TRIES = 12  # with inputs all unlike: the shortest is held to the longest call with known ones, lest others' work tell
SPIN_S = 0.5  # threads of a pool may wait for more work that long, on a core; Intel's OpenMP does for 0.2 s
REST_S = 3e-3  # between two readings of the process's CPU time
BUSY = 0.2  # of a core: threads that sleep take less
MOST_BYTES = 256 << 20  # of inputs: a second set of them must not be what fills the memory

_NAMES = ("perf_counter", "perf_counter_ns", "monotonic", "monotonic_ns", "process_time", "process_time_ns", "sleep")
_CLOCKS = {name: getattr(time, name) for name in _NAMES}  # as they are before code of anybody's own is loaded
_OF_CLOCK = {name: getattr(measuring_clock, name) for name in ("perf_counter", "process_time")}


class Fault(NamedTuple):
    """Why what was timed is no measurement of the case."""

    status: Status
    failure_class: FailureClass
    reason: str
    verdict: Verdict


def replaced_clock() -> str | None:
    """A sentence where a clock is not the one that it was when this module was loaded."""
    for where, originals in ((time, _CLOCKS), (measuring_clock, _OF_CLOCK)):
        for name, original in originals.items():
            if getattr(where, name, None) is not original:
                return (
                    f"{where.__name__}.{name} is not Python's own: what was loaded has put another clock in its place"
                )
    return None


def fault(
    job: CaseJob, workload: Definition, formulation: Formulation, ready: Prepared, samples_s: Sequence[float]
) -> tuple[Fault | None, str]:
    """Why the window does not count, or None; and what came of other inputs, in words for the record."""

    def error(reason: str) -> tuple[Fault, str]:
        return Fault("error", "other", reason, ready.verdict), ""

    if not _at_rest():
        return error(f"its threads work on {SPIN_S:g} s after the last call has returned")
    if ready.marks != fingerprints(ready.ops, ready.operands):
        return error("the step changes its operands; compute a new array instead of writing into one")
    inputs = load_inputs(job)
    if sum(array.nbytes for array in inputs.values()) > MOST_BYTES:
        return None, f"not tried: more than {MOST_BYTES >> 20} MiB"
    try:
        return _with_other_inputs(job, workload, formulation, ready, inputs, median(samples_s))
    except Exception as failure:  # other values may have other shapes in this formulation's layout
        return None, f"not tried: {one_line(f'{type(failure).__name__}: {failure}')}"


def _at_rest() -> bool:
    """Whether the other threads of this process come to rest in time.

    They had no core meanwhile and wait for none: what a thread has waited counts only once it has its core.
    """
    own = str(threading.get_native_id())
    clock, until = _CLOCKS["perf_counter"], _CLOCKS["perf_counter"]() + SPIN_S
    while True:
        began, used = clock(), waiting.wanted_s()
        _CLOCKS["sleep"](REST_S)
        ready = waiting.running(stat for stat in Path("/proc/self/task").glob("*/stat") if stat.parent.name != own)
        if not ready and waiting.wanted_s() - used < BUSY * (clock() - began):
            return True
        if clock() > until:
            return False


def _with_other_inputs(
    job: CaseJob,
    workload: Definition,
    formulation: Formulation,
    ready: Prepared,
    inputs: Mapping[str, HostArray],
    typical_s: float,
) -> tuple[Fault | None, str]:
    case, ops = job.case, ready.ops
    other = reversed_values(inputs)
    operands = list(formulation.prepare(ops, other, case.params))
    known_s, first_s, outputs, taken = _first_call(ready, operands, wake=typical_s < LONG_S)
    reference = load_arrays(Path(job.data) / OTHER)
    said = "timed only"
    if reference:
        tolerance, rounding = workload.tolerances_at(case.params)[case.dtype, case.mode], epsilon(case.dtype)
        restored = formulation.restore(taken, other, case.params)
        verdict = judge(restored, reference, other, tolerance, rounding)
        if not verdict.agrees:
            reason = f"right with the first inputs, wrong with others after the clock: {verdict.reason}"
            return Fault("wrong", "precision", reason, verdict), ""
        said = "agree"
    later = [ops.to_numpy(output) for output in outputs]
    if any(not np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in zip(taken, later, strict=True)):
        reason = "its outputs change after they were said to be ready: the step returns before its work is done"
        return Fault("error", "other", reason, ready.verdict), ""
    known_s, tries = max(known_s, typical_s, LEAST_S / FACTOR), 1
    on_host = Device.parse(case.device).kind == "cpu"  # elsewhere the first call with new addresses may cost more
    while on_host and first_s > FACTOR * known_s and tries < TRIES:
        fresh = list(formulation.prepare(ops, reversed_values(inputs, shift=tries), case.params))
        again_s, new_s, _, _ = _first_call(ready, fresh)
        known_s, first_s, tries = max(known_s, again_s), min(first_s, new_s), tries + 1
    if on_host and first_s > FACTOR * known_s:
        reason = (
            f"a call with inputs that it has not seen takes {first_s:.2g} s, one in the timed region "
            f"{typical_s:.2g} s: it keeps results of earlier calls"
        )
        return Fault("error", "other", reason, ready.verdict), ""
    return None, said


def _first_call(
    ready: Prepared, operands: Sequence[Matrix], *, wake: bool = True
) -> tuple[float, float, Sequence[Any], list[HostArray]]:
    """Seconds of a call with the case's own operands and of the first with these; its outputs, and a copy at once.

    The one is made just before the other, so that threads are awake, and a busy machine is busy for both; or not at
    all, without `wake`.
    """
    ops, call, clock = ready.ops, ready.compiled.call, _CLOCKS["perf_counter"]
    ops.wait(operands)
    began = clock()
    if wake:
        ops.wait(call(*ready.operands))
    known = clock()
    outputs = call(*operands)
    ops.wait(outputs)
    took = clock() - known
    return known - began, took, outputs, [np.array(ops.to_numpy(output)) for output in outputs]

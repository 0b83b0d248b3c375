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
from backends.ops import HostArray, Matrix, Ops
from harness.measuring import clock as measuring_clock
from harness.measuring import waiting
from harness.measuring.correctness import disagrees, epsilon, judge
from harness.records.record import FailureClass, Status, Verdict
from harness.records.text import one_line
from harness.worker import outcome
from harness.worker.case_data import OTHER, load_arrays, load_inputs
from harness.worker.messages import CaseJob
from harness.worker.preparation import Prepared, fingerprints
from workloads.base import Formulation
from workloads.conformance import reversed_values

FACTOR = 10.0  # times as long as in the window with inputs that it has not seen: no cache of a processor is that much
LEAST_S = 5e-5  # a shorter call may be so by what it costs to call at all
LONG_S = 0.02  # a call that takes long whether or not threads are awake
TRIES = 12  # with inputs all unlike, or as many as MOST_BYTES hold; the shortest is held to the longest with known ones
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
    job: CaseJob, formulation: Formulation, ready: Prepared, samples_s: Sequence[float], last: Sequence[Any]
) -> tuple[Fault | None, str]:
    """Why the window does not count, or None; and what came of other inputs, in words for the record.

    `last` are the outputs of the last call of the window.
    """

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
        return _with_other_inputs(job, formulation, ready, inputs, median(samples_s), last)
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
    formulation: Formulation,
    ready: Prepared,
    inputs: Mapping[str, HostArray],
    typical_s: float,
    last: Sequence[Any],
) -> tuple[Fault | None, str]:
    case, ops = job.case, ready.ops
    other, reference = reversed_values(inputs), load_arrays(Path(job.data) / OTHER)
    own = [] if reference else _copied(ops, last)  # before another call: its outputs may be put where these are
    operands = list(formulation.prepare(ops, other, case.params))
    try:
        first = _first_call(ready, operands, wake=typical_s < LONG_S)
    except Exception as failure:
        if outcome.of_exception(failure)[0] == "oom" or not _alike(ready.operands, operands):
            raise  # two sets of operands were too many, or in this formulation's layout other values have other shapes
        said = one_line(f"{type(failure).__name__}: {failure}")
        return Fault("error", "other", f"it fails with other inputs of the same shapes: {said}", ready.verdict), ""
    taken = first.taken
    if reference:
        verdict = _held(job, formulation, ready, taken, other, reference)
        reason = f"right with the first inputs, wrong with others after the clock: {verdict.reason}"
    else:
        verdict = _held(job, formulation, ready, own, inputs, load_arrays(Path(job.data) / "reference"))
        reason = f"right at first, wrong after the clock: {verdict.reason}"
        if verdict.agrees and _unmoved(own, taken) and not _unmoved([*inputs.values()], [*other.values()]):
            verdict = disagrees(verdict.rtol, "the answer to other inputs is the answer to the first ones")
            reason = f"after the clock {verdict.reason}"
        _at_rest()  # what may still change is not known to be right
    if not verdict.agrees:
        return Fault("wrong", "precision", reason, verdict), ""
    later = [ops.to_numpy(output) for output in first.outputs]
    if any(not np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in zip(taken, later, strict=True)):
        reason = "its outputs change after they were said to be ready: the step returns before its work is done"
        return Fault("error", "other", reason, ready.verdict), ""
    costs, tried = first.costs, [operands]  # none is given up: what keeps results by identity must not meet it again
    most = min(TRIES, max(2, MOST_BYTES // max(1, sum(array.nbytes for array in inputs.values()))))
    on_host = Device.parse(case.device).kind == "cpu"  # elsewhere the first call with new addresses may cost more
    while on_host and costs.kept(typical_s) and len(tried) < most:
        tried.append(list(formulation.prepare(ops, reversed_values(inputs, shift=len(tried)), case.params)))
        costs = costs.joined(_first_call(ready, tried[-1]).costs)
    if on_host and costs.kept(typical_s):
        reason = (
            f"a call with inputs that it has not seen takes {costs.first_s:.2g} s, one in the timed region "
            f"{typical_s:.2g} s: it keeps results of earlier calls"
        )
        return Fault("error", "other", reason, ready.verdict), ""
    return None, "agree" if reference else "differ"


def _held(
    job: CaseJob,
    formulation: Formulation,
    ready: Prepared,
    outputs: Sequence[HostArray],
    inputs: Mapping[str, HostArray],
    reference: Mapping[str, HostArray],
) -> Verdict:
    """The oracle's answer of outputs that were taken after the clock."""
    restored = formulation.restore(outputs, inputs, job.case.params)
    return judge(restored, reference, inputs, ready.verdict.rtol, epsilon(job.case.dtype))


def _alike(known: Sequence[Matrix], other: Sequence[Matrix]) -> bool:
    """Whether operands are arrays of the same shapes and dtypes; of a framework's own matrices it is not known."""

    def told(operand: Any) -> object:
        return (operand.shape, operand.dtype) if hasattr(operand, "__array__") else object()

    return [told(operand) for operand in known] == [told(operand) for operand in other]


def _unmoved(before: Sequence[HostArray], after: Sequence[HostArray]) -> bool:
    """Whether numbers are the same; whole ones, and what is one number everywhere, may well be."""
    numbers = [(a, b) for a, b in zip(before, after, strict=True) if a.dtype.kind not in "iub"]
    pairs = [(a, b) for a, b in numbers if np.ptp(a.astype(float))]
    return bool(pairs) and all(np.array_equal(a, b) for a, b in pairs)


def _copied(ops: Ops, outputs: Sequence[Any]) -> list[HostArray]:
    """Copies of outputs, once they are said to be ready."""
    ops.wait(outputs)
    return [np.array(ops.to_numpy(output)) for output in outputs]


class _Costs(NamedTuple):
    """Seconds of calls with the case's own operands, the longest, and of first calls with others, the shortest.

    By the clock and of the processor: what a busy machine takes from a call is not in the latter. Those of a known call
    are None where none was made.
    """

    known_s: float
    first_s: float
    known_cpu_s: float | None
    first_cpu_s: float

    def joined(self, more: _Costs) -> _Costs:
        """With those of another try."""
        known = [seconds for seconds in (self.known_cpu_s, more.known_cpu_s) if seconds is not None]
        return _Costs(
            max(self.known_s, more.known_s),
            min(self.first_s, more.first_s),
            max(known, default=None),
            min(self.first_cpu_s, more.first_cpu_s),
        )

    def kept(self, typical_s: float) -> bool:
        """Whether a first call costs so much more that the known ones cannot do what it does."""
        least = LEAST_S / FACTOR
        by_clock = self.first_s > FACTOR * max(self.known_s, typical_s, least)
        return by_clock or (self.known_cpu_s is not None and self.first_cpu_s > FACTOR * max(self.known_cpu_s, least))


class _First(NamedTuple):
    """A first call with operands: what it cost, its outputs, and a copy of them that was made at once."""

    costs: _Costs
    outputs: Sequence[Any]
    taken: list[HostArray]


def _first_call(ready: Prepared, operands: Sequence[Matrix], *, wake: bool = True) -> _First:
    """Call with the case's own operands, and then for the first time with these.

    The one is made just before the other, so that threads are awake, and a busy machine is busy for both; or not at
    all, without `wake`.
    """
    ops, call, clock, processor = ready.ops, ready.compiled.call, _CLOCKS["perf_counter"], _CLOCKS["process_time"]
    ops.wait(operands)
    began, used = clock(), processor()
    if wake:
        ops.wait(call(*ready.operands))
    known, known_used = clock(), processor()
    outputs = call(*operands)
    ops.wait(outputs)
    took, took_used = clock() - known, processor() - known_used
    costs = _Costs(known - began, took, known_used - used if wake else None, took_used)
    return _First(costs, outputs, _copied(ops, outputs))

"""What one record must hold to be published: its case, its work, its outcome, its samples, its energy."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import msgspec

from backends.device import is_ahead_of_time, is_modelled
from backends.ops import EXECUTIONS, Device
from harness.gate import modelled_rules
from harness.gate.known import Expected, Known, TwinFacts, axes
from harness.gate.refusal import Refusal, refusal
from harness.records.record import Energy, Executed, Record, Timing, Trial, TwinRef
from harness.records.text import plain

RESOLUTION_S = 1e-7  # two readings of perf_counter with a call between them are further apart
WINDOW_SHARE = 0.5  # of the window on the host is inside the samples at least: the rest is the loop around them
ROUNDING_S = 1e-9  # samples are stored to 0.1 ns, and rounding must not refuse a short window
MOST_CALLS = 10**9  # in a sample
_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")
_MEASURE_AGAIN = "publish the record as it was measured"


def check(record: Record, where: str, known: Known) -> Iterator[Refusal]:
    """Every reason why this record may not be published, whatever stands beside it."""
    case = record.case
    named = f"{where} ({case.workload}/{case.formulation} {case.backend} {case.execution})"
    expected = known.expected(case)
    if expected is not None and expected.twins is record.twins:
        work = expected.work
    else:
        facts = known.facts_of(case)
        if isinstance(facts, str):
            remedy = "publish cases of workloads that the harness has, or name the file or folder of yours in "
            yield refusal("case", named, facts, f"{remedy}HWLOTTERY_WORKLOADS")
            return
        work, twins = facts
        wrong = [*_case(record, named, known), *_twins(record.twins, twins, named)]
        yield from wrong
        expected = known.expectation(record, work) if record.status == "ok" else None
        if expected is not None and not wrong:
            known.found_right(expected)
    found = (record.work.useful_flop, record.work.least_bytes, record.work.live_bytes)
    if found != (work.useful_flop, work.least_bytes, work.live_bytes):
        said = (
            f"useful FLOP, least bytes and live bytes are {found[0]:.6g}, {found[1]:.6g}, {found[2]:.6g}, the formulas "
            f"say {work.useful_flop:.6g}, {work.least_bytes:.6g}, {work.live_bytes:.6g}"
            if max(map(abs, found)) < 1e300
            else "useful FLOP or bytes are beyond what a float holds"
        )
        yield refusal("work", named, said, "measure again with the workload's own formulas")
    if not _UTC.fullmatch(record.started_at):
        yield refusal("time-of-day", named, f"started_at is {record.started_at!r}", "write it as 2026-11-01T10:00:00Z")
    yield from _outcome(record, named, expected)
    if record.executed is not None and not _can_be(record.executed):
        said = "the executed work has a count below 0 or beyond 64 bits, or more bytes written than moved"
        yield refusal("executed", named, said, "measure again: it is counted, and never written by hand")
    if record.energy is not None:
        yield from _energy(record.energy, named)
    if record.memory is not None:
        m = record.memory
        if min(m.device_peak_bytes or 0, m.host_peak_bytes or 0, m.compiled_temp_bytes or 0) < 0:
            yield refusal("negative", named, "a peak of memory is negative", _MEASURE_AGAIN)


def _can_be(executed: Executed) -> bool:
    """Whether the counts of executed work can be some: no formula says what a formulation executes."""
    counts = msgspec.structs.astuple(executed)
    return all(0 <= count < 2**63 for count in counts) and executed.written_bytes <= executed.bytes


def _case(record: Record, where: str, known: Known) -> Iterator[Refusal]:
    case = record.case
    formulation = known.workloads[case.workload].formulations[case.mode].get(case.formulation)
    if formulation is None:
        said = f"{case.workload} has no formulation {case.formulation!r} for {case.mode}"
        yield refusal("case", where, said, "publish cases of formulations that the harness has")
    elif record.status != "unsupported" and case.execution not in (formulation.executions or EXECUTIONS):
        said = f"{case.formulation} has no execution {case.execution}"
        yield refusal("case", where, said, f"its executions are {', '.join(formulation.executions or EXECUTIONS)}")
    for axis, value in case.params.items():
        if isinstance(value, str) and ("/" in value or "\\" in value):
            said = f"axis {axis} names a path, {plain(value)}, which is another on every machine"
            yield refusal("case", where, said, "measure again: patterns are named by their content now")
    try:
        Device.parse(case.device)
    except ValueError as error:
        yield refusal("case", where, str(error), "name the device as `hwlottery list devices` does")
    backend = known.backends.get(case.backend)
    if backend is not None and case.execution not in backend.executions:
        said = f"{case.backend} has no execution {case.execution}"
        yield refusal("case", where, said, f"known are {', '.join(EXECUTIONS)}")


def _twins(found: Sequence[TwinRef], expected: frozenset[TwinFacts], where: str) -> Iterator[Refusal]:
    if {(t.kind, t.workload, t.mode, t.dtype, axes(t.params)) for t in found} - expected:
        yield refusal("twins", where, "it names a twin that the workload has not", "measure against the workload's own")


def _outcome(record: Record, where: str, expected: Expected | None) -> Iterator[Refusal]:
    if record.status == "modelled" or record.modelled is not None or is_modelled(record.case.device):
        yield from modelled_rules.check(record, where)
        return
    ahead = is_ahead_of_time(record.case.device)
    if record.status == "estimated" or record.estimate is not None or ahead:
        if record.time is not None or record.energy is not None or record.status == "ok":
            said = "an estimate stands beside something measured"
            yield refusal("estimate", where, said, "publish what was compiled and what was run as records of their own")
        elif record.status == "estimated" and not (ahead and record.estimate is not None):
            said = f"it is estimated, but for {record.case.device} or without an estimate"
            yield refusal("estimate", where, said, "compile for a tpu-aot or gpu-aot device")
        return
    if record.status != "ok" or expected is None:  # what is ok has something to be held against
        if record.time is not None or record.energy is not None:
            yield refusal("time-without-ok", where, f"it is {record.status} and has a time or energy", _MEASURE_AGAIN)
        if record.status == "wrong" and (record.verdict is None or record.verdict.passes):
            yield refusal("verdict", where, "it is wrong, but no verdict says so", _MEASURE_AGAIN)
        if not record.reason:
            yield refusal("reason", where, f"it is {record.status} without a reason", "keep the framework's words")
        return
    yield from _verdict(record, where, expected)
    if record.time is None:
        yield refusal("no-time", where, "it is ok and has no time", _MEASURE_AGAIN)
    else:
        yield from _timing(record.time, record.case.device == "cpu", where)


def _verdict(record: Record, where: str, expected: Expected) -> Iterator[Refusal]:
    verdict, case, allowed, limit = record.verdict, record.case, expected.rtol, expected.gate_limit
    if verdict is None or not verdict.agrees:
        said = "it is ok without a verdict that agrees"
        yield refusal("verdict", where, said, "check its output against the reference before it is timed")
        return
    if record.settings.get("tf32") and case.dtype == "float32":
        said = "its float32 products were computed in TF32"
        yield refusal("settings", where, said, "measure without --tf32: what is published as float32 is float32")
        return
    if verdict.rtol != allowed:
        said = f"its output was allowed {verdict.rtol:.3g}, the workload allows {allowed:.3g}"
        yield refusal("tolerance", where, said, "check it by the workload's own tolerance")
    if verdict.gate_limit != limit:
        said = f"its gate is {verdict.gate_limit}, the workload's is {limit}"
        yield refusal("gate", where, said, "check it by the workload's own gate")
    elif limit is not None and not (verdict.gate_error is not None and 0 <= verdict.gate_error <= limit):
        said = f"it is ok with a gate error of {verdict.gate_error}, {limit:g} allowed"
        yield refusal("gate", where, said, "check its output again; an ok case is inside its gate")
    error = verdict.max_rel_error
    # |x − r| ≤ rtol·|r| + rtol·max|r| is at most twice the tolerance of the largest value.
    if error is None or verdict.max_abs_error is None or error < 0 or verdict.max_abs_error < 0 or error > 2 * allowed:
        said = f"its verdict agrees with an error of {'unknown size' if error is None else f'{error:.3g}'}"
        yield refusal("verdict", where, said, "check its output again; an ok case is within its tolerance")


def _timing(time: Timing, host: bool, where: str) -> Iterator[Refusal]:
    if not time.trials or len(time.trials) != len(time.samples_s) or not all(time.samples_s):
        said = (
            f"it has samples of {len(time.samples_s)} processes and {len(time.trials)} trials, or one without samples"
        )
        yield refusal("samples", where, said, "keep the samples of every trial, and no others")
        return
    first = time.trials[0]
    summary = (time.first_call_s, time.compile_s, time.convert_s, time.steady, time.drift)
    steady, drift = all(t.steady for t in time.trials), max([t.drift for t in time.trials], key=abs)
    if summary != (first.first_call_s, first.compile_s, first.convert_s, steady, drift):
        yield refusal("samples", where, "its summary is not that of its trials", "derive it from the trials")
    for trial, samples in zip(time.trials, time.samples_s, strict=True):
        bad = _trial(trial, samples, host)
        if bad is not None:
            yield refusal(bad[0], where, f"process {trial.round}/{trial.order}: {bad[1]}", _MEASURE_AGAIN)


def _trial(trial: Trial, samples: Sequence[float], host: bool) -> tuple[str, str] | None:
    """The first thing that cannot be, as a code and words."""
    calls = trial.calls_per_sample
    fastest = min(samples)
    seconds = min(trial.wall_s, trial.open_s, trial.convert_s, trial.first_call_s, trial.cpu_s, trial.window_s, fastest)
    unsure = min(trial.trace_s or 0.0, trial.compile_s or 0.0, min(trial.warmup_s, default=0.0))
    if min(seconds, unsure, trial.round, trial.order) < 0:
        return "negative", "a time or a number is negative"
    if not 1 <= calls <= MOST_CALLS:
        return "samples", f"calls_per_sample is {calls:.3g}, which is not between 1 and {MOST_CALLS:g}" if (
            abs(calls) < 1e300
        ) else "calls_per_sample is beyond what a float holds"
    if fastest * calls < RESOLUTION_S:
        said = f"a sample took {fastest * calls:.3g} s, below the {RESOLUTION_S:g} s that the clock tells apart"
        return "resolution", said
    spent = (sum(samples) + sum(trial.warmup_s)) * calls
    slack = ROUNDING_S * calls * (len(samples) + len(trial.warmup_s))
    if spent > trial.window_s + slack:
        return "window", f"its samples take {spent:.3g} s, its window only {trial.window_s:.3g} s"
    if host and spent + slack < WINDOW_SHARE * trial.window_s:
        return "window", f"its samples take {spent:.3g} s of a window of {trial.window_s:.3g} s"
    if not _UTC.fullmatch(trial.started_at):
        return "time-of-day", "its started_at is not a time such as 2026-11-01T10:00:00Z"
    return None


def _energy(energy: Energy, where: str) -> Iterator[Refusal]:
    joules = min(energy.gross_j or 0.0, energy.low_j or 0.0, energy.high_j or 0.0)
    if min(joules, energy.idle_w or 0.0, energy.window_s or 0.0, energy.update_s or 0.0) < 0:
        yield refusal("negative", where, "its energy is negative", _MEASURE_AGAIN)
    if energy.gross_j == 0:
        yield refusal("energy", where, "its energy is 0 J", "write null where it is unknown")
    if energy.source == "none" and (energy.gross_j is not None or energy.net_j is not None):
        yield refusal("energy", where, "it has joules without a source", "name the source of the energy")
    bounds = (energy.low_j, energy.gross_j, energy.high_j)
    if energy.gross_j is not None and None in bounds and energy.source == "modelled":
        yield refusal("energy", where, "its energy is modelled without bounds", "state low_j and high_j")
    ordered = [x for x in bounds if x is not None]
    if ordered != sorted(ordered):
        yield refusal("energy", where, "its energy lies outside its own bounds", _MEASURE_AGAIN)

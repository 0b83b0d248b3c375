"""What one record must hold to be published: its case, its work, its outcome, its samples, its energy."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from backends.device import is_ahead_of_time, is_modelled
from backends.ops import EXECUTIONS, Device
from harness.gate import modelled_rules
from harness.gate.known import Expected, Known, TwinFacts, axes, facts_in
from harness.gate.refusal import Refusal, refusal
from harness.records.record import Energy, Executed, Record, Timing, Trial, TwinRef, WorkFacts
from harness.records.text import plain
from workloads.base import Work

RESOLUTION_S = 1e-7  # two readings of perf_counter with a call between them are further apart
WINDOW_SHARE = 0.5  # of the window on the host is inside the samples at least: the rest is the loop around them
ROUNDING_S = 1e-9  # samples are stored to 0.1 ns, and rounding must not refuse a short window
MOST_CALLS = 10**9  # in a sample
_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")
_MEASURE_AGAIN = "publish the record as it was measured"


class _Refusals:
    """What is refused of one record. Where it stands is put in words where there is something to refuse only."""

    __slots__ = ("_record", "_where", "found")

    def __init__(self, record: Record, where: str) -> None:
        self._record, self._where = record, where
        self.found: list[Refusal] = []

    @property
    def named(self) -> str:
        """The line, and the case in it."""
        case = self._record.case
        return f"{self._where} ({case.workload}/{case.formulation} {case.backend} {case.execution})"

    def refuse(self, code: str, said: str, remedy: str) -> None:
        """One more reason."""
        self.found.append(refusal(code, self.named, said, remedy))


def check(record: Record, where: str, known: Known) -> list[Refusal]:
    """Every reason why this record may not be published, whatever stands beside it."""
    case = record.case
    out = _Refusals(record, where)
    expected = known.expected_of(record)
    if expected is not None:
        work = expected.work
    else:
        facts = known.facts_of(case)
        if isinstance(facts, str):
            remedy = "publish cases of workloads that the harness has, or name the file or folder of yours in "
            out.refuse("case", facts, f"{remedy}HWLOTTERY_WORKLOADS")
            return out.found
        work, twins = facts
        _case(record, known, out)
        _twins(record.twins, twins, out)
        if record.status == "ok" or (record.status == "unsupported" and not out.found):
            expected = known.expectation(record, work)
        if expected is not None and not out.found:
            known.found_right(expected)
    if facts_in(record.work) != facts_in(work):
        _work(record.work, work, out)
    if not _UTC.fullmatch(record.started_at):
        out.refuse("time-of-day", f"started_at is {record.started_at!r}", "write it as 2026-11-01T10:00:00Z")
    _outcome(record, expected, out)
    if record.executed is not None and not can_be(record.executed):
        said = "the executed work has a count below 0 or beyond 64 bits, or more bytes written than moved"
        out.refuse("executed", said, "measure again: it is counted, and never written by hand")
    if record.energy is not None:
        _energy(record.energy, out)
    m = record.memory
    if m is not None and min(m.device_peak_bytes or 0, m.host_peak_bytes or 0, m.compiled_temp_bytes or 0) < 0:
        out.refuse("negative", "a peak of memory is negative", _MEASURE_AGAIN)
    return out.found


def _work(found: WorkFacts, work: Work, out: _Refusals) -> None:
    numbers = facts_in(found)
    said = (
        f"useful FLOP, least bytes and live bytes are {numbers[0]:.6g}, {numbers[1]:.6g}, {numbers[2]:.6g}, the "
        f"formulas say {work.useful_flop:.6g}, {work.least_bytes:.6g}, {work.live_bytes:.6g}"
        if max(map(abs, numbers)) < 1e300
        else "useful FLOP or bytes are beyond what a float holds"
    )
    out.refuse("work", said, "measure again with the workload's own formulas")


def can_be(executed: Executed) -> bool:
    """Whether the counts of executed work can be some: no formula says what a formulation executes."""
    counts = msgspec.structs.astuple(executed)
    return min(counts) >= 0 and max(counts) < 2**63 and executed.written_bytes <= executed.bytes


def _case(record: Record, known: Known, out: _Refusals) -> None:
    case = record.case
    formulation = known.workloads[case.workload].formulations[case.mode].get(case.formulation)
    if formulation is None:
        said = f"{case.workload} has no formulation {case.formulation!r} for {case.mode}"
        out.refuse("case", said, "publish cases of formulations that the harness has")
    elif record.status != "unsupported" and case.execution not in (formulation.executions or EXECUTIONS):
        said = f"{case.formulation} has no execution {case.execution}"
        out.refuse("case", said, f"its executions are {', '.join(formulation.executions or EXECUTIONS)}")
    for axis, value in case.params.items():
        if isinstance(value, str) and ("/" in value or "\\" in value):
            said = f"axis {axis} names a path, {plain(value)}, which is another on every machine"
            out.refuse("case", said, "measure again: patterns are named by their content now")
    try:
        Device.parse(case.device)
    except ValueError as error:
        out.refuse("case", str(error), "name the device as `hwlottery list devices` does")
    backend = known.backends.get(case.backend)
    if backend is not None and case.execution not in backend.executions:
        said = f"{case.backend} has no execution {case.execution}"
        out.refuse("case", said, f"known are {', '.join(EXECUTIONS)}")


def _twins(found: Sequence[TwinRef], expected: frozenset[TwinFacts], out: _Refusals) -> None:
    if {(t.kind, t.workload, t.mode, t.dtype, axes(t.params)) for t in found} - expected:
        out.refuse("twins", "it names a twin that the workload has not", "measure against the workload's own")


def _outcome(record: Record, expected: Expected | None, out: _Refusals) -> None:
    if record.status == "modelled" or record.modelled is not None or is_modelled(record.case.device):
        out.found.extend(modelled_rules.check(record, out.named))
        return
    ahead = is_ahead_of_time(record.case.device)
    if record.status == "estimated" or record.estimate is not None or ahead:
        if record.time is not None or record.energy is not None or record.status == "ok":
            said = "an estimate stands beside something measured"
            out.refuse("estimate", said, "publish what was compiled and what was run as records of their own")
        elif record.status == "estimated" and not (ahead and record.estimate is not None):
            said = f"it is estimated, but for {record.case.device} or without an estimate"
            out.refuse("estimate", said, "compile for a tpu-aot or gpu-aot device")
        return
    if record.status != "ok" or expected is None:  # what is ok has something to be held against
        if record.time is not None or record.energy is not None:
            out.refuse("time-without-ok", f"it is {record.status} and has a time or energy", _MEASURE_AGAIN)
        if record.status == "wrong" and (record.verdict is None or record.verdict.passes):
            out.refuse("verdict", "it is wrong, but no verdict says so", _MEASURE_AGAIN)
        if not record.reason:
            out.refuse("reason", f"it is {record.status} without a reason", "keep the framework's words")
        return
    _verdict(record, expected, out)
    if record.time is None:
        out.refuse("no-time", "it is ok and has no time", _MEASURE_AGAIN)
    else:
        _timing(record.time, record.case.device == "cpu", out)


def _verdict(record: Record, expected: Expected, out: _Refusals) -> None:
    verdict, case, allowed, limit = record.verdict, record.case, expected.rtol, expected.gate_limit
    if verdict is None or not verdict.agrees:
        said = "it is ok without a verdict that agrees"
        out.refuse("verdict", said, "check its output against the reference before it is timed")
        return
    if record.settings.get("tf32") and case.dtype == "float32":
        said = "its float32 products were computed in TF32"
        out.refuse("settings", said, "measure without --tf32: what is published as float32 is float32")
        return
    if verdict.rtol != allowed:
        said = f"its output was allowed {verdict.rtol:.3g}, the workload allows {allowed:.3g}"
        out.refuse("tolerance", said, "check it by the workload's own tolerance")
    if verdict.gate_limit != limit:
        said = f"its gate is {verdict.gate_limit}, the workload's is {limit}"
        out.refuse("gate", said, "check it by the workload's own gate")
    elif limit is not None and not (verdict.gate_error is not None and 0 <= verdict.gate_error <= limit):
        said = f"it is ok with a gate error of {verdict.gate_error}, {limit:g} allowed"
        out.refuse("gate", said, "check its output again; an ok case is inside its gate")
    error = verdict.max_rel_error
    # |x − r| ≤ rtol·|r| + rtol·max|r| is at most twice the tolerance of the largest value.
    if error is None or verdict.max_abs_error is None or error < 0 or verdict.max_abs_error < 0 or error > 2 * allowed:
        said = f"its verdict agrees with an error of {'unknown size' if error is None else f'{error:.3g}'}"
        out.refuse("verdict", said, "check its output again; an ok case is within its tolerance")


def _timing(time: Timing, host: bool, out: _Refusals) -> None:
    if not time.trials or len(time.trials) != len(time.samples_s) or not all(time.samples_s):
        said = (
            f"it has samples of {len(time.samples_s)} processes and {len(time.trials)} trials, or one without samples"
        )
        out.refuse("samples", said, "keep the samples of every trial, and no others")
        return
    if not is_of_its_trials(time):
        out.refuse("samples", "its summary is not that of its trials", "derive it from the trials")
    for trial, samples in zip(time.trials, time.samples_s, strict=False):  # as many of each, as was seen above
        bad = _trial(trial, samples, host)
        if bad is not None:
            out.refuse(bad[0], f"process {trial.round}/{trial.order}: {bad[1]}", _MEASURE_AGAIN)


def is_of_its_trials(time: Timing) -> bool:
    """Whether the summary of a time that has trials is theirs."""
    first = time.trials[0]
    steady, drift = first.steady, first.drift
    if len(time.trials) > 1:
        steady, drift = all(t.steady for t in time.trials), max([t.drift for t in time.trials], key=abs)
    return (
        time.first_call_s == first.first_call_s
        and time.compile_s == first.compile_s
        and time.convert_s == first.convert_s
        and time.steady == steady
        and time.drift == drift
    )


def _trial(trial: Trial, samples: Sequence[float], host: bool) -> tuple[str, str] | None:
    """The first thing that cannot be, as a code and words."""
    calls = trial.calls_per_sample
    fastest, warmup = min(samples), trial.warmup_s
    seconds = min(trial.wall_s, trial.open_s, trial.convert_s, trial.first_call_s, trial.cpu_s, trial.window_s, fastest)
    unsure = min(trial.trace_s or 0.0, trial.compile_s or 0.0, min(warmup) if warmup else 0.0)
    if seconds < 0 or unsure < 0 or trial.round < 0 or trial.order < 0:
        return "negative", "a time or a number is negative"
    if not 1 <= calls <= MOST_CALLS:
        return "samples", f"calls_per_sample is {calls:.3g}, which is not between 1 and {MOST_CALLS:g}" if (
            abs(calls) < 1e300
        ) else "calls_per_sample is beyond what a float holds"
    if fastest * calls < RESOLUTION_S:
        said = f"a sample took {fastest * calls:.3g} s, below the {RESOLUTION_S:g} s that the clock tells apart"
        return "resolution", said
    spent = (sum(samples) + sum(warmup)) * calls
    slack = ROUNDING_S * calls * (len(samples) + len(warmup))
    if spent > trial.window_s + slack:
        return "window", f"its samples take {spent:.3g} s, its window only {trial.window_s:.3g} s"
    if host and spent + slack < WINDOW_SHARE * trial.window_s:
        return "window", f"its samples take {spent:.3g} s of a window of {trial.window_s:.3g} s"
    if not _UTC.fullmatch(trial.started_at):
        return "time-of-day", "its started_at is not a time such as 2026-11-01T10:00:00Z"
    return None


def _energy(energy: Energy, out: _Refusals) -> None:
    gross, low, high = energy.gross_j, energy.low_j, energy.high_j
    joules = min(gross or 0.0, low or 0.0, high or 0.0)
    if joules < 0 or min(energy.idle_w or 0.0, energy.window_s or 0.0, energy.update_s or 0.0) < 0:
        out.refuse("negative", "its energy is negative", _MEASURE_AGAIN)
    if gross == 0:
        out.refuse("energy", "its energy is 0 J", "write null where it is unknown")
    if energy.source == "none" and (gross is not None or energy.net_j is not None):
        out.refuse("energy", "it has joules without a source", "name the source of the energy")
    if gross is not None and (low is None or high is None) and energy.source == "modelled":
        out.refuse("energy", "its energy is modelled without bounds", "state low_j and high_j")
    ordered = [x for x in (low, gross, high) if x is not None]
    if ordered != sorted(ordered):
        out.refuse("energy", "its energy lies outside its own bounds", _MEASURE_AGAIN)

"""Which records are sound beyond doubt: all rules of `record_rules` as one condition without words.

Of the thousands of records of a submission nearly all are sound, and to ask this first takes a third of what the rules
take. False is no refusal: it says that the rules have to look, which alone refuse and say why. A test holds the two to
each other, with a fault for each rule.
"""

from __future__ import annotations

from collections.abc import Iterable

from harness.gate.known import Expected, Known, facts_in
from harness.gate.record_rules import (
    MOST_CALLS,
    RESOLUTION_S,
    ROUNDING_S,
    WINDOW_SHARE,
    can_be,
    is_of_its_trials,
)
from harness.records.record import Energy, Memory, Record, Timing, Verdict

# A time of day with its digits as zeros, with and without parts of a second.
_STAMP = "0000-00-00T00:00:00"
_STAMPS = frozenset({f"{_STAMP}Z", *(f"{_STAMP}.{'0' * digits}Z" for digits in range(1, 7))})
_AS_ZEROS = str.maketrans("123456789", "000000000")


def beyond_doubt(record: Record, known: Known) -> bool:
    """Whether `record_rules.check` would surely find nothing, but for its times of day (`are_times`)."""
    expected = known.expected_of(record)
    return expected is not None and _is_sound(record, expected)


def times_in(records: Iterable[Record]) -> list[str]:
    """All times of day of these records."""
    texts = []
    for record in records:
        texts.append(record.started_at)
        if record.time is not None:
            texts += [trial.started_at for trial in record.time.trials]
    return texts


def are_times(texts: Iterable[str]) -> bool:
    """Whether all of these surely are times of day; asked of all of a run at once, since there are thousands."""
    return set("\n".join(texts).translate(_AS_ZEROS).split("\n")) <= _STAMPS


def _is_sound(record: Record, expected: Expected) -> bool:
    if (
        not expected.here
        or facts_in(record.work) != expected.facts
        or record.estimate is not None
        or record.modelled is not None
    ):
        return False
    if (record.executed is not None and not can_be(record.executed)) or not _is_memory(record.memory):
        return False
    if record.status == "unsupported":
        return record.time is None and record.energy is None and bool(record.reason)
    return (
        record.status == "ok"
        and expected.may_run
        and record.verdict is not None
        and record.time is not None
        and not (expected.exact and record.settings.get("tf32"))
        and _agrees(record.verdict, expected)
        and _is_energy(record.energy)
        and _is_timing(record.time, expected.on_host)
    )


def _agrees(verdict: Verdict, expected: Expected) -> bool:
    relative, absolute, limit = verdict.max_rel_error, verdict.max_abs_error, verdict.gate_limit
    return (
        verdict.agrees
        and verdict.rtol == expected.rtol
        and limit == expected.gate_limit
        and relative is not None
        and 0 <= relative <= 2 * expected.rtol
        and absolute is not None
        and absolute >= 0
        and (limit is None or (verdict.gate_error is not None and 0 <= verdict.gate_error <= limit))
    )


def _is_memory(memory: Memory | None) -> bool:
    return memory is None or (
        (memory.device_peak_bytes or 0) >= 0
        and (memory.host_peak_bytes or 0) >= 0
        and (memory.compiled_temp_bytes or 0) >= 0
    )


def _is_energy(energy: Energy | None) -> bool:
    if energy is None:
        return True
    gross, low, high = energy.gross_j, energy.low_j, energy.high_j
    if gross is None or low is None or high is None:
        return gross is low is high is energy.net_j is energy.idle_w is energy.window_s is energy.update_s is None
    return (
        0 <= low <= gross <= high
        and gross > 0
        and energy.source != "none"
        and (energy.idle_w or 0.0) >= 0
        and (energy.window_s or 0.0) >= 0
        and (energy.update_s or 0.0) >= 0
    )


def _is_timing(time: Timing, on_host: bool) -> bool:
    trials, samples_s = time.trials, time.samples_s
    if not trials or len(trials) != len(samples_s) or not is_of_its_trials(time):
        return False
    for trial, samples in zip(trials, samples_s, strict=True):
        calls, warmup, window_s = trial.calls_per_sample, trial.warmup_s, trial.window_s
        if not (
            samples
            and trial.wall_s >= 0.0
            and trial.open_s >= 0.0
            and trial.convert_s >= 0.0
            and trial.first_call_s >= 0.0
            and trial.cpu_s >= 0.0
            and window_s >= 0.0
            and (trial.trace_s or 0.0) >= 0.0
            and (trial.compile_s or 0.0) >= 0.0
            and trial.round >= 0
            and trial.order >= 0
            and 1 <= calls <= MOST_CALLS
            and min(samples) * calls >= RESOLUTION_S
        ):
            return False
        spent_s, count = sum(samples), len(samples)
        if warmup:
            if not min(warmup) >= 0.0:
                return False
            spent_s, count = spent_s + sum(warmup), count + len(warmup)
        spent_s, slack_s = spent_s * calls, ROUNDING_S * calls * count
        if not spent_s <= window_s + slack_s or (on_host and not spent_s + slack_s >= WINDOW_SHARE * window_s):
            return False
    return True

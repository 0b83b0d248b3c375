"""From an answer to a record: what was planned and what a process measured, put together as one fact."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from backends.ops import Scalar
from harness.planning.plan import Planned
from harness.records.record import SCHEMA, Executed, Record, Timing, Trial
from harness.records.text import private
from harness.worker.client import Answer
from harness.worker.messages import Measured


def refused(reason: str, log: str | None = None) -> Answer:
    """The answer of a case that could not be asked; `log` has the words of the process that was to prepare it."""
    return Answer(Measured(status="error", reason=reason, failure_class="other"), 0.0, log)


def record(
    planned: Planned,
    measured: Measured,
    *,
    run: str,
    round_: int,
    order: int,
    group: int | None,
    control: bool,
    started_at: str,
    environment: Mapping[str, Scalar],
    executed: Executed | None = None,
) -> Record:
    """The record of one process."""
    trial = measured.trial
    if trial is not None:
        trial = msgspec.structs.replace(trial, round=round_, order=order, heat=group)
    return Record(
        schema=SCHEMA,
        run=run,
        case=planned.case,
        status=measured.status,
        reason=_private(measured.reason),
        failure_class=measured.failure_class,
        fallback=_private(measured.fallback),
        verdict=measured.verdict,
        time=None if trial is None else _timing(trial, measured.samples_s),
        memory=measured.memory,
        energy=measured.energy,
        work=planned.work,
        twins=list(planned.twins),
        headline=planned.headline and not control,
        settings=measured.settings,
        environment=dict(environment),
        started_at=started_at,
        control=control,
        estimate=measured.estimate,
        executed=executed,
    )


def _private(words: str | None) -> str | None:
    return None if words is None else private(words)


def _timing(trial: Trial, samples_s: list[float]) -> Timing:
    return Timing(
        first_call_s=trial.first_call_s,
        compile_s=trial.compile_s,
        convert_s=trial.convert_s,
        samples_s=[samples_s],
        steady=trial.steady,
        drift=trial.drift,
        trials=[trial],
    )

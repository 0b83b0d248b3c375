"""Small made-up records of one process each, for the tests of what is stored."""

from __future__ import annotations

from harness.records.record import SCHEMA, Case, Energy, Record, Timing, Trial, WorkFacts
from harness.records.store import RunInfo

RUN = RunInfo(
    schema=SCHEMA,
    run="r1",
    started_at="2026-01-01T00:00:00Z",
    ended_at=None,
    command=[],
    machine={},
    versions={},
    settings={},
)


def trial(round_, first=1.0):
    return Trial(
        round=round_,
        order=0,
        started_at=f"t{round_}",
        wall_s=1,
        open_s=0,
        convert_s=0,
        trace_s=None,
        compile_s=None,
        first_call_s=first,
        compile_cache=None,
        warmup_s=[],
        calls_per_sample=1,
        steady=round_ != 1,
        drift=-0.1 * round_,
        cpu_s=1,
        window_s=1,
    )


def record(name="a", round_=0, status="ok", samples=(0.5, 0.6), joules=1.0, reason=None):
    return Record(
        schema=SCHEMA,
        run="r1",
        case=Case(
            workload="w",
            formulation=name,
            params={"n": 1},
            dtype="float32",
            mode="forward",
            backend="numpy",
            execution="eager",
            device="cpu",
        ),
        status=status,
        reason=reason,
        failure_class=None,
        fallback=None,
        verdict=None,
        time=None
        if status != "ok"
        else Timing(
            first_call_s=1.0 + round_,
            compile_s=None,
            convert_s=0,
            samples_s=[list(samples)],
            steady=True,
            drift=0,
            trials=[trial(round_, 1.0 + round_)],
        ),
        memory=None,
        energy=Energy(
            gross_j=joules,
            net_j=None,
            low_j=None,
            high_j=None,
            idle_w=None,
            source="modelled",
            window_s=1,
            update_s=None,
        ),
        work=WorkFacts(useful_flop=1, least_bytes=1, live_bytes=1),
        twins=[],
        headline=True,
        settings={},
        environment={},
        started_at="",
    )

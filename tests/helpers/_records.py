"""Made-up records for the tests of figures and reports: every number is chosen by the test."""

from __future__ import annotations

from harness.records.record import SCHEMA, Case, Energy, Memory, Record, Timing, Trial, TwinRef, WorkFacts

SHAPE = {"m": 8, "k": 8, "n": 4}


def trial(round_, **facts):
    known = {
        "round": round_,
        "order": 0,
        "started_at": f"2026-11-01T10:{round_ % 60:02d}:00Z",
        "wall_s": 1.0,
        "open_s": 0.1,
        "convert_s": 0.0,
        "trace_s": None,
        "compile_s": None,
        "first_call_s": 0.0,
        "compile_cache": None,
        "warmup_samples": 1,
        "warmup_s": [0.1],
        "calls_per_sample": 1,
        "steady": True,
        "drift": 0.0,
        "cpu_s": 0.5,
        "window_s": 0.5,
    } | facts
    return Trial(**{name: value for name, value in known.items() if name in Trial.__struct_fields__})


def timing(processes, rounds=None, first_call_s=1.0, convert_s=0.0, steady=True, cache=None, groups=None, sliced=False):
    """`processes` is a list of sample lists, or of single times; of the rounds 1, 2, … unless `rounds` says more.

    The process of a round is in the group of that number, of round 0 alone, unless `groups` says more. `sliced`: each
    sample is a slice of its window, and none is of the warm-up.
    """
    samples = [p if isinstance(p, list) else [p] for p in processes]
    rounds = range(1, len(samples) + 1) if rounds is None else rounds
    facts = [{"warmup_s": [], "slices": [1] * len(window)} if sliced else {} for window in samples]
    groups = [round_ or None for round_ in rounds] if groups is None else groups
    return Timing(
        first_call_s=first_call_s,
        compile_s=None,
        convert_s=convert_s,
        samples_s=samples,
        steady=steady,
        drift=0.0,
        trials=[
            trial(round_, compile_cache=cache, heat=group, **more)
            for round_, group, more in zip(rounds, groups, facts, strict=False)
        ],
    )


def record(
    workload="unstructured_sparse",
    processes=None,
    *,
    formulation="csr",
    execution="eager",
    params=None,
    mode="forward",
    dtype="float32",
    backend="numpy",
    device="cpu",
    run="r1",
    status="ok",
    reason=None,
    failure_class=None,
    fallback=None,
    flop=1000,
    least_bytes=1000,
    live_bytes=1000,
    twins=(),
    headline=None,
    memory=None,
    energy=None,
    executed=None,
    modelled=None,
    **time,
):
    """An idea where `twins` are given; `processes` None leaves it without a time."""
    return Record(
        schema=SCHEMA,
        run=run,
        case=Case(
            workload=workload,
            formulation=formulation,
            params=dict(SHAPE if params is None else params),
            dtype=dtype,
            mode=mode,
            backend=backend,
            execution=execution,
            device=device,
        ),
        status=status,
        reason=reason,
        failure_class=failure_class,
        fallback=fallback,
        verdict=None,
        time=None if processes is None else timing(processes, **time),
        memory=memory,
        energy=energy,
        work=WorkFacts(useful_flop=flop, least_bytes=least_bytes, live_bytes=live_bytes),
        twins=list(twins),
        headline=bool(twins) if headline is None else headline,
        settings={},
        environment={},
        started_at="2026-11-01T10:00:00Z",
        executed=executed,
        modelled=modelled,
    )


def twin_ref(kind="same_shape", workload="dense_matmul", params=None, mode="forward"):
    return TwinRef(kind=kind, workload=workload, params=dict(SHAPE if params is None else params), mode=mode)


def idea(processes=None, **facts):
    """A tenth of the twin's useful FLOP: W = 0.1."""
    return record(processes=processes, **{"flop": 100, "twins": [twin_ref()]} | facts)


def dense(processes=None, **facts):
    return record("dense_matmul", processes, **{"formulation": "nn"} | facts)


def host_memory(peak, source="clear_refs"):
    return Memory(device_peak_bytes=None, host_peak_bytes=peak, compiled_temp_bytes=None, source=source)


def joules(gross, low=None, high=None, source="counter"):
    return Energy(
        gross_j=gross,
        net_j=None,
        low_j=low,
        high_j=high,
        idle_w=None,
        source=source,
        window_s=None,
        update_s=None,
    )

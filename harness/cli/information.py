"""What run.json says of a run that begins now."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from backends.device import is_modelled
from backends.ops import Backend, Device
from harness.machine import digest, facts
from harness.planning.options import Options
from harness.planning.plan import Ask
from harness.planning.request import RunRequest
from harness.records import timestamps
from harness.records.record import SCHEMA
from harness.records.store import RunInfo
from harness.records.text import private
from harness.worker import variables
from harness.worker.environment import environment


def information(
    request: RunRequest,
    ask: Ask,
    options: Options,
    backends: Mapping[str, Backend],
    sources: Mapping[str, str] | None = None,
    *,
    whole: bool = True,
) -> RunInfo:
    """What run.json says of a run that begins now; `sources` are `all_sources()` where they are read already.

    Unless `whole`, it lacks the list of all distributions, which takes long to read and on which no time hangs.
    """
    now = datetime.now(UTC)
    servers = [
        environment(backends[name], Device.parse(device), options.threads, options.cache)
        for name in ask.backends
        for device in ask.devices
        if not is_modelled(device)
    ]
    passed, dropped = variables.of_user(os.environ, servers)
    return RunInfo(
        schema=SCHEMA,
        run=f"{timestamps.in_name(now)}-{os.urandom(4).hex()}",
        started_at=timestamps.stamp(now),
        ended_at=None,
        command=["hwlottery", *map(private, request.arguments)],
        machine={**facts.facts(), **facts.state()},
        versions=facts.versions([backends[name] for name in ask.backends]),
        distributions=facts.distributions() if whole else {},
        settings={
            "preset": ask.preset,
            "backends": ",".join(ask.backends),
            "seed": ask.seed,
            "rounds": options.rounds,
            "precision": options.precision,
            "threads": options.threads,
            "timeout_s": options.timeout_s,
            "budget_s": options.budget_s,
            "enough_s": options.enough_s,
            "compiling_s": options.compiling_s,
            "looks_share": options.looks_share,
            "ends_s": options.ends_s,
            "long_rounds": options.long_rounds,
            "memory_limit_bytes": options.memory_bytes,
            **({"tf32": True} if options.tf32 else {}),
            **{f"power_{k}": v for k, v in msgspec.to_builtins(options.power).items()},
            **{f"sampling_{k}": v for k, v in msgspec.to_builtins(options.sampling).items()},
            **{f"{variables.RECORDED}{k}": v for k, v in passed.items()},
        },
        notes=[said] if (said := variables.note(dropped)) else [],
        sources=dict(all_sources() if sources is None else sources),
    )


def all_sources() -> dict[str, str]:
    """The digests of all code that runs in every process here."""
    return {**digest.sources(), **digest.plug_ins()}

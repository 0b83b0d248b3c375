"""What is known of a plan before it runs: its cases, what is left out, and how long it takes."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
import msgspec

from backends.device import is_modelled
from backends.discovery import backends as find_backends
from harness.cli.cache import cache_folder
from harness.cli.information import information
from harness.figures import left_out
from harness.machine import facts
from harness.planning import contenders, contradictions, plan
from harness.planning import request as requests
from harness.planning.forecast import ALWAYS, cold_share, forecast, within_limits
from harness.planning.foresight import Experience
from harness.planning.options import Options
from harness.planning.plan import Planned
from harness.planning.request import RunRequest
from harness.records.store import RunInfo
from harness.running.compiled_before import CompiledBefore
from workloads.discovery import workloads as find_workloads

LEARNT = "learnt"  # folder in the cache: what the user's own runs taught


def known_of(request: RunRequest, plan: Sequence[Planned], folder: Path, info: RunInfo) -> Experience:
    """What is known of the plan; whatever was asked for by name is tried, and all with --exhaustive and in `smoke`."""
    known = contenders.contenders(folder, info.machine, info.versions)
    chosen = contenders.Choice({}, {})
    if not request.tries_all:
        chosen = known.choose(plan, f"{request.seed}:{info.run}")
    return Experience(known, chosen)


def show_plan(request: RunRequest, whole: Sequence[Planned], options: Options, info: RunInfo) -> None:
    """Print the cases that would be tried, and how long that is expected to take here."""
    if request.as_json:
        for planned in whole:
            click.echo(msgspec.json.encode(planned.case).decode())
        return
    modelled = [planned for planned in whole if is_modelled(planned.case.device)]
    for planned in modelled:
        click.echo(f"model  {planned.case}")
    if modelled:
        click.echo(f"{len(modelled)} cases are reckoned and not run", err=True)
    whole = [planned for planned in whole if not is_modelled(planned.case.device)]
    if not whole:
        return
    foresight = known_of(request, whole, options.cache / LEARNT, info)
    tried = foresight.tried(whole)
    for planned in tried:
        click.echo(f"{'survey' if planned.survey else 'sweep '} {planned.case}")
    said = left_out.sentence(left_out.counts([foresight.left_out(whole)]))
    if said:
        click.echo(said, err=True)
    survey = sum(planned.survey for planned in tried)
    seconds, cold = _expected_s(tried, foresight, options, info)
    state = "with compile caches that lack some of it" if cold else "with warm compile caches"
    click.echo(
        f"{survey} cases in the survey, at most {len(tried) - survey} in the sweep, {options.rounds} rounds of the "
        f"best paths; about {in_words(seconds)} {state}",
        err=True,
    )


def _expected_s(
    tried: Sequence[Planned], foresight: Experience, options: Options, info: RunInfo
) -> tuple[float, float]:
    """Seconds that a run is expected to take here, and which share of what it measures first is yet to be compiled."""
    compiled = CompiledBefore(options.cache, info)
    cold = cold_share(tried, foresight, compiled.warm)
    steps = forecast(tried, foresight, options, compiled.warm)
    least_s = sum(steps.get(step, 0.0) for step in ALWAYS)
    return within_limits(sum(steps.values()), options, cold=cold, least_s=least_s), cold


def planned(request: RunRequest) -> list[Planned]:
    """The cases of a request, whatever is installed here; UserError where it cannot be planned."""
    workloads, backends = find_workloads()[0], find_backends()[0]
    contradictions.refuse(request, workloads, ())
    chosen = request.backends or tuple(name for name, backend in backends.items() if backend.default)
    ask = requests.ask(request, workloads, chosen)
    found = plan.cases(ask, workloads, backends)
    contradictions.refuse_unused(request, ask, found, workloads)
    requests.rounds(request)
    return found


def expected_s(request: RunRequest, whole: Sequence[Planned], sources: Mapping[str, str]) -> float | None:
    """Seconds that a request would take on this machine; None where it could not run here, so that nothing is known.

    `sources` are `all_sources()`, which take long to read.
    """
    backends = find_backends()[0]
    needed = {case.case.backend for case in whole}
    if any(case.case.device != "cpu" for case in whole) or any(
        importlib.util.find_spec(backends[name].module) is None for name in needed
    ):
        return None
    cores = facts.usable_cores()
    if request.threads is not None and request.threads > cores:
        return None
    options = requests.options(request, cores=cores, cache=cache_folder(), memory_bytes=facts.memory_limit_bytes())
    ask = requests.ask(request, find_workloads()[0], sorted(needed))
    info = information(request, ask, options, backends, sources, whole=False)
    foresight = known_of(request, whole, options.cache / LEARNT, info)
    return _expected_s(foresight.tried(whole), foresight, options, info)[0]


def in_words(seconds: float) -> str:
    """Seconds or minutes, whole."""
    return f"{seconds / 60:.0f} min" if seconds > 90 else f"{seconds:.0f} s"

"""What `run` does with its request: plan, run, store, print."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shlex
import shutil
import signal
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from backends import aot
from backends.device import is_ahead_of_time
from backends.discovery import backends as find_backends
from backends.install import install_hint
from backends.ops import Backend, Device
from harness.cli import matrices
from harness.cli.cache import cache_folder, temporary
from harness.cli.live import Live
from harness.cli.parameters import EXIT_FAILED, EXIT_OK, EXIT_SIGNAL, program
from harness.cli.plugins import own_names, with_files
from harness.errors import UserError, nearest
from harness.figures import left_out
from harness.machine import digest, facts
from harness.planning import contenders, contradictions, learning, learnt, plan
from harness.planning import request as requests
from harness.planning.forecast import ALWAYS, cold_share, forecast, within_limits
from harness.planning.foresight import Experience
from harness.planning.options import Options
from harness.planning.plan import Ask, Planned
from harness.planning.request import RunRequest
from harness.records import timestamps
from harness.records.record import FAILED, SCHEMA
from harness.records.store import RunInfo, Store, disturbances, load, new_folder
from harness.records.text import private
from harness.running import host, leftovers, stopping
from harness.running.compiled_before import CompiledBefore
from harness.running.progress import Watch
from harness.running.runner import Runner
from harness.worker import strays, variables
from harness.worker.client import Server
from harness.worker.environment import environment
from harness.worker.messages import DevicesJob
from workloads.discovery import workloads as find_workloads

LEARNT = "learnt"  # folder in the cache: what the user's own runs taught
LEARNT_BEFORE = ".learnt"  # beside the results of a run that is not complete: what they had taught when it began


def run(request: RunRequest) -> int:
    """Plan, run, store and print; the exit code of the run."""
    with_files(request.workload_files)
    workloads, broken = find_workloads()
    own = own_names(request.workload_files, workloads, broken)
    backends, broken_backends = find_backends()
    problems = [b.reason for b in (*broken, *broken_backends)]
    for reason in problems:
        click.echo(f"warning: left out: {reason}", err=True)
    contradictions.refuse(request, workloads, own)
    for said in contradictions.idle_files(request, workloads, own):
        click.echo(f"note: {said}", err=True)
    points, about = matrices.chosen(request, workloads)
    for said in about:
        click.echo(f"matrix: {said}", err=True)
    ask = requests.ask(request, workloads, _present(request.backends, backends), points=points, own=own)
    planned_cases = plan.cases(ask, workloads, backends)
    contradictions.refuse_unused(request, ask, planned_cases, workloads)
    temporary()  # what every server needs
    again = requests.retried(request)
    options = requests.options(
        request,
        cores=facts.usable_cores(),
        cache=cache_folder(),
        memory_bytes=facts.memory_limit_bytes(),
    )
    if request.dry_run:
        _show_plan(request, planned_cases, options, _info(request, ask, options, backends))
        return EXIT_OK
    for left in strays.end_leftovers():
        click.echo(f"warning: ended {left}, which a run that was killed had left running", err=True)
    _check_devices(ask, backends, options)
    folder = request.out or new_folder(Path("runs") / f"{timestamps.in_name()}-{ask.preset}")
    info = _info(request, ask, options, backends)
    stopped = None
    keys = {planned.case.key for planned in planned_cases}
    with (
        stopping.stoppable(),
        Store(folder, info, resume=request.resume, retry=again, planned=keys) as store,
        leftovers.marked(folder),
        Watch() as watch,
    ):
        try:
            with host.alone(folder, watch.say, wait=request.wait) as note:
                if note:
                    store.note(note)
                foresight = _foresight(request, planned_cases, options, store)
                Runner(planned_cases, backends, options, store, watch, foresight=foresight, told=Live(watch)).execute()
        except KeyboardInterrupt as stop:
            stopped = getattr(stop, "number", signal.SIGINT)
            watch.say("interrupted; everything measured so far is kept")
        finally:
            if store.info.ended_at is None:
                store.write_info(msgspec.structs.replace(store.info, ended_at=timestamps.now()))
    if stopped is None:
        shutil.rmtree(folder / LEARNT_BEFORE, ignore_errors=True)
    elif stopped == signal.SIGHUP:
        return EXIT_SIGNAL + stopped  # nobody reads
    _learn(folder, options)
    return _told(request, folder, stopped=stopped, problems=problems)


def _foresight(request: RunRequest, plan: Sequence[Planned], options: Options, store: Store) -> Experience:
    """What was known of the plan when the run began: it is kept beside the results until the run is complete."""
    kept = store.folder / LEARNT_BEFORE
    if not kept.is_dir():
        with contextlib.suppress(OSError):
            shutil.copytree(options.cache / LEARNT, kept)
        kept.mkdir(exist_ok=True)  # also what was not known stays unknown
    return _known(request, plan, kept, store.info)


def _known(request: RunRequest, plan: Sequence[Planned], folder: Path, info: RunInfo) -> Experience:
    """What is known of the plan; whatever was asked for by name is tried, and all with --exhaustive and in `smoke`."""
    known = contenders.contenders(folder, info.machine, info.versions)
    chosen = contenders.Choice({}, {})
    if not request.tries_all:
        chosen = known.choose(plan, f"{request.seed}:{info.run}")
    return Experience(known, chosen)


def _learn(folder: Path, options: Options) -> None:
    """Remember what the run taught; what cannot be kept is no reason to fail.

    Nothing is learnt of a run that compares nothing (`smoke`), nor of one that its own notes call disturbed: its times
    would stand before those of every calm run.
    """
    found = load(folder)
    if not options.rounds or disturbances(found.info):
        return
    with contextlib.suppress(OSError):
        learnt.remember(learning.learn(found), found.info.machine, options.cache / LEARNT)


def _told(request: RunRequest, folder: Path, *, stopped: int | None, problems: Sequence[str]) -> int:
    """Print what was measured, where it is and what may be done with it; the exit code."""
    stored = load(folder)
    if request.as_json:
        for record in stored.records:
            click.echo(msgspec.json.encode(record).decode())
    elif stored.records:
        from harness.cli.publish import rendered

        click.echo(rendered([folder]))
    for note in stored.info.notes:
        click.echo(f"note: {note}", err=True)
    click.echo(f"results: {folder}", err=True)
    if stopped is not None:
        click.echo(f"to go on: {program()} {shlex.join(requests.resuming(folder))}", err=True)
        return EXIT_SIGNAL + stopped
    click.echo(f"next: {program()} report {shlex.quote(str(folder))} --all", err=True)
    return EXIT_FAILED if problems or any(r.status in FAILED for r in stored.records) else EXIT_OK


# -- what is there ----------------------------------------------------------------------------------------------------


def _present(asked: Sequence[str], backends: Mapping[str, Backend]) -> tuple[str, ...]:
    """The backends to run; UserError for one that is asked for and missing, or when none is there at all."""
    missing = {n: b for n, b in backends.items() if importlib.util.find_spec(b.module) is None}
    for name in asked:
        if name not in backends:
            raise nearest("backend", name, backends)
        if name in missing:
            raise UserError(f"{missing[name].title} is not installed; try: {missing[name].install}")
    if asked:
        return tuple(asked)
    present = [n for n, b in backends.items() if b.default and n not in missing]
    for name, backend in missing.items():
        if backend.default and present:
            click.echo(f"note: {name} is left out: not installed; try: {backend.install}", err=True)
    if not present:
        raise UserError(f"no framework is installed; try: {install_hint('all')}, or run --backend numpy")
    return tuple(present)


def _check_devices(ask: Ask, backends: Mapping[str, Backend], options: Options) -> None:
    """One sentence for a device that no backend of the request has; the host is always there."""
    for text in ask.devices:
        if text == "cpu":
            continue
        if is_ahead_of_time(text):
            why = aot.missing(Device.parse(text))
            if why is not None:
                raise UserError(why)
            continue
        seen: dict[str, str] = {}
        for name in ask.backends:
            with Server(backends[name], Device.parse(text), options.threads, options.cache) as server:
                measured = server.run(DevicesJob(), options.timeout_s).measured
            if text in measured.answer:
                break
            seen[name] = ", ".join(measured.answer) or str(measured.reason)
        else:
            found = "; ".join(f"{name} sees {devices}" for name, devices in seen.items())
            raise UserError(f"device {text} is not there: {found}; `hwlottery list devices` shows what is")


# -- what is said of the run ------------------------------------------------------------------------------------------


def _info(request: RunRequest, ask: Ask, options: Options, backends: Mapping[str, Backend]) -> RunInfo:
    now = datetime.now(UTC)
    servers = [
        environment(backends[name], Device.parse(device), options.threads, options.cache)
        for name in ask.backends
        for device in ask.devices
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
            **{f"power_{k}": v for k, v in msgspec.to_builtins(options.power).items()},
            **{f"sampling_{k}": v for k, v in msgspec.to_builtins(options.sampling).items()},
            **{f"{variables.RECORDED}{k}": v for k, v in passed.items()},
        },
        notes=[said] if (said := variables.note(dropped)) else [],
        sources={**digest.sources(), **digest.plug_ins()},
    )


def _show_plan(request: RunRequest, whole: Sequence[Planned], options: Options, info: RunInfo) -> None:
    """Print the cases that would be tried, and how long that is expected to take here."""
    if request.as_json:
        for planned in whole:
            click.echo(msgspec.json.encode(planned.case).decode())
        return
    foresight = _known(request, whole, options.cache / LEARNT, info)
    tried = foresight.tried(whole)
    for planned in tried:
        click.echo(f"{'survey' if planned.survey else 'sweep '} {planned.case}")
    said = left_out.sentence(left_out.counts([foresight.left_out(whole)]))
    if said:
        click.echo(said, err=True)
    survey = sum(planned.survey for planned in tried)
    compiled = CompiledBefore(options.cache, info)
    cold = cold_share(tried, foresight, compiled.warm)
    steps = forecast(tried, foresight, options, compiled.warm)
    least_s = sum(steps.get(step, 0.0) for step in ALWAYS)
    seconds = within_limits(sum(steps.values()), options, cold=cold, least_s=least_s)
    state = "with compile caches that lack some of it" if cold else "with warm compile caches"
    click.echo(
        f"{survey} cases in the survey, at most {len(tried) - survey} in the sweep, {options.rounds} rounds of the "
        f"best paths; about {_in_words(seconds)} {state}",
        err=True,
    )


def _in_words(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds > 90 else f"{seconds:.0f} s"

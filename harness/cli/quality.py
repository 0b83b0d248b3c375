"""What `quality` does with its request: train, measure, compress, store, print."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec
import threadpoolctl

from backends.discovery import backends as find_backends
from harness.cli.cache import cache_folder, temporary
from harness.cli.installed import present
from harness.cli.parameters import EXIT_FAILED, EXIT_OK, EXIT_SIGNAL, program
from harness.cli.run import carried_out
from harness.errors import UserError, nearest
from harness.machine import digest, facts
from harness.planning.request import RunRequest
from harness.quality import in_frameworks, text
from harness.quality import study as studies
from harness.quality.compression import LEVELS
from harness.quality.facts import SCHEMA, StudyInfo
from harness.quality.folder import STEPS, StudyProgress, StudyStore, info_of_study, is_study, load_study
from harness.quality.learners import IDEAS, Learner
from harness.quality.outcome import Outcome, figures, outcome_of
from harness.quality.presets import PRESETS, StudyPreset
from harness.quality.study import Learning
from harness.records import timestamps
from harness.records.record import FAILED
from harness.records.store import INFO, info_of, load, new_folder
from harness.records.text import private
from harness.running import host, stopping
from harness.running.progress import Watch
from workloads.base import Value
from workloads.discovery import workloads as find_workloads


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityRequest:
    """The options of `quality`. Empty tuples and None mean that nothing was said."""

    preset: str | None = None  # quick
    workloads: tuple[str, ...] = ()
    backends: tuple[str, ...] = ()
    timeout_s: float = 300.0
    threads: int | None = None
    seed: int | None = None  # 0
    out: Path | None = None
    resume: bool = False
    wait: bool = True
    as_json: bool = False
    arguments: tuple[str, ...] = ("quality",)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a study does: the learners, each twin first, and the levels of compression, by number."""

    name: str
    preset: StudyPreset
    seed: int
    learners: Sequence[Learner]
    levels: tuple[int, ...]
    backends: tuple[str, ...]
    threads: int


def study(request: QualityRequest) -> int:
    """Carry a study out and print it; the exit code."""
    request = _taken_up(request)
    plan = _plan(request)
    temporary()
    folder = request.out or new_folder(Path("runs") / f"{timestamps.in_name()}-quality-{plan.name}")
    stopped = None
    with StudyStore(folder, _info(request, plan), resume=request.resume) as store:
        try:
            _carry_out(request, plan, store)
        except KeyboardInterrupt as stop:
            stopped = getattr(stop, "number", signal.SIGINT)
            click.echo("interrupted; everything that was stored so far is kept", err=True)
        finally:
            shutil.rmtree(folder / ".scratch", ignore_errors=True)
            store.write_info(msgspec.structs.replace(store.info, ended_at=timestamps.now()))
    if stopped == signal.SIGHUP:
        return EXIT_SIGNAL + stopped  # nobody reads
    return _told(request, folder, stopped)


def _taken_up(request: QualityRequest) -> QualityRequest:
    """The request of a study that goes on: what was not said is as it was. UserError where there is none."""
    if not request.resume:
        return request
    if request.out is None:
        raise UserError("--resume goes on with the study in a folder: name it by --out DIR")
    if not is_study(request.out):
        raise UserError(f"there is no study in {request.out} to go on with; leave out --resume, or name its folder")
    was = info_of_study(request.out)
    threads, seed = was.settings.get("threads"), was.settings.get("seed")
    return replace(
        request,
        preset=request.preset or was.preset,
        workloads=request.workloads or _names(was.settings.get("workloads")),
        backends=request.backends or _names(was.settings.get("backends")),
        threads=request.threads or (threads if isinstance(threads, int) else None),
        seed=request.seed if request.seed is not None else (seed if isinstance(seed, int) else None),
    )


def _names(joined: object) -> tuple[str, ...]:
    return tuple(filter(None, joined.split(","))) if isinstance(joined, str) else ()


def _plan(request: QualityRequest) -> _Plan:
    """UserError for a name that does not exist."""
    name = request.preset or "quick"
    if name not in PRESETS:
        raise nearest("preset", name, PRESETS)
    preset = PRESETS[name]
    compressing = {level.workload for level in LEVELS if level.workload is not None}
    for idea in request.workloads:
        if idea not in IDEAS and idea not in compressing:
            raise nearest("idea that learns or compresses", idea, [*IDEAS, *sorted(compressing)])
    ideas = [idea for idea in IDEAS if idea in request.workloads or not request.workloads]
    levels = tuple(n for n in preset.levels if not request.workloads or LEVELS[n].workload in request.workloads)
    if request.workloads and not levels and not ideas:
        raise UserError(f"preset {name} has no level of {', '.join(request.workloads)}; try --preset quick")
    cores = facts.usable_cores()
    threads = request.threads or cores
    if threads > cores:
        raise UserError(f"--threads {threads} is more than the {cores} cores usable here")
    backends = present(request.backends, find_backends()[0]) if ideas else ()
    return _Plan(name, preset, request.seed or 0, studies.chosen(ideas) if ideas else (), levels, backends, threads)


def _info(request: QualityRequest, plan: _Plan) -> StudyInfo:
    now = datetime.now(UTC)
    found = find_backends()[0]
    preset = {
        k: v
        for k, v in asdict(plan.preset).items()
        if k not in ("shape", "recipe", "rates", "levels", "run_executions")
    }
    shape: dict[str, Value] = asdict(plan.preset.shape)
    return StudyInfo(
        schema=SCHEMA,
        study=f"{timestamps.in_name(now)}-{os.urandom(4).hex()}",
        started_at=timestamps.stamp(now),
        ended_at=None,
        command=["hwlottery", *map(private, request.arguments)],
        preset=plan.name,
        machine=facts.facts(),
        versions=facts.versions([found[name] for name in plan.backends]),
        settings={
            "seed": plan.seed,
            "workloads": ",".join(request.workloads),
            "threads": plan.threads,
            "backends": ",".join(plan.backends),
            "learners": ",".join(learner.name for learner in plan.learners),
            "levels": ",".join(LEVELS[n].level for n in plan.levels),
            "rates": ",".join(f"{rate:g}" for rate in plan.preset.rates),
            **preset,
            **{f"recipe_{k}": v for k, v in asdict(plan.preset.recipe).items()},
        },
        shape=shape,
        sources={**digest.sources(), "quality": digest.room("quality")},
    )


def _carry_out(request: QualityRequest, plan: _Plan, store: StudyStore) -> None:
    """Every step; each takes the machine for itself, as a run does."""
    workloads, _ = find_workloads()
    if plan.learners:
        with _step(request, store) as told:
            Learning(store, plan.preset, plan.learners, workloads, plan.seed, plan.threads, told).execute()
        _measure(request, plan, store)
        costs = figures(load_study(store.folder), load(store.folder / STEPS)).costs
        with _step(request, store) as told:
            frameworks = in_frameworks.Frameworks(
                backends=find_backends()[0],
                costs=costs,
                threads=plan.threads,
                cache=cache_folder(),
                timeout_s=request.timeout_s,
            )
            in_frameworks.end_to_end(store, plan.preset, plan.learners, workloads, frameworks, plan.seed, told)
    if plan.levels:
        with _step(request, store) as told:
            studies.forgetting(store, plan.preset, plan.levels, plan.seed, plan.threads, told)


@contextlib.contextmanager
def _step(request: QualityRequest, store: StudyStore) -> Iterator[StudyProgress]:
    """The machine for itself, NumPy with one thread a product (they are small), and progress."""
    with (
        stopping.stoppable(),
        Watch() as watch,
        host.alone(store.folder, watch.say, wait=request.wait) as note,
        threadpoolctl.threadpool_limits(limits=1),
    ):
        if note and note not in store.info.notes:
            store.write_info(msgspec.structs.replace(store.info, notes=[*store.info.notes, note]))
        yield StudyProgress(watch.begin, watch.now, watch.done)


def _measure(request: QualityRequest, plan: _Plan, store: StudyStore) -> None:
    """The ordinary interleaved run of every learner's train step at the shape of the study, in `steps/`."""
    ideas = [learner for learner in plan.learners if learner.name != learner.baseline]
    axes = {name: value for learner in ideas for name, value in learner.axes(plan.preset.shape).items()}
    names = tuple(learner.name for learner in ideas)
    folder = store.folder / STEPS
    there = info_of(folder) if (folder / INFO).is_file() else None
    limit = there.settings.get("memory_limit_bytes") if there else None  # of free memory, which is another now
    # What anybody can type to measure the same: the run's plan is made anew from it when it is validated.
    words = ["run", "--preset", plan.preset.run, "--workload", ",".join(names), "--backend", ",".join(plan.backends)]
    words += [word for name, value in axes.items() for word in ("--set", f"{name}={value}")]
    budget_s = plan.preset.run_budget_s
    words += [] if budget_s is None else ["--budget", f"{budget_s:g}s"]
    words += ["--execution", ",".join(plan.preset.run_executions)] * bool(plan.preset.run_executions)
    done = carried_out(
        RunRequest(
            preset=plan.preset.run,
            workloads=names,
            backends=plan.backends,
            axes={name: (value,) for name, value in axes.items()},
            seed=plan.seed,
            budget_s=budget_s,
            executions=plan.preset.run_executions,
            timeout_s=request.timeout_s,
            threads=plan.threads,
            memory_limit_bytes=limit if isinstance(limit, int) else None,
            out=folder,
            resume=there is not None,
            wait=request.wait,
            only_contenders=plan.preset.run != "smoke",
            arguments=(*words, "--seed", str(plan.seed), "--out", str(folder)),
        )
    )
    if done.stopped is not None:
        raise stopping.Stopped(done.stopped)


def _told(request: QualityRequest, folder: Path, stopped: int | None) -> int:
    """Print the study, where it is and what may be done with it; the exit code."""
    found = outcome_of(folder)
    for warning in found.study.warnings:
        click.echo(f"warning: {warning}", err=True)
    if request.as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found.published()), indent=2).decode())
    else:
        click.echo(text.terminal(found, shutil.get_terminal_size().columns), nl=False)
    for note in found.study.info.notes:
        click.echo(f"note: {note}", err=True)
    click.echo(f"results: {folder}", err=True)
    if stopped is not None:
        again = shlex.join(["quality", "--resume", "--out", str(folder)])
        click.echo(f"to go on: {program()} {again}", err=True)
        return EXIT_SIGNAL + stopped
    click.echo(f"next: {program()} report {shlex.quote(str(folder))}", err=True)
    return EXIT_FAILED if _failed(found) else EXIT_OK


def _failed(found: Outcome) -> bool:
    runs = found.run.records if found.run else []
    return any(record.status in FAILED for record in runs) or any(fact.status in FAILED for fact in found.failed)

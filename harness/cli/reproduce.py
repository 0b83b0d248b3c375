"""What `reproduce` does: the published paths of a stored run measured again, through the machinery of every run."""

from __future__ import annotations

import importlib.util
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import msgspec

from backends.discovery import backends as find_backends
from backends.ops import Backend
from harness.cli.cache import cache_folder, temporary
from harness.cli.foreseen import LEARNT
from harness.cli.information import information
from harness.cli.parameters import EXIT_FAILED, EXIT_OK, EXIT_SIGNAL
from harness.cli.run import carry_out, ready
from harness.errors import PlanError, UserError
from harness.figures.reproduction import cases_of, chosen_rows, published_rows, reproduction, row_name, unknown
from harness.figures.summary import Row, summarise
from harness.leaderboard.submission import accelerators, machine_of
from harness.machine import facts
from harness.planning import contenders, plan
from harness.planning import request as requests
from harness.planning.foresight import Experience
from harness.planning.options import Options
from harness.planning.plan import PRESETS, Ask, Planned
from harness.planning.request import RunRequest
from harness.records import timestamps
from harness.records.record import Case
from harness.records.store import REPRODUCES, Run, Store, load, new_folder
from harness.report import reproduction_text
from workloads.base import Definition, Point
from workloads.discovery import workloads as find_workloads

FEWEST_ROUNDS = 5  # of which an interval is narrow enough to lie within a margin


@dataclass(frozen=True, slots=True, kw_only=True)
class ReproduceRequest:
    """The options of `reproduce`; None means that the stored run decides."""

    rows: tuple[str, ...] = ()
    rounds: int | None = None
    margin: float
    threads: int | None = None
    budget_s: float | None = None
    out: Path | None = None
    resume: bool = False
    wait: bool = True
    dry_run: bool = False
    as_json: bool = False
    arguments: tuple[str, ...] = ("reproduce",)


@dataclass(frozen=True, slots=True)
class Again:
    """What is to be measured: the plan, and of each row that cannot be why not, by its name."""

    plan: list[Planned]
    whys: dict[str, str]


class Listed(Experience):
    """What earlier runs say, of a plan in which each path is the only one of its point, and so the best."""

    def expected(self, planned: Planned) -> float:
        """The same of all: all are measured from the first round on."""
        del planned
        return 1.0


def reproduce(folder: Path, asked: ReproduceRequest) -> int:
    """Measure published rows of `folder` again and say what came of them; 1 where one is not reproduced, or none."""
    was = load(folder)
    for warning in was.warnings:
        click.echo(f"warning: {warning}", err=True)
    _keep_apart(folder, asked.out)
    summary = summarise(was.records)
    rows = chosen_rows(published_rows(summary), asked.rows)
    if not rows:
        raise UserError(f"{folder} publishes no speed-up of an idea, so there is nothing to reproduce")
    workloads, _ = find_workloads()
    backends, _ = find_backends()
    again = planned_again(rows, was, workloads, backends)
    for name, why in again.whys.items():
        click.echo(f"left out: {name}: {why}", err=True)
    if not again.plan:
        raise UserError(f"none of the rows of {folder} can be measured again here; the lines before say why not")
    request = _request(was, again.plan, asked)
    if asked.dry_run:
        for planned in again.plan:
            click.echo(msgspec.json.encode(planned.case).decode() if asked.as_json else str(planned.case))
        return EXIT_OK
    out, stopped = _measured(was, again.plan, request, backends)
    now = load(out)
    kinds = {machine_of(run.info.machine | accelerators(run.records)).slug for run in (was, now)}
    found = reproduction(
        was,
        now,
        rows,
        (summary, summarise(now.records)),
        again.whys,
        same_kind=len(kinds) == 1,
        margin=asked.margin,
    )
    if asked.as_json:
        click.echo(reproduction_text.as_json(found), nl=False)
    else:
        reproduction_text.show(found)
    for note in now.info.notes:
        click.echo(f"note: {note}", err=True)
    click.echo(f"results: {out}", err=True)
    if stopped is not None:
        return EXIT_SIGNAL + stopped
    return EXIT_FAILED if found.count("not reproduced") or not found.count("reproduced") else EXIT_OK


def _keep_apart(folder: Path, out: Path | None) -> None:
    """UserError where the new run would be written into the stored one."""
    if out is not None and out.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"--out {out} lies in {folder}, which is kept as it is; name a folder of its own")


# -- the plan ----------------------------------------------------------------------------------------------------------


def planned_again(
    rows: Sequence[Row], was: Run, workloads: Mapping[str, Definition], backends: Mapping[str, Backend]
) -> Again:
    """The best path of each row and its principal twin's, planned by this harness as for any run."""
    found: dict[str, Planned] = {}
    whys: dict[str, str] = {}
    for row in rows:
        why = unknown(row) or _absent(row, workloads, backends)
        idea, twin = cases_of(row, was.records)
        cases: dict[str, Planned] = {}
        if why is None and idea is not None and twin is not None:
            try:
                cases = {p.case.key: p for p in _planned(idea, workloads, backends)}
            except (PlanError, ValueError) as error:
                why = f"it cannot be planned here: {error}"
        wanted = [case.key for case in (idea, twin) if case is not None and case.key in cases]
        if why is None and len(wanted) < 2:
            why = "this harness has not the same paths; install the version that measured it"
        if why is not None:
            whys[row_name(row)] = why
            continue
        found |= {key: cases[key] for key in wanted if key not in found or cases[key].headline}
    return Again(list(found.values()), whys)


def _absent(row: Row, workloads: Mapping[str, Definition], backends: Mapping[str, Backend]) -> str | None:
    """Which part of a row this machine lacks."""
    for name in (row.workload, row.against[0].twin_workload):
        if name not in workloads:
            return f"there is no workload {name} here; put its file where HWLOTTERY_WORKLOADS says"
    if row.backend not in backends:
        return f"there is no backend {row.backend} here; put its file where HWLOTTERY_BACKENDS says"
    backend = backends[row.backend]
    if importlib.util.find_spec(backend.module) is None:
        return f"{backend.title} is not installed; try: {backend.install}"
    return None


def _planned(idea: Case, workloads: Mapping[str, Definition], backends: Mapping[str, Backend]) -> Sequence[Planned]:
    """Every case at the point of a stored one and at its twins'."""
    ask = Ask(
        preset="quick",  # the points are given, and what `smoke` leaves out is none of ours
        workloads=(idea.workload,),
        backends=(idea.backend,),
        devices=(idea.device,),
        dtypes=(idea.dtype,),
        seed=idea.seed,
        points={idea.workload: (Point(idea.params, idea.mode),)},
    )
    return plan.cases(ask, workloads, backends)


# -- the run -----------------------------------------------------------------------------------------------------------


def _request(was: Run, planned: Sequence[Planned], asked: ReproduceRequest) -> RunRequest:
    """What `run` would be asked for: the settings of the stored run, as far as this machine has them."""
    settings, cases = was.info.settings, [p.case for p in planned]
    preset, rounds, threads = (settings.get(name) for name in ("preset", "rounds", "threads"))
    timeout = settings.get("timeout_s")
    cores = facts.usable_cores()
    if asked.threads is None and isinstance(threads, int) and threads > cores:
        click.echo(f"note: it was measured with {threads} threads, and {cores} cores are usable here", err=True)
        threads = cores
    usual = rounds if isinstance(rounds, int) else 0
    return RunRequest(
        preset=preset if isinstance(preset, str) and preset in PRESETS else "quick",
        workloads=tuple(dict.fromkeys(case.workload for case in cases)),
        backends=tuple(dict.fromkeys(case.backend for case in cases)),
        devices=tuple(dict.fromkeys(case.device for case in cases)),
        dtypes=tuple(dict.fromkeys(case.dtype for case in cases)),
        executions=tuple(dict.fromkeys(case.execution for case in cases)),
        formulations=tuple(dict.fromkeys(case.formulation for case in cases)),
        seed=cases[0].seed,
        rounds=max(usual, FEWEST_ROUNDS) if asked.rounds is None else asked.rounds,
        budget_s=asked.budget_s,
        timeout_s=float(timeout) if isinstance(timeout, int | float) else requests.TIMEOUT_S,
        threads=asked.threads or (threads if isinstance(threads, int) else None),
        out=asked.out,
        resume=asked.resume,
        wait=asked.wait,
        as_json=asked.as_json,
        arguments=asked.arguments,
    )


def _measured(
    was: Run, planned: Sequence[Planned], request: RunRequest, backends: Mapping[str, Backend]
) -> tuple[Path, int | None]:
    """Measure the plan into a folder of its own; the folder, and the number of the signal that ended it early."""
    temporary()
    options = requests.options(
        request, cores=facts.usable_cores(), cache=cache_folder(), memory_bytes=facts.memory_limit_bytes()
    )
    ask = Ask(
        preset=request.preset,
        backends=request.backends,
        devices=request.devices,
        dtypes=request.dtypes,
        seed=request.seed,
    )
    ready(ask, backends, options)
    folder = request.out or new_folder(Path("runs") / f"{timestamps.in_name()}-reproduce")
    info = information(request, ask, options, backends)
    info = msgspec.structs.replace(info, settings={**info.settings, REPRODUCES: was.info.run})
    store = Store(folder, info, resume=request.resume, planned={p.case.key for p in planned})
    stopped = carry_out(request, planned, backends, options, store, lambda store: _foresight(options, store))
    if stopped is not None:
        words = [*request.arguments, *(() if "--resume" in request.arguments else ("--resume",))]
        more = () if request.out is not None else ("--out", str(folder))
        click.echo(f"to go on: hwlottery {shlex.join([*words, *more])}", err=True)
    return folder, stopped


def _foresight(options: Options, store: Store) -> Listed:
    known = contenders.contenders(options.cache / LEARNT, store.info.machine, store.info.versions)
    return Listed(known, contenders.Choice({}, {}))

"""What `run` does with its request: plan, run, store, print."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import msgspec

from backends.discovery import backends as find_backends
from backends.ops import Backend
from harness.cli import matrices, modelled_devices
from harness.cli.cache import cache_folder, temporary
from harness.cli.foreseen import LEARNT, known_of, show_plan
from harness.cli.information import information
from harness.cli.installed import check_devices, present
from harness.cli.parameters import EXIT_FAILED, EXIT_OK, EXIT_SIGNAL, program
from harness.cli.plugins import own_names, with_files
from harness.machine import facts
from harness.planning import contradictions, learning, learnt, plan
from harness.planning import request as requests
from harness.planning.foresight import Experience, Foresight
from harness.planning.options import Options
from harness.planning.plan import Ask, Planned
from harness.planning.request import RunRequest
from harness.records import timestamps
from harness.records.record import FAILED
from harness.records.store import Store, disturbances, load, new_folder
from harness.running import host, leftovers, stopping
from harness.running.inputs import free_bytes, room_bytes
from harness.running.progress import Watch
from harness.running.runner import Runner
from harness.worker import strays
from workloads.discovery import workloads as find_workloads


@dataclass(frozen=True, slots=True)
class Carried:
    """A run that was carried out: where it is, the signal that stopped it if one did, and what could not be loaded.

    `folder` is None where only the plan was shown.
    """

    folder: Path | None
    stopped: int | None = None
    problems: tuple[str, ...] = ()


def run(
    request: RunRequest,
    *,
    choose: Callable[[list[Planned]], list[Planned]] | None = None,
    tell: Callable[[Path], int] | None = None,
) -> int:
    """Plan, run, store and print; the exit code of the run.

    `choose` gives those of the planned cases that are run, as they are to be run. `tell` is called with the results
    folder of a run that was not stopped, in place of the report, and its exit code is given.
    """
    done = carried_out(request, choose=choose, learns=tell is None)
    if done.folder is None:
        return EXIT_OK
    if done.stopped == signal.SIGHUP:
        return EXIT_SIGNAL + done.stopped  # nobody reads
    if tell is not None and done.stopped is None:
        return tell(done.folder)
    return _told(request, done.folder, stopped=done.stopped, problems=done.problems)


def carried_out(
    request: RunRequest,
    *,
    choose: Callable[[list[Planned]], list[Planned]] | None = None,
    learns: bool = True,
) -> Carried:
    """Plan, run and store, and say what goes on; nothing of the results is printed. `choose` as in `run`."""
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
    ask = requests.ask(request, workloads, present(request.backends, backends), points=points, own=own)
    planned_cases = plan.cases(ask, workloads, backends)
    contradictions.refuse_unused(request, ask, planned_cases, workloads)
    planned_cases = planned_cases if choose is None else choose(planned_cases)
    described = modelled_devices.of_request(request.models)
    here = modelled_devices.without(planned_cases)
    temporary()  # what every server needs
    again = requests.retried(request)
    options = requests.options(
        request,
        cores=facts.usable_cores(),
        cache=cache_folder(),
        memory_bytes=facts.memory_limit_bytes(),
    )
    if request.dry_run:
        check_devices(ask, backends, options, only_unknown=True)
        show_plan(request, planned_cases, options, information(request, ask, options, backends))
        return Carried(None)
    ready(ask, backends, options)
    folder = request.out or new_folder(Path("runs") / f"{timestamps.in_name()}-{ask.preset}")
    _warn_of_room(here, folder)
    info = modelled_devices.told(information(request, ask, options, backends), described)
    stopped = carry_out(
        request,
        here,
        backends,
        options,
        Store(folder, info, resume=request.resume, retry=again, planned={p.case.key for p in planned_cases}),
        lambda store: _foresight(request, here, options, store),
        lambda store: modelled_devices.reckon(planned_cases, described, workloads, store),
    )
    if stopped is None:
        shutil.rmtree(folder / leftovers.UNFINISHED, ignore_errors=True)
    elif stopped == signal.SIGHUP:
        return Carried(folder, stopped)
    if learns:
        _learn(folder, options)
    return Carried(folder, stopped, tuple(problems))


def _warn_of_room(planned: Sequence[Planned], folder: Path) -> None:
    """Say that a run makes inputs again, or may fill the disk, which would end it after what may be an hour."""
    needed, free = room_bytes(planned), free_bytes(folder.parent)
    if needed > free:
        click.echo(
            f"warning: inputs take up to {needed / 2**30:.1f} GiB beside {folder} while it runs, and "
            f"{free / 2**30:.1f} GiB are free there: some are made more than once, which takes time, and it ends for "
            "want of room where there is none for one group; name another --out, or make room",
            err=True,
        )


def ready(ask: Ask, backends: Mapping[str, Backend], options: Options) -> None:
    """End what a killed run left behind; UserError where a device of the request is not there."""
    for left in strays.end_leftovers():
        click.echo(f"warning: ended {left}, which a run that was killed had left running", err=True)
    check_devices(ask, backends, options)


def carry_out(
    request: RunRequest,
    plan: Sequence[Planned],
    backends: Mapping[str, Backend],
    options: Options,
    store: Store,
    foresight: Callable[[Store], Foresight],
    reckon: Callable[[Store], None] = lambda _: None,
) -> int | None:
    """Run a plan into its store, which is closed then; the number of the signal that stopped it, None of none.

    `reckon` is called first, for what needs no run. A plan without cases waits for nobody and runs nothing.
    """
    from harness.cli.live import Live  # scipy, which a plan does without

    stopped = None
    with stopping.stoppable(), store, leftovers.marked(store.folder), Watch() as watch:
        try:
            reckon(store)
            if plan:
                with host.alone(store.folder, watch.say, wait=request.wait) as note:
                    if note:
                        store.note(note)
                    known = foresight(store)
                    Runner(plan, backends, options, store, watch, foresight=known, told=Live(watch)).execute()
        except KeyboardInterrupt as stop:
            stopped = getattr(stop, "number", signal.SIGINT)
            watch.say("interrupted; everything measured so far is kept")
        finally:
            if store.info.ended_at is None:
                store.write_info(msgspec.structs.replace(store.info, ended_at=timestamps.now()))
    return stopped


def _foresight(request: RunRequest, plan: Sequence[Planned], options: Options, store: Store) -> Experience:
    """What was known of the plan when the run began: it is kept beside the results until the run is complete."""
    kept = store.folder / leftovers.UNFINISHED
    if not kept.is_dir():
        with contextlib.suppress(OSError):
            shutil.copytree(options.cache / LEARNT, kept)
        kept.mkdir(exist_ok=True)  # also what was not known stays unknown
    return known_of(request, plan, kept, store.info)


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

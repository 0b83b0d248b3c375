"""What `trace` does: one more fresh process of each case that is meant, under its framework's own profiler."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import click
import msgspec

from backends.device import is_ahead_of_time, is_modelled
from backends.discovery import backends as find_backends
from backends.ops import Backend
from harness.cli.cache import cache_folder, temporary
from harness.cli.foreseen import LEARNT
from harness.cli.installed import present
from harness.cli.parameters import EXIT_FAILED, EXIT_OK, EXIT_SIGNAL
from harness.cli.plugins import own_names, with_files
from harness.errors import UserError, nearest
from harness.machine import facts
from harness.planning import contenders, naming
from harness.planning.naming import CaseNames, Meant
from harness.planning.plan import Planned
from harness.records import traces
from harness.records.record import FAILED, KEPT, Record
from harness.records.store import DISTURBED, INFO, Run, load
from harness.records.text import one_line
from harness.records.traces import CaseTrace
from harness.report import trace_text
from harness.running import host, stopping
from harness.running.tracing import Tracing
from harness.worker import strays
from workloads.base import Definition
from workloads.discovery import workloads as find_workloads

MOST_NAMED = 3  # cases of a run that a sentence names


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceRequest:
    """The options of `trace`. `words` are a results folder and cases; None: the run decides, or the machine."""

    words: tuple[str, ...] = ()
    names: CaseNames = field(default_factory=CaseNames)
    preset: str | None = None
    workload_files: tuple[Path, ...] = ()
    threads: int | None = None
    timeout_s: float = 300.0
    output: Path | None = None
    wait: bool = True
    as_json: bool = False


@dataclass(frozen=True, slots=True)
class Chosen:
    """A case to trace, why it is this path in words, and the setting of the compiler that a run kept."""

    planned: Planned
    why: str
    keep: str | None = None


def trace(asked: TraceRequest) -> int:
    """CaseTrace every case that is meant and print its table; 1 where a case failed. UserError where none is meant."""
    with_files(asked.workload_files)
    (workloads, broken), (backends, _) = find_workloads(), find_backends()
    own = own_names(asked.workload_files, workloads, broken)
    folder, words = _folder(asked.words)
    run = None if folder is None else load(folder)
    wanted = _wanted(asked.names, words, own, workloads, backends)
    if run is None:
        cases = [chosen for names in wanted for chosen in _of_plan(names, asked.preset, workloads, backends)]
    else:
        if asked.preset is not None:
            raise UserError(f"--preset {asked.preset} does not go with {folder}, whose points are those of the run")
        cases = [chosen for names in wanted for chosen in _of_run(names, run, workloads, backends)]
    cases = list({chosen.planned.case.key: chosen for chosen in cases}.values())
    for chosen in cases:
        _refuse(chosen.planned, backends)
    out = asked.output or (folder / traces.FOLDER if folder is not None else Path(traces.FOLDER))
    tracing = _tracing(asked, run, out)
    for left in strays.end_leftovers():
        click.echo(f"warning: ended {left}, which a run that was killed had left running", err=True)
    failed = 0
    try:
        with stopping.stoppable(), host.alone(out, _say, wait=asked.wait) as note:
            if note:
                _say(f"note: {note.removeprefix(DISTURBED)}")
            for chosen in cases:
                failed += _traced(tracing, chosen, backends, out, as_json=asked.as_json)
    except KeyboardInterrupt as stop:
        return EXIT_SIGNAL + getattr(stop, "number", signal.SIGINT)
    return EXIT_FAILED if failed else EXIT_OK


def _say(words: str) -> None:
    click.echo(words, err=True)


def _traced(tracing: Tracing, chosen: Chosen, backends: Mapping[str, Backend], out: Path, *, as_json: bool) -> bool:
    """CaseTrace one case and print it; whether it failed."""
    case = chosen.planned.case
    _say(f"tracing {case}{f': {chosen.why}' if chosen.why else ''}")
    found = tracing.trace(chosen.planned, backends[case.backend], chosen.keep)
    if isinstance(found, CaseTrace):
        if as_json:
            click.echo(msgspec.json.encode(found).decode())
        else:
            click.echo("\n".join(trace_text.lines(found, shutil.get_terminal_size().columns)))
        _say(trace_text.opens(out / found.file))
        return False
    measured = found.measured
    path = f"{case.workload}/{case.formulation} {case.backend} {case.execution}"
    _say(f"{path}: {measured.status}: {one_line(measured.reason)}")
    return measured.status in FAILED


# -- which cases -------------------------------------------------------------------------------------------------------


def _folder(words: Sequence[str]) -> tuple[Path | None, list[str]]:
    """The results folder among the arguments, at most one, and the other words."""
    folders = [Path(word) for word in words if (Path(word) / INFO).is_file()]
    if len(folders) > 1:
        raise UserError(f"{folders[1]} is a second results folder; trace cases of one run at a time")
    rest = [word for word in words if not folders or Path(word) != folders[0]]
    for word in rest:
        if Path(word).is_dir() and "=" not in word and word not in find_workloads()[0]:
            raise UserError(f"{word} is no results folder: it has no {INFO}; name the folder that a run wrote")
    return (folders[0] if folders else None), rest


def _wanted(
    options: CaseNames,
    words: Sequence[str],
    own: Sequence[str],
    workloads: Mapping[str, Definition],
    backends: Mapping[str, Backend],
) -> list[CaseNames]:
    """What is named of each case, by words and options together; UserError where no workload is, or one is unknown."""
    named = naming.named_cases(words, workloads, backends) or [CaseNames()]
    wanted = [options.with_more(names) for names in named]
    wanted = [replace(names, workloads=names.workloads or tuple(own)) for names in wanted]
    if not all(names.workloads for names in wanted):
        raise UserError(
            "no workload is named; say which case, such as `trace block_sparse torch`, see `list workloads`"
        )
    for kind, known in (("workload", workloads), ("backend", backends)):
        for name in (name for names in wanted for name in getattr(names, f"{kind}s")):
            if name not in known:
                raise nearest(kind, name, known)
    return wanted


def _of_plan(
    names: CaseNames, preset: str | None, workloads: Mapping[str, Definition], backends: Mapping[str, Backend]
) -> list[Chosen]:
    """The cases at the points of a preset, by the path that earlier runs know to be the fastest."""
    there = tuple(n for n in present(names.backends, backends) if names.backends or backends[n].profiler is not None)
    names = replace(names, backends=there)
    candidates = naming.planned_for(names, preset, workloads, backends)
    known = contenders.contenders(
        cache_folder() / LEARNT, facts.facts(), facts.versions([backends[name] for name in there])
    )
    why = "the fastest path by what earlier runs know"
    return [_chosen(meant, why) for meant in naming.chosen(candidates, known.expected, names)]


def _of_run(
    names: CaseNames, run: Run, workloads: Mapping[str, Definition], backends: Mapping[str, Backend]
) -> list[Chosen]:
    """The cases of a run, by the best path of each."""
    from harness.figures.best_paths import best_rows
    from harness.figures.frame import case_rows

    records = {r.case.key: r for r in run.records if not r.control and names.means(r.case)}
    if not names.backends:
        records = {key: r for key, r in records.items() if _has_profiler(r, backends)}
    if not records:
        ran = list(dict.fromkeys(f"{r.case.workload} {r.case.backend} {r.case.device}" for r in run.records))
        said = "; ".join(ran[:MOST_NAMED]) or "nothing at all"
        raise UserError(f"{run.path} has no case named by {names} that can be profiled; it has such as: {said}")
    rows = case_rows([r for r in run.records if r.case.key in records])
    order = {str(row["key"]): float(row["time_s"]) for row in rows if row["status"] == "ok"}
    order |= {str(row["key"]): 0.0 for row in best_rows(rows) if row["key"] is not None}
    candidates = [_as_planned(record, workloads, backends) for record in records.values()]
    stand: Callable[[Planned], float | None] = lambda planned: order.get(planned.case.key)  # noqa: E731
    found = naming.chosen(candidates, stand, names)
    kept = [records[meant.planned.case.key].settings.get(KEPT) for meant in found]
    return [
        replace(_chosen(meant, f"the best path of {run.path}"), keep=None if keep is None else str(keep))
        for meant, keep in zip(found, kept, strict=True)
    ]


def _chosen(meant: Meant, why: str) -> Chosen:
    if meant.named:
        return Chosen(meant.planned, "")
    return Chosen(meant.planned, why if meant.known else "the first formulation; nothing is known of the others here")


def _has_profiler(record: Record, backends: Mapping[str, Backend]) -> bool:
    backend = backends.get(record.case.backend)
    return backend is not None and backend.profiler is not None and not is_ahead_of_time(record.case.device)


def _as_planned(record: Record, workloads: Mapping[str, Definition], backends: Mapping[str, Backend]) -> Planned:
    """A stored case as one of a plan; UserError where this harness has not the like of it."""
    case = record.case
    workload = workloads.get(case.workload)
    if workload is None or case.formulation not in workload.formulations.get(case.mode, {}):
        raise UserError(f"{case} is not here any more; name its file with --workload-file, or install what measured it")
    if case.backend not in backends:
        raise UserError(f"there is no backend {case.backend} here; put its file where HWLOTTERY_BACKENDS says")
    return Planned(
        case=case,
        work=record.work,
        twins=tuple(record.twins),
        headline=record.headline,
        repeated=False,
        survey=True,
        group="",
    )


def _refuse(planned: Planned, backends: Mapping[str, Backend]) -> None:
    """UserError for a case that nothing can profile."""
    case, backend = planned.case, backends[planned.case.backend]
    if backend.profiler is None:
        have = ", ".join(name for name, other in backends.items() if other.profiler is not None)
        raise UserError(f"{backend.title} has no profiler of its own, so that nothing can be traced; it can of {have}")
    if is_ahead_of_time(case.device):
        raise UserError(
            f"{case.device} is compiled for and not run, so that there is no time to trace; name cpu or cuda"
        )
    if is_modelled(case.device):
        raise UserError(f"{case.device} is reckoned and not run, so that there is no time to trace; name cpu or cuda")
    present((case.backend,), backends)


def _tracing(asked: TraceRequest, run: Run | None, out: Path) -> Tracing:
    """The threads and precision of the run, as far as this machine has them, unless told otherwise."""
    temporary()  # what every server needs
    cores = facts.usable_cores()
    if asked.threads is not None and asked.threads > cores:
        raise UserError(f"--threads {asked.threads} is more than the {cores} cores usable here")
    settings = {} if run is None else run.info.settings
    was = settings.get("threads")
    if asked.threads is None and isinstance(was, int) and was > cores:
        _say(f"note: it was measured with {was} threads, and {cores} cores are usable here")
    threads = asked.threads or min(was if isinstance(was, int) and was > 0 else cores, cores)
    return Tracing(
        out,
        cache_folder(),
        threads,
        asked.timeout_s,
        facts.memory_limit_bytes(),
        tf32=settings.get("tf32") is True,
    )

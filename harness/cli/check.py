"""What `check` does: hold files to what every plug-in keeps, in fresh processes, and say what is wrong and where.

Each try is a process of its own, forked from the servers that a run uses: what crashes, hangs or takes all memory is a
fault of the file with a sentence, and the others are tried all the same.
"""

from __future__ import annotations

import importlib.util
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click

from backends.discovery import backends as find_backends
from backends.ops import Backend, Device
from harness.cli.cache import cache_folder
from harness.cli.parameters import EXIT_FAILED, EXIT_OK, program
from harness.cli.plugins import BACKENDS, with_files
from harness.errors import UserError, nearest
from harness.machine.facts import memory_limit_bytes, usable_cores
from harness.worker.check import trials
from harness.worker.client import Server, ServerError
from harness.worker.messages import ConformityJob, ContractJob, FactsJob, Measured, PlugInFacts
from workloads.discovery import workloads

CPU = Device("cpu")


@dataclass(slots=True)
class Findings:
    """What was tried of a file: how often it was well, refused by a framework, and each fault with its frameworks."""

    file: Path
    facts: PlugInFacts | None = None
    well: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    faults: dict[str, list[str]] = field(default_factory=dict)
    disagreeing: int = 0
    tried: set[str] = field(default_factory=set)  # formulations that ran somewhere

    @property
    def kind(self) -> str:
        """What the file defines, once that is known."""
        return "" if self.facts is None else self.facts.kind

    @property
    def name(self) -> str:
        """The plug-in's name, once that is known."""
        return "" if self.facts is None else str(self.facts.name)

    @property
    def trials(self) -> Sequence[ConformityJob]:
        """All that is to be tried of a workload."""
        return () if self.facts is None else self.facts.trials

    def add(self, title: str, sentences: Iterable[str]) -> None:
        """Faults seen on a framework; "" where it has nothing to do with one."""
        for sentence in sentences:
            known = self.faults.setdefault(sentence, [])
            if title and title not in known:
                known.append(title)


def check(files: Sequence[Path], backends: Sequence[str], timeout_s: float) -> int:
    """Print what is wrong with each file, and how much was tried; 1 where something is.

    Workloads are tried on `backends`; on every one that is installed and takes part in runs, and NumPy, where none is
    named. A try is killed after `timeout_s`.
    """
    for file in files:
        if not file.is_file():
            raise UserError(f"{file} is not there or no file; name a Python file that defines a workload or a backend")
    on = present(backends)
    found = [Findings(file) for file in dict.fromkeys(files)]
    with _server(_numpy()) as server:
        for findings in found:
            findings.facts = _facts(server, findings, timeout_s)
    sound = [findings for findings in found if findings.facts is not None and not findings.faults]
    _workloads([findings for findings in sound if findings.kind == "workload"], on, timeout_s)
    for findings in sound:
        if findings.kind == "backend":
            _backend(findings, timeout_s)
    for findings in found:
        _say(findings)
    return EXIT_FAILED if any(findings.faults for findings in found) else EXIT_OK


def present(asked: Sequence[str]) -> list[Backend]:
    """The backends to try on: those asked for, else all that are installed and take part in runs, and NumPy."""
    known = find_backends()[0]
    for name in asked:
        if name not in known:
            raise nearest("backend", name, known)
        if importlib.util.find_spec(known[name].module) is None:
            raise UserError(f"{known[name].title} is not installed; try: {known[name].install}")
    there = [b for b in known.values() if importlib.util.find_spec(b.module) is not None]
    return [b for b in there if (b.name in asked if asked else b.default or b.name == "numpy")]


def _server(backend: Backend) -> Server:
    threads = usable_cores()
    return Server(backend, CPU, threads, cache_folder(), memory_bytes=memory_limit_bytes())


def _facts(server: Server, findings: Findings, timeout_s: float) -> PlugInFacts | None:
    """What the file defines, read in a fresh process: nothing of it is imported here before that went well."""
    measured = server.run(FactsJob(file=str(findings.file)), timeout_s).measured
    if measured.facts is None:
        findings.add("", [f"{findings.file}: it does not load: {measured.status}: {measured.reason}"])
        return None
    findings.add("", measured.facts.faults)
    return measured.facts


def _numpy() -> Backend:
    from backends.numpy_backend import BACKEND

    return BACKEND


# -- workloads --------------------------------------------------------------------------------------------------------


def _workloads(found: Sequence[Findings], backends: Sequence[Backend], timeout_s: float) -> None:
    for backend in backends if found else ():
        jobs = [(findings, job) for findings in found for job in _chosen(findings.trials, backend)]
        _tries(backend, jobs, timeout_s)
    for findings in found:
        for name in sorted({trial.formulation for trial in findings.trials} - findings.tried):
            said = f"{findings.file}: formulation {name} runs on no framework here, so that nothing of it is checked"
            findings.add("", [said])
        if findings.disagreeing > 1 and not findings.well:
            said = (
                f"{findings.file}: every formulation on every framework disagrees with the reference; suspect the "
                "reference, or inputs at which rounding decides the result"
            )
            findings.add("", [said])


def _chosen(tries: Iterable[ConformityJob], backend: Backend) -> Iterator[ConformityJob]:
    """The tries on a framework: in each of its executions at the first point of a formulation, then in one."""
    first: dict[tuple[str, str], Mapping[str, object]] = {}
    seen: set[tuple[str, str, str]] = set()
    for job in tries:
        if job.execution not in backend.executions:
            continue
        place = (job.mode, job.formulation, str(job.params))
        if first.setdefault((job.mode, job.formulation), job.params) == job.params or place not in seen:
            yield job
        seen.add(place)


def _tries(backend: Backend, jobs: Sequence[tuple[Findings, ConformityJob]], timeout_s: float) -> None:
    click.echo(f"{backend.title}: {len(jobs)} tries", err=True)
    try:
        with _server(backend) as server:
            for findings, job in jobs:
                _keep(backend.title, job, server.run(job, timeout_s).measured, findings)
    except ServerError as error:
        for findings in {id(findings): findings for findings, _ in jobs}.values():
            findings.add("", [f"{findings.file}: nothing can be tried on {backend.title}: {error}"])


def _keep(title: str, job: ConformityJob, measured: Measured, findings: Findings) -> None:
    what = f"{job.formulation} of {job.workload} ({job.execution}, {job.mode})"
    if measured.status == "unsupported":
        findings.refused[f"{title}: {measured.reason}"] += 1
        return
    findings.tried.add(job.formulation)
    if measured.status != "ok":
        findings.add(title, [f"{findings.file}: {what}: {measured.status}: {measured.reason}"])
    elif measured.answer:
        findings.add(title, measured.answer)
        findings.disagreeing += any("disagrees" in sentence for sentence in measured.answer)
    else:
        findings.well += 1


# -- a backend --------------------------------------------------------------------------------------------------------


def _backend(findings: Findings, timeout_s: float) -> None:
    """The contract of its operators; where that is kept, every workload at the first point of each mode."""
    with_files([findings.file], BACKENDS)
    backend = find_backends()[0][findings.name]
    if importlib.util.find_spec(backend.module) is None:
        said = f"{findings.file}: its module {backend.module} is not installed; try: {backend.install}"
        findings.add("", [said])
        return
    try:
        with _server(backend) as server:
            measured = server.run(ContractJob(), timeout_s).measured
    except ServerError as error:
        findings.add("", [f"{findings.file}: {error}"])
        return
    if measured.status != "ok":
        findings.add("", [f"{findings.file}: its operators: {measured.status}: {measured.reason}"])
        return
    if measured.answer:  # what a workload gives then is told already
        findings.add("", [f"{findings.file}: {sentence}" for sentence in measured.answer])
        click.echo(f"{findings.file}: workloads are tried once its operators are right", err=True)
        return
    findings.well += 1
    jobs = []
    for definition in workloads()[0].values():
        points: dict[str, object] = {}
        jobs += [job for job in trials(definition) if points.setdefault(job.mode, job.params) == job.params]
    _tries(backend, [(findings, job) for job in jobs if job.execution in backend.executions], timeout_s)


# -- what is said -----------------------------------------------------------------------------------------------------


def _say(findings: Findings) -> None:
    for words, count in findings.refused.most_common():
        click.echo(f"unsupported ×{count}: {words}", err=True)
    for sentence, titles in findings.faults.items():
        where = f"on {', '.join(titles)}: " if titles else ""
        click.echo(f"fault: {where}{sentence}")
    if findings.faults:
        count = len(findings.faults)
        click.echo(f"{findings.file}: {count} fault{'s' * (count > 1)}, {findings.well} tries well", err=True)
        return
    click.echo(f"ok: {findings.kind} {findings.name}, {findings.well} tries well")
    file = shlex.quote(str(findings.file))
    if findings.kind == "workload":
        click.echo(f"next: {program()} run --workload-file {file}", err=True)
    else:
        click.echo(f"next: {BACKENDS}={file} {program()} run --backend {findings.name}", err=True)

"""What a fresh process does for `check`: reads a plug-in's file, tries one formulation, or a backend's operators.

It runs here and not in the command's own process, since what it runs is somebody's code: it may crash or never end.
"""

from __future__ import annotations

import ast
import os
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from backends import conformance as contract
from backends.discovery import backends, load_module, parsed
from backends.ops import EXECUTIONS, Backend, Device
from harness.measuring.correctness import epsilon, judge, rounded, upcast
from harness.worker.messages import ConformityJob, ContractJob, FactsJob, Measured, PlugInFacts
from workloads.base import MODES, Definition, Mode, Params, Point
from workloads.conformance import Attempt, Oracle, conformity
from workloads.discovery import definition_of, workloads
from workloads.facts import faults

PRESETS = ("smoke", "ideas", "quick", "standard", "full")  # the first that a workload has is tried
DTYPE = "float32"
ORACLE = Oracle(rounded=rounded, upcast=upcast, judge=judge, epsilon=epsilon)


def answer(job: FactsJob | ConformityJob | ContractJob, phase: Callable[[str], None]) -> Measured:
    """Do a job of `check`; Unsupported and what a framework raises pass through."""
    if isinstance(job, FactsJob):
        phase("reading the file")
        return Measured(status="ok", facts=facts_of(Path(job.file)))
    backend, device = backends()[0][os.environ["HWLOTTERY_BACKEND"]], Device.parse(os.environ["HWLOTTERY_DEVICE"])
    if isinstance(job, ContractJob):
        phase("trying the operators")
        return Measured(status="ok", answer=contract.faults(backend, device))
    if job.file is not None:
        phase("reading the file")
        _know(Path(job.file), "HWLOTTERY_WORKLOADS")
    phase("opening the device")
    attempt = Attempt(
        definition=workloads()[0][job.workload],
        point=Point(job.params, job.mode),
        name=job.formulation,
        ops=backend.open(device),
        execution=job.execution,
        oracle=ORACLE,
        dtype=job.dtype,
    )
    phase(f"trying {job.formulation}")
    return Measured(status="ok", answer=conformity(attempt))


def _know(file: Path, variable: str) -> None:
    """Add a file to those that discovery reads in this process."""
    known = os.environ.get(variable)
    os.environ[variable] = f"{known}{os.pathsep}{file}" if known else str(file)


def is_backend(file: Path) -> bool:
    """Whether a file defines a backend rather than a workload: by its name, or by what it assigns at its top level."""
    if file.stem.endswith("_backend"):
        return True
    try:
        body = parsed(file).body
    except OSError:
        return False
    targets = [target for node in body if isinstance(node, ast.Assign) for target in node.targets]
    return any(isinstance(target, ast.Name) and target.id == "BACKEND" for target in targets)


def facts_of(file: Path) -> PlugInFacts:
    """What the file defines and what is wrong with it: it does not load, has another's name, or cannot be true."""
    kind: Literal["backend", "workload"] = "backend" if is_backend(file) else "workload"
    _know(file, f"HWLOTTERY_{kind.upper()}S")
    found, broken = backends() if kind == "backend" else workloads()
    try:
        module = load_module(file)
    except (Exception, SystemExit) as error:
        return PlugInFacts(kind=kind, name=None, faults=[_unloadable(file, error)])
    reasons = [b.reason for b in broken if b.path.resolve() == file.resolve()]
    if reasons:
        return PlugInFacts(kind=kind, name=None, faults=reasons)
    if kind == "backend":
        backend: Backend = module.BACKEND
        return PlugInFacts(kind=kind, name=backend.name, faults=list(_of_backend(file, backend)))
    definition = definition_of(module, str(file))
    known = {name: other for name, other in found.items() if isinstance(other, Definition)}
    wrong = faults(definition, known)
    return PlugInFacts(
        kind=kind, name=definition.name, faults=wrong, trials=[] if wrong else list(trials(definition, file))
    )


def _unloadable(file: Path, error: BaseException) -> str:
    """Where in the file it stops, and why."""
    line = error.lineno if isinstance(error, SyntaxError) and error.filename == str(file) else None
    for step in traceback.extract_tb(error.__traceback__):
        if step.filename == str(file):
            line = step.lineno
    words = " ".join(str(error).split())
    return f"{file}{f':{line}' if line else ''}: it does not load: {type(error).__name__}: {words}"


def _of_backend(file: Path, backend: Backend) -> Iterator[str]:
    if not file.stem.endswith("_backend"):
        yield f"{file}: a folder of backends is searched for *_backend.py; name the file {file.stem}_backend.py"
    if not backend.executions or set(backend.executions) - set(EXECUTIONS):
        yield f"{file}: the executions of {backend.name} are {backend.executions}; choose among {', '.join(EXECUTIONS)}"
    if not backend.distributions:
        yield f"{file}: {backend.name} names no distribution; name those whose versions a record must keep"


def trials(definition: Definition, file: Path | None = None) -> Iterator[ConformityJob]:
    """All to be tried of a workload: every formulation at every point of its smallest preset in every execution."""
    points = next((definition.presets[name] for name in PRESETS if definition.presets.get(name)), ())
    for point in points:
        params = dict(definition.check(point.params))
        for name, formulation in definition.formulations[point.mode].items():
            for execution in (formulation.executions or EXECUTIONS) if formulation.applies(params) else ():
                yield ConformityJob(
                    file=None if file is None else str(file),
                    workload=definition.name,
                    params=params,
                    mode=point.mode,
                    formulation=name,
                    execution=execution,
                    dtype=_dtype(definition, params, point.mode),
                )


def _dtype(definition: Definition, params: Params, mode: Mode) -> str:
    dtypes = [dtype for dtype, of in definition.tolerances_at(params) if of == mode and mode in MODES]
    return DTYPE if DTYPE in dtypes else dtypes[0]

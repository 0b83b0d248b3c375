"""What `calibrate` does: a run of ceilings alone, by the harness's own cases and clock, and a device file from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import click
import msgspec

from backends.discovery import backends as find_backends
from backends.dtypes import itemsize
from backends.ops import Execution
from harness.cli.cache import temporary
from harness.cli.parameters import EXIT_OK
from harness.cli.run import run
from harness.errors import UserError
from harness.figures.ceilings import CEILING_STREAM, SMALL_STEPS, STORED_PRODUCT
from harness.machine import facts
from harness.modelling import calibration, device_file, device_parts, toml_text
from harness.planning.plan import Planned
from harness.planning.request import RunRequest
from harness.records import timestamps
from harness.records.record import Case, WorkFacts
from harness.records.store import INFO, load
from workloads.discovery import workloads as find_workloads
from workloads.facts import work_of

PRIMITIVES = Path(calibration.__file__).with_name("primitives")
STEPS = 64
TABLES = ((2**11, 128), (2**15, 128))  # rows and columns of what stored products gather of, beside the few in a cache
FEW = 4  # columns of an embedding bag, where what it looks up counts and not its FLOP
# Of the ceilings' formulations those that are the fastest somewhere; the others are of a whole run.
WANTED: Mapping[str, frozenset[str]] = {
    "dense_matmul": frozenset({"nn", "nt"}),
    "stream": frozenset({"flat", "vector", "rows"}),
}


def calibrate(output: Path, budget_s: float, backends: tuple[str, ...], name: str | None, kept: Path | None) -> int:
    """Measure, and write the device file; UserError where it cannot be written or nothing could be measured."""
    if output.suffix != ".toml":
        raise UserError(f"-o {output} must end in .toml; it will hold a device file")
    if output.is_dir() or not output.parent.is_dir():
        raise UserError(f"-o {output} cannot be written; name a file in a folder that is there")

    def tell(folder: Path) -> int:
        return _write(folder, output, name)

    request = RunRequest(
        preset="quick",
        workload_files=tuple(sorted(PRIMITIVES.glob("[a-z]*.py"))),
        backends=backends,
        budget_s=budget_s,
        rounds=0,
        out=kept or temporary() / f"calibration-{timestamps.in_name()}",
        arguments=("calibrate", "-o", str(output)),
    )
    return run(request, choose=chosen, tell=tell)


def chosen(plan: list[Planned]) -> list[Planned]:
    """The cases that may tell a rate, every one of them looked at: a sweep would leave out what is slow elsewhere.

    Launches are looked at in every execution, and beside each single step STEPS of them, from which comes what a step
    takes that is not the first. Stored sparse products are looked at with larger tables of rows, too.
    """
    wanted = [replace(planned, survey=True) for planned in plan if _wanted(planned.case)]
    return [further for planned in wanted for further in _further(planned)]


def _further(planned: Planned) -> Iterator[Planned]:
    """The case, or the cases that are measured instead of it."""
    case = planned.case
    if case.workload == SMALL_STEPS:
        for execution in find_backends()[0][case.backend].executions:
            yield from (_at(planned, execution, steps=steps) for steps in (1, STEPS))
        return
    yield planned
    if case.workload == STORED_PRODUCT and int(case.params["n"]) > 1:
        yield from (_at(planned, case.execution, columns=columns, n=n) for columns, n in TABLES)
        if case.formulation == "bag":
            yield _at(planned, case.execution, n=FEW)


def _at(planned: Planned, execution: Execution, **axes: int) -> Planned:
    """The case with some axes changed, in an execution."""
    case = msgspec.structs.replace(planned.case, params={**planned.case.params, **axes}, execution=execution)
    work = work_of(find_workloads()[0][case.workload], case.params, case.mode, itemsize(case.dtype))
    facts_of = WorkFacts(useful_flop=work.useful_flop, least_bytes=work.least_bytes, live_bytes=work.live_bytes)
    return replace(planned, case=case, work=facts_of, group=f"{planned.group} {axes}")


def _wanted(case: Case) -> bool:
    """Reading alone is faster than the triad, which has no size of its own; `rows` is for compilers that fuse it."""
    formulations = WANTED.get(case.workload)
    if formulations is not None and case.formulation not in formulations:
        return False
    if case.workload == CEILING_STREAM:
        return case.params["kernel"] == "dot" and (case.formulation != "rows" or case.execution == "compiled")
    return True


def _write(folder: Path, output: Path, name: str | None) -> int:
    found = load(folder)
    machine = found.info.machine
    cpu, cores = machine.get("cpu"), facts.usable_cores()
    said = f"hwlottery calibrate, {found.info.started_at}"
    document = calibration.device_of(found.records, name=name or f"{cpu}, {cores} cores", source=said)
    device_file.checked(document, str(output))  # also says in one sentence what could not be measured
    text = toml_text.as_toml(document)
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"-o {output} cannot be written ({error.strerror}); name another file") from None
    for note in found.info.notes:
        click.echo(f"note: {note}", err=True)
    click.echo(f"written: {output}", err=True)
    click.echo(f"the run that it is from: {folder / INFO}", err=True)
    left = device_parts.unknown(document)
    if left:
        click.echo(f"note: not measured here, and so without a figure: {', '.join(left)}", err=True)
    return EXIT_OK

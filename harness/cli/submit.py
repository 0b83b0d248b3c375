"""What `submit` does: a run that may be published, without what is private, as a folder that is named by its digest."""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
from pathlib import Path

import click

from backends.discovery import backends as find_backends
from backends.ops import EXECUTIONS
from harness.cli.parameters import EXIT_FAILED, EXIT_OK, program
from harness.errors import UserError
from harness.figures.summary import summarise
from harness.gate.foreign_file import MOST_BYTES, content, digest_of
from harness.gate.refusal import Refusal, grouped
from harness.gate.signature import SIGNATURE, sign
from harness.gate.strict_read import place
from harness.gate.stripping import StillPrivateError, of_here, stripped
from harness.gate.validate import validate
from harness.leaderboard.submission import accelerators, machine_of
from harness.planning.plan import PRESETS
from harness.records.store import INFO, RECORDS
from harness.report.pull_request import pull_request
from workloads.discovery import workloads as find_workloads

TEXT = "pull-request.md"


def submit(path: Path, output: Path, key: Path | None) -> int:
    """Write `output`/DIGEST and the text of a pull request; 1 where the run may not be published."""
    report = validate(path)
    if report.refusals:
        for refusal in grouped(report.refusals):
            click.echo(f"refused [{refusal.code}] {refusal}", err=True)
        return EXIT_FAILED
    folder = place(path)
    assert folder is not None  # what is no results folder is refused
    if output.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"-o {output} lies in {folder}, which is kept as it is; name another folder")
    files = _stripped(folder)
    digest = digest_of(files)
    signature = None if key is None else sign(digest, key)
    where = output / digest
    try:
        output.mkdir(parents=True, exist_ok=True)
        _write(where, files | ({} if signature is None else {SIGNATURE: signature}))
        again = validate(where)
        if again.refusals or again.run is None:
            shutil.rmtree(where)
            raise UserError(
                f"{path} may be published, and not without what is private in it ({grouped(again.refusals)[0]}); "
                "measure again with names that are no part of what is measured"
            )
        run = again.run
        machine = machine_of(run.info.machine | accelerators(run.records)).title
        marks = [str(mark) for mark in again.marks]
        text = pull_request(digest, machine, run.info, summarise(run.records), marks, (where / SIGNATURE).exists())
        (output / TEXT).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"-o {output} cannot be written ({error.strerror}); name another folder") from None
    _say(where, output / TEXT)
    return EXIT_OK


def _stripped(folder: Path) -> dict[str, bytes]:
    """The two files of a run without what is private."""
    files: dict[str, bytes] = {}
    for name in (INFO, RECORDS):
        found = content(folder / name, MOST_BYTES[name])
        if isinstance(found, Refusal):
            raise UserError(str(found))
        files[name] = found
    known = _known_words()
    try:
        return stripped(files, of_here(known), known)
    except StillPrivateError as error:
        raise UserError(f"{folder} cannot be handed in: {error}; measure again without that name") from None


def _known_words() -> set[str]:
    """Names of ours, which are no secret even where a user or host has one."""
    workloads, _ = find_workloads()
    backends, _ = find_backends()
    words = {*PRESETS, *EXECUTIONS, *workloads, *backends, "hwlottery", "run", "cpu", "cuda", "tpu"}
    for workload in workloads.values():
        words |= {*workload.axes, *(name for by in workload.formulations.values() for name in by)}
    return words


def _write(where: Path, files: dict[str, bytes]) -> None:
    """The folder as a whole; what stands there already is the same, but for a signature."""
    beside = Path(tempfile.mkdtemp(prefix=".submission.", dir=where.parent))
    try:
        if where.is_dir():
            for name, found in files.items():
                (beside / name).write_bytes(found)
                os.replace(beside / name, where / name)
            return
        for name, found in files.items():
            (beside / name).write_bytes(found)
        beside.chmod(0o755)
        beside.rename(where)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _say(where: Path, text: Path) -> None:
    click.echo(f"submission: {where}", err=True)
    click.echo(f"pull request: {text}", err=True)
    click.echo(
        f"next: copy {shlex.quote(str(where))} into the repository of submissions on a branch, see what "
        f"`{program()} validate` says of it there, and open a pull request with the text in {shlex.quote(str(text))}",
        err=True,
    )

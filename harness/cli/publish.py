"""What `report`, `compare` and `validate` do once their arguments are parsed."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from backends.install import install_hint
from harness.cli.formats import FORMATS, render
from harness.errors import UserError, nearest
from harness.records.outcomes import outcome
from harness.records.record import Record
from harness.records.store import ABOUT, INFO, RECORDS, Run, RunInfo, load
from harness.records.text import plain
from harness.report.published import Content

if TYPE_CHECKING:
    from harness.figures.compare import Comparison
    from harness.gate.validate import Report

MOST_SAID = 5  # failures that a gate names


def report(folders: Sequence[Path], format_: str, output: Path | None, all_points: bool) -> int:
    """Render results folders to stdout, to a file, or to a folder where the format is one of several files."""
    if format_ not in FORMATS:
        raise nearest("format", format_, FORMATS)
    if output is None and FORMATS[format_].binary and sys.stdout.isatty():
        raise UserError(f"--format {format_} is not for a terminal; name a file with -o FILE{FORMATS[format_].suffix}")
    if output is not None:
        _refuse_own(folders, output)
    content = rendered(folders, format_, all_points=all_points)
    if output is not None:
        write(content, output)
        click.echo(f"written: {output}", err=True)
    elif isinstance(content, Mapping):
        raise UserError(f"--format {format_} makes several files; name a folder for them with -o DIR")
    else:
        click.echo(content, nl=isinstance(content, str) and not content.endswith("\n"))
    return 0


def _refuse_own(folders: Sequence[Path], output: Path) -> None:
    """UserError where a report would take the place of the results that it is made of."""
    for folder in folders:
        own = (INFO, RECORDS, ABOUT, Path(ABOUT).with_suffix(".jsonl"))
        if output.resolve() in ((folder / name).resolve() for name in own):
            raise UserError(f"-o {output} is the results file itself, which is kept; name another file")


def rendered(folders: Sequence[Path], format_: str = "table", *, all_points: bool = False) -> Content:
    """The report of results folders; what could not be read is a warning on stderr."""
    records: list[Record] = []
    runs: list[RunInfo] = []
    by_place = {folder.resolve(): folder for folder in reversed(folders)}
    if len(by_place) < len(folders):
        click.echo("warning: a results folder is given twice and counts once", err=True)
    studies: list[Path] = []
    for folder in dict.fromkeys(by_place[folder.resolve()] for folder in folders):
        if (folder / ABOUT).is_file():
            studies.append(folder)
            continue
        found = _loaded(folder)
        records += found.records
        runs.append(found.info)
    beside = None
    if studies:
        from harness.cli.quality_beside import beside_of, outcomes_of, runs_of

        outcomes = outcomes_of(studies)
        records += [record for run in runs_of(outcomes) for record in run.records]
        runs += [run.info for run in runs_of(outcomes)]
        beside = beside_of(outcomes)
    if format_ == "html":
        from harness.cli.traces_beside import with_traces

        beside = with_traces(beside, folders)
    if format_ == "pytest-benchmark":
        _say_left_out(records)
    try:
        return render(records, format_, runs=runs, all_points=all_points, beside=beside)
    except ModuleNotFoundError as error:
        raise UserError(
            f"--format {format_} needs {error.name}, which is not installed; try: {install_hint('report')}"
        ) from None


def _say_left_out(records: Sequence[Record]) -> None:
    """pytest-benchmark knows times only, so the other outcomes are named on stderr."""
    counts = Counter[str](record.status for record in records if record.status != "ok")
    if counts:
        click.echo(f"note: without a benchmark, because not ok: {outcome(counts)}", err=True)


def write(content: Content, output: Path) -> None:
    """Write a report to the file or folder `output`; UserError where that cannot be."""
    try:
        if isinstance(content, Mapping):
            output.mkdir(parents=True, exist_ok=True)
            for name, part in content.items():
                (output / name).write_bytes(part)
        elif isinstance(content, bytes):
            output.write_bytes(content)
        else:
            output.write_text(content if content.endswith("\n") else content + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"-o {output} cannot be written ({error.strerror}); name another file or folder") from None


def compare(
    folders: Sequence[Path],
    by: str | None,
    format_: str,
    everything: bool,
    fail_on: str | None,
    force: bool,
    machines: bool = False,
) -> int:
    """Print how B differs from A; 1 where --fail-on says so, UserError where the two cannot be compared."""
    from harness.figures import compare as comparing
    from harness.figures.comparable import differences, of_machine
    from harness.report import compare_text

    if format_ not in ("table", "markdown", "json"):
        raise nearest("format", format_, ("table", "markdown", "json"))
    from harness.gate.lost import lost

    if machines and by is not None:
        raise UserError("--machines compares two machines, and --by compares within one run; leave one of them out")
    share = None if fail_on is None else slower_than(fail_on)
    field, names, (left, right) = _sides(folders, by)
    a_records, b_records = ([r for run in side for r in run.records] for side in (left, right))
    if field is None:
        one = left[0]
        found_of = [differences(one.records, o.records, (one.info, o.info)) for o in (*left[1:], *right)]
        differing = list({str(d): d for each in found_of for d in each}.values())
    else:
        differing = differences(a_records, b_records, None, field)
    refused = [d for d in differing if not (machines and of_machine(d))]
    if refused:
        said = "; ".join(map(str, refused))
        if not force:
            raise UserError(
                f"{names[0]} and {names[1]} are not comparable, for these differ (A / B): {said}; "
                "measure both under the same conditions, or add --force to see it all the same"
            )
        click.echo(f"warning: compared by --force although these differ (A / B): {said}", err=True)
    found = comparing.compare(a_records, b_records, names=names, by=field, differences=differing, machines=machines)
    if format_ == "table":
        compare_text.show(found, everything=everything)
    else:
        text = (
            compare_text.as_json(found) if format_ == "json" else compare_text.as_markdown(found, everything=everything)
        )
        click.echo(text, nl=False)
    if not found.rows:
        click.echo("warning: no case is on both sides, so nothing was compared", err=True)
    if share is None:
        return 0
    free = (field, *(d.field for d in differing if d.field in ("dtype", "seed")))
    failed = _failures(found, share, lost(left, right, free))
    for said in failed[:MOST_SAID]:
        click.echo(f"failed on {fail_on}: {said}", err=True)
    if len(failed) > MOST_SAID:
        click.echo(f"failed on {fail_on}: and {len(failed) - MOST_SAID} more", err=True)
    if found.detectable is None or found.detectable > max(share, 0.01):
        _say_blind(found.detectable, share)
    return 1 if failed else 0


def _failures(found: Comparison, share: float, gone: Sequence[str]) -> list[str]:
    """Why a gate is not green, a sentence each: what got slower or broke, and what could not be compared at all."""
    out = [] if found.rows else ["nothing was compared; measure the same cases on both sides"]
    for row in found.worse(share):
        against = " against its twin" if row.kind == "speed-up" else ""
        how = f"{row.outcome_b}, was ok" if row.ratio is None else f"{row.ratio:.3g}× slower{against}"
        out.append(f"{row.case}: {how}")
    if gone:
        count = "1 case was" if len(gone) == 1 else f"{len(gone)} cases were"
        out.insert(
            0, f"{count} ok in {found.a} and not measured in {found.b}, so that less was compared than was asked"
        )
    return out + [f"{case}: not measured, was ok" for case in gone]


def _say_blind(detectable: float | None, share: float) -> None:
    """A gate that cannot see what it is asked to stop must say so."""
    what = "no best path has two rounds on both sides"
    if detectable is not None:
        what = f"most best paths must be {detectable:.0%} slower to be found in 4 of 5 comparisons"
    remedy = "measure fewer cases with more rounds, or several runs a side"
    click.echo(f"warning: {what}, and {share:.0%} was asked; {remedy}", err=True)


_Sides = tuple[list[Run], list[Run]]


def _sides(folders: Sequence[Path], by: str | None) -> tuple[str | None, tuple[str, str], _Sides]:
    """What is compared by, the two names, and the runs of either side, cut to one value where one run is compared."""
    from harness.figures.compare import FIELDS

    wanted = 2 if by is None else 1
    if len(folders) != wanted:
        how = "compare A B" if by is None else "compare RUN --by FIELD=A,B"
        raise UserError(f"{how} takes {wanted} results folder{'s' * (wanted - 1)}, found {len(folders)}")
    if by is None:
        a, b = folders
        return None, (plain(a), plain(b)), (_runs(a), _runs(b))
    run = _loaded(folders[0])
    field, _, values = by.partition("=")
    pair = values.split(",")
    if field not in FIELDS or len(pair) != 2 or not all(pair):
        raise UserError(f"--by {by!r} is not FIELD=A,B with a FIELD of {', '.join(FIELDS)}, such as backend=torch,jax")
    there = sorted({str(getattr(r.case, field)) for r in run.records})
    for value in pair:
        if value not in there:
            raise nearest(f"{field} in {folders[0]}", value, there)
    left, right = ([r for r in run.records if getattr(r.case, field) == value] for value in pair)
    sides = ([replace(run, records=left)], [replace(run, records=right)])
    return field, (pair[0], pair[1]), sides


def _runs(folder: Path) -> list[Run]:
    """The run of a results folder, or those of a folder of results folders."""
    inside = [] if (folder / INFO).exists() or not folder.is_dir() else sorted(folder.glob(f"*/{INFO}"))
    return [_loaded(file.parent) for file in inside] or [_loaded(folder)]


def slower_than(text: str) -> float:
    """The share of `slower:5%`."""
    verdict, _, amount = text.partition(":")
    try:
        share = float(amount.removesuffix("%")) / 100 if amount.endswith("%") else float("nan")
    except ValueError:
        share = float("nan")
    if verdict != "slower" or not 0 <= share < 1000:
        raise UserError(f"--fail-on {text!r} is not slower:PERCENT%, such as slower:5%")
    return share


def _loaded(folder: Path) -> Run:
    found = load(folder)
    for warning in found.warnings:
        click.echo(f"warning: {warning}", err=True)
    return found


def _is_study(path: Path) -> bool:
    """Whether it is the folder of a study of quality, or one of its two files."""
    return (path / ABOUT).is_file() or path.stem == Path(ABOUT).stem


def _of_study(path: Path) -> Report:
    from harness.quality.validation import validate_study

    click.echo(f"{path}: training its networks again, which takes as long as it took the study", err=True)
    return validate_study(path if path.is_dir() else path.parent)


def validate(paths: Sequence[Path], as_json: bool) -> int:
    """Say of every path whether it may be published, and every reason why not; 1 where one is refused."""
    import msgspec

    from harness.gate.refusal import grouped
    from harness.gate.validate import validate as examine

    for path in paths:
        if not path.exists():
            raise UserError(f"{path} is not there; give results folders, or their records.jsonl")
    reports = [_of_study(path) if _is_study(path) else examine(path) for path in paths]
    if as_json:
        said = [
            {"path": str(r.path), "publishable": not r.refusals, "refusals": r.refusals, "marks": r.marks}
            for r in reports
        ]
        click.echo(msgspec.json.format(msgspec.json.encode(said), indent=2))
        return 1 if any(r.refusals for r in reports) else 0
    for verdict in reports:
        cases = len(verdict.run.records) if verdict.run is not None else 0
        count = len(grouped(verdict.refusals))
        refused = f"refused for {count} reason{'s' * (count > 1)}"
        disturbed = ", marked as disturbed" * any(mark.code == "disturbed" for mark in verdict.marks)
        click.echo(f"{verdict.path}: {refused if count else f'may be published{disturbed}, {cases} records'}")
        for refusal in grouped(verdict.refusals):
            click.echo(f"  refused [{refusal.code}] {refusal}")
        for mark in verdict.marks:
            click.echo(f"  marked [{mark.code}] {mark}")
    return 1 if any(r.refusals for r in reports) else 0

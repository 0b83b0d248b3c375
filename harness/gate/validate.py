"""The gate: may these results be published? Every reason why not, with what fixes it. Trusts nothing that it reads."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.gate import left_out_rules, plan_rules, record_rules, run_rules, time_rules
from harness.gate.foreign_file import MOST_BYTES, content, digest_of
from harness.gate.known import Known
from harness.gate.refusal import Mark, Refusal, refusal
from harness.gate.soundness import are_times, beyond_doubt
from harness.gate.strict_read import Alike, Line, place, read_info, read_records
from harness.records.merging import merge
from harness.records.record import Record
from harness.records.store import INFO, RECORDS, Run

MOST_REFUSALS = 500

__all__ = ["Mark", "Refusal", "Report", "validate"]


@dataclass(frozen=True, slots=True)
class Report:
    """What was found. `run` is None where it cannot be read, and decoded whether or not it is refused otherwise."""

    path: Path
    refusals: list[Refusal]
    marks: list[Mark]
    run: Run | None


@dataclass(frozen=True, slots=True)
class Remembered:
    """What checking one folder taught that the next can use: what the harness has, and what records have alike."""

    known: Known = field(default_factory=Known)
    alike: Alike = field(default_factory=Alike)


def validate(path: Path, learnt: Remembered | None = None, files: Mapping[str, bytes] | None = None) -> Report:
    """Check a results folder, or the one that a `records.jsonl` or `run.json` lies in. Raises nothing.

    Files are read once, within limits, and not at all where `files` has their bytes by name. Refused lines are not part
    of `run`. Who checks many folders gives the same `learnt` for all of them.
    """
    folder = place(path)
    if folder is None:
        said = "it is no results folder" if path.exists() else "it is not there"
        remedy = "give the --out folder of a run, or its records.jsonl"
        return Report(path, [refusal("missing", path.name or str(path), said, remedy)], [], None)
    found: list[Refusal] = []
    try:
        return Report(path, found, *_validated(folder, found, learnt or Remembered(), files or {}))
    except (Exception, RecursionError) as error:  # a bad file must never stop the rest
        said = f"it cannot be checked ({type(error).__name__}: {error})"
        found.append(refusal("unchecked", folder.name, said, "report this with the file: the validator has a bug"))
        return Report(path, found, [], None)


def _validated(
    folder: Path, found: list[Refusal], learnt: Remembered, files: Mapping[str, bytes]
) -> tuple[list[Mark], Run | None]:
    info = read_info(folder, files.get(INFO))
    if isinstance(info, Refusal):
        found.append(info)
    misnamed = _named_otherwise(folder, files)
    if misnamed is not None:
        found.append(misnamed)
    known = learnt.known
    lines = list(read_records(folder, learnt.alike, files.get(RECORDS)))
    read = [line.value for line in lines if not isinstance(line, Refusal)]
    timely = are_times(read)
    sound: list[Line[Record]] = []
    for line in lines:
        if isinstance(line, Refusal):
            _add(found, [line])
        elif (timely and beyond_doubt(line.value, known)) or not (
            wrong := record_rules.check(line.value, line.where, known)
        ):
            sound.append(line)
        else:
            _add(found, wrong)
    if isinstance(info, Refusal):
        return [], None
    _add(found, run_rules.duplicates(sound))
    merged = merge(line.value for line in sound)
    _add(found, run_rules.check(info, sound, merged, known, controlled=run_rules.has_control(read)))
    _add(found, time_rules.check(info, sound))
    _add(found, left_out_rules.check(info, read))
    same, released = run_rules.known_sources(info.sources)
    _add(found, plan_rules.check(info, merged, read, known, same_sources=same, released=released))
    marks = [*run_rules.marks(info, merged), *left_out_rules.marks(info)]
    return marks, Run(folder, info, merged, [])


def _named_otherwise(folder: Path, files: Mapping[str, bytes]) -> Refusal | None:
    """A folder whose name is a digest holds the files of that digest, or was changed after it was handed in."""
    name = folder.absolute().name
    if not re.fullmatch(r"[0-9a-f]{64}", name):
        return None
    read = {file: files.get(file) or content(folder / file, MOST_BYTES[file]) for file in (INFO, RECORDS)}
    held = {file: found for file, found in read.items() if not isinstance(found, Refusal)}
    if len(held) < len(read) or digest_of(held) == name:
        return None  # what cannot be read is refused for that
    said = f"its files are of the digest {digest_of(held)[:8]}, and its folder is named for another"
    return refusal("digest", name[:8], said, "hand in again what `hwlottery submit` wrote")


def _add(found: list[Refusal], more: Iterable[Refusal]) -> None:
    """Up to the limit: a file with a hundred thousand bad lines needs no hundred thousand reasons."""
    for submission in more:
        if len(found) == MOST_REFUSALS:
            found.append(refusal("more", submission.where, "and more reasons, which are left out", "fix these first"))
        if len(found) > MOST_REFUSALS:
            return
        found.append(submission)

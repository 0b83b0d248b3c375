"""The gate: may these results be published? Every reason why not, with what fixes it. Trusts nothing that it reads."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.figures.basis import Basis, basis_of
from harness.gate import left_out_rules, plan_rules, record_rules, run_rules, time_rules
from harness.gate.foreign_file import MOST_BYTES, content, digest_of
from harness.gate.known import Known
from harness.gate.refusal import Mark, Refusal, refusal
from harness.gate.soundness import are_times, beyond_doubt, times_in
from harness.gate.strict_read import Alike, Line, place, read_info, read_records
from harness.records.merging import merge
from harness.records.record import Record
from harness.records.store import INFO, RECORDS, Run

MOST_REFUSALS = 500

__all__ = ["Mark", "Refusal", "Report", "validate"]


@dataclass(frozen=True, slots=True)
class Report:
    """What was found. `run` is None where it cannot be read, and decoded whether or not it is refused otherwise.

    `basis` is what the rules were checked by: who makes figures of the run need not make it again.
    """

    path: Path
    refusals: list[Refusal]
    marks: list[Mark]
    run: Run | None
    basis: Basis | None = None


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
        return _validated(path, folder, found, learnt or Remembered(), files or {})
    except (Exception, RecursionError) as error:  # a bad file must never stop the rest
        said = f"it cannot be checked ({type(error).__name__}: {error})"
        found.append(refusal("unchecked", folder.name, said, "report this with the file: the validator has a bug"))
        return Report(path, found, [], None)


def _validated(
    path: Path, folder: Path, found: list[Refusal], learnt: Remembered, files: Mapping[str, bytes]
) -> Report:
    info = read_info(folder, files.get(INFO))
    if isinstance(info, Refusal):
        found.append(info)
    misnamed = _named_otherwise(folder, files)
    if misnamed is not None:
        found.append(misnamed)
    known = learnt.known
    looked_at: list[tuple[Line[Record] | Refusal, list[Refusal] | None]] = []
    for line in read_records(folder, learnt.alike, files.get(RECORDS)):  # each is looked at while it is in the cache
        if isinstance(line, Refusal):
            looked_at.append((line, [line]))
        elif beyond_doubt(line.value, known):
            looked_at.append((line, None))  # nothing is wrong with it but perhaps its times of day
        else:
            looked_at.append((line, record_rules.check(line.value, line.where, known)))
    read = [line.value for line, _ in looked_at if not isinstance(line, Refusal)]
    times = times_in(read)
    timely = are_times(times)
    sound: list[Line[Record]] = []
    for line, wrong in looked_at:
        if isinstance(line, Refusal):
            _add(found, [line])
            continue
        if wrong is None:
            wrong = [] if timely else record_rules.check(line.value, line.where, known)
        if wrong:
            _add(found, wrong)
        else:
            sound.append(line)
    if isinstance(info, Refusal):
        return Report(path, found, [], None)
    _add(found, run_rules.duplicates(sound))
    merged = merge(line.value for line in sound)
    basis = basis_of(merged)
    _add(found, run_rules.check(info, sound, merged, known, basis, controlled=run_rules.has_control(read)))
    _add(found, time_rules.check(info, sound, times))
    _add(found, left_out_rules.check(info, read))
    same, released = run_rules.known_sources(info.sources)
    _add(found, plan_rules.check(info, merged, read, known, same_sources=same, released=released))
    marks = [*run_rules.marks(info, merged), *left_out_rules.marks(info)]
    return Report(path, found, marks, Run(folder, info, merged, []), basis)


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

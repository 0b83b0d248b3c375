"""The folder of a study: `quality.jsonl`, a line a fact, appended whole and flushed, and `quality.json` beside it.

`steps/` in it is an ordinary results folder: the seconds and joules of a step. Final weights are `.npz` files, of one
training end to end of each learner in each framework: all that is counted in NumPy can be trained again.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import msgspec
import numpy as np

from backends.ops import HostArray
from harness.quality.facts import SCHEMA, Fact, FactLine, StudyInfo
from harness.records import conditions
from harness.records.disk import replace, why, write
from harness.records.lines import NEWER, UNREADABLE
from harness.records.store import ABOUT, LOCK, StoreError, described, locked

FACTS = "quality.jsonl"
STEPS = "steps"
WEIGHTS = "weights"


class StudyProgress(NamedTuple):
    """What is told of a study: a step begins with so many parts, one begins, one is done."""

    begin: Callable[[str, int], None]
    now: Callable[[str], None]
    done: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Study:
    """A study read back. `torn` are the bytes at the end that make no whole line."""

    path: Path
    info: StudyInfo
    facts: dict[str, Fact]
    warnings: list[str]
    torn: int = 0


def is_study(folder: Path) -> bool:
    """Whether a folder holds a study, and not only a run."""
    return (folder / ABOUT).is_file()


def info_of_study(folder: Path) -> StudyInfo:
    """What all of a study has in common; StoreError where it cannot be read."""
    return described(folder / ABOUT, StudyInfo, SCHEMA)


def load_study(folder: Path) -> Study:
    """Read a study; StoreError says what is wrong with it in one sentence. A line that cannot be read is a warning."""
    info = info_of_study(folder)
    try:
        content = (folder / FACTS).read_bytes()
    except OSError as error:
        raise StoreError(f"{folder / FACTS} cannot be read ({why(error)}); publish the folder as it was") from None
    facts: dict[str, Fact] = {}
    warnings = []
    *lines, rest = content.split(b"\n")
    for number, text in enumerate(lines, 1):
        try:
            line = msgspec.json.decode(text, type=FactLine)
        except UNREADABLE as error:
            warnings.append(f"{folder / FACTS} line {number} was left out: {error}")
            continue
        if line.schema > SCHEMA:
            warnings.append(f"{folder / FACTS} line {number} was left out: schema {line.schema} {NEWER} {SCHEMA}")
            continue
        facts[line.fact.key] = line.fact
    if rest:
        warnings.append(f"{folder / FACTS} ends in a torn line ({len(rest)} bytes), which was left out")
    return Study(folder, info, facts, warnings, len(rest))


class StudyStore:
    """The one writer of a study's folder; a lock keeps others out. With `resume` it goes on with what is there."""

    def __init__(self, folder: Path, info: StudyInfo, *, resume: bool) -> None:
        self.folder, self.info = folder, info
        self.facts: dict[str, Fact] = {}
        self._file = -1
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock, note = locked(folder, info.started_at, "a study")
            if note:
                self.info = msgspec.structs.replace(info, notes=[*info.notes, note])
            try:
                self._open(resume)
            except BaseException:
                self._lock.release(remove=True)
                raise
        except OSError as error:
            raise StoreError(f"--out {folder} cannot be written ({why(error)}); name another folder") from None

    def _open(self, resume: bool) -> None:
        there = is_study(self.folder)
        if there and resume:
            self._go_on()
        elif any(path.name != LOCK for path in self.folder.iterdir()):
            more = ", or add --resume to go on with its study" if there else ": it holds no study of quality"
            raise StoreError(f"--out {self.folder} is not empty; name another folder{more}")
        self.write_info(self.info)
        self._file = os.open(self.folder / FACTS, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def _go_on(self) -> None:
        if not (self.folder / FACTS).exists():
            (self.folder / FACTS).touch()
        found = load_study(self.folder)
        differing = conditions.differing(found.info, self.info)
        if found.info.preset != self.info.preset:
            differing.insert(0, f"preset ({found.info.preset} in the study, {self.info.preset} now)")
        if differing:
            raise StoreError(
                f"{self.folder} cannot be gone on with, for these differ: {conditions.sentence(differing)}; "
                "name another --out"
            )
        if len(found.warnings) > bool(found.torn):
            raise StoreError(f"{self.folder} cannot be gone on with: {found.warnings[0]}; name another --out")
        if found.torn:  # a power cut: what was torn off is trained again
            content = (self.folder / FACTS).read_bytes()
            replace(self.folder / FACTS, content[: len(content) - found.torn])
        self.facts = dict(found.facts)
        notes = [*found.info.notes, f"went on at {self.info.started_at}"]
        self.info = msgspec.structs.replace(found.info, ended_at=None, notes=notes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def keep(self, fact: Fact) -> None:
        """Append a fact and flush it to the disk; StoreError where it cannot be kept, and nothing of it stays."""
        content = msgspec.json.encode(FactLine(schema=SCHEMA, study=self.info.study, fact=fact)) + b"\n"
        end = os.fstat(self._file).st_size
        try:
            write(self._file, content)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, end)
            raise self._refusal(error) from None
        self.facts[fact.key] = fact

    def keep_weights(self, name: str, weights: Mapping[str, HostArray]) -> tuple[str, str]:
        """Write final weights as `weights/NAME.npz`; its path in the folder and its SHA-256."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **weights)  # type: ignore[arg-type]
        content, path = buffer.getvalue(), Path(WEIGHTS) / f"{name}.npz"
        try:
            (self.folder / WEIGHTS).mkdir(exist_ok=True)
            replace(self.folder / path, content)
        except OSError as error:
            raise self._refusal(error) from None
        return path.as_posix(), hashlib.sha256(content).hexdigest()

    def write_info(self, info: StudyInfo) -> None:
        """Replace quality.json whole."""
        self.info = info
        try:
            replace(self.folder / ABOUT, msgspec.json.format(msgspec.json.encode(info), indent=2) + b"\n")
        except OSError as error:
            raise self._refusal(error) from None

    def _refusal(self, error: OSError) -> StoreError:
        return StoreError(
            f"{self.folder} cannot be written any more ({why(error)}): what was trained before is kept there; make it "
            f"writable, and go on by: quality --resume --out {self.folder}"
        )

    def close(self) -> None:
        """Let others in."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
            self._lock.release(remove=True)


def read_weights(folder: Path, name: str, digest: str) -> dict[str, HostArray]:
    """The final weights of a fact; ValueError where the file is not there or is not the one that was written."""
    path = folder / name
    if not path.resolve().is_relative_to((folder / WEIGHTS).resolve()):
        raise ValueError(f"{name} does not lie in {WEIGHTS}/")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{name} cannot be read ({why(error)})") from None
    if hashlib.sha256(content).hexdigest() != digest:
        raise ValueError(f"{name} is not the file that was written: its SHA-256 is another")
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return {key: arrays[key] for key in arrays.files}

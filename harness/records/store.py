"""A results folder: `records.jsonl`, a line a record, appended whole and flushed; `run.json`, what they have in common.

A case measured in several processes leaves a line for each while the run goes on; readers merge them, and `close`
rewrites the file with one line a case. A line torn by a power cut is left out with a warning, never guessed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from backends.ops import Scalar
from harness.errors import UserError
from harness.records.record import FAILED, SCHEMA, Energy, Record, Timing

RECORDS = "records.jsonl"
INFO = "run.json"


# What decoding raises of bytes that are no JSON of the schema: no UTF-8, and values too deep, among them.
UNREADABLE = (msgspec.MsgspecError, ValueError, OverflowError, RecursionError)


class StoreError(UserError):
    """A results folder that cannot be used; the message is one sentence with what, where and what to do."""


class RunInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What all records of a run have in common. `phases_s` says where the wall time went."""

    schema: int
    run: str
    started_at: str
    ended_at: str | None
    command: list[str]
    machine: dict[str, Scalar]
    versions: dict[str, str]
    settings: dict[str, Scalar]
    sources: dict[str, str] = {}
    notes: list[str] = []
    phases_s: dict[str, float] = {}
    wall_s: float | None = None
    left_out: dict[str, list[str]] = {}  # cases that were not tried, by the reason


DISTURBED = "the machine disturbed the run: "  # how a note begins that says what the machine did beside
_DISTURBED = (DISTURBED, "the machine spoilt the run: ")  # and how it did


def disturbances(info: RunInfo) -> list[str]:
    """What the run's own notes say that the machine did beside, and disturbed it by; each once."""
    found = [note.removeprefix(begin) for note in info.notes for begin in _DISTURBED if note.startswith(begin)]
    return list(dict.fromkeys(found))


@dataclass(frozen=True, slots=True)
class Run:
    """A results folder read back: one record a case."""

    path: Path
    info: RunInfo
    records: list[Record]
    warnings: list[str]


class Store:
    """The one writer of a results folder."""

    def __init__(self, folder: Path, info: RunInfo, *, resume: bool = False) -> None:
        self.folder = folder
        self.info = info
        self.before: list[Record] = []
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if any(folder.iterdir()) and not resume:
                raise StoreError(f"--out {folder} is not empty; name another folder, or add --resume to go on with it")
            if resume and (folder / RECORDS).exists():
                found = load(folder)
                self.before = [r for r in found.records if r.status not in FAILED]  # failures are tried again
                self._rewrite(self.before)
                was = found.info  # what it took and noted so far is part of what the whole run took
                self.info = msgspec.structs.replace(
                    info,
                    run=was.run,
                    started_at=was.started_at,
                    notes=[*was.notes, f"went on at {info.started_at}", *info.notes],
                    phases_s=was.phases_s,
                    wall_s=was.wall_s,
                    left_out=was.left_out,
                )
            self.write_info(self.info)
            self._file = os.open(folder / RECORDS, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise StoreError(f"--out {folder} cannot be written ({error.strerror}); name another folder") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def append(self, *records: Record) -> None:
        """Write a line each and flush them to the disk before returning."""
        os.write(self._file, b"".join(msgspec.json.encode(record) + b"\n" for record in records))
        os.fsync(self._file)

    def write_info(self, info: RunInfo) -> None:
        """Replace run.json whole."""
        self.info = info
        _replace(self.folder / INFO, msgspec.json.format(msgspec.json.encode(info), indent=2) + b"\n")

    def close(self) -> None:
        """Merge the lines of each case into one record."""
        if self._file < 0:
            return
        os.close(self._file)
        self._file = -1
        found = load(self.folder)
        if not found.warnings:  # a line that we cannot read is somebody's measurement: the file then stays as it is
            self._rewrite(found.records)

    def _rewrite(self, records: Sequence[Record]) -> None:
        _replace(self.folder / RECORDS, b"".join(msgspec.json.encode(record) + b"\n" for record in records))


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)


def load(folder: Path) -> Run:
    """Read a results folder; StoreError says what is wrong with it in one sentence."""
    if (folder / INFO).is_file() and not (folder / RECORDS).exists():
        raise StoreError(f"{folder} has {INFO} but no {RECORDS}: nothing was measured there")
    if not (folder / RECORDS).is_file():
        raise StoreError(f"{folder} is not a results folder: it has no {RECORDS}; give the --out of a run")
    try:
        info = msgspec.json.decode((folder / INFO).read_bytes(), type=RunInfo)
    except (OSError, *UNREADABLE) as error:
        raise StoreError(f"{folder / INFO} cannot be read: {error}") from None
    records, warnings = [], []
    decoder = msgspec.json.Decoder(Record)
    for number, line in enumerate((folder / RECORDS).read_bytes().splitlines(), 1):
        try:
            record = decoder.decode(line)
        except UNREADABLE as error:
            warnings.append(f"{folder / RECORDS} line {number} was left out: {error}")
            continue
        if record.time is not None and len(record.time.trials) != len(record.time.samples_s):
            warnings.append(
                f"{folder / RECORDS} line {number} was left out: it has samples of other trials than its own"
            )
            continue
        if record.schema > SCHEMA:
            warnings.append(
                f"{folder / RECORDS} line {number} was left out: schema {record.schema} is newer than {SCHEMA}; update"
            )
            continue
        records.append(record)
    return Run(folder, info, merge(records), warnings)


def merge(records: Iterable[Record]) -> list[Record]:
    """One record a case: the trials of its processes side by side, in the order of their rounds.

    A case that failed in any process is a failure, with how many of its processes did: it cannot be relied on.
    """
    groups: dict[tuple[str, str, bool], list[Record]] = {}
    for record in records:
        groups.setdefault((record.run, record.case.key, record.control), []).append(record)
    return [group[0] if len(group) == 1 else _merged(group) for group in groups.values()]


def _merged(group: Sequence[Record]) -> Record:
    first = group[0]
    failed = [r for r in group if r.status not in ("ok", "estimated")]
    headline = any(r.headline for r in group)
    if failed:
        worst = failed[0]
        reason = (
            f"in {len(failed)} of {len(group)} processes: {worst.reason}" if len(failed) < len(group) else worst.reason
        )
        return msgspec.structs.replace(worst, reason=reason, headline=headline)
    times = [r.time for r in group if r.time is not None]
    if not times:
        return first
    pairs = [pair for t in times for pair in zip(t.trials, t.samples_s, strict=True)]
    pairs = list({(trial.round, trial.heat, trial.started_at): (trial, samples) for trial, samples in pairs}.values())
    pairs.sort(key=lambda pair: (pair[0].round, pair[0].started_at))
    trials, samples = [p[0] for p in pairs], [p[1] for p in pairs]
    time = Timing(
        first_call_s=trials[0].first_call_s,
        compile_s=trials[0].compile_s,
        convert_s=trials[0].convert_s,
        samples_s=samples,
        steady=all(t.steady for t in trials),
        drift=max((t.drift for t in trials), key=abs),
        trials=trials,
    )
    peaks = [r.memory for r in group if r.memory is not None]
    memory = max(peaks, key=lambda m: (m.device_peak_bytes or 0, m.host_peak_bytes or 0)) if peaks else None
    return msgspec.structs.replace(first, time=time, memory=memory, headline=headline, energy=_energy(group))


def _energy(group: Sequence[Record]) -> Energy | None:
    """The reading of the process in the middle, so that it is one that was really taken."""
    readings = [r.energy for r in group if r.energy is not None]
    readings.sort(key=lambda e: (e.gross_j is None, e.gross_j or 0.0))
    return readings[(len(readings) - 1) // 2] if readings else None

"""A results folder: `records.jsonl`, a line a record, appended whole and flushed; `run.json`, what they have in common.

A case measured in several processes leaves a line for each while the run goes on; readers merge them, and `close`
rewrites the file with one line a case. A line torn by a power cut is left out with a warning, never guessed; a run that
goes on cuts it off and says so.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shlex
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, TypeVar

import msgspec

from backends.ops import Scalar
from harness.errors import UserError
from harness.records import conditions
from harness.records.disk import as_json, replace, same, why, write
from harness.records.lines import NEWER, UNREADABLE, Lines, lines_of
from harness.records.locks import FileLock, NoLocksError
from harness.records.merging import merge
from harness.records.record import SCHEMA, Record, Status

RECORDS = "records.jsonl"
INFO = "run.json"
REPRODUCES = "reproduces"  # in `settings`: the run of which this one measured published paths again
ABOUT = "quality.json"  # in place of INFO in the folder of a study of quality (harness/quality/folder.py)
LOCK = ".lock"  # there while a run writes; who finds it held is told by whom


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
    models: dict[str, str] = {}  # of every modelled device the text (TOML) that describes it
    distributions: dict[str, str] = {}  # every Python distribution that was installed, and its version


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
    """The one writer of a results folder, while it lives: a lock keeps others out and dies with its process.

    With `resume` it goes on with the run that is there, under the same conditions and the same plan; StoreError names
    what differs. `before` are the stored processes, in their order. `planned` has the keys of the plan's cases. Lines
    of cases whose outcome is in `retry` are taken out, so that these are measured again.
    """

    def __init__(
        self,
        folder: Path,
        info: RunInfo,
        *,
        resume: bool = False,
        retry: Collection[Status] = (),
        planned: Collection[str] | None = None,
    ) -> None:
        self.folder = folder
        self.info = info
        self.before: list[Record] = []
        self._file = -1
        self._gone: StoreError | None = None  # once the folder is gone for good
        try:
            new = not folder.exists()
            folder.mkdir(parents=True, exist_ok=True)
            self._lock, note = locked(folder, info.started_at, "a run")
            if note:
                self.info = msgspec.structs.replace(info, notes=[*info.notes, note])
            try:
                self._open(resume, retry, planned)
            except BaseException:
                self._lock.release(remove=True)
                if new:
                    with contextlib.suppress(OSError):
                        folder.rmdir()
                raise
        except OSError as error:
            raise StoreError(f"--out {folder} cannot be written ({why(error)}); name another folder") from None

    def _open(self, resume: bool, retry: Collection[Status], planned: Collection[str] | None) -> None:
        for partial in (RECORDS, INFO):  # of a process that was killed while it replaced one
            (self.folder / partial).with_suffix(".partial").unlink(missing_ok=True)
        if resume and (self.folder / INFO).exists():
            self._go_on(retry, planned)
        elif any(path.name != LOCK for path in self.folder.iterdir()):
            more = ", or add --resume to go on with its run" if (self.folder / INFO).exists() else ": it holds no run"
            raise StoreError(f"--out {self.folder} is not empty; name another folder{more}")
        self.write_info(self.info)
        self._file = os.open(self.folder / RECORDS, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def _go_on(self, retry: Collection[Status], planned: Collection[str] | None) -> None:
        """Take up the run that is there: nothing of it is changed but a torn last line, and what is tried again."""
        was, now = info_of(self.folder), self.info
        found = conditions.differing(was, now)
        if found:
            raise StoreError(
                f"{self.folder} cannot be gone on with: {conditions.sentence(found)}; a run has the same conditions "
                "from beginning to end: restore them, or start another run by another --out"
            )
        path = self.folder / RECORDS
        lines = lines_of(path) if path.exists() else Lines([], [], [])
        newer = [warning for warning in lines.warnings if NEWER in warning]
        if newer:
            raise StoreError(f"{self.folder} cannot be gone on with: {newer[0]}")
        strange = [r for r in lines.records if planned is not None and r.case.key not in planned]
        if strange:
            raise StoreError(
                f"{self.folder} is of another plan: it holds {strange[0].case}, which this run would not measure; "
                "leave the options out, which are then the run's own, or name another --out"
            )
        notes = [f"went on at {now.started_at}", *now.notes]
        both = zip(lines.records, lines.contents, strict=True)
        kept = [(record, content) for record, content in both if record.status not in retry]
        if len(kept) < len(lines.records) or not lines.ended:
            # What cannot be read stays: it is somebody's measurement. What was torn off ends nowhere.
            content = b"".join(content + b"\n" for content in (*(c for _, c in kept), *lines.unread))
            replace(path, content)
        if lines.torn:
            notes.append(f"the last line of {RECORDS} was torn ({len(lines.torn)} bytes) and was cut off")
        self.before = [record for record, _ in kept]
        self.info = msgspec.structs.replace(was, ended_at=None, notes=[*was.notes, *notes])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def append(self, *records: Record) -> None:
        """Write a line each and flush them to the disk before returning; StoreError where they cannot be kept.

        Lines that found room stay, whole.
        """
        content = b"".join(as_json(record) + b"\n" for record in records)
        self._restored()
        end, written = os.fstat(self._file).st_size, 0
        try:
            while written < len(content):  # a full disk takes a part first
                written += os.write(self._file, content[written:])
            os.fsync(self._file)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, end + content.rfind(b"\n", 0, written) + 1)
            raise self.refusal(error) from None

    def write_info(self, info: RunInfo) -> None:
        """Replace run.json whole; StoreError where it cannot be, and it is then as it was."""
        self.info = info
        try:
            self._restored()  # may add a note
            replace(self.folder / INFO, msgspec.json.format(as_json(self.info), indent=2) + b"\n")
        except OSError as error:
            raise self.refusal(error) from None

    def note(self, words: str) -> None:
        """Add a note to run.json."""
        self.write_info(msgspec.structs.replace(self.info, notes=[*self.info.notes, words]))

    def refusal(self, error: OSError) -> StoreError:
        """The sentence for a folder that cannot be written any more, or that never could."""
        if not (self.folder / INFO).exists():
            return StoreError(f"--out {self.folder} cannot be written ({why(error)}); name another folder")
        return StoreError(
            f"{self.folder} cannot be written any more ({why(error)}): what was measured before is kept there; "
            f"make it writable, and go on by: run --resume --out {shlex.quote(str(self.folder))}"
        )

    def _restored(self) -> None:
        """Where the folder was taken away, make it again with all that is still held open.

        StoreError where that cannot be, and says where it was saved instead.
        """
        if self._gone is not None:
            raise self._gone
        if self._file < 0 or same(self.folder / RECORDS, self._file):
            return
        content = os.pread(self._file, os.fstat(self._file).st_size, 0)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = os.open(
                self.folder / RECORDS, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644
            )
            write(file, content)
        except OSError as error:
            saved = Path(tempfile.mkdtemp(prefix="hwlottery-saved-"))
            (saved / RECORDS).write_bytes(content)
            replace(saved / INFO, as_json(self.info))
            self._gone = StoreError(
                f"{self.folder} was taken away while the run went on, and cannot be made again ({why(error)}): "
                f"everything measured is in {saved}; move it to where it is to stay"
            )
            raise self._gone from None
        os.close(self._file)
        self._file = file
        self._lock.release()
        self._lock = _lock_of(self.folder, self.info.started_at)
        with contextlib.suppress(OSError):
            self._lock.take()
        self.note(f"{self.folder} was taken away while the run went on, and was made again with all that was measured")

    def close(self) -> None:
        """Merge the lines of each case into one record, and let others in."""
        if self._file < 0:
            return
        os.close(self._file)
        self._file = -1
        try:
            merge_lines(self.folder)
        finally:
            self._lock.release(remove=True)


def _lock_of(folder: Path, since: str) -> FileLock:
    return FileLock(folder / LOCK, f"process {os.getpid()}, since {since}")


def locked(folder: Path, since: str, what: str) -> tuple[FileLock, str | None]:
    """Take a folder for `what`, such as "a run": the lock, and a note where the file system knows none.

    StoreError names the holder where another process has it; OSError where the lock cannot be written.
    """
    lock = _lock_of(folder, since)
    try:
        ours = lock.take()
    except NoLocksError as error:
        second = what.replace("a ", "second ")
        return lock, f"{folder} is on a file system without locks ({error.strerror}): let no {second} write there"
    if not ours:
        who = lock.holder() or "another process"
        raise StoreError(f"{what} is writing to {folder} ({who}); wait for it, or name another folder by --out")
    return lock, None


def merge_lines(folder: Path) -> None:
    """Make the lines of each case one record; as they are where one cannot be read: it is somebody's measurement."""
    with contextlib.suppress(OSError, StoreError):  # what cannot be written is as good unmerged
        found = load(folder)
        if not found.warnings:
            content = b"".join(msgspec.json.encode(record) + b"\n" for record in found.records)
            replace(folder / RECORDS, content)


def new_folder(wanted: Path) -> Path:
    """A new folder of that name, or with -2, -3, … after it; StoreError where none can be made."""
    for number in itertools.count(1):
        folder = wanted if number == 1 else wanted.with_name(f"{wanted.name}-{number}")
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir()
        except FileExistsError:
            if folder.parent.is_dir():
                continue
            raise StoreError(f"{folder.parent} is no folder; name a results folder by --out") from None
        except OSError as error:
            raise StoreError(f"{folder} cannot be made ({why(error)}); name a results folder by --out") from None
        return folder
    raise AssertionError


def info_of(folder: Path) -> RunInfo:
    """What the records of a results folder have in common; StoreError where it cannot be read."""
    return described(folder / INFO, RunInfo, SCHEMA)


class _OfSchema(Protocol):
    @property
    def schema(self) -> int: ...


_Info = TypeVar("_Info", bound=_OfSchema)


def described(path: Path, kind: type[_Info], schema: int) -> _Info:
    """The JSON file that says what a folder's lines have in common; StoreError where it cannot be read or is newer."""
    try:
        info = msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, *UNREADABLE) as error:
        raise StoreError(f"{path} cannot be read: {error}") from None
    if info.schema > schema:
        raise StoreError(f"{path} is of schema {info.schema}, which {NEWER} {schema}; update hwlottery")
    return info


def load(folder: Path) -> Run:
    """Read a results folder; StoreError says what is wrong with it in one sentence."""
    if (folder / INFO).is_file() and not (folder / RECORDS).exists():
        raise StoreError(f"{folder} has {INFO} but no {RECORDS}: nothing was measured there")
    if not (folder / RECORDS).is_file():
        raise StoreError(f"{folder} is not a results folder: it has no {RECORDS}; give the --out of a run")
    info, lines = info_of(folder), lines_of(folder / RECORDS)
    return Run(folder, info, merge(lines.records), lines.warnings)

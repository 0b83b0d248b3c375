"""The folder of a server among the temporary files: known by its lock while its run lives, and never without room."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from harness.errors import UserError
from harness.records.locks import FileLock

LOCK = ".lock"
TEMPORARY = "tmp"  # in it: what frameworks and their compilers write among the temporary files
ROOM_BYTES = 64 << 10  # of temporary files, below which a process that left no answer had no room for it
NO_ROOM = 173  # exit code of a process that found none; no signal, and none that frameworks end with
_FULL = tuple(os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT))


def locked() -> tuple[tempfile.TemporaryDirectory[str], FileLock]:
    """A folder of a server. While it is locked its run lives; what SIGKILL leaves is removed by the next run.

    One that a run that begins just now found before it was locked, and removes, is given up for another.
    """
    while True:
        folder = tempfile.TemporaryDirectory(prefix="hwlottery-", ignore_cleanup_errors=True)
        lock = FileLock(Path(folder.name) / LOCK)
        try:
            ours = lock.take()
        except FileNotFoundError:
            ours = False
        except OSError:  # no locks there
            ours = True
        if ours:
            return folder, lock
        folder.cleanup()


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder of that kind for what is made on the way; it is gone after."""
    folder, lock = locked()
    try:
        yield Path(folder.name)
    finally:
        lock.release()
        folder.cleanup()


def for_others(folder: Path) -> str:
    """The folder for temporary files of whatever the server runs, empty, which goes with the server's own.

    Compilers leave files there when they are killed, as by the limit on a case's time.
    """
    place = folder / TEMPORARY
    shutil.rmtree(place, ignore_errors=True)
    with contextlib.suppress(OSError):
        place.mkdir()
    return str(place)


def refuse_full(folder: Path, cache: Path, words: str, *, answered: bool) -> None:
    """UserError where a process failed for want of room, by its `words` or, if it left no answer, by what is free.

    Neither it nor its framework can be blamed, and every case after it would fail likewise. By the time that anybody
    looks there may be room again, since what it had written went with it.
    """
    said = next((full for full in _FULL if full in words), None)
    if said is None and not answered:
        with contextlib.suppress(OSError):
            said = _FULL[0] if shutil.disk_usage(folder).free < ROOM_BYTES else None
    if said is not None:
        raise UserError(
            f"no room for temporary files in {folder.parent}, for programs in {cache} or for inputs beside the results "
            f"({said}); make room, or set TMPDIR and HWLOTTERY_CACHE, and go on by --resume"
        )

"""One run at a time on a machine: a lock that all users share, so that two runs do not spoil each other's numbers."""

from __future__ import annotations

import contextlib
import getpass
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from harness.records import timestamps
from harness.records.disk import why
from harness.records.locks import FileLock, common_folder
from harness.records.store import DISTURBED

VARIABLE = "HWLOTTERY_HOST_LOCK"  # another file, or `off`
OFF = "off"
_NAME = "hwlottery.lock"


def lock_file() -> Path | None:
    """The file that stands for the machine; None where nobody waits. Containers that share no /tmp do not see it."""
    told = os.environ.get(VARIABLE, "")
    if told:
        return None if told == OFF else Path(told)
    return common_folder() / _NAME


@contextlib.contextmanager
def alone(results: Path, say: Callable[[str], None], *, wait: bool = True) -> Iterator[str | None]:
    """Have the machine while the run lasts: another run is waited for, unless `wait` is false.

    Gives a note for the run where it is not alone, or where that cannot be told.
    """
    file = lock_file()
    if file is None:
        yield None
        return
    who = f"process {os.getpid()} of {_user()}, since {timestamps.now()}, results in {results.absolute()}"
    lock = FileLock(file, who, mode=0o666)
    note = None
    try:
        if not lock.take():
            holder = lock.holder() or "its holder left no words"
            if wait:
                say(f"waiting until another run on this machine has ended ({holder}); --no-wait goes on beside it")
                lock.take(wait=True)
            else:
                note = f"{DISTURBED}another run was going on beside it ({holder}); let one end before the next begins"
    except OSError as error:
        note = f"whether another run went on beside this one is not known: {file} cannot be locked ({why(error)})"
    try:
        yield note
    finally:
        lock.release()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container that knows no names
        return str(os.getuid())

"""What a run needs while it lasts, outside its results: found by its lock and removed by the next run where it died.

Every run and every fork server has a folder `hwlottery-…` among the temporary files, with a file that is locked while
its process lives. That of a run names the scratch folder beside the results.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from harness.records.locks import FileLock
from harness.records.store import LOCK as RESULTS_LOCK
from harness.worker.folder import LOCK

SCRATCH = ".scratch"  # beside the results: what is too large to be kept
PREFIX = "hwlottery-"


@contextlib.contextmanager
def marked(results: Path) -> Iterator[None]:
    """While a run lasts, a sign of where its scratch folder is; both are gone after. What dead runs left goes first.

    Where there is no room for the sign, what would be left is found when the run goes on.
    """
    sweep()
    scratch = results.absolute() / SCRATCH
    shutil.rmtree(scratch, ignore_errors=True)  # the results are ours, and so is what an earlier part left in them
    sign = lock = None
    with contextlib.suppress(OSError):
        while lock is None or not lock.take():  # one that another run is about to remove is given up
            sign = Path(tempfile.mkdtemp(prefix=PREFIX))
            lock = FileLock(sign / LOCK, str(scratch))
    try:
        yield
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        if sign is not None and lock is not None:
            lock.release()
            shutil.rmtree(sign, ignore_errors=True)


def sweep() -> list[Path]:
    """Remove what dead processes of this user left; the folders that are gone."""
    gone = []
    for folder in sorted(Path(tempfile.gettempdir()).glob(f"{PREFIX}*")):
        with contextlib.suppress(OSError):
            facts = folder.lstat()
            if facts.st_uid != os.getuid() or folder.is_symlink() or not (folder / LOCK).is_file():
                continue
            named = (folder / LOCK).read_text("utf-8", "replace")
            lock = FileLock(folder / LOCK)
            if not lock.take():
                continue
            scratch = Path(named) if named else None
            if scratch is not None and scratch.is_absolute() and scratch.name == SCRATCH and _is_free(scratch.parent):
                shutil.rmtree(scratch, ignore_errors=True)
                gone.append(scratch)
            lock.release()
            shutil.rmtree(folder, ignore_errors=True)
            gone.append(folder)
    return gone


def _is_free(results: Path) -> bool:
    """Whether no run writes to a results folder now."""
    lock = FileLock(results / RESULTS_LOCK)
    if not lock.take():
        return False
    lock.release(remove=True)
    return True

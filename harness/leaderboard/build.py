"""What `leaderboard` does once its arguments are parsed: reads in worker processes, builds beside, takes its place.

The workers write the page of each submission where they have its figures at hand, and hand back only the few rows
that the boards need, so that a million records never meet in one process.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import multiprocessing
import os
import shlex
import shutil
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache, partial
from pathlib import Path

import click
import msgspec

from harness.errors import UserError
from harness.gate.strict_read import Alike
from harness.gate.validate import Remembered
from harness.leaderboard import site
from harness.leaderboard.campaigns import campaigns
from harness.leaderboard.links import submission_page
from harness.leaderboard.standings import Leaderboard, counted, leaderboard
from harness.leaderboard.submission import Refused, Submission
from harness.leaderboard.submissions import find, read
from harness.machine import facts
from harness.measuring.host_memory import keep_freed
from harness.records.collecting import uncollected
from harness.records.text import plain
from workloads.discovery import workloads as find_workloads

FEW = 4  # submissions that are read here: starting workers would take longer
MANY_PAGES = 50  # of machines for a process: fewer are made sooner than it is started
BATCH = 256  # handed to the workers at once
KEPT_BYTES = 32 << 20  # of memory that a worker keeps from one submission to the next
Reader = Callable[[Path, str, Path], Submission | Refused]


@uncollected()
def build(folders: Sequence[Path], out: Path, signers: Path | None = None) -> int:
    """Build the site of all submissions in `folders`; what is refused is said on stderr and does not stop it.

    `signers` is the file of those whose signatures count, as ssh-keygen has it.
    """
    if signers is not None and not signers.is_file():
        raise UserError(f"--signers {signers} is no file; give an ALLOWED SIGNERS file of ssh-keygen(1)")
    shown, out = out, Path(os.path.abspath(out))
    _may_replace(out, shown, folders)
    _learnt.cache_clear()  # the environment may name other workloads than at the build before
    found = find(folders, leave_out=out)
    workloads, _ = find_workloads()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise UserError(f"-o {shown} cannot be written ({error.strerror}); name another folder") from None
    try:
        accepted: list[Submission] = []
        taken: list[tuple[Path, Submission]] = []
        refused = [bad for _, bad in found.refused]
        for path, bad in found.refused:
            click.echo(f"refused: {path}: {bad.reasons[0]}", err=True)
        reader = partial(take_in, signers=signers.resolve()) if signers is not None else take_in
        for (path, _), folder in zip(found.folders, taken_in(found.folders, beside, reader), strict=True):
            if isinstance(folder, Submission):
                accepted.append(folder)
                taken.append((path, folder))
            else:
                refused.append(folder)
                more = f" (and {len(folder.reasons) - 1} more)" if len(folder.reasons) > 1 else ""
                click.echo(f"refused: {path}: {folder.reasons[0]}{more}", err=True)
        board = leaderboard(accepted, refused, counted(workloads.values()))
        board = msgspec.structs.replace(board, campaigns=campaigns(taken, board.submissions))
        _write(board, {name: workload.title for name, workload in workloads.items()}, beside)
        for submission in {s.digest: s for s in accepted}.keys() - {s.digest for s in board.submissions}:
            (beside / submission_page(submission)).unlink(missing_ok=True)  # it counted as another
        _tell_reproduced(board, beside)
        beside.chmod(0o755)
        _take_place(beside, out)
    except OSError as error:
        why = "it is a mount point" if error.errno == errno.EBUSY else error.strerror
        raise UserError(f"-o {shown} cannot be written ({why}); name another folder") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    click.echo(
        f"site: {shown / 'index.html'} ({len(board.submissions)} submissions of {len(board.machines)} machines, "
        f"{len(board.refused)} refused)",
        err=True,
    )
    return 0


def _tell_reproduced(board: Leaderboard, into: Path) -> None:
    """Say on the pages of submissions what others found, which was not known when they were written."""
    for submission in board.submissions:
        by = board.reproduced_by.get(submission.digest)
        if by:
            page = into / submission_page(submission.digest)
            page.write_bytes(site.with_trust(page.read_bytes(), submission, by))


def _write(board: Leaderboard, titles: Mapping[str, str], into: Path) -> None:
    """Every page but those of the submissions, by a process a core where there are many.

    The processes are forks, which have the board without a copy of it, and do nothing but make and write texts. What
    one of them could not write is written here, where an error is raised as if there had been no fork.
    """
    parts = min(_cores(), len(board.machines) // MANY_PAGES) if _forks() else 1
    context = multiprocessing.get_context("fork") if parts > 1 else None
    others = []
    for part in range(1, parts):
        assert context is not None
        with _quiet_forks():
            child = context.Process(target=_write_part, args=(board, titles, into, part, parts))
            child.start()
        others.append((part, child))
    _write_part(board, titles, into, 0, max(1, parts))
    for part, child in others:
        child.join()
        if child.exitcode != 0:
            _write_part(board, titles, into, part, parts)


def _write_part(board: Leaderboard, titles: Mapping[str, str], into: Path, part: int, parts: int) -> None:
    for name, content in site.pages(board, titles, part, parts):
        (into / name).write_bytes(content)


def _forks() -> bool:
    """Whether processes can be forked safely; on macOS its own libraries forbid it."""
    return sys.platform == "linux"


def _may_replace(out: Path, shown: Path, folders: Sequence[Path]) -> None:
    """UserError unless `out` is free, empty or a site of ours, and may be replaced as a whole."""
    if out.is_symlink():
        raise UserError(f"-o {shown} is a link; name the folder itself, or another one")
    if out.exists() and not out.is_dir():
        raise UserError(f"-o {shown} is not a folder; name a folder for the site")
    if not out.is_dir():
        return
    where = out.resolve()
    inside = "name a folder in it, such as -o " + shlex.quote(str(shown / "site"))
    if Path.cwd().is_relative_to(where):
        which = "the current folder" if Path.cwd() == where else "a folder around the current one"
        raise UserError(f"-o {shown} is {which}, which would be replaced as a whole; {inside}")
    if os.path.ismount(out):
        raise UserError(f"-o {shown} is a mount point, which cannot be replaced as a whole; {inside}")
    for folder in folders:
        if folder.exists() and folder.resolve().is_relative_to(where):
            raise UserError(f"-o {shown} is replaced as a whole, and {folder} lies in it; name another folder")
    held = sorted(path.name for path in out.iterdir())
    if held and site.MARKER not in held:
        raise UserError(f"-o {shown} holds something else than a site of ours and is left alone; name another folder")
    strange = [name for name in held if name != site.MARKER and (name[:1] == "." or (out / name).is_dir())]
    if strange:
        raise UserError(
            f"-o {shown} is a site of ours and holds {plain(strange[0], 60)} beside, which would be lost; build the "
            "site in another folder and copy it"
        )


def _take_place(beside: Path, out: Path) -> None:
    """Put the folder `beside` in the place of `out`; a reader sees the old site or the new one, never half of each."""
    if not out.exists():
        beside.rename(out)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{out.name}.old.", dir=beside.parent))
    try:
        out.rename(old / "site")
        try:
            beside.rename(out)
        except OSError:
            (old / "site").rename(out)
            raise
    except OSError:
        with contextlib.suppress(OSError):
            old.rmdir()  # never with a site in it
        raise
    shutil.rmtree(old, ignore_errors=True)


def take_in(folder: Path, name: str, into: Path, signers: Path | None = None) -> Submission | Refused:
    """Read one submission and write its page into `into`; hands back what the boards need."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of figures that overflow in a stranger's records
        submission = read(folder, name, _learnt(), signers)
        if isinstance(submission, Refused):
            return submission
        page, content = site.one_submission(*submission)
    (into / page).write_bytes(content)
    return msgspec.structs.replace(submission[0], lock=[])


@cache
def _learnt() -> Remembered:
    """Of this process, for one build."""
    return Remembered(alike=Alike(unread=("environment",)))


def taken_in(
    folders: Sequence[tuple[Path, str]], into: Path, reader: Reader = take_in
) -> Iterator[Submission | Refused]:
    """Every submission in the order of `folders`, read by a process a core where there are many.

    A submission whose reading kills its process (the system ran out of memory) is refused; those of its batch are read
    again, each in a process of its own.
    """
    if len(folders) <= FEW:
        yield from (reader(folder, name, into) for folder, name in folders)
        return
    try:
        pool = _first_pool(_cores())
    except (OSError, ImportError, NotImplementedError):  # no /dev/shm, say: then all are read here
        yield from (reader(folder, name, into) for folder, name in folders)
        return
    try:
        for start in range(0, len(folders), BATCH):
            batch = folders[start : start + BATCH]
            with _quiet_forks():
                waiting = [pool.submit(reader, folder, name, into) for folder, name in batch]
            broken = False
            for (folder, name), future in zip(batch, waiting, strict=True):
                try:
                    yield future.result()
                except BrokenProcessPool:
                    broken = True
                    yield _alone(reader, folder, name, into)
            if broken:
                pool.shutdown(wait=False)
                pool = _pool(_cores())
    finally:
        pool.shutdown(cancel_futures=True)


def _alone(reader: Reader, folder: Path, name: str, into: Path) -> Submission | Refused:
    with _pool(1) as pool:
        try:
            pool.submit(os.getpid).result()
        except BrokenProcessPool:
            raise UserError(
                "no process can be started here to read submissions; free some memory and try again"
            ) from None
        try:
            return pool.submit(reader, folder, name, into).result()
        except BrokenProcessPool:
            return Refused(name=name, reasons=["reading it ended the process that read it; submit fewer cases"])


def _first_pool(workers: int) -> ProcessPoolExecutor:
    """Forks of this process, which know already what the harness has; a `_pool` where other threads may hold locks."""
    if not _forks() or threading.active_count() > 1 or sys.modules.keys() & set(site.FRAMEWORKS):
        return _pool(workers)
    _learnt()
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("fork"), initializer=_for_many)


def _pool(workers: int) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_for_many)


@contextlib.contextmanager
def _quiet_forks() -> Iterator[None]:
    """Without a warning of threads: numerical libraries have some, which sleep."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def _for_many() -> None:
    """A submission is a million small objects without cycles: looking for these took a tenth of the time.

    They are freed as they fall out of use, so that what is left over never comes near this many. The next submission
    takes the memory that the last had.
    """
    gc.freeze()
    gc.set_threshold(2_000_000, 20, 100)
    gc.enable()  # who forked it may look for no garbage
    keep_freed(KEPT_BYTES)


def _cores() -> int:
    return facts.usable_cores()

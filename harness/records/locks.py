"""Locks that die with their process: of a results folder, of the machine, of a temporary folder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import tempfile
from pathlib import Path

from harness.records.text import plain

_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EBADF)
_MOST_WORDS = 4096


def common_folder() -> Path:
    """Where locks stand that all users of a machine share, whatever TMPDIR each of them has."""
    common = Path("/tmp")
    return common if common.is_dir() else Path(tempfile.gettempdir())


class NoLocksError(OSError):
    """The file system knows no locks."""


class FileLock:
    """An exclusive lock (flock) on a file, which holds the words of its holder for whoever finds it taken.

    The kernel gives it back when the process ends, in whatever way. `mode` is of the file where it is made. Processes
    that are started do not inherit it.
    """

    def __init__(self, path: Path, words: str = "", *, mode: int = 0o644) -> None:
        self.path, self._words, self._mode = path, words, mode
        self._file = -1

    def take(self, *, wait: bool = False) -> bool:
        """Whether it is ours now; with `wait` it is waited for. NoLocksError where the file system has none.

        OSError where the file can be neither opened nor made.
        """
        while True:
            file = self._opened()
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                if self._is(file):  # not one that its last holder took away meanwhile
                    self._file = file
                    self._sign()
                    return True
            except BlockingIOError:
                os.close(file)
                return False
            except OSError as error:
                os.close(file)
                if error.errno in _NO_LOCKS:
                    raise NoLocksError(error.errno, error.strerror) from None
                raise
            except BaseException:
                os.close(file)
                raise
            os.close(file)

    def holder(self) -> str:
        """The words of who holds it, made safe to show; nothing where they cannot be read."""
        try:
            return plain(self.path.read_bytes()[:_MOST_WORDS].decode("utf-8", "replace"))
        except OSError:
            return ""

    def release(self, *, remove: bool = False) -> None:
        """Give it back; with `remove` the file goes, too. Safe to call twice."""
        if self._file < 0:
            return
        if remove:
            with contextlib.suppress(OSError):
                self.path.unlink()
        else:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, 0)
        os.close(self._file)
        self._file = -1

    def _opened(self) -> int:
        """The file, made where there is none. One of another user in a common folder is opened as it may be."""
        flags = os.O_CLOEXEC | os.O_NOFOLLOW
        for _ in range(3):
            try:
                return os.open(self.path, os.O_RDWR | flags)
            except PermissionError:
                return os.open(self.path, os.O_RDONLY | flags)
            except FileNotFoundError:
                with contextlib.suppress(FileExistsError):
                    file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | flags, self._mode)
                    with contextlib.suppress(OSError):
                        os.fchmod(file, self._mode)  # whatever the umask
                    return file
        return os.open(self.path, os.O_RDWR | flags)

    def _is(self, file: int) -> bool:
        try:
            named = os.stat(self.path)
        except FileNotFoundError:
            return False
        return os.path.samestat(named, os.fstat(file))

    def _sign(self) -> None:
        """Say who holds it; a full disk or a file of another user leaves the lock without words."""
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, self._words.encode("utf-8", "replace"), 0)

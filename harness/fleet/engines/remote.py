"""What runs on a node of Ray beside a command: it starts the argv that it is told and hands out what that has written.

It knows nothing of what it runs, and needs nothing but Python: Ray carries this one file to the node by its text.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

MOST_BYTES = 4 << 20  # of lines in one answer
MOST_FILES_BYTES = 64 << 20  # of other files, when the command has ended
PYTHON, OUT = "{python}", "{out}"  # in an argv: the interpreter of the node's Ray; a new folder of the node
PREFIX, LOCK = "fleet-hwlottery-", "lock"  # of that folder's parent, and what is locked in it as long as we live

# Makes the command end (SIGTERM) when the process that started it does, in whatever way: PR_SET_PDEATHSIG is 1.
_BOUND = (
    "import ctypes, os, sys\n"
    "ctypes.CDLL(None).prctl(1, 15)\n"
    "os.getppid() == int(sys.argv[1]) or os._exit(143)\n"
    "os.execvp(sys.argv[2], sys.argv[2:])\n"
)


class Remote:
    """One command on this node, which ends when this does. To a folder it writes `lines`, a growing file, and others.

    `info` is one that is handed out whenever the driver has another. After `patience_s` without a question it ends.
    """

    def __init__(
        self, argv: Sequence[str], folder: str, env: Mapping[str, str], lines: str, info: str, patience_s: float
    ) -> None:
        _clear(tempfile.gettempdir())
        above = tempfile.mkdtemp(prefix=PREFIX)
        self._lock = _lock(above)
        self._out = os.path.join(above, "run")
        self._log_path = self._out + ".log"
        self._lines_path, self._info_path = os.path.join(self._out, lines), os.path.join(self._out, info)
        self._lines = -1
        self._heard_at, self._patience_s = time.monotonic(), patience_s
        words = [word.replace(PYTHON, sys.executable).replace(OUT, self._out) for word in argv]
        with open(self._log_path, "ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-c", _BOUND, str(os.getpid()), *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder if os.path.isdir(folder) else None,
                env={**_environment(), **env},
                start_new_session=True,
            )
        threading.Thread(target=self._watch, daemon=True).start()

    def read(self, offset: int, known: int) -> dict[str, Any]:
        """Whole lines from a byte on, the info file unless `known` is its CRC-32; at the end the code and the rest."""
        self._heard_at = time.monotonic()
        code = self._process.poll()
        piece = self._piece(offset)
        files = {}
        info = _content(self._info_path)
        if info and zlib.crc32(info) != known:
            files[os.path.basename(self._info_path)] = info
        answer = {"offset": offset, "piece": piece, "files": files, "code": None, "printed": b""}
        if code is not None and not piece:
            files.update(self._others())
            answer |= {"code": code if code >= 0 else 128 - code, "printed": _content(self._log_path, MOST_BYTES)}
        return answer

    def stop(self) -> None:
        """Ask the command to end."""
        if self._process.poll() is None:
            self._process.terminate()

    def discard(self) -> None:
        """Remove the folder."""
        self.stop()
        shutil.rmtree(os.path.dirname(self._out), ignore_errors=True)
        for file in (self._lines, self._lock):
            if file >= 0:
                os.close(file)
        self._lines = self._lock = -1

    def _piece(self, offset: int) -> bytes:
        # The file as it was first made: a run that ends puts another in its place, with the same records joined.
        if self._lines < 0:
            try:
                self._lines = os.open(self._lines_path, os.O_RDONLY)
            except OSError:
                return b""
        piece = os.pread(self._lines, MOST_BYTES, offset)
        while piece and b"\n" not in piece:  # a line longer than an answer, or one that is being written
            more = os.pread(self._lines, MOST_BYTES, offset + len(piece))
            if not more:
                break
            piece += more
        return piece[: piece.rfind(b"\n") + 1]

    def _others(self) -> dict[str, bytes]:
        """The files in folders below, which say what failed."""
        found: dict[str, bytes] = {}
        left = MOST_FILES_BYTES
        for folder, below, names in os.walk(self._out):
            below[:] = [name for name in below if not name.startswith(".")]
            for name in names if folder != self._out else ():
                path = os.path.join(folder, name)
                content = _content(path, left) if os.path.isfile(path) and not os.path.islink(path) else b""
                if content:
                    left -= len(content)
                    found[os.path.relpath(path, self._out)] = content
        return found

    def _watch(self) -> None:
        """End by ourselves when no driver has asked for so long that none will."""
        while time.monotonic() - self._heard_at < self._patience_s:
            time.sleep(min(60.0, self._patience_s))
        self.discard()
        os._exit(0)


def _lock(folder: str) -> int:
    """Lock a new folder of ours for as long as this process lives; -1 where the file system has no locks."""
    made = os.path.join(folder, f"{LOCK}.new")
    try:
        file = os.open(made, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(file, fcntl.LOCK_EX)
        os.rename(made, os.path.join(folder, LOCK))  # whoever finds it finds it locked
    except OSError:
        return -1
    return file


def _clear(temporary: str) -> None:
    """Remove what those left behind who were killed: folders of ours whose lock nobody holds."""
    with contextlib.suppress(OSError):
        for entry in list(os.scandir(temporary)):
            if entry.name.startswith(PREFIX) and entry.stat(follow_symlinks=False).st_uid == os.getuid():
                _clear_one(entry.path)


def _clear_one(folder: str) -> None:
    with contextlib.suppress(OSError):  # among them that it is locked, or has no lock
        file = os.open(os.path.join(folder, LOCK), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(file)


def _environment() -> dict[str, str]:
    """That of the node, as it was when Ray was started there: Ray changes threads and devices for what it starts."""
    pairs = [entry.split(b"=", 1) for entry in _content(f"/proc/{os.getppid()}/environ").split(b"\0") if b"=" in entry]
    node = {os.fsdecode(name): os.fsdecode(value) for name, value in pairs}
    if node:
        return node
    changed = ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
    return {name: value for name, value in os.environ.items() if name not in changed and not name.startswith("RAY_")}


def _content(path: str, most: int = 1 << 26) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(most)
    except OSError:
        return b""

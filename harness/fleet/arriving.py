"""Bytes of a growing file that come from elsewhere: stored in order, each once, whatever comes twice, late or never.

A file there only grows, so where a piece stands in it says what it is. What is asked for next is what is not stored:
the size of the file here is the acknowledgement, and it is on the disk before it is given.
"""

from __future__ import annotations

import os
from pathlib import Path

from harness.fleet.journal import torn
from harness.records.disk import write


def fresh(stored: int, offset: int, piece: bytes) -> bytes:
    """What of a piece at `offset` follows on `stored` bytes: nothing of one that is known, or that leaves a gap."""
    return piece[stored - offset :] if offset <= stored else b""


class ArrivingFile:
    """A file here that grows as one elsewhere does, by whole lines."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        size = os.fstat(self._file).st_size
        self.stored = size - torn(self._file, size)  # what a power cut tore comes again
        os.ftruncate(self._file, self.stored)

    def take(self, offset: int, piece: bytes) -> int:
        """Store what is new of a piece of whole lines; how much is stored. OSError leaves what was stored before."""
        new = fresh(self.stored, offset, piece)
        if new:
            try:
                write(self._file, new)
            except OSError:
                os.ftruncate(self._file, self.stored)
                raise
            self.stored += len(new)
        return self.stored

    def close(self) -> None:
        """Nothing comes any more."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

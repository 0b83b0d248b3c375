"""A journal: lines of JSON, appended whole and flushed to the disk before anything follows from them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from harness.errors import UserError
from harness.records.disk import why, write
from harness.records.lines import UNREADABLE

Entry_ = TypeVar("Entry_")


class Journal(Generic[Entry_]):
    """The lines of a file, of one type. Only one may write; who reads meanwhile takes what is whole."""

    def __init__(self, path: Path, type_: Any) -> None:
        self.path = path
        self._decoder = msgspec.json.Decoder(type_)
        self._file = -1

    def read(self) -> Iterator[Entry_]:
        """Every line in order; one that was torn off at the end was never acted upon, and counts for nothing."""
        try:
            with self.path.open("rb") as file:
                for number, line in enumerate(file, 1):
                    if not line.endswith(b"\n"):
                        return
                    try:
                        yield self._decoder.decode(line)
                    except UNREADABLE as error:
                        raise UserError(
                            f"{self.path} line {number} cannot be read ({error}); restore it, or name another -o"
                        ) from None
        except FileNotFoundError:
            return

    def open(self) -> None:
        """Begin to write: what was torn off is cut away. OSError where the file cannot be written."""
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        end = os.fstat(self._file).st_size
        os.ftruncate(self._file, end - torn(self._file, end))

    def append(self, *entries: Entry_) -> None:
        """Write these and flush them to the disk; UserError where they cannot be kept, and the file is as it was."""
        end = os.fstat(self._file).st_size
        try:
            write(self._file, b"".join(msgspec.json.encode(entry) + b"\n" for entry in entries))
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, end)
            raise UserError(f"{self.path} cannot be written any more ({why(error)}); make room and go on") from None

    def close(self) -> None:
        """Write no more."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def torn(file: int, end: int, block: int = 1 << 16) -> int:
    """How many bytes stand behind the last line end of an open file of `end` bytes."""
    at = end
    while at > 0:
        begin = max(0, at - block)
        found = os.pread(file, at - begin, begin).rfind(b"\n")
        if found >= 0:
            return end - (begin + found + 1)
        at = begin
    return end

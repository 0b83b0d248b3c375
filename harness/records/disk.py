"""Files on the disk, whole and flushed; a system's error in its own words."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import msgspec

from harness.records.text import encodable


def same(path: Path, file: int) -> bool:
    """Whether the open file still has that name."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file))
    except OSError:
        return False


def why(error: OSError) -> str:
    """The system's words for an error."""
    return error.strerror or type(error).__name__


def as_json(value: object) -> bytes:
    """JSON of it, whatever bytes the names of files in it are."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return msgspec.json.encode(encodable(msgspec.to_builtins(value)))


def write(file: int, content: bytes) -> None:
    """Write all of it and flush it to the disk."""
    written = 0
    while written < len(content):
        written += os.write(file, content[written:])
    os.fsync(file)


def replace(path: Path, content: bytes) -> None:
    """Replace a file whole or not at all, flushed to the disk."""
    partial = path.with_suffix(".partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise

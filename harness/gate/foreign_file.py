"""The one way in which a stranger's file is opened: a regular file, of limited size, never a link where none may be."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from harness.gate.refusal import Refusal, refusal
from harness.records.store import INFO, RECORDS

MOST_BYTES: Mapping[str, int] = {INFO: 1 << 20, RECORDS: 64 << 20}  # `standard` on three frameworks writes 10 MB


def digest_of(files: Mapping[str, bytes]) -> str:
    """What a submission is known by: SHA-256 of the digests of its `run.json` and `records.jsonl`, in hexadecimal."""
    digest = hashlib.sha256()
    for name in (INFO, RECORDS):
        digest.update(hashlib.sha256(files[name]).digest())
    return digest.hexdigest()


def content(path: Path, most: int, *, links: bool = True) -> bytes | Refusal:
    """The bytes of a regular file, or why it is not read. A pipe or device is never opened, nor more than `most` read.

    `links` says whether a symbolic link is followed, which is right only where the user named the file. Raises nothing.
    """
    try:
        found = _unfit(path.stat() if links else path.lstat(), path.name, most)
        if found is not None:
            return found
        never_waits = getattr(os, "O_NONBLOCK", 0) | (0 if links else getattr(os, "O_NOFOLLOW", 0))
        with os.fdopen(os.open(path, os.O_RDONLY | never_waits), "rb") as file:
            about = os.fstat(file.fileno())  # looked at again: the name may stand for another file by now
            return _unfit(about, path.name, most) or file.read(about.st_size)
    except FileNotFoundError:
        return refusal("missing", path.name, "it is not there", "submit the whole folder of the run")
    except (OSError, ValueError) as error:
        words = getattr(error, "strerror", None) or str(error)
        return refusal("unreadable", path.name, f"it cannot be read ({words})", "make it readable")


def _unfit(about: os.stat_result, name: str, most: int) -> Refusal | None:
    if stat.S_ISLNK(about.st_mode):
        return refusal("unreadable", name, "it is a link", "submit the file itself")
    if not stat.S_ISREG(about.st_mode):
        return refusal("unreadable", name, "it is not a file", "submit what `hwlottery run` wrote")
    if about.st_size > most:
        said = f"it has {about.st_size} bytes, at most {most} are read"
        return refusal("too-large", name, said, "submit fewer cases")
    return None

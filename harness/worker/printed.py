"""What a process printed: whether anything was, while it runs; and the words, of limited size, once it has ended."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path

HEAD_BYTES = TAIL_BYTES = 8 << 10  # of a log that are kept: how it began, and how it ended


class Printed(io.TextIOWrapper):
    """A standard output that knows whether Python printed; every line is written at once, so that a crash keeps it."""

    used = False

    def write(self, text: str) -> int:
        """Write it."""
        self.used = True
        return super().write(text)


def standard_output() -> Printed:
    """Take the place of `sys.stdout`."""
    stream = Printed(sys.stdout.buffer, encoding="utf-8", errors="backslashreplace", line_buffering=True)
    sys.stdout = stream
    return stream


def words(log: Path) -> str | None:
    """The log's beginning and end, with the number of bytes between them; None where there is nothing in it."""
    with contextlib.suppress(OSError), log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        head = file.read(HEAD_BYTES)
        left_out = max(0, size - HEAD_BYTES - TAIL_BYTES)
        file.seek(len(head) + left_out)
        between = f"\n… {left_out} bytes were left out …\n" if left_out else ""
        whole = head.decode(errors="replace") + between + file.read(TAIL_BYTES).decode(errors="replace")
        return whole if whole.strip() else None
    return None

"""What a process printed: whether anything was, while it runs; and the words, of limited size, once it has ended."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path

HEAD_BYTES = TAIL_BYTES = 8 << 10  # of a log that are kept: how it began, and how it ended
MOST_BYTES = 64 << 20  # of a log on the disk, and what comes in LOOK_S
LOOK_S = 1.0  # between two looks at how long it has become
_CUT = "\n… it printed more than is kept …\n"


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


def bound(log: Path) -> None:
    """Cut a log that has become too long down to its beginning; its writers append, and so go on behind that."""
    with contextlib.suppress(OSError):
        if log.stat().st_size > MOST_BYTES:
            os.truncate(log, HEAD_BYTES)
            with log.open("ab") as file:
                file.write(_CUT.encode())


def last_lines(log: Path) -> list[str]:
    """The lines at the log's end that are not blank; of limited size, none where there is no log."""
    with contextlib.suppress(OSError), log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
        return [line for line in file.read(TAIL_BYTES).decode(errors="replace").splitlines() if line.strip()]
    return []


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

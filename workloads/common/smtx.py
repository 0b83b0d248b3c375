"""Reads `.smtx` files, the format of the Deep Learning Matrix Collection (Gale, Zaharia, Elsen 2020): a pattern only.

Three lines: `rows, columns, nnz`; the row offsets (rows+1 integers); the column of each non-zero (nnz integers).
Numbers are parted by spaces, tabs or commas. The columns of a row may come in any order, none of them twice.
"""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import NoReturn

import numpy as np

from backends.ops import HostArray
from workloads.common.matrix import MatrixError, check_sizes, read_most
from workloads.common.patterns import Pattern

_LARGEST = 2**31 - 1  # indices are int32
_HEADER_BYTES = 256
_MOST_BYTES = 1 << 30  # of a file: 67 million non-zeros in 16 characters each
_SEPARATORS = bytes.maketrans(b"\t\r,", b"   ")
_STRANGER = re.compile(rb"[^0-9 ]")
_NAMES = ("rows", "columns", "nnz")


def read_smtx(path: str | Path) -> Pattern:
    """The pattern in a file, columns sorted in each row; MatrixError says in one sentence what is wrong and where.

    The sizes that the first line claims are held against the size of the file before anything is allocated for them.
    """
    path = Path(path)
    header, body = _read(path)
    rows, columns, nnz = _sizes(path, header)
    # every number needs a digit, and something between it and the next
    needed = 2 * (rows + 1) + 2 * nnz - 1 if nnz else 2 * (rows + 1) - 1
    if len(body) < needed:
        announced = f"announces {rows} rows and {nnz} non-zeros, at least {needed} more bytes"
        _fail(path, 1, f"{announced}, but {len(body)} follow: the file is cut off or the line is wrong")
    check_sizes(path, rows, columns, nnz)
    lines = body.split(b"\n")
    extra = next((i for i, line in enumerate(lines[2:]) if line.strip()), None)
    if extra is not None:
        _fail(path, 4 + extra, "is not empty; a file has three lines")
    offsets = _integers(path, 2, lines[0], rows + 1, "row offsets", nnz)
    if offsets[0] != 0:
        _fail(path, 2, f"starts with offset {offsets[0]}, expected 0")
    if (falls := np.flatnonzero(np.diff(offsets) < 0)).size:
        i = int(falls[0])
        _fail(path, 2, f"value {i + 2} is offset {offsets[i + 1]}, below the {offsets[i]} before it")
    if offsets[-1] != nnz:
        _fail(path, 2, f"ends with offset {offsets[-1]}, expected the {nnz} non-zeros of line 1")
    indices = _integers(path, 3, lines[1] if len(lines) > 1 else b"", nnz, "column indices", columns - 1)
    return _sorted(path, indices, offsets, (rows, columns))


def _fail(path: Path, line: int, problem: str) -> NoReturn:
    raise MatrixError(f"{path}: line {line} {problem}")


def _read(path: Path) -> tuple[bytes, bytes]:
    """The first line, and the rest of a regular file."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise MatrixError(f"{path}: not a regular file; give a .smtx file of the Deep Learning Matrix Collection")
        with path.open("rb") as file:
            header = file.readline(_HEADER_BYTES)
            if not header.endswith(b"\n"):
                found = "is longer than 256 bytes" if len(header) == _HEADER_BYTES else "is the last"
                _fail(path, 1, f"{found}; it must hold `rows, columns, nnz` and two lines must follow")
            return header, read_most(path, file, _MOST_BYTES)
    except (OSError, ValueError) as problem:  # ValueError: a null byte in the path
        if isinstance(problem, MatrixError):
            raise
        raise MatrixError(f"{path}: cannot be read ({problem})") from problem


def _sizes(path: Path, header: bytes) -> tuple[int, int, int]:
    words = header.translate(_SEPARATORS).split()
    if len(words) != 3 or not all(word.isdigit() for word in words):
        shown = header.strip()[:60].decode("ascii", "replace")
        _fail(path, 1, f"is {shown!r}, expected `rows, columns, nnz` in digits")
    sizes = [int(word) for word in words]  # at most 256 digits
    for name, size, least in zip(_NAMES, sizes, (1, 1, 0), strict=True):
        if not least <= size <= _LARGEST:
            _fail(path, 1, f"gives {size} as {name}, expected {least}…{_LARGEST}")
    rows, columns, nnz = sizes
    if nnz > rows * columns:
        _fail(path, 1, f"gives {nnz} non-zeros for {rows}×{columns} = {rows * columns} entries")
    return rows, columns, nnz


def _integers(path: Path, line: int, text: bytes, count: int, what: str, largest: int) -> HostArray:
    """The numbers of a line, (count,) int64, all in 0…largest."""
    text = text.translate(_SEPARATORS)
    if (stranger := _STRANGER.search(text)) is not None:
        before = text[: stranger.start()]
        i = len(before.split()) + (not before or before.endswith(b" "))
        # Not by split(), which takes \v and \f for blanks.
        word = text[text.rfind(b" ", 0, stranger.start()) + 1 :].split(b" ", 1)[0][:30].decode("ascii", "replace")
        _fail(path, line, f"value {i} is {word!r}, expected a whole number in digits")
    words = text.split(None, count)  # no more are made than are wanted
    if len(words) != count:
        _fail(
            path,
            line,
            f"holds {'over ' if len(words) > count else ''}{min(len(words), count)} {what}, expected {count}",
        )
    width = len(str(_LARGEST))
    if any(len(word) > width for word in words):
        i = next(i for i, word in enumerate(words) if len(word) > width)
        _fail(path, line, f"value {i + 1} has {len(words[i])} digits, expected a number in 0…{largest}")
    values = np.array(words, dtype=f"S{width}").astype(np.int64) if words else np.zeros(0, np.int64)
    if (beyond := np.flatnonzero(values > largest)).size:
        i = int(beyond[0])
        _fail(path, line, f"value {i + 1} is {values[i]}, expected a number in 0…{largest}")
    return values


def _sorted(path: Path, indices: HostArray, offsets: HostArray, shape: tuple[int, int]) -> Pattern:
    rows = np.repeat(np.arange(shape[0], dtype=np.int64), np.diff(offsets))
    flat = np.sort(rows * shape[1] + indices)  # a row's entries stay in its stretch of the array
    if (twice := np.flatnonzero(np.diff(flat) == 0)).size:
        row, column = divmod(int(flat[twice[0]]), shape[1])
        _fail(path, 3, f"has column {column} of row {row} more than once")
    return Pattern((flat % shape[1]).astype(np.int32), offsets.astype(np.int32), shape)

"""Matrices of files by their content: one name on every machine, and no folder of anybody's in it.

`matrix:DIGEST:NAME` is one with its own values, `pattern:DIGEST:NAME` one whose values are drawn for it. The digest is
of the matrix, not of the file: of its shape, its non-zeros and its own values. So equal matrices have equal digests,
whatever kind of file they came in.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from workloads.base import Definition, Further
from workloads.common.matrix import FileMatrix, MatrixError, Source
from workloads.common.matrix_files import read

FILES = "HWLOTTERY_MATRICES"  # where the processes of a run find the matrices at hand: {digest: [file, tensor]} in JSON
_FILES_BYTES = 100_000  # that a variable of the environment surely holds
_LONGEST = 80  # characters of a file's name
_NAMED = re.compile(r"(matrix|pattern):([0-9a-f]{16}):(.+)", re.DOTALL)
# Records of earlier versions name the pattern of an .smtx file so.
OF_FILE = Further(r"(matrix|pattern):[0-9a-f]{16}:.+|smtx:.+", "what --matrix FILE makes of a file")


def takes_files(workload: Definition) -> bool:
    """Whether its axis `pattern` takes names of matrices, for which its inputs are then made by `load`."""
    axis = workload.axes.get("pattern")
    return axis is not None and axis.further == OF_FILE


def named(matrix: FileMatrix, source: Source) -> str:
    """The name of a matrix: by its content, with the file's and tensor's name for the reader."""
    shown = f"{source.path.name}:{source.tensor}" if source.tensor else source.path.name
    shown = os.fsencode(shown).decode("utf-8", "replace")
    plain = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in shown)
    kind = "pattern" if matrix.values is None else "matrix"
    plain = re.sub(r"[/\\]", ".", plain)[-_LONGEST:]
    return f"{kind}:{digest(matrix)}:{plain}"


def digest(matrix: FileMatrix) -> str:
    """16 hexadecimal digits of all that a matrix is."""
    pattern, values = matrix
    parts = [np.array(pattern.shape, "<i8"), pattern.indptr.astype("<i4"), pattern.indices.astype("<i4")]
    if values is not None:
        parts.append(values.astype("<f8"))
    found = hashlib.sha256()
    for part in parts:
        found.update(len(part).to_bytes(8, "little"))
        found.update(np.ascontiguousarray(part).data)
    return found.hexdigest()[:16]


def at_hand(sources: Sequence[tuple[str, Source]]) -> None:
    """Let this process, and those that it starts, find matrices by name; MatrixError for more than can be named."""
    text = json.dumps({_digest_in(name): [str(source.path), source.tensor] for name, source in sources})
    if len(text) > _FILES_BYTES:
        raise MatrixError(f"--matrix names {len(sources)} files, more than one run can hand on; make it several runs")
    os.environ[FILES] = text


def load(name: str) -> FileMatrix:
    """The matrix that `name` calls by its content; MatrixError where none at hand has it."""
    wanted = _digest_in(name)
    try:
        path, tensor = json.loads(os.environ.get(FILES) or "{}")[wanted]
    except (KeyError, ValueError, TypeError):
        raise MatrixError(f"{name}: no file at hand has this content; give it by --matrix FILE") from None
    matrix = _read(Source(Path(path), tensor))
    if digest(matrix) != wanted:
        raise MatrixError(f"{name}: its file has another content meanwhile; measure the file again by --matrix")
    return matrix


def _digest_in(name: str) -> str:
    found = _NAMED.fullmatch(name)
    if found is None:
        raise MatrixError(f"{name}: names no matrix by its content; give its file by --matrix FILE")
    return found[2]


@functools.lru_cache(maxsize=1)
def _kept(source: Source, _: tuple[int, int]) -> FileMatrix:
    return read(source)


def _read(source: Source) -> FileMatrix:
    """What was read last is kept: the points of one matrix are made one after the other."""
    try:
        about = source.path.stat()
    except (OSError, ValueError) as problem:
        raise MatrixError(f"{source}: cannot be read ({problem})") from problem
    return _kept(source, (about.st_mtime_ns, about.st_size))

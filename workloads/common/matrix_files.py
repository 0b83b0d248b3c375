"""Reads a matrix from what people have: Matrix Market, SciPy's `.npz`, a tensor of a safetensors file, `.smtx`.

The formats are read by the libraries that define them. What these leave to their callers is done here: sizes are held
against limits and against the size of the file first, no pickle is loaded, and a line that a library would read in part
is refused.
"""

from __future__ import annotations

import gzip
import io
import re
import stat
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from backends.install import install_hint
from workloads.common.matrix import FileMatrix, MatrixError, Source, check_sizes, fail, of_scipy, read_most
from workloads.common.smtx import read_smtx

KINDS = ".mtx, .mtx.gz, .npz, .smtx or .safetensors"
_TENSORS = ".safetensors"
_DEFLATE = 1032  # bytes that one byte of DEFLATE can stand for at most
_TEXT_BYTES = 2 << 30  # of a Matrix Market file
_ARCHIVE_BYTES = 2 << 30  # of all arrays of an .npz
_PLACES = ("indices", "indptr", "row", "col", "coords", "offsets", "shape")  # arrays of an .npz
_SHOWN = 8  # tensors that a sentence names


def source_of(text: str) -> Source:
    """FILE, or FILE:TENSOR where the file is one of safetensors; its path absolute."""
    at = text.lower().find(f"{_TENSORS}:")
    if at < 0 or Path(text).is_file():
        return Source(Path(text).absolute())
    end = at + len(_TENSORS)
    return Source(Path(text[:end]).absolute(), text[end + 1 :])


def read(source: Source) -> FileMatrix:
    """The matrix of a file; MatrixError says in one sentence what is wrong and where."""
    path, name = source.path, source.path.name.lower()
    readers: dict[str, Callable[[Source], FileMatrix]] = {
        ".mtx": _market,
        ".mtx.gz": _market,
        ".npz": _npz,
        ".smtx": _smtx,
        _TENSORS: _tensor,
    }
    reader = next((readers[end] for end in readers if name.endswith(end)), None)
    if reader is None:
        fail(source, f"is none of the files that are read; expected {KINDS}")
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            fail(source, f"not a regular file; give a file in {KINDS}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what matters is an error here
            return reader(source)
    except MatrixError:
        raise
    except Exception as problem:  # libraries answer broken files with errors of many kinds
        said = " ".join(str(problem).split())[:200] or type(problem).__name__
        raise MatrixError(f"{source}: cannot be read ({said})") from problem


def _smtx(source: Source) -> FileMatrix:
    pattern = read_smtx(source.path)
    check_sizes(source, *pattern.shape, len(pattern.indices))
    if not len(pattern.indices):
        fail(source, f"is {pattern.shape[0]}×{pattern.shape[1]} and has no non-zeros; give a matrix with at least one")
    return FileMatrix(pattern, None)


# -- Matrix Market ----------------------------------------------------------------------------------------------------

_INTEGER = rb"[-+]?+\d++"
_REAL = rb"[-+]?+(?:(?:\d++(?:\.\d*+)?+|\.\d++)(?:[eE][-+]?+\d++)?+|(?i:nan|inf(?:inity)?+))"
_VALUES = {"integer": _INTEGER, "unsigned-integer": _INTEGER, "real": _REAL, "pattern": b""}
_HEADER = re.compile(rb"(?:[ \t]*+(?:%[^\n]*+)?+\r?+\n)*+[^\n]*+\n?+")  # banner, comments and the line of sizes


def _market(source: Source) -> FileMatrix:
    """By scipy.io.mmread; symmetric, skew-symmetric and pattern files are what the format's definition says."""
    from scipy.io import mminfo, mmread

    text = _text(source)
    rows, columns, entries, layout, field, symmetry = mminfo(io.BytesIO(text))
    if field not in _VALUES:
        fail(source, f"has {field} values; expected real, integer or pattern: give its real part, or its magnitudes")
    if symmetry != "general" and rows != columns:
        fail(source, f"says that it is {symmetry}, and is {rows}×{columns}; expected as many rows as columns")
    dense = layout == "array"
    check_sizes(source, rows, columns, 0 if dense else entries)
    lines = entries if not dense or symmetry == "general" else rows * (rows - 1) // 2
    needed = lines * (2 if dense else 4 if field == "pattern" else 6) - 1
    if needed > len(text):
        said = f"announces {entries} entries, at least {needed} bytes, but has {len(text)}"
        fail(source, f"{said}: it is cut off, or its line of sizes is wrong")
    _check_lines(source, text, b"" if dense else rb"\d++[ \t]++\d++" + rb"[ \t]++" * (field != "pattern"), field)
    matrix = mmread(io.BytesIO(text))
    if symmetry == "skew-symmetric" and np.any(matrix.diagonal()):
        fail(source, "says that it is skew-symmetric, and has a diagonal that is not zero")
    found = of_scipy(source, matrix, once=True)
    return FileMatrix(found.pattern, None) if field == "pattern" else found


def _text(source: Source) -> bytes:
    """What the file holds, unpacked where it is packed, within a limit; its last line ends as all others do.

    mmread looks for what follows a blank at the end of a text, beyond the text: the process dies of it (SciPy 1.17).
    """
    opener = gzip.open if source.path.suffix.lower() == ".gz" else open
    with opener(source.path, "rb") as file:
        return read_most(source, file, _TEXT_BYTES).rstrip() + b"\n"


def _check_lines(source: Source, text: bytes, place: bytes, field: str) -> None:
    """MatrixError for the first line that holds anything but an entry.

    mmread passes over what follows a number that it could read, such as `,5` in `1,5`.
    """
    header = _HEADER.match(text)
    at = header.end() if header else 0
    entry = rb"[ \t]*+(?:" + place + _VALUES[field] + rb")?+[ \t]*+\r?+"
    found = re.compile(rb"(?:" + entry + rb"\n)*+(?:" + entry + rb"\Z)?+").match(text, at)
    stop = found.end() if found else at
    if stop < len(text):
        shown = text[stop : stop + 40].split(b"\n")[0].decode("ascii", "backslashreplace").strip()
        number = text.count(b"\n", 0, stop) + 1
        fail(source, f"line {number} is {shown!r}, expected the numbers of one entry, {field}")


# -- SciPy's .npz -----------------------------------------------------------------------------------------------------


def _npz(source: Source) -> FileMatrix:
    """By scipy.sparse.load_npz, which loads no pickle; what an archive claims is held against what is there first."""
    from scipy import sparse

    with zipfile.ZipFile(source.path) as archive:
        _check_archive(source, archive)
    return of_scipy(source, sparse.load_npz(source.path))


def _check_archive(source: Source, archive: zipfile.ZipFile) -> None:
    members = archive.infolist()
    if (size := sum(member.file_size for member in members)) > _ARCHIVE_BYTES:
        fail(source, f"claims {size} bytes of arrays, expected at most {_ARCHIVE_BYTES}")
    if "format.npy" not in archive.namelist():
        fail(source, "has no sparse matrix; write it by scipy.sparse.save_npz")
    for member in members:
        ratio = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: _DEFLATE}.get(member.compress_type, 0)
        if member.file_size > ratio * member.compress_size:
            fail(source, f"claims {member.file_size} bytes of {member.filename!r}, which it cannot hold")
        with archive.open(member) as file:
            version = np.lib.format.read_magic(file)
            header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            if version not in header:
                fail(source, f"has {member.filename!r} in version {version} of .npy; write it by scipy.sparse.save_npz")
            shape, _, dtype = header[version](file)
            if dtype.hasobject:
                fail(source, f"has pickled objects in {member.filename!r}, which are never loaded")
            if member.filename.removesuffix(".npy") in _PLACES and dtype.kind not in "iu":
                fail(source, f"has places of type {dtype} in {member.filename!r}, expected whole numbers")
            count = 1
            for side in shape:
                count *= side
            if count * dtype.itemsize != member.file_size - file.tell():
                fail(source, f"claims shape {shape} of {member.filename!r}, which is not what it holds")


# -- safetensors ------------------------------------------------------------------------------------------------------


def _tensor(source: Source) -> FileMatrix:
    """By the package safetensors; only the tensor that is named is read."""
    try:
        import ml_dtypes  # noqa: F401  # bfloat16 and the float8s have names in NumPy from here
        from safetensors import safe_open
    except ImportError:
        fail(source, f"the package safetensors reads it, and is not installed; try: {install_hint('safetensors')}")
    with safe_open(source.path, framework="numpy") as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        name = source.tensor
        if name not in shapes:
            said = f"has no tensor {name!r}" if name else "has tensors, and none is named"
            fail(source.path, f"{said}; {_offer(source, shapes)}")
        if (kind := file.get_slice(name).get_dtype()).startswith("F8"):
            fail(source, f"has values of type {kind}, which safetensors does not give to NumPy; store it as bfloat16")
        shape = shapes[name]
        if len(shape) != 2:
            fail(source, f"has {len(shape)} axes, shape {shape}; expected a matrix, of 2")
        check_sizes(source, *shape, 0)
        return of_scipy(source, file.get_tensor(name))


def _offer(source: Source, shapes: dict[str, tuple[int, ...]]) -> str:
    matrices = [name for name, shape in shapes.items() if len(shape) == 2]
    if not matrices:
        return "none of its tensors is a matrix"
    more = ", …" if len(matrices) > _SHOWN else ""
    return f"name one as {source.path.name}:TENSOR, of {', '.join(matrices[:_SHOWN])}{more}"

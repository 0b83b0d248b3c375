"""Matrices in Matrix Market files, and what is no file to read: the right matrix, or one sentence at once."""

from __future__ import annotations

import gzip
import tracemalloc

import numpy as np
import pytest
from _matrices import DENSE, entries, refused, written
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workloads.common import matrix_files
from workloads.common.matrix import MatrixError
from workloads.common.matrix_files import read, source_of

COORDINATE = b"%%MatrixMarket matrix coordinate real general\n% by hand\n3 4 4\n1 1 1.5\n1 3 -2\n3 2 3\n3 4 4e0\n"


# -- Matrix Market ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pack", [False, True])
def test_a_coordinate_file(tmp_path, pack):
    file = written(tmp_path, gzip.compress(COORDINATE) if pack else COORDINATE, "a.mtx.gz" if pack else "a.MTX")
    assert entries(file).tolist() == DENSE.tolist()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("coordinate pattern general\n2 3 2\n1 1\n2 3\n", [[1, 0, 0], [0, 0, 1]]),
        ("coordinate integer general\n\n2 2 2\n\n2 2 -7\r\n 1\t1  3 \n\n", [[3, 0], [0, -7]]),
        ("coordinate real symmetric\n2 2 2\n1 1 5\n2 1 6\n", [[5, 6], [6, 0]]),
        ("coordinate pattern symmetric\n2 2 1\n2 1\n", [[0, 1], [1, 0]]),
        ("coordinate real skew-symmetric\n2 2 1\n2 1 4\n", [[0, -4], [4, 0]]),
        ("array real general\n2 2\n1\n0\n.5\n-2e-1\n", [[1, 0.5], [0, -0.2]]),
        ("array integer symmetric\n2 2\n4\n5\n6", [[4, 5], [5, 6]]),
        ("coordinate real general\n2 2 1\n1 2 4 \t", [[0, 4], [0, 0]]),
        ("coordinate real general\n2 2 2\n1 1 0\n2 2 1\n", [[0, 0], [0, 1]]),
    ],
)
def test_what_the_header_says_is_what_is_read(tmp_path, text, expected):
    assert entries(written(tmp_path, f"%%MatrixMarket matrix {text}".encode())).tolist() == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "cannot be read (Line 1: Not a Matrix Market file. Missing banner.)"),
        ("%%MatrixMarket matrix coordinate", "cannot be read"),
        ("%%MatrixMarket vector coordinate real general\n2 1\n1 1\n", "line 3 is '1 1', expected"),
        ("%%MatrixMarket matrix coordinate complex general\n1 1 1\n1 1 1 2\n", "has complex values"),
        ("%%MatrixMarket matrix coordinate complex hermitian\n1 1 1\n1 1 1 2\n", "has complex values"),
        ("%%MatrixMarket matrix coordinate real symmetric\n2 3 1\n1 1 1\n", "says that it is symmetric, and is 2×3"),
        ("%%MatrixMarket matrix coordinate real symmetric\n2 2 2\n1 2 1\n2 1 1\n", "gives 2 entries more than once"),
        ("%%MatrixMarket matrix coordinate real skew-symmetric\n2 2 1\n1 1 1\n", "has a diagonal that is not zero"),
        ("%%MatrixMarket matrix coordinate real general\n2 2 2\n1 1 1\n1 1 2\n", "gives 1 entries more than once"),
        ("%%MatrixMarket matrix coordinate real general\n2 2 0\n", "has no non-zeros"),
        ("%%MatrixMarket matrix coordinate real general\n2 2 1\n1 1 0\n", "has no non-zeros"),
        ("%%MatrixMarket matrix coordinate real general\n0 0 0\n", "is 0×0 and has no entries"),
        ("%%MatrixMarket matrix coordinate real general\n2 2 1\n1 1 nan\n", "has a value that is not finite"),
        ("%%MatrixMarket matrix coordinate real general\n2 2 1\n1 1 1e999\n", "has a value that is not finite"),
        ("%%MatrixMarket matrix coordinate real general\n2 2 2\n1 1 1.0\n", "Truncated file"),
        ("%%MatrixMarket matrix coordinate real general\n2 2 2\n1 1 1\n", "Truncated file"),
        ("%%MatrixMarket matrix coordinate real general\n2 2 1\n1 1 1\n2 2 1\n", "Too many lines"),
        ("%%MatrixMarket matrix coordinate real general\n2 2 1\n3 1 1\n", "Row index out of bounds"),
        (
            "%%MatrixMarket matrix coordinate real general\n2 2 1\n1 1 1,5\n",
            "line 3 is '1 1 1,5', expected the numbers",
        ),
        (
            "%%MatrixMarket matrix coordinate real general\n2 2 1\n1 1 1 2\n",
            "line 3 is '1 1 1 2', expected the numbers",
        ),
        ("%%MatrixMarket matrix coordinate integer general\n2 2 1\n1 1 1.5\n", "line 3 is '1 1 1.5'"),
        ("%%MatrixMarket matrix coordinate pattern general\n2 2 1\n1 1 1\n", "line 3 is '1 1 1'"),
        ("%%MatrixMarket matrix coordinate integer general\n1 1 1\n1 1 99999999999999999999\n", "out of range"),
        ("%%MatrixMarket matrix coordinate real general\n2000000 2 1\n1 1 1\n", "at most 1000000 rows and columns"),
        ("%%MatrixMarket matrix coordinate real general\n900000 900000 1\n1 1 1\n", "which the dense twin needs"),
        ("%%MatrixMarket matrix coordinate real general\n9000 9000 80000000\n1 1 1\n", "stores 80000000 values"),
        ("%%MatrixMarket matrix coordinate real general\n9000 9000 60000000\n1 1 1\n", "announces 60000000 entries"),
        ("%%MatrixMarket matrix array real general\n20000 20000\n1\n", "announces 400000000 entries"),
        ("%%MatrixMarket matrix coordinate real general\n2 2 99999999999999999999\n1 1 1\n", "out of range"),
    ],
)
def test_a_broken_file_is_one_sentence_and_costs_nothing(tmp_path, text, said):
    file = written(tmp_path, text.encode())
    tracemalloc.start()
    try:
        assert said in refused(file)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


def test_what_is_packed_is_held_against_a_limit(tmp_path, monkeypatch):
    packed = gzip.compress(COORDINATE + b"\n" * 100_000)
    assert "cannot be read" in refused(written(tmp_path, packed[:-20], "cut.mtx.gz"))
    assert "cannot be read" in refused(written(tmp_path, COORDINATE, "not.mtx.gz"))
    assert entries(written(tmp_path, packed, "a.mtx.gz")).any()
    monkeypatch.setattr(matrix_files, "_TEXT_BYTES", 1000)
    assert "has over 1000 bytes" in refused(tmp_path / "a.mtx.gz")


_EDITS = st.lists(
    st.tuples(
        st.integers(0, 90), st.integers(0, 3), st.sampled_from([*b"0159-+. ,\n\t%eE", 0, 255]).map(lambda b: bytes([b]))
    ),
    max_size=4,
)


def _strictly(data):
    """A coordinate file of real numbers read line by line by the format's definition; None where a line is none."""
    lines = data.decode("latin-1").split("\n")
    assert lines[0].split()[1:4] == ["matrix", "coordinate", "real"]
    rest = [line.split() for line in lines[1:] if line.strip(" \t\r") and not line.lstrip(" \t").startswith("%")]
    (rows, columns, count), *found = rest
    out = np.zeros((int(rows), int(columns)))
    assert len(found) == int(count)
    for row, column, value in found:
        out[int(row) - 1, int(column) - 1] = float(value)
    return out


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=_EDITS, cut=st.integers(0, 30))
def test_mutated_text_is_read_by_the_letter_or_refused(tmp_path, edits, cut):
    """What is accepted is what an independent, strict reader makes of the same bytes."""
    data = bytearray(COORDINATE)
    for place, length, new in edits:
        data[place : place + length] = new
    file = written(tmp_path, bytes(data[: len(data) - cut]))
    try:
        found = entries(file)
    except MatrixError:
        refused(file)
        return
    assert found.tolist() == _strictly(file.read_bytes()).tolist()


# -- whatever it is ---------------------------------------------------------------------------------------------------


def test_what_is_no_file_to_read(tmp_path):
    assert "is none of the files that are read; expected .mtx" in refused(written(tmp_path, b"", "a.txt"))
    assert "cannot be read" in refused(tmp_path / "none.mtx")
    (tmp_path / "folder.mtx").mkdir()
    assert "not a regular file" in refused(tmp_path / "folder.mtx")
    assert "has no non-zeros" in refused(written(tmp_path, b"2, 2, 0\n0 0 0\n\n", "a.smtx"))
    with pytest.raises(MatrixError, match="cannot be read"):
        read(source_of("a\0b.mtx"))


def test_a_colon_in_a_path_is_part_of_it(tmp_path):
    folder = tmp_path / "x:y"
    folder.mkdir()
    assert entries(written(folder, COORDINATE, "a:b.mtx")).any()
    assert source_of("f.safetensors:a:b").tensor == "a:b"
    assert source_of("m.mtx").tensor == ""

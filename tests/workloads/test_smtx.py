"""`.smtx` files: real samples are read, and whatever is wrong is one sentence with the file and the place, at once."""

import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workloads.common.matrix import MatrixError
from workloads.common.patterns import fingerprint, uniform
from workloads.common.smtx import read_smtx

SAMPLES = Path(__file__).resolve().parents[3] / "shared" / "dlmc"
GOOD = b"3, 4, 5\n0 2 2 5 \n1 3 0 2 3 \n"


def _write(folder, data):
    file = folder / "pattern.smtx"
    file.write_bytes(data)
    return file


def test_a_small_file_by_hand(tmp_path):
    """Three rows, the middle one empty."""
    pattern = read_smtx(_write(tmp_path, GOOD))
    assert pattern.shape == (3, 4)
    assert pattern.indptr.tolist() == [0, 2, 2, 5]
    assert pattern.indices.tolist() == [1, 3, 0, 2, 3]
    assert pattern.indices.dtype == pattern.indptr.dtype == np.int32


@pytest.mark.parametrize(
    "data",
    [
        b"3,4,5\n0,2,2,5\n1,3,0,2,3",
        b"3 4 5\r\n0 2 2 5\r\n1\t3 0 2 3\r\n\r\n",
        b"3, 4, 5\n0 2 2 5\n3 1 3 2 0\n",
    ],
)
def test_other_ways_to_write_the_same(tmp_path, data):
    """Commas, tabs, carriage returns, a missing last newline and unsorted rows are all the same pattern."""
    assert fingerprint(read_smtx(_write(tmp_path, data))) == fingerprint(read_smtx(_write(tmp_path, GOOD)))


def test_a_pattern_without_non_zeros(tmp_path):
    """An empty matrix is a valid file."""
    assert len(read_smtx(_write(tmp_path, b"2, 2, 0\n0 0 0\n\n")).indices) == 0


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "line 1 is the last"),
        (b"3, 4, 5", "line 1 is the last"),
        (b"\x00" * 1000, "line 1 is longer than 256 bytes"),
        (b"rows, cols, nnz\n0\n0\n", r"line 1 is 'rows, cols, nnz', expected"),
        (b"3, 4\n0 2 2 5\n1 3 0 2 3\n", "line 1 is '3, 4'"),
        (b"3, -4, 5\n0 2 2 5\n1 3 0 2 3\n", "line 1 is '3, -4, 5'"),
        (b"0, 4, 0\n0\n\n", r"line 1 gives 0 as rows, expected 1…2147483647"),
        (b"3, 4294967296, 5\n0 2 2 5\n1 3 0 2 3\n", "line 1 gives 4294967296 as columns"),
        (b"1, 4, 5\n0 5\n0 1 2 3 3\n", "line 1 gives 5 non-zeros for 1×4 = 4 entries"),
        (b"3, 4, 5\n0 2 2 5\n", "line 1 announces 3 rows and 5 non-zeros, at least 17 more bytes, but 8 follow"),
        (b"2000000000, 2000000000, 2000000000\n0 1\n1\n", "line 1 announces 2000000000 rows"),
        (b"3, 4, 5\n0 2 2 \n1 3 0 2 3       \n", "line 2 holds 3 row offsets, expected 4"),
        (b"3, 4, 5\n0 2 2 5 5\n1 3 0 2 3\n", "line 2 holds over 4 row offsets, expected 4"),
        (b"3, 4, 5\n1 2 2 5\n1 3 0 2 3\n", "line 2 starts with offset 1, expected 0"),
        (b"3, 4, 5\n0 2 1 5\n1 3 0 2 3\n", "line 2 value 3 is offset 1, below the 2 before it"),
        (b"3, 4, 5\n0 2 2 4\n1 3 0 2 3\n", "line 2 ends with offset 4, expected the 5 non-zeros"),
        (b"3, 4, 5\n0 2 2 9\n1 3 0 2 3\n", r"line 2 value 4 is 9, expected a number in 0…5"),
        (b"3, 4, 5\n0 2 2.5 5\n1 3 0 2 3\n", r"line 2 value 3 is '2\.5', expected a whole number"),
        (b"3, 4, 5\n0 2 2 5\n1 3 0 2  \n", "line 3 holds 4 column indices, expected 5"),
        (b"3, 4, 5\n0 2 2 5\n1 3 0 2 4\n", r"line 3 value 5 is 4, expected a number in 0…3"),
        (b"3, 4, 5\n0 2 2 5\n-1 3 0 2 3\n", "line 3 value 1 is '-1', expected a whole number"),
        (b"3, 4, 5\n0 2 2 5\n1 3 0 x 3\n", "line 3 value 4 is 'x', expected a whole number"),
        (b"3, 4, 5\n0 2 2 5\n1 3 0 2 99999999999999999999\n", r"line 3 value 5 has 20 digits"),
        (b"3, 4, 5\n0 2 2 5\n1 3 0 2 2\n", "line 3 has column 2 of row 2 more than once"),
        (b"3, 4, 5\n0 2 2 5\n1 3 0 2 3\n7\n", "line 4 is not empty; a file has three lines"),
    ],
)
def test_a_bad_file_is_one_sentence_with_the_place(tmp_path, data, message):
    """Every way to be wrong names the file, the line, the value, and what was expected."""
    file = _write(tmp_path, data)
    with pytest.raises(MatrixError, match=message) as caught:
        read_smtx(file)
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path):
    """A missing file, a folder, a device and an impossible name are errors of the same kind."""
    for path, problem in [
        (tmp_path / "none.smtx", "cannot be read"),
        (tmp_path, "not a regular file"),
        ("/dev/zero", "not a regular file"),
        ("a\0b", "cannot be read"),
    ]:
        with pytest.raises(MatrixError, match=problem):
            read_smtx(path)


def test_a_huge_header_costs_nothing(tmp_path):
    """A header that claims 2³¹−1 of everything is refused without allocating for it."""
    file = _write(tmp_path, b"2147483647, 2147483647, 2147483647\n" + b"0 " * 1000 + b"\n0\n")
    tracemalloc.start()
    try:
        start = time.perf_counter()
        with pytest.raises(MatrixError, match="announces 2147483647 rows"):
            read_smtx(file)
        assert time.perf_counter() - start < 0.5
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@given(rows=st.integers(1, 8), columns=st.integers(1, 8), seed=st.integers(0, 1000))
def test_what_is_written_is_read(tmp_path_factory, rows, columns, seed):
    """Any pattern comes back from its file."""
    rng = np.random.default_rng(seed)
    pattern = uniform(rows, columns, max(1, rng.integers(1, rows * columns + 1)) / (rows * columns), rng)
    lines = (f"{rows}, {columns}, {len(pattern.indices)}", *(" ".join(map(str, x)) for x in (pattern[1], pattern[0])))
    file = _write(tmp_path_factory.mktemp("smtx"), "\n".join(lines).encode())
    assert fingerprint(read_smtx(file)) == fingerprint(pattern)


def _read_or_refused(file):
    """The pattern, or None where MatrixError names the file; any other error passes through."""
    try:
        return read_smtx(file)
    except MatrixError as refusal:
        if not str(refusal).startswith(str(file)):
            pytest.fail(f"the file is not named: {refusal}")
        return None


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    edits=st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 2), st.binary(max_size=3)), max_size=4),
    cut=st.integers(0, len(GOOD)),
)
def test_mutated_bytes_are_read_or_refused(tmp_path, edits, cut):
    """Bytes changed, added, removed or cut off: a well-formed pattern or MatrixError, never anything else."""
    data = bytearray(GOOD)
    for place, kind, new in edits:
        data[place : place + kind] = new
    file = _write(tmp_path, bytes(data[: len(data) - cut]))
    pattern = _read_or_refused(file)
    if pattern is not None:
        assert pattern.indptr[-1] == len(pattern.indices)
        assert len(pattern.indptr) == pattern.shape[0] + 1
        assert (np.diff(pattern.flat) > 0).all()
        assert (pattern.indices < pattern.shape[1]).all()


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=300))
def test_arbitrary_bytes_are_read_or_refused(tmp_path, data):
    """Anything at all: a pattern or MatrixError."""
    _read_or_refused(_write(tmp_path, data))


@pytest.mark.parametrize("target", ["0.5", "0.7", "0.8", "0.9", "0.95", "0.98"])
def test_real_samples(target):
    """Samples of the Deep Learning Matrix Collection: the density is about the one that the path promises."""
    files = sorted(SAMPLES.glob(f"*/*/{target}/*.smtx"))
    if not files:
        pytest.skip(f"no samples of the Deep Learning Matrix Collection at {SAMPLES}")
    for file in files:
        pattern = read_smtx(file)
        assert (np.diff(pattern.flat) > 0).all()
        density = len(pattern.indices) / (pattern.shape[0] * pattern.shape[1])
        assert abs(density - (1 - float(target))) < 0.05, file

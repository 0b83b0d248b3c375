"""Matrices in SciPy's .npz and in safetensors: the right one, or one sentence; no pickle, no claim is believed."""

from __future__ import annotations

import io
import json
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from _matrices import DENSE, entries, refused, written
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse

from workloads.common import matrix_files
from workloads.common.matrix import MatrixError
from workloads.common.matrix_files import read, source_of

# -- .npz -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "bsr", "dia"])
@pytest.mark.parametrize("make", [sparse.csr_matrix, sparse.csr_array])
def test_every_format_that_scipy_saves(tmp_path, kind, make):
    sparse.save_npz(tmp_path / "a.npz", make(DENSE).asformat(kind))
    assert entries(tmp_path / "a.npz").tolist() == DENSE.tolist()


@pytest.mark.parametrize("dtype", ["float32", "longdouble", "int8", "uint64", "bool"])
def test_types_of_values(tmp_path, dtype):
    matrix = sparse.coo_array((np.array([3, 1]).astype(dtype), ([0, 1], [2, 0])), shape=(2, 3))
    sparse.save_npz(tmp_path / "a.npz", matrix)
    assert entries(tmp_path / "a.npz").tolist() == [[0, 0, 1 if dtype == "bool" else 3], [1, 0, 0]]
    assert (read(source_of(str(tmp_path / "a.npz"))).values is None) == (dtype == "bool")


def test_entries_that_stand_twice_are_summed_and_zeros_are_none(tmp_path):
    data = (np.array([1.0, 2, 3, -3]), ([0, 0, 1, 1], [0, 0, 1, 1]))
    sparse.save_npz(tmp_path / "a.npz", sparse.coo_array(data, shape=(2, 2)))
    assert entries(tmp_path / "a.npz").tolist() == [[3, 0], [0, 0]]
    assert len(read(source_of(str(tmp_path / "a.npz"))).pattern.indices) == 1


def _npz(folder, **arrays):
    np.savez(folder / "a.npz", **arrays)
    return folder / "a.npz"


CSR = {
    "format": b"csr",
    "shape": (2, 3),
    "data": np.ones(2),
    "indices": np.array([0, 2]),
    "indptr": np.array([0, 1, 2]),
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"indices": np.array([0, 3])}, "indices must be < 3"),
        ({"indices": np.array([0, -1])}, "cannot be read"),
        ({"indptr": np.array([0, 2, 1])}, "has row offsets that fall"),
        ({"indptr": np.array([0, 3, 0])}, "has row offsets that fall"),
        ({"indices": np.array([0.0, 1.5])}, "has places of type float64 in 'indices.npy'"),
        ({"format": b"bsr", "data": np.ones((2, 2, 2)), "indptr": np.array([0, 2]), "shape": (3, 6)}, "do not divide"),
        ({"format": b"bsr", "data": np.ones((2, 0, 2))}, "cannot be read"),
        ({"indptr": np.array([0, 1, 9])}, "cannot be read"),
        ({"shape": (2**40, 3)}, "cannot be read"),
        ({"data": np.ones(2, complex)}, "has values of type complex128"),
        ({"data": np.array([1, np.inf])}, "not finite"),
        ({"data": np.zeros(2)}, "has no non-zeros"),
        ({"data": np.array(["a", "b"])}, "has values of type <U1"),
        ({"format": b"xyz"}, "cannot be read"),
        ({"format": b"os"}, "cannot be read"),
        ({"data": np.array([1, {}], dtype=object)}, "has pickled objects in 'data.npy', which are never loaded"),
    ],
)
def test_a_broken_archive_is_one_sentence(tmp_path, change, said):
    assert said in refused(_npz(tmp_path, **{**CSR, **change}))


def test_a_pickle_is_never_loaded(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    data = np.array([Evil(), 1], dtype=object)
    assert "never loaded" in refused(_npz(tmp_path, **{**CSR, "data": data}))
    assert "never loaded" in refused(_npz(tmp_path, **{**CSR, "format": np.array(Evil(), dtype=object)}))
    assert not (tmp_path / "ran").exists()


def test_an_archive_that_is_something_else(tmp_path):
    assert "has no sparse matrix; write it by scipy.sparse.save_npz" in refused(_npz(tmp_path, weight=DENSE))
    assert "cannot be read" in refused(written(tmp_path, b"hello", "a.npz"))
    assert "cannot be read" in refused(written(tmp_path, b"", "a.npz"))


@pytest.mark.parametrize("claimed", [(1 << 20,), (1 << 60,), (1 << 40, 1 << 40)])
def test_an_archive_that_claims_more_than_it_holds_costs_nothing(tmp_path, claimed):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"shape": claimed, "fortran_order": False, "descr": "<f8"})
    file = _npz(tmp_path, **{name: array for name, array in CSR.items() if name != "data"})
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("data.npy", header.getvalue() + b"\0" * 16)
    tracemalloc.start()
    try:
        assert "claims shape" in refused(file)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


def test_a_bomb_is_told_by_its_sizes(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", **{**CSR, "data": np.zeros(1 << 20)})
    monkeypatch.setattr(matrix_files, "_ARCHIVE_BYTES", 1 << 20)
    assert "claims" in refused(tmp_path / "a.npz")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    edits=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 4), st.binary(max_size=4)), min_size=1, max_size=4),
    packed=st.booleans(),
)
def test_a_mutated_archive_is_read_or_refused(tmp_path, edits, packed):
    file = tmp_path / "a.npz"
    sparse.save_npz(file, sparse.csr_array(DENSE), compressed=packed)
    data = bytearray(file.read_bytes())
    for place, length, new in edits:
        place %= len(data)
        data[place : place + length] = new
    file.write_bytes(data)
    try:
        assert entries(file).any()
    except MatrixError:
        refused(file)


ARRAYS = {
    "csr": {"data": np.ones(4), "indices": np.array([0, 2, 1, 3]), "indptr": np.array([0, 2, 2, 4]), "shape": (3, 4)},
    "csc": {"data": np.ones(3), "indices": np.array([0, 2, 1]), "indptr": np.array([0, 2, 3]), "shape": (3, 2)},
    "bsr": {"data": np.ones((2, 1, 2)), "indices": np.array([0, 1]), "indptr": np.array([0, 1, 2]), "shape": (2, 4)},
    "dia": {"data": np.ones((2, 3)), "offsets": np.array([0, 1]), "shape": (3, 3)},
    "coo": {"data": np.ones(3), "row": np.array([0, 1, 2]), "col": np.array([0, 1, 1]), "shape": (3, 3)},
}
_NUMBERS = st.sampled_from([0, 1, 2, 3, 4, 7, -1, -2, 2**31 - 1, 2**31, 2**40, -(2**40), 2**62])
_ARRAYS = st.builds(
    lambda numbers, dtype, row: np.array(numbers, "i8").astype(dtype)[None if row else ...],
    st.lists(_NUMBERS, max_size=5),
    st.sampled_from(["i8", "i8", "i4", "u8", "f8", "?"]),
    st.booleans(),
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from([*ARRAYS]), changes=st.lists(st.tuples(st.integers(0, 3), _ARRAYS), max_size=2))
def test_arrays_that_contradict_each_other_are_read_or_refused(tmp_path, kind, changes):
    """SciPy's own code writes beyond its memory for some of them: then the process dies of it, here or later."""
    arrays = dict(ARRAYS[kind])
    for place, array in changes:
        arrays[[*arrays][place % len(arrays)]] = array
    file = _npz(tmp_path, format=kind.encode(), **arrays)
    try:
        entries(file)
    except MatrixError:
        refused(file)


# -- safetensors ------------------------------------------------------------------------------------------------------

BFLOAT16 = struct.pack("<4H", 0x3F80, 0, 0xC000, 0)  # 1, 0, −2, 0


def tensors(file, **named):
    """A file of safetensors by hand: each tensor's type, shape and bytes."""
    header, data = {}, b""
    for name, (dtype, shape, content) in named.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return file


@pytest.fixture
def model(tmp_path):
    pytest.importorskip("safetensors")
    return tensors(
        tmp_path / "model.safetensors",
        **{
            "a.weight": ("BF16", [2, 2], BFLOAT16),
            "b/kernel": ("F32", [1, 2], np.array([0, 7], "<f4").tobytes()),
            "mask": ("BOOL", [2, 2], b"\1\0\0\1"),
            "int": ("I8", [2, 2], b"\0\0\xff\0"),
            "bias": ("F32", [2], bytes(8)),
            "eight": ("F8_E4M3", [2, 2], bytes(4)),
            "zero": ("F32", [1, 2], bytes(8)),
            "whole": ("C64", [1, 1], bytes(8)),
        },
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.weight", [[1, 0], [-2, 0]]), ("b/kernel", [[0, 7]]), ("mask", [[1, 0], [0, 1]]), ("int", [[0, 0], [-1, 0]])],
)
def test_a_tensor_by_its_name(model, name, expected):
    assert entries(f"{model}:{name}").tolist() == expected


def test_a_tensor_that_is_no_matrix_to_measure(model, tmp_path):
    assert "has tensors, and none is named; name one as model.safetensors:TENSOR, of a.weight, b/kernel" in refused(
        model
    )
    assert "has no tensor 'c'; name one as" in refused(f"{model}:c")
    assert "has 1 axes, shape (2,)" in refused(f"{model}:bias")
    assert "has values of type F8_E4M3, which safetensors does not give" in refused(f"{model}:eight")
    assert "has no non-zeros" in refused(f"{model}:zero")
    assert "complex64" in refused(f"{model}:whole")
    only = tensors(tmp_path / "only.safetensors", bias=("F32", [1], bytes(4)))
    assert "none of its tensors is a matrix" in refused(f"{only}:weight")
    model.write_bytes(model.read_bytes()[:-1])
    assert "cannot be read" in refused(f"{model}:a.weight")
    model.write_bytes(struct.pack("<Q", 1 << 62) + b"{}")
    assert "cannot be read" in refused(f"{model}:a.weight")


def test_without_the_package_the_command_is_told_that_brings_it(model, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "safetensors", None)
    assert "[safetensors]" in refused(f"{model}:a.weight")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=st.lists(st.tuples(st.integers(0, 700), st.integers(0, 4), st.binary(max_size=4)), min_size=1, max_size=4))
def test_a_mutated_file_of_tensors_is_read_or_refused(model, edits):
    whole = model.read_bytes()
    data = bytearray(whole)
    for place, length, new in edits:
        data[place : place + length] = new
    model.write_bytes(data)
    try:
        assert entries(f"{model}:a.weight").any()
    except MatrixError:
        refused(f"{model}:a.weight")
    finally:
        model.write_bytes(whole)

"""The units for 2:4 of a GPU, by cuSPARSELt and by CUTLASS, with PyTorch's own border faked."""

from __future__ import annotations

import importlib
import warnings

import numpy as np
import pytest
from _opened import installed

from backends.ops import CSR, Device, Unsupported
from workloads.base import Parameters
from workloads.discovery import workloads

RNG = np.random.default_rng(4)
LIBRARIES = {"cusparselt": False, "cutlass": True}  # and whether PyTorch is made to take CUTLASS


@pytest.fixture
def units(monkeypatch):
    """PyTorch's adapter, and what was packed: which library was to be taken, and the dense matrix."""
    installed("torch")
    torch, packed = importlib.import_module("torch"), []
    kind = torch.sparse.SparseSemiStructuredTensor

    def pack(dense):
        warnings.warn("The PyTorch API of SparseSemiStructuredTensor is in prototype stage", UserWarning, stacklevel=1)
        packed.append((kind._FORCE_CUTLASS, dense.numpy().copy()))
        return dense

    monkeypatch.setattr(torch.sparse, "to_sparse_semi_structured", pack)
    monkeypatch.setattr(kind, "_FORCE_CUTLASS", False)
    yield installed("torch").open(Device("cpu")), packed, torch
    assert kind._FORCE_CUTLASS is False, "what other formats get is as it was"


def two_of_four(rows=8, columns=16):
    kept = np.sort(np.argsort(RNG.random((rows, columns // 4, 4)))[:, :, :2]).reshape(rows, -1)
    indices = (kept + np.repeat(np.arange(0, columns, 4), 2)).astype(np.int32)
    indptr = np.arange(0, indices.size + 1, columns // 2, dtype=np.int32)
    values = RNG.standard_normal(indices.size).astype(np.float32)
    return CSR(values, indices.ravel(), indptr, (rows, columns))


@pytest.mark.parametrize("library", LIBRARIES)
def test_each_library_is_given_the_matrix_with_its_zeros_and_its_product_is_the_matrix_s(units, library):
    ops, packed, _ = units
    a, b = two_of_four(), RNG.standard_normal((16, 5)).astype(np.float32)
    found = ops.to_numpy(ops.sparse_matmul(ops.sparse(a, library), ops.asarray(b)))
    ((forced, dense),) = packed
    assert forced is LIBRARIES[library]
    np.testing.assert_array_equal(dense, a.dense())
    assert (np.count_nonzero(dense.reshape(8, 4, 4), axis=2) == 2).all()
    np.testing.assert_allclose(found, a.dense() @ b, rtol=1e-5)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_shape_that_the_units_do_not_take_is_refused_in_pytorch_s_first_line(units, library, monkeypatch):
    ops, _, torch = units

    def refuses(_):
        raise RuntimeError("Error original_tensor.shape torch.Size([8, 16]) is not supported!\nBoth must be larger")

    monkeypatch.setattr(torch.sparse, "to_sparse_semi_structured", refuses)
    with pytest.raises(Unsupported, match=r"^Error original_tensor.shape torch.Size\(\[8, 16\]\) is not supported!$"):
        ops.sparse(two_of_four(), library)


@pytest.mark.parametrize(("pattern", "applies"), [((2, 4), True), ((1, 4), False), ((4, 8), False)])
def test_only_two_of_four_has_them_and_they_are_formulations_of_their_own(pattern, applies):
    workload = workloads()[0]["nm_sparse"]
    keep, of = pattern
    params = workload.completed({**workload.presets["smoke"][0].params, "keep": keep, "of": of})
    forward = workload.formulations["forward"]
    assert [forward[name].applies(Parameters(params)) for name in LIBRARIES] == [applies] * 2

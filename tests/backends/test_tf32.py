"""TF32 is asked of all frameworks or of none, recorded, allowed its own error, and never published as float32."""

from __future__ import annotations

import pytest
from _opened import installed

from backends.dtypes import PRECISION, TF32
from backends.ops import Device
from workloads.base import CONVOLVED_ON_CUDA
from workloads.discovery import workloads


@pytest.fixture
def in_tf32(monkeypatch):
    """A backend opened in a run that asks for it; afterwards as it was."""
    names = []

    def opened(name):
        names.append(name)
        return installed(name).open(Device("cpu"))

    monkeypatch.setenv(PRECISION, TF32)
    yield opened
    monkeypatch.delenv(PRECISION)
    for name in names:
        assert installed(name).open(Device("cpu")).settings()["tf32"] is False


@pytest.mark.parametrize("name", ["torch", "jax", "tensorflow"])
def test_it_is_set_in_every_framework_and_read_back(in_tf32, name):
    assert in_tf32(name).settings()["tf32"] is True


def test_products_in_tf32_are_allowed_what_float16_is_whose_mantissa_they_have():
    for workload in workloads()[0].values():
        for dtype, mode in workload.tolerances:
            plain = workload.tolerance(dtype, mode, "cuda")
            if dtype == "float32":
                assert (
                    workload.tolerance(dtype, mode, "cuda", tf32=True) == workload.tolerances["float16", mode] > plain
                )
            else:
                assert workload.tolerance(dtype, mode, "cuda", tf32=True) == plain


def test_a_convolution_on_cuda_may_be_winograds_and_nothing_else_is_allowed_more():
    """cuDNN and XLA choose by trial; on the host and where nothing convolves the workload's own tolerance stands."""
    found = workloads()[0]
    assert {"dense_cnn", "dense_conv", "capsule_conv", "local_update"} <= {n for n, w in found.items() if w.convolves}
    for name, workload in found.items():
        for key, own in workload.tolerances.items():
            assert workload.tolerance(*key) == own
            more = workload.convolves and key[0] == "float32"
            assert workload.tolerance(*key, "cuda") == (max(own, CONVOLVED_ON_CUDA) if more else own), name
    conv = found["dense_conv"]
    assert conv.tolerance("float32", "forward", "cuda") == CONVOLVED_ON_CUDA > conv.tolerance("float32", "forward")

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


def axes(workload):
    return workload.completed(workload.presets["smoke"][0].params)


def test_products_in_tf32_are_allowed_what_float16_is_whose_mantissa_they_have():
    for workload in workloads()[0].values():
        params = axes(workload)
        allowed = workload.tolerances_at(params)
        for dtype, mode in allowed:
            plain = workload.tolerance(params, dtype, mode, "cuda")
            tf32 = workload.tolerance(params, dtype, mode, "cuda", tf32=True)
            if dtype == "float32" and ("float16", mode) in allowed:
                assert tf32 == max(plain, allowed["float16", mode]) > plain
            else:
                assert tf32 == plain


def test_a_convolution_on_cuda_may_be_winograds_and_nothing_else_is_allowed_more():
    """cuDNN and XLA choose by trial; on the host and where nothing convolves the workload's own tolerance stands."""
    found = workloads()[0]
    assert {"dense_cnn", "dense_conv", "capsule_conv", "local_update"} <= {n for n, w in found.items() if w.convolves}
    for name, workload in found.items():
        params = axes(workload)
        for key, own in workload.tolerances_at(params).items():
            assert workload.tolerance(params, *key) == own
            more = workload.convolves and key[0] == "float32"
            assert workload.tolerance(params, *key, "cuda") == (max(own, CONVOLVED_ON_CUDA) if more else own), name
    conv = found["dense_conv"]
    of_conv = (axes(conv), "float32", "forward")
    assert conv.tolerance(*of_conv, "cuda") == CONVOLVED_ON_CUDA > conv.tolerance(*of_conv)

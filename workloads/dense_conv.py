"""The ordinary convolution: the dense path that a capsule convolution is equal to once its poses are folded away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from backends.ops import Array, HostArray, Ops
from workloads import Axis, Parameters, Workload
from workloads.base import Inputs
from workloads.common import digits
from workloads.common.windows import out_side, packed, shifted

w = Workload(
    "dense_conv",
    title="ordinary convolution",
    source="the twin of the capsule convolution",
    role="twin",
    axes={
        "batch": Axis(help="images", low=1, high=1e6),
        "height": Axis(help="height and width of an image, pixels", low=1, high=4096),
        "in_channels": Axis(help="channels of an image", low=1, high=1e5),
        "out_channels": Axis(help="filters", low=1, high=1e5),
        "kernel": Axis(help="height and width of a filter, pixels", low=1, high=64),
        "stride": Axis(help="pixels between windows", low=1, high=64),
        "padding": Axis(help="zeros on each side, pixels", low=0, high=64),
    },
    convolves=True,
)
w.preset("smoke", batch=2, height=7, in_channels=3, out_channels=5, kernel=3, stride=2, padding=1)
w.preset("smoke", batch=2, height=7, in_channels=3, out_channels=5, kernel=3, stride=1, padding=0)


def _out(p: Parameters) -> int:
    return out_side(p.height, p.kernel, p.stride, p.padding)


@w.inputs
def inputs(p: Parameters, seed: int) -> Inputs:
    """x (n, height, height, ci) from digits spread over the channels; filters w (k, k, ci, co), outputs of order 1."""
    shape = (p.kernel, p.kernel, p.in_channels, p.out_channels)
    filters = np.random.default_rng(seed).standard_normal(shape) / np.sqrt(p.kernel * p.kernel * p.in_channels)
    x = digits.flat(p.batch, p.height * p.height * p.in_channels, seed)
    return {"x": x.reshape(p.batch, p.height, p.height, p.in_channels), "w": filters}


@w.reference
def reference(x: HostArray, w: HostArray, p: Parameters) -> Mapping[str, HostArray]:
    """Cross-correlation y (n, oh, oh, co): every window of the zero-padded x against the filters."""
    pad = (p.padding, p.padding)
    padded = np.pad(x, ((0, 0), pad, pad, (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (p.kernel, p.kernel), (1, 2))
    return {"y": np.tensordot(windows[:, :: p.stride, :: p.stride], w, axes=((4, 5, 3), (0, 1, 2)))}


# 2·N·OH·OW·Co·Ci·k², border taps counted as every convolution formula does; x, w and y once each. FlopCounterMode
# agrees to the FLOP; XLA's cost analysis leaves the border taps out (tests/workloads/test_xla_counters.py).
w.work(
    flop=lambda p: 2 * p.batch * _out(p) ** 2 * p.out_channels * p.in_channels * p.kernel**2,
    bytes=lambda p, e: (
        e
        * (
            p.batch * p.height**2 * p.in_channels
            + p.kernel**2 * p.in_channels * p.out_channels
            + p.batch * _out(p) ** 2 * p.out_channels
        )
    ),
)


def _channels_last(ops: Ops, x: HostArray, w: HostArray) -> Sequence[Array]:
    return [ops.asarray(x), ops.filters(w)]


def _channels_first(ops: Ops, x: HostArray, w: HostArray) -> Sequence[Array]:
    return [ops.asarray(np.ascontiguousarray(x.transpose(0, 3, 1, 2))), ops.filters(w)]


@w.formulation(note="the framework's convolution on NHWC images", prepare=_channels_last)
def nhwc(ops: Ops, p: Parameters, x: Array, w: Array) -> Mapping[str, Array]:
    """x (n, h, h, ci)."""
    return {"y": ops.conv2d(x, w, stride=p.stride, padding=p.padding, layout="nhwc")}


@w.formulation(
    note="the framework's convolution on NCHW images",
    prepare=_channels_first,
    restore=lambda y: {"y": y.transpose(0, 2, 3, 1)},
)
def nchw(ops: Ops, p: Parameters, x: Array, w: Array) -> Mapping[str, Array]:
    """x (n, ci, h, h)."""
    return {"y": ops.conv2d(x, w, stride=p.stride, padding=p.padding, layout="nchw")}


@w.formulation(
    note="nhwc, its filters laid out ahead for these very images, as a server of a trained network does",
    prepare=lambda ops, p, x, w: packed(ops, x, w, p),
    executions=("eager",),
)
def nhwc_packed(ops: Ops, p: Parameters, x: Array, w: Array) -> Mapping[str, Array]:
    """x (n, h, h, ci), filters in the framework's own layout."""
    return {"y": ops.conv2d(x, w, stride=p.stride, padding=p.padding, layout="nhwc")}


@w.formulation(note="k² strided slices side by side, then one product")
def im2col(ops: Ops, p: Parameters, x: Array, w: Array) -> Mapping[str, Array]:
    """Patches (n·oh·oh, k²·ci) · filters (k²·ci, co)."""
    oh, depth = _out(p), p.kernel**2 * p.in_channels
    columns = ops.concat(shifted(ops, x, p.kernel, p.stride, p.padding), 3)
    y = ops.matmul(ops.reshape(columns, (p.batch * oh * oh, depth)), ops.reshape(w, (depth, p.out_channels)))
    return {"y": ops.reshape(y, (p.batch, oh, oh, p.out_channels))}


WORKLOAD = w.definition()

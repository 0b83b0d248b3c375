"""The ordinary convolution: the dense path that a capsule convolution is equal to once its poses are folded away.

The layers of VGG8b and the twin of the capsule convolution reach the machine's rate of dense products in at least one
framework (results/perf-cpu/ceiling.txt); the first layer does not (0.59), whose three channels are 27 products for each
value written. JAX reaches 0.68 to 0.98, 0.1 in the first layer: XLA's convolutions are Eigen's, the others oneDNN's.

What a formulation takes over the best of its framework, each in its best execution (results/standard-cpu):

forward, batch=256 height=15 in_channels=128 out_channels=128 kernel=3 stride=2 padding=0
                               torch         jax  tensorflow
    nhwc                         1.0        best        best
    nchw                         1.2         1.4         1.3
    nhwc_packed                 best           -           -
    im2col                       1.4         1.8         1.7

Most ran in one process, alone: a difference under a fifth is noise. `-` is unsupported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from backends.ops import Array, HostArray, Layout, Ops
from workloads.base import Axis, Formulation, Inputs, Mode, Params, Point, Work, Workload
from workloads.common import digits
from workloads.common.windows import out_side, packed, shifted


def _sizes(params: Params) -> tuple[int, int, int, int, int, int, int]:
    names = ("batch", "height", "in_channels", "out_channels", "kernel", "stride", "padding")
    n, height, ci, co, k, stride, padding = (int(params[name]) for name in names)
    return n, height, ci, co, k, stride, padding


def inputs(params: Params, seed: int) -> Inputs:
    """x (n, height, height, ci) from digits spread over the channels; filters w (k, k, ci, co), outputs of order 1."""
    n, height, ci, co, k, _, _ = _sizes(params)
    filters = np.random.default_rng(seed).standard_normal((k, k, ci, co)) / np.sqrt(k * k * ci)
    return {"x": digits.flat(n, height * height * ci, seed).reshape(n, height, height, ci), "w": filters}


def reference(x: Inputs, params: Params, mode: Mode) -> Mapping[str, HostArray]:
    """Cross-correlation y (n, oh, oh, co): every window of the zero-padded x against the filters."""
    *_, k, stride, padding = _sizes(params)
    pad = (padding, padding)
    padded = np.pad(x["x"], ((0, 0), pad, pad, (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (k, k), (1, 2))[:, ::stride, ::stride]
    return {"y": np.tensordot(windows, x["w"], axes=((4, 5, 3), (0, 1, 2)))}


def work(params: Params, mode: Mode, itemsize: int) -> Work:
    """2·N·OH·OW·Co·Ci·k², border taps counted as every convolution formula does; x, w and y once each.

    FlopCounterMode agrees to the FLOP; XLA's cost analysis leaves the border taps out (tests/test_flop_counters.py).
    """
    n, height, ci, co, k, stride, padding = _sizes(params)
    oh = out_side(height, k, stride, padding)
    once = itemsize * (n * height * height * ci + k * k * ci * co + n * oh * oh * co)
    return Work(2 * n * oh * oh * co * ci * k * k, once, once)


def _conv(layout: Layout) -> Formulation:
    def prepare(ops: Ops, x: Inputs, params: Params) -> Sequence[Array]:
        images = x["x"] if layout == "nhwc" else x["x"].transpose(0, 3, 1, 2)
        return [ops.asarray(np.ascontiguousarray(images)), ops.filters(x["w"])]

    def step(ops: Ops, params: Params) -> Callable[..., tuple[Array, ...]]:
        *_, stride, padding = _sizes(params)
        return lambda x, w: (ops.conv2d(x, w, stride=stride, padding=padding, layout=layout),)

    def restore(outputs: Sequence[HostArray], x: Inputs, params: Params) -> Mapping[str, HostArray]:
        return {"y": outputs[0] if layout == "nhwc" else outputs[0].transpose(0, 2, 3, 1)}

    note = f"the framework's convolution on {layout.upper()} images"
    return Formulation(note=note, prepare=prepare, step=step, restore=restore)


def _im2col(ops: Ops, params: Params) -> Callable[..., tuple[Array, ...]]:
    n, height, ci, co, k, stride, padding = _sizes(params)
    oh = out_side(height, k, stride, padding)

    def run(x: Array, w: Array) -> tuple[Array, ...]:
        columns = ops.concat(shifted(ops, x, k, stride, padding), 3)
        y = ops.matmul(ops.reshape(columns, (n * oh * oh, k * k * ci)), ops.reshape(w, (k * k * ci, co)))
        return (ops.reshape(y, (n, oh, oh, co)),)

    return run


_SMOKE: Params = {
    "batch": 2,
    "height": 7,
    "in_channels": 3,
    "out_channels": 5,
    "kernel": 3,
    "stride": 2,
    "padding": 1,
}

WORKLOAD = Workload(
    name="dense_conv",
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
    presets={"smoke": (Point(_SMOKE), Point({**_SMOKE, "stride": 1, "padding": 0}))},
    inputs=inputs,
    reference=reference,
    formulations={
        "forward": {
            "nhwc": _conv("nhwc"),
            "nchw": _conv("nchw"),
            "nhwc_packed": replace(
                _conv("nhwc"),
                note="nhwc, its filters laid out ahead for these very images, as a server of a trained network does",
                prepare=lambda ops, x, params: packed(ops, x["x"], x["w"], params),
                executions=("eager",),
            ),
            "im2col": Formulation(
                note="k² strided slices side by side, then one product",
                prepare=lambda ops, x, params: [ops.asarray(x["x"]), ops.asarray(x["w"])],
                step=_im2col,
                restore=lambda outputs, x, params: {"y": outputs[0]},
            ),
        }
    },
    work=work,
    twins=lambda params, mode: (),
)

"""The convolution of matrix capsules: V[n,x,y,co] = Σ P[n,s·x+kx,s·y+ky,ci] · W[kx,ky,ci,co], each · a 4×4 product.

Shapes: poses P (N, H, H, Ci, 4, 4), W (k, k, Ci, Co, 4, 4), V (N, OH, OH, Co, 4, 4). Barham and Isard show it an
order of magnitude slower than a convolution of the same work. It is equal to one: with the pose's row folded into the
batch and (ci, column) into channels, V is conv2d of 4N images, 4Ci → 4Co.

What a formulation takes over the best of its framework, each in its best execution (results/standard-cpu):

forward, batch=64 height=15 in_capsules=32 out_capsules=32 kernel=3 stride=2 padding=0
                               torch         jax  tensorflow
    folded_layout                1.0        best        best
    folded_packed               best           -           -
    folded_layout_nchw           1.2         1.3         1.4
    folded_conv                  1.3         1.3         1.2
    im2col                       2.2         2.2         2.6
    loop                         2.5         1.8         2.7
    einsum                       3.2         3.6         2.1
    patches                      226          48          48

Most ran in one process, alone: a difference under a fifth is noise. `-` is unsupported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from backends.ops import Array, HostArray, Layout, Ops
from workloads.base import Axis, Formulation, Inputs, Mode, Params, Point, Twin, Work, Workload
from workloads.common import digits
from workloads.common.windows import out_side, packed, shifted

POSE = 4  # rows and columns of a pose


def _sizes(params: Params) -> tuple[int, int, int, int, int, int, int]:
    names = ("batch", "height", "in_capsules", "out_capsules", "kernel", "stride", "padding")
    n, height, ci, co, k, stride, padding = (int(params[name]) for name in names)
    return n, height, ci, co, k, stride, padding


def _out(params: Params) -> int:
    _, height, _, _, k, stride, padding = _sizes(params)
    return out_side(height, k, stride, padding)


def inputs(params: Params, seed: int) -> Inputs:
    """Poses (N, H, H, Ci, 4, 4) from digits spread over capsules; W (k, k, Ci, Co, 4, 4) such that V is of order 1."""
    n, height, ci, co, k, _, _ = _sizes(params)
    poses = digits.flat(n, height * height * ci * POSE * POSE, seed)
    weights = np.random.default_rng(seed).standard_normal((k, k, ci, co, POSE, POSE))
    return {"poses": poses.reshape(n, height, height, ci, POSE, POSE), "w": weights / np.sqrt(k * k * ci * POSE)}


def reference(x: Inputs, params: Params, mode: Mode) -> Mapping[str, HostArray]:
    """The definition, a tap of the kernel at a time: sum over capsules below and the inner side of the 4×4 products."""
    _, _, _, _, k, stride, padding = _sizes(params)
    oh = _out(params)
    pad, none = (padding, padding), (0, 0)
    poses = np.pad(x["poses"], (none, pad, pad, none, none, none))
    v = np.zeros((len(poses), oh, oh, x["w"].shape[3], POSE, POSE))
    for kx in range(k):
        for ky in range(k):
            seen = poses[:, kx : kx + stride * oh : stride, ky : ky + stride * oh : stride][:, :oh, :oh]
            tap = np.tensordot(seen, x["w"][kx, ky], axes=((3, 5), (0, 2)))  # (n, x, y, row, co, column)
            v += tap.transpose(0, 1, 2, 4, 3, 5)
    return {"v": v}


def work(params: Params, mode: Mode, itemsize: int) -> Work:
    """128·N·OH·OW·Ci·Co·k²: 4×4×4 multiply-adds for each pose, capsule pair and tap. Poses, W and V once each."""
    n, height, ci, co, k, _, _ = _sizes(params)
    oh = _out(params)
    once = itemsize * POSE * POSE * (n * ci * height * height + k * k * ci * co + n * co * oh * oh)
    return Work(2 * POSE**3 * n * oh * oh * ci * co * k * k, once, once)


def twins(params: Params, mode: Mode) -> Sequence[Twin]:
    """The ordinary convolution that it is equal to, with the same useful FLOP."""
    n, height, ci, co, k, stride, padding = _sizes(params)
    same: Params = {
        "batch": POSE * n,
        "height": height,
        "in_channels": POSE * ci,
        "out_channels": POSE * co,
        "kernel": k,
        "stride": stride,
        "padding": padding,
    }
    return [Twin("ordinary_convolution", "dense_conv", same, mode)]


def folded_poses(poses: HostArray) -> HostArray:
    """(N, H, H, C, 4, 4) as images (4N, H, H, 4C): the row goes to the batch, the column to the channels."""
    n, height, _, c, _, _ = poses.shape
    return poses.transpose(0, 4, 1, 2, 3, 5).reshape(POSE * n, height, height, c * POSE)


def unfolded_poses(images: HostArray) -> HostArray:
    """The way back: (4N, H, H, 4C) as poses (N, H, H, C, 4, 4)."""
    n, height, _, c = images.shape
    poses = images.reshape(n // POSE, POSE, height, height, c // POSE, POSE)
    return poses.transpose(0, 2, 3, 4, 1, 5)


def folded_weights(w: HostArray) -> HostArray:
    """(k, k, Ci, Co, 4, 4) as filters (k, k, 4Ci, 4Co)."""
    k, _, ci, co, _, _ = w.shape
    return w.transpose(0, 1, 2, 4, 3, 5).reshape(k, k, ci * POSE, co * POSE)


def _laid_out(ops: Ops, v: Array, params: Params) -> Array:
    """V (N, OH, OH, Co, 4, 4) as (N, OH, OH, Co, 16): a transposed view is copied here, inside the timed region."""
    n, _, _, co, *_ = _sizes(params)
    return ops.reshape(v, (n, _out(params), _out(params), co, POSE * POSE))


def _restore_laid_out(outputs: Sequence[HostArray], x: Inputs, params: Params) -> Mapping[str, HostArray]:
    return {"v": outputs[0].reshape(*outputs[0].shape[:-1], POSE, POSE)}


def _folded_conv(ops: Ops, params: Params) -> Callable[..., tuple[Array, ...]]:
    n, height, ci, co, _, stride, padding = _sizes(params)
    oh = _out(params)

    def run(poses: Array, w: Array) -> tuple[Array, ...]:
        images = ops.permute_dims(poses, (0, 4, 1, 2, 3, 5))
        images = ops.reshape(images, (POSE * n, height, height, ci * POSE))
        v = ops.conv2d(images, w, stride=stride, padding=padding, layout="nhwc")
        v = ops.permute_dims(ops.reshape(v, (n, POSE, oh, oh, co, POSE)), (0, 2, 3, 4, 1, 5))
        return (_laid_out(ops, v, params),)

    return run


def _folded_layout(layout: Layout, note: str) -> Formulation:
    def prepare(ops: Ops, x: Inputs, params: Params) -> Sequence[Array]:
        images = folded_poses(x["poses"])
        images = images if layout == "nhwc" else images.transpose(0, 3, 1, 2)
        return [ops.asarray(np.ascontiguousarray(images)), ops.filters(folded_weights(x["w"]))]

    def step(ops: Ops, params: Params) -> Callable[..., tuple[Array, ...]]:
        *_, stride, padding = _sizes(params)
        return lambda images, w: (ops.conv2d(images, w, stride=stride, padding=padding, layout=layout),)

    def restore(outputs: Sequence[HostArray], x: Inputs, params: Params) -> Mapping[str, HostArray]:
        return {"v": unfolded_poses(outputs[0] if layout == "nhwc" else outputs[0].transpose(0, 2, 3, 1))}

    return Formulation(note=note, prepare=prepare, step=step, restore=restore)


def _im2col(ops: Ops, params: Params) -> Callable[..., tuple[Array, ...]]:
    n, height, ci, co, k, stride, padding = _sizes(params)
    oh = _out(params)

    def run(poses: Array, w: Array) -> tuple[Array, ...]:
        rows = ops.reshape(ops.permute_dims(poses, (0, 1, 2, 4, 3, 5)), (n, height, height, POSE, ci * POSE))
        columns = ops.concat(shifted(ops, rows, k, stride, padding), 4)
        columns = ops.reshape(columns, (n * oh * oh * POSE, k * k * ci * POSE))
        v = ops.reshape(ops.matmul(columns, w), (n, oh, oh, POSE, co, POSE))
        return (_laid_out(ops, ops.permute_dims(v, (0, 1, 2, 4, 3, 5)), params),)

    return run


def _loop(ops: Ops, params: Params) -> Callable[..., tuple[Array, ...]]:
    n, height, ci, co, k, stride, padding = _sizes(params)
    oh = _out(params)

    def run(poses: Array, w: Array) -> tuple[Array, ...]:
        rows = ops.reshape(ops.permute_dims(poses, (0, 1, 2, 4, 3, 5)), (n, height, height, POSE, ci * POSE))
        v = None
        for tap, seen in enumerate(shifted(ops, rows, k, stride, padding)):
            part = ops.matmul(ops.reshape(seen, (n * oh * oh * POSE, ci * POSE)), w[tap, ...])
            v = part if v is None else v + part
        v = ops.permute_dims(ops.reshape(v, (n, oh, oh, POSE, co, POSE)), (0, 1, 2, 4, 3, 5))
        return (_laid_out(ops, v, params),)

    return run


def _einsum(ops: Ops, params: Params) -> Callable[..., tuple[Array, ...]]:
    *_, k, stride, padding = _sizes(params)

    def run(poses: Array, w: Array) -> tuple[Array, ...]:
        patches = ops.stack(shifted(ops, poses, k, stride, padding), 3)
        return (_laid_out(ops, ops.einsum("nxykcij,kcojl->nxyoil", patches, w), params),)

    return run


def _patches(ops: Ops, params: Params) -> Callable[..., tuple[Array, ...]]:
    n, _, ci, _, k, stride, padding = _sizes(params)
    oh = _out(params)

    def run(poses: Array, w: Array) -> tuple[Array, ...]:
        patches = ops.stack(shifted(ops, poses, k, stride, padding), 3)
        patches = ops.reshape(patches, (n, oh, oh, k * k * ci, 1, POSE, POSE))
        return (_laid_out(ops, ops.sum(ops.matmul(patches, w), 3), params),)

    return run


def _by_hand(
    note: str,
    step: Callable[[Ops, Params], Callable[..., tuple[Array, ...]]],
    weights: Callable[[HostArray], HostArray],
) -> Formulation:
    def prepare(ops: Ops, x: Inputs, params: Params) -> Sequence[Array]:
        return [ops.asarray(x["poses"]), ops.asarray(np.ascontiguousarray(weights(x["w"])))]

    return Formulation(note=note, prepare=prepare, step=step, restore=_restore_laid_out)


def _taps(w: HostArray) -> HostArray:
    filters = folded_weights(w)
    return filters.reshape(-1, *filters.shape[2:])


def _shape(batch: int, height: int, ci: int, co: int, stride: int, padding: int) -> Params:
    return {
        "batch": batch,
        "height": height,
        "in_capsules": ci,
        "out_capsules": co,
        "kernel": 3,
        "stride": stride,
        "padding": padding,
    }


# The "CAP" operator of TVM's tuning benchmarks, (N, H, W, Ci, Co, k, stride, padding), named there "all conv2d capsule
# layers in matrix capsules with EM routing": apache/tvm, python/tvm/meta_schedule/testing/te_workload.py.
_TVM = tuple(_shape(1, *s) for s in ((16, 32, 32, 2, 1), (8, 32, 32, 1, 1), (16, 8, 16, 2, 1), (8, 16, 16, 1, 1)))

WORKLOAD = Workload(
    name="capsule_conv",
    title="convolution between matrix capsules",
    source="Barham and Isard 2019, Machine Learning Systems are Stuck in a Rut, HotOS; Hinton, Sabour and Frosst 2018",
    axes={
        "batch": Axis(help="images, N", low=1, high=1e6),
        "height": Axis(help="height and width of the grid of capsules below, H", low=1, high=4096),
        "in_capsules": Axis(help="kinds of capsules below, Ci", low=1, high=1e5),
        "out_capsules": Axis(help="kinds of capsules above, Co", low=1, high=1e5),
        "kernel": Axis(help="height and width of the kernel, k", low=1, high=64),
        "stride": Axis(help="grid points between windows, s", low=1, high=64),
        "padding": Axis(help="zero poses on each side", low=0, high=64),
    },
    presets={
        "smoke": (Point(_shape(2, 7, 3, 2, 2, 0)), Point(_shape(1, 5, 2, 3, 1, 1), headline=False)),
        "quick": (Point(_shape(4, 15, 32, 32, 2, 0)),),
        "standard": (
            Point(_shape(64, 15, 32, 32, 2, 0), group="32x32"),
            *(Point(shape, survey=False, headline=False, group="32x32") for shape in _TVM),
        ),
        "full": (Point(_shape(1024, 15, 32, 32, 2, 0)),),
    },
    inputs=inputs,
    reference=reference,
    formulations={
        "forward": {
            "folded_layout": _folded_layout(
                "nhwc",
                "the convolution that it is equal to, on poses that the layers around keep folded as (4N, H, H, 4Ci): "
                "nothing is transposed in the timed region; the twin is the same call",
            ),
            "folded_packed": replace(
                _folded_layout("nhwc", "folded_layout, its filters laid out ahead for these very images"),
                prepare=lambda ops, x, params: packed(ops, folded_poses(x["poses"]), folded_weights(x["w"]), params),
                executions=("eager",),
            ),
            "folded_layout_nchw": _folded_layout("nchw", "folded_layout with poses kept as (4N, 4Ci, H, H)"),
            "folded_conv": Formulation(
                note="the same convolution on poses in the paper's layout, transposed there and back",
                prepare=lambda ops, x, params: [ops.asarray(x["poses"]), ops.filters(folded_weights(x["w"]))],
                step=_folded_conv,
                restore=_restore_laid_out,
            ),
            "im2col": _by_hand(
                "k² strided slices side by side, then one product (N·OH·OW·4, k²·Ci·4)·(k²·Ci·4, Co·4)",
                _im2col,
                lambda w: folded_weights(w).reshape(-1, w.shape[3] * POSE),
            ),
            "loop": _by_hand("k² products of one strided slice each, added up", _loop, _taps),
            "einsum": _by_hand("patches stacked, then one einsum", _einsum, lambda w: w.reshape(-1, *w.shape[2:])),
            "patches": _by_hand(
                "patches stacked, then a batched product of 4×4 matrices and a sum: the form that Barham and Isard "
                "found in the frameworks; its products before the sum need k²·Ci times the memory of V",
                _patches,
                lambda w: w.reshape(-1, *w.shape[3:]),
            ),
        }
    },
    work=work,
    twins=twins,
)

"""The convolution of matrix capsules: V[n,x,y,co] = Σ P[n,s·x+kx,s·y+ky,ci] · W[kx,ky,ci,co], each · a 4×4 product.

Shapes: poses P (N, H, H, Ci, 4, 4), W (k, k, Ci, Co, 4, 4), V (N, OH, OH, Co, 4, 4). Barham and Isard show it an
order of magnitude slower than a convolution of the same work. It is equal to one: with the pose's row folded into the
batch and (ci, column) into channels, V is conv2d of 4N images, 4Ci → 4Co.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from backends.ops import Array, HostArray, Ops
from workloads import Axis, Parameters, Workload
from workloads.base import Inputs
from workloads.common import digits
from workloads.common.windows import out_side, packed, shifted

POSE = 4  # rows and columns of a pose

w = Workload(
    "capsule_conv",
    title="convolution between matrix capsules",
    source="Barham and Isard 2019, Machine Learning Systems are Stuck in a Rut, HotOS; Hinton, Sabour and Frosst 2018",
    leaves_out="scalar units",
    axes={
        "batch": Axis(help="images, N", low=1, high=1e6),
        "height": Axis(help="height and width of the grid of capsules below, H", low=1, high=4096, default=15),
        "in_capsules": Axis(help="kinds of capsules below, Ci", low=1, high=1e5, default=32),
        "out_capsules": Axis(help="kinds of capsules above, Co", low=1, high=1e5, default=32),
        "kernel": Axis(help="height and width of the kernel, k", low=1, high=64, default=3),
        "stride": Axis(help="grid points between windows, s", low=1, high=64, default=2),
        "padding": Axis(help="zero poses on each side", low=0, high=64, default=0),
    },
    convolves=True,
)
w.preset("smoke", batch=2, height=7, in_capsules=3, out_capsules=2)
w.preset("smoke", batch=1, height=5, in_capsules=2, out_capsules=3, stride=1, padding=1, headline=False)
w.preset("quick", batch=4)
w.preset("ideas", batch=4)
w.preset("standard", batch=64, group="32x32")
w.preset("full", batch=1024)
# The "CAP" operator of TVM's tuning benchmarks, (H, Ci, Co, s, padding) of one image, named there "all conv2d capsule
# layers in matrix capsules with EM routing": apache/tvm, python/tvm/meta_schedule/testing/te_workload.py.
for _height, _below, _above, _stride, _padding in (
    (16, 32, 32, 2, 1),
    (8, 32, 32, 1, 1),
    (16, 8, 16, 2, 1),
    (8, 16, 16, 1, 1),
):
    w.preset(
        "standard",
        batch=1,
        height=_height,
        in_capsules=_below,
        out_capsules=_above,
        stride=_stride,
        padding=_padding,
        survey=False,
        headline=False,
        group="32x32",
    )


def _out(p: Parameters) -> int:
    return out_side(p.height, p.kernel, p.stride, p.padding)


@w.inputs
def inputs(p: Parameters, seed: int) -> Inputs:
    """Poses (N, H, H, Ci, 4, 4) from digits spread over capsules; W (k, k, Ci, Co, 4, 4) such that V is of order 1."""
    k, ci, co = p.kernel, p.in_capsules, p.out_capsules
    poses = digits.flat(p.batch, p.height * p.height * ci * POSE * POSE, seed)
    weights = np.random.default_rng(seed).standard_normal((k, k, ci, co, POSE, POSE))
    shape = (p.batch, p.height, p.height, ci, POSE, POSE)
    return {"poses": poses.reshape(shape), "w": weights / np.sqrt(k * k * ci * POSE)}


@w.reference
def reference(poses: HostArray, w: HostArray, p: Parameters) -> Mapping[str, HostArray]:
    """The definition, a tap of the kernel at a time: sum over capsules below and the inner side of the 4×4 products."""
    oh, stride = _out(p), p.stride
    pad, none = (p.padding, p.padding), (0, 0)
    poses = np.pad(poses, (none, pad, pad, none, none, none))
    v = np.zeros((len(poses), oh, oh, p.out_capsules, POSE, POSE))
    for kx in range(p.kernel):
        for ky in range(p.kernel):
            seen = poses[:, kx : kx + stride * oh : stride, ky : ky + stride * oh : stride][:, :oh, :oh]
            tap = np.tensordot(seen, w[kx, ky], axes=((3, 5), (0, 2)))  # (n, x, y, row, co, column)
            v += tap.transpose(0, 1, 2, 4, 3, 5)
    return {"v": v}


# 128·N·OH·OW·Ci·Co·k²: 4×4×4 multiply-adds for each pose, capsule pair and tap. Poses, W and V once each.
w.work(
    flop=lambda p: 2 * POSE**3 * p.batch * _out(p) ** 2 * p.in_capsules * p.out_capsules * p.kernel**2,
    bytes=lambda p, e: (
        e
        * POSE**2
        * (
            p.batch * p.in_capsules * p.height**2
            + p.kernel**2 * p.in_capsules * p.out_capsules
            + p.batch * p.out_capsules * _out(p) ** 2
        )
    ),
)
w.twin(  # the ordinary convolution that it is equal to, with the same useful FLOP
    "dense_conv",
    kind="ordinary_convolution",
    batch=lambda p: POSE * p.batch,
    height="height",
    in_channels=lambda p: POSE * p.in_capsules,
    out_channels=lambda p: POSE * p.out_capsules,
    kernel="kernel",
    stride="stride",
    padding="padding",
)


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


# -- the convolution that it is equal to ------------------------------------------------------------------------------
def _images(ops: Ops, poses: HostArray, w: HostArray) -> Sequence[Array]:
    return [ops.asarray(folded_poses(poses)), ops.filters(folded_weights(w))]


def _images_nchw(ops: Ops, poses: HostArray, w: HostArray) -> Sequence[Array]:
    images = np.ascontiguousarray(folded_poses(poses).transpose(0, 3, 1, 2))
    return [ops.asarray(images), ops.filters(folded_weights(w))]


def _restore_images(v: HostArray) -> Mapping[str, HostArray]:
    return {"v": unfolded_poses(v)}


@w.formulation(
    note="the convolution that it is equal to, on poses that the layers around keep folded as (4N, H, H, 4Ci): "
    "nothing is transposed in the timed region; the twin is the same call",
    prepare=_images,
    restore=_restore_images,
)
def folded_layout(ops: Ops, p: Parameters, images: Array, w: Array) -> Mapping[str, Array]:
    """V (4N, OH, OH, 4Co)."""
    return {"v": ops.conv2d(images, w, stride=p.stride, padding=p.padding, layout="nhwc")}


@w.formulation(
    note="folded_layout, its filters laid out ahead for these very images",
    prepare=lambda ops, p, poses, w: packed(ops, folded_poses(poses), folded_weights(w), p),
    restore=_restore_images,
    executions=("eager",),
)
def folded_packed(ops: Ops, p: Parameters, images: Array, w: Array) -> Mapping[str, Array]:
    """V (4N, OH, OH, 4Co)."""
    return {"v": ops.conv2d(images, w, stride=p.stride, padding=p.padding, layout="nhwc")}


@w.formulation(
    note="folded_layout with poses kept as (4N, 4Ci, H, H)",
    prepare=_images_nchw,
    restore=lambda v: _restore_images(v.transpose(0, 2, 3, 1)),
)
def folded_layout_nchw(ops: Ops, p: Parameters, images: Array, w: Array) -> Mapping[str, Array]:
    """V (4N, 4Co, OH, OH)."""
    return {"v": ops.conv2d(images, w, stride=p.stride, padding=p.padding, layout="nchw")}


# -- by hand, from poses in the paper's layout ------------------------------------------------------------------------
def _with_weights(arrange: Callable[[HostArray], HostArray]) -> Callable[[Ops, HostArray, HostArray], Sequence[Array]]:
    """Operands: the poses as they are, and W rearranged on the host."""

    def prepare(ops: Ops, poses: HostArray, w: HostArray) -> Sequence[Array]:
        return [ops.asarray(poses), ops.asarray(np.ascontiguousarray(arrange(w)))]

    return prepare


def _taps(w: HostArray) -> HostArray:
    filters = folded_weights(w)
    return filters.reshape(-1, *filters.shape[2:])


def _laid_out(ops: Ops, v: Array, p: Parameters) -> Array:
    """V (N, OH, OH, Co, 4, 4) as (N, OH, OH, Co, 16): a transposed view is copied here, inside the timed region."""
    return ops.reshape(v, (p.batch, _out(p), _out(p), p.out_capsules, POSE * POSE))


def _restore_laid_out(v: HostArray) -> Mapping[str, HostArray]:
    return {"v": v.reshape(*v.shape[:-1], POSE, POSE)}


def _rows(ops: Ops, poses: Array, p: Parameters) -> Array:
    """Poses (N, H, H, Ci, 4, 4) as (N, H, H, row, Ci·column)."""
    shape = (p.batch, p.height, p.height, POSE, p.in_capsules * POSE)
    return ops.reshape(ops.permute_dims(poses, (0, 1, 2, 4, 3, 5)), shape)


def _unrows(ops: Ops, v: Array, p: Parameters) -> Array:
    """Rows (N·OH·OW·row, Co·column) as V, laid out."""
    v = ops.reshape(v, (p.batch, _out(p), _out(p), POSE, p.out_capsules, POSE))
    return _laid_out(ops, ops.permute_dims(v, (0, 1, 2, 4, 3, 5)), p)


@w.formulation(
    note="the same convolution on poses in the paper's layout, transposed there and back",
    prepare=lambda ops, poses, w: [ops.asarray(poses), ops.filters(folded_weights(w))],
    restore=_restore_laid_out,
    outputs=("v",),
)
def folded_conv(ops: Ops, p: Parameters, poses: Array, w: Array) -> tuple[Array, ...]:
    """Folded, convolved, unfolded."""
    oh = _out(p)
    images = ops.permute_dims(poses, (0, 4, 1, 2, 3, 5))
    images = ops.reshape(images, (POSE * p.batch, p.height, p.height, p.in_capsules * POSE))
    v = ops.conv2d(images, w, stride=p.stride, padding=p.padding, layout="nhwc")
    v = ops.reshape(v, (p.batch, POSE, oh, oh, p.out_capsules, POSE))
    return (_laid_out(ops, ops.permute_dims(v, (0, 2, 3, 4, 1, 5)), p),)


@w.formulation(
    note="k² strided slices side by side, then one product (N·OH·OW·4, k²·Ci·4)·(k²·Ci·4, Co·4)",
    prepare=_with_weights(lambda w: folded_weights(w).reshape(-1, w.shape[3] * POSE)),
    restore=_restore_laid_out,
    outputs=("v",),
)
def im2col(ops: Ops, p: Parameters, poses: Array, w: Array) -> tuple[Array, ...]:
    """Every tap's slice in one matrix."""
    columns = ops.concat(shifted(ops, _rows(ops, poses, p), p.kernel, p.stride, p.padding), 4)
    columns = ops.reshape(columns, (p.batch * _out(p) ** 2 * POSE, p.kernel**2 * p.in_capsules * POSE))
    return (_unrows(ops, ops.matmul(columns, w), p),)


@w.formulation(
    note="k² products of one strided slice each, added up",
    prepare=_with_weights(_taps),
    restore=_restore_laid_out,
    outputs=("v",),
)
def loop(ops: Ops, p: Parameters, poses: Array, w: Array) -> tuple[Array, ...]:
    """w (k², 4Ci, 4Co)."""
    flat = (p.batch * _out(p) ** 2 * POSE, p.in_capsules * POSE)
    v = None
    for tap, seen in enumerate(shifted(ops, _rows(ops, poses, p), p.kernel, p.stride, p.padding)):
        part = ops.matmul(ops.reshape(seen, flat), w[tap, ...])
        v = part if v is None else v + part
    return (_unrows(ops, v, p),)


@w.formulation(
    note="patches stacked, then one einsum",
    prepare=_with_weights(lambda w: w.reshape(-1, *w.shape[2:])),
    restore=_restore_laid_out,
    outputs=("v",),
)
def einsum(ops: Ops, p: Parameters, poses: Array, w: Array) -> tuple[Array, ...]:
    """w (k², Ci, Co, 4, 4)."""
    patches = ops.stack(shifted(ops, poses, p.kernel, p.stride, p.padding), 3)
    return (_laid_out(ops, ops.einsum("nxykcij,kcojl->nxyoil", patches, w), p),)


@w.formulation(
    note="patches stacked, then a batched product of 4×4 matrices and a sum: the form that Barham and Isard "
    "found in the frameworks; its products before the sum need k²·Ci times the memory of V",
    prepare=_with_weights(lambda w: w.reshape(-1, *w.shape[3:])),
    restore=_restore_laid_out,
    outputs=("v",),
)
def patches(ops: Ops, p: Parameters, poses: Array, w: Array) -> tuple[Array, ...]:
    """w (k²·Ci, Co, 4, 4)."""
    seen = ops.stack(shifted(ops, poses, p.kernel, p.stride, p.padding), 3)
    seen = ops.reshape(seen, (p.batch, _out(p), _out(p), p.kernel**2 * p.in_capsules, 1, POSE, POSE))
    return (_laid_out(ops, ops.sum(ops.matmul(seen, w), 3), p),)


WORKLOAD = w.definition()

"""The windows of a convolution as k² strided slices, for formulations that gather them by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from backends.ops import Array, HostArray, Ops
from workloads.base import Parameters


def out_side(height: int, kernel: int, stride: int, padding: int) -> int:
    """Height of the output; ValueError where the kernel does not fit into the padded image."""
    if kernel > height + 2 * padding:
        raise ValueError(
            f"a kernel of {kernel} does not fit into a height of {height} with padding {padding}: "
            "choose a smaller kernel or a larger height"
        )
    return (height + 2 * padding - kernel) // stride + 1


def shifted(ops: Ops, x: Array, kernel: int, stride: int, padding: int) -> list[Array]:
    """k² slices of x (n, h, h, …), each (n, oh, oh, …): what each tap of the kernel sees, rows first."""
    if padding:
        # A row of the image times zero: it has the dtype and the device of the image without asking for either.
        border = x[:, :1, ...] * 0.0
        x = ops.concat([border] * padding + [x] + [border] * padding, 1)
        border = x[:, :, :1, ...] * 0.0
        x = ops.concat([border] * padding + [x] + [border] * padding, 2)
    oh = out_side(x.shape[1], kernel, stride, 0)
    span = (oh - 1) * stride + 1
    return [
        x[:, row : row + span : stride, column : column + span : stride, ...]
        for row in range(kernel)
        for column in range(kernel)
    ]


def packed(ops: Ops, images: HostArray, w: HostArray, p: Parameters) -> Sequence[Array]:
    """Images (n, h, w, ci) and filters that are laid out ahead for them: what a server of a trained network keeps."""
    n, height, width, channels = images.shape
    filters = ops.pack_filters(w, (n, height, width, channels), p.stride, p.padding)
    return [ops.asarray(np.ascontiguousarray(images)), filters]

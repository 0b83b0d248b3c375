"""How TensorFlow writes the strides and the padding of a convolution. Imports nothing of TensorFlow."""

from __future__ import annotations

from backends.ops import Array, Layout


def spatial(n: int, layout: Layout) -> list[int]:
    """`n` for height and width, 1 for the others, in the order of the layout."""
    return [1, n, n, 1] if layout == "nhwc" else [1, 1, n, n]


def explicit(n: int, layout: Layout) -> list[int]:
    """The padding before and behind each axis, `n` at height and width."""
    return [0, 0, n, n, n, n, 0, 0] if layout == "nhwc" else [0, 0, 0, 0, n, n, n, n]


def padding_name(x: Array, w: Array, stride: int, padding: int, layout: Layout) -> str:
    """TensorFlow's own name for this padding where it has one: on the CPU a gradient with EXPLICIT takes twice as long.

    SAME pads as much in all as makes ceil(length / stride) outputs, half of it, rounded down, in front.
    """
    if not padding:
        return "VALID"
    for axis in (0, 1):
        length = x.shape[axis + (1 if layout == "nhwc" else 2)]
        if (-(-length // stride) - 1) * stride + w.shape[axis] - length != 2 * padding:
            return "EXPLICIT"
    return "SAME"

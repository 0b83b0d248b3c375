"""Counting rules of convolution, pooling and Einstein summation."""

from __future__ import annotations

from math import prod

from backends.counting.arrays import CountedArray, NotCounted


def conv2d(x: CountedArray, w: CountedArray, stride: int, padding: int, layout: str) -> CountedArray:
    """2·n·oh·ow·co·ci·kh·kw FLOP, taps on the padding counted; each of its two gradients is as many."""
    kh, kw, ci, co = w.shape
    n, height, width, channels = x.shape if layout == "nhwc" else (x.shape[0], *x.shape[2:], x.shape[1])
    if channels != ci:
        raise NotCounted(f"a convolution of {channels} channels with filters for {ci}")
    oh, ow = (height + 2 * padding - kh) // stride + 1, (width + 2 * padding - kw) // stride + 1
    shape = (n, oh, ow, co) if layout == "nhwc" else (n, co, oh, ow)
    flop = 2 * n * oh * ow * co * ci * kh * kw
    trace = x.trace

    def of_images(g: CountedArray) -> CountedArray:
        return trace.make("conv2d_input_gradient", "product", x.shape, x.dtype, (g, w), matmul_flop=flop)

    def of_filters(g: CountedArray) -> CountedArray:
        return trace.make("conv2d_filter_gradient", "product", w.shape, w.dtype, (x, g), matmul_flop=flop)

    return trace.make("conv2d", "product", shape, x.dtype, (x, w), (of_images, of_filters), matmul_flop=flop)


def pool(name: str, x: CountedArray, size: int, layout: str) -> CountedArray:
    """size²−1 FLOP a window, and a division where it is a mean; the gradient goes back to every place of x."""
    n, height, width, channels = x.shape if layout == "nhwc" else (x.shape[0], *x.shape[2:], x.shape[1])
    rows, columns = height // size, width // size
    shape = (n, rows, columns, channels) if layout == "nhwc" else (n, channels, rows, columns)
    per_window = size * size - (name == "max_pool2d")

    def gradient(g: CountedArray) -> CountedArray:
        if name == "max_pool2d":  # which place was the greatest is read again
            return x.trace.make("max_pool2d_gradient", "copy", x.shape, x.dtype, (g, x))
        return x.trace.make("avg_pool2d_gradient", "elementwise", x.shape, x.dtype, (g,), other_flop=x.size)

    return x.trace.make(name, "reduction", shape, x.dtype, (x,), (gradient,), other_flop=per_window * prod(shape))


def einsum(equation: str, *xs: CountedArray) -> CountedArray:
    """Operands contracted from left to right, two at a time: 2 FLOP for each setting of the letters of the two.

    A letter in one operand alone and not in the result would be summed first; that, and a letter twice, is refused.
    """
    operands, arrow, result = equation.replace(" ", "").partition("->")
    labels = operands.split(",")
    if not arrow or len(labels) != len(xs) or len(xs) < 2 or any(len(set(name)) < len(name) for name in labels):
        raise NotCounted(f"einsum {equation!r}, which is no product of two or more operands by single letters")
    names, x = labels[0], xs[0]
    for i in range(1, len(xs)):
        later = set(result).union(*labels[i + 1 :])
        last = i == len(xs) - 1
        out = result if last else "".join(n for n in dict.fromkeys(names + labels[i]) if n in later)
        names, x = out, _contracted((names, x), (labels[i], xs[i]), out)
    return x


def _contracted(left: tuple[str, CountedArray], right: tuple[str, CountedArray], out: str) -> CountedArray:
    (a_names, a), (b_names, b) = left, right
    size = dict(zip(a_names + b_names, (*a.shape, *b.shape), strict=True))
    alone = (set(a_names) ^ set(b_names)) - set(out)
    if alone:
        raise NotCounted(f"einsum sums {', '.join(sorted(alone))} of one operand alone: use sum")
    settings, shape = prod(size.values()), tuple(size[name] for name in out)
    contracts = len(size) > len(out)
    return a.trace.make(
        "einsum",
        "product" if contracts else "elementwise",
        shape,
        a.dtype,
        (a, b),
        (
            lambda g: _contracted((out, g), (b_names, b), a_names),
            lambda g: _contracted((a_names, a), (out, g), b_names),
        ),
        matmul_flop=2 * settings * contracts,
        other_flop=0 if contracts else settings,
    )

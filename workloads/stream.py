"""Memory bandwidth by size of the working set: the slanted roofs of a cache-aware roofline.

Not an idea but a ceiling: what the machine moves when nothing else limits it, measured through the same framework.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from backends.ops import Array, HostArray, Ops
from workloads import Axis, Parameters, Workload
from workloads.base import Formulation, Inputs, Mode, Point, Work

SCALE = 3.0
WIDTH = 1024  # of a row where the work is laid out in rows, and of the vector that `dot` keeps in cache

w = Workload(
    "stream",
    title="memory bandwidth",
    source="McCalpin 1995, STREAM; Ilic, Pratas and Sousa 2014, Cache-aware Roofline Model (doi:10.1109/L-CA.2013.6)",
    role="ceiling",
    axes={
        "elements": Axis(
            help="values in all arrays together; times the bytes of one, the working set", low=1, high=1e12
        ),
        "kernel": Axis(help="triad: two reads and a write a value; dot: one read", kind=str, choices=("triad", "dot")),
    },
)


def _rows(p: Parameters) -> int:
    """How many rows of WIDTH values one array has."""
    arrays = 3 if p.kernel == "triad" else 1
    return max(1, int(p.elements // (arrays * WIDTH)))


def _is_dot(p: Parameters) -> bool:
    return bool(p.kernel == "dot")


@w.inputs
def inputs(p: Parameters, seed: int) -> Inputs:
    """Triad: `x` and `y` (rows, 1024). Dot: `x` (rows, 1024) and `y` (1024,), scaled so that a dot product is near 1.

    A short random stretch of odd length is repeated: the values do not matter here, making billions of them would.
    """
    shape = (_rows(p), WIDTH)
    stretch = np.random.default_rng(seed).standard_normal(65537)
    y = stretch[-WIDTH:] / np.sqrt(WIDTH) if _is_dot(p) else np.resize(stretch[::-1], shape)
    return {"x": np.resize(stretch, shape), "y": y}


@w.reference
def reference(x: HostArray, y: HostArray, p: Parameters) -> Mapping[str, HostArray]:
    """x + 3·y, or the dot product of every row of x with y, (rows,)."""
    return {"out": x @ y if _is_dot(p) else x + SCALE * y}


@w.work
def work(p: Parameters, mode: Mode, itemsize: int) -> Work:
    """2 FLOP a value. Triad: two arrays of n values read, one written, 3·n·e bytes. Dot: e(n + 1024 + rows)."""
    rows = _rows(p)
    size = rows * WIDTH
    moved = itemsize * (size + WIDTH + rows if _is_dot(p) else 3 * size)
    return Work(2 * size, moved, moved)


# -- formulations: which kernel it is, is settled before the timed call, 0.1 µs of a smallest one of 10 -------------
def _formulation(note: str, flat: bool) -> Formulation:
    def prepare(ops: Ops, x: Inputs, p: Parameters) -> Sequence[Array]:
        if _is_dot(p):
            return [ops.asarray(x["x"]), ops.asarray(x["y"].reshape(-1, 1) if flat else x["y"])]
        return [ops.asarray(v.reshape(-1) if flat else v) for v in (x["x"], x["y"])]

    def step(ops: Ops, p: Parameters) -> Callable[..., tuple[Array, ...]]:
        if not _is_dot(p):
            return lambda x, y: (x + SCALE * y,)
        if flat:
            return lambda x, y: (ops.matmul(x, y),)
        return lambda x, y: (ops.sum(x * y, 1),)

    def restore(outputs: Sequence[HostArray], x: Inputs, p: Parameters) -> Mapping[str, HostArray]:
        return {"out": outputs[0].reshape(x["x"].shape[:1] if _is_dot(p) else x["x"].shape)}

    return Formulation(note=note, prepare=prepare, step=step, restore=restore)


w.add("forward", flat=_formulation("triad over vectors; dot as a matrix-vector product", True))


@w.formulation(
    note="dot as a product with a vector, for frameworks that have a kernel of its own for it",
    applies=_is_dot,
    outputs=("out",),
)
def vector(ops: Ops, x: Array, y: Array) -> tuple[Array, ...]:
    """x (rows, 1024) · y (1024,)."""
    return (ops.matmul(x, y),)


w.add(
    "forward",
    rows=_formulation("triad over rows; dot as a product and a sum, for compilers that fuse the two", False),
)


# -- presets ----------------------------------------------------------------------------------------------------------
def _points(sizes: Sequence[int], survey: int) -> tuple[Point, ...]:
    """Sizes are bytes in float32; every formulation runs at the one named `survey`, the best of it at the others.

    Reading alone (`dot`) is the faster kernel within caches, so triad runs once, beyond most of them.
    """
    return tuple(
        Point({"elements": size // 4, "kernel": kernel}, survey=size == survey, headline=False, group=kernel)
        for kernel in ("triad", "dot")
        for size in sorted(sizes, key=lambda size: size != survey)
        if kernel == "dot" or size == survey
    )


# In float32: inside L2, inside L3, beyond most L3, beyond all; inside L3 twice, for a call's own time weighs less then.
_SIZES = (2**18, 2**22, 2**24, 2**26, 2**29)

for _kernel in ("triad", "dot"):
    w.preset("smoke", elements=8192, kernel=_kernel, headline=False, group=_kernel)
for _preset in ("ideas", "quick"):
    w.preset(_preset, *_points(_SIZES[:-1], 2**26))  # nothing in it has a working set as large as the last
for _preset in ("standard", "full"):
    w.preset(_preset, *_points(_SIZES, 2**26))

WORKLOAD = w.definition()

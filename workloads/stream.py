"""Memory bandwidth by size of the working set: the slanted roofs of a cache-aware roofline.

Not an idea but a ceiling: what the machine moves when nothing else limits it, measured through the same framework.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from backends.ops import Array, HostArray, Ops
from workloads.base import Axis, Formulation, Inputs, Mode, Params, Point, Work, Workload

SCALE = 3.0
WIDTH = 1024  # of a row where the work is laid out in rows, and of the vector that `dot` keeps in cache


def _lengths(params: Params) -> tuple[int, int]:
    """Values in one array, and how many rows of WIDTH they are."""
    arrays = 3 if params["kernel"] == "triad" else 1
    rows = max(1, int(params["elements"]) // (arrays * WIDTH))
    return rows * WIDTH, rows


def inputs(params: Params, seed: int) -> Inputs:
    """Triad: `x` and `y` (rows, 1024). Dot: `x` (rows, 1024) and `y` (1024,), scaled so that a dot product is near 1.

    A short random stretch of odd length is repeated: the values do not matter here, making billions of them would.
    """
    _, rows = _lengths(params)
    stretch = np.random.default_rng(seed).standard_normal(65537)
    x = np.resize(stretch, (rows, WIDTH))
    if params["kernel"] == "triad":
        return {"x": x, "y": np.resize(stretch[::-1], (rows, WIDTH))}
    return {"x": x, "y": stretch[-WIDTH:] / np.sqrt(WIDTH)}


def reference(x: Inputs, params: Params, mode: Mode) -> Mapping[str, HostArray]:
    """x + 3·y, or the dot product of every row of x with y, (rows,)."""
    if params["kernel"] == "triad":
        return {"out": x["x"] + SCALE * x["y"]}
    return {"out": x["x"] @ x["y"]}


def work(params: Params, mode: Mode, itemsize: int) -> Work:
    """2 FLOP a value. Triad: two arrays of n values read, one written, 3·n·e bytes. Dot: e(n + 1024 + rows)."""
    size, rows = _lengths(params)
    moved = itemsize * (3 * size if params["kernel"] == "triad" else size + WIDTH + rows)
    return Work(2 * size, moved, moved)


def _prepare(flat: bool) -> Callable[[Ops, Inputs, Params], Sequence[Array]]:
    def prepare(ops: Ops, x: Inputs, params: Params) -> Sequence[Array]:
        if params["kernel"] == "triad":
            return [ops.asarray(v.reshape(-1) if flat else v) for v in (x["x"], x["y"])]
        return [ops.asarray(x["x"]), ops.asarray(x["y"].reshape(-1, 1) if flat else x["y"])]

    return prepare


def _step(flat: bool) -> Callable[[Ops, Params], Callable[..., tuple[Array, ...]]]:
    def step(ops: Ops, params: Params) -> Callable[..., tuple[Array, ...]]:
        if params["kernel"] == "triad":
            return lambda x, y: (x + SCALE * y,)
        if flat:
            return lambda x, y: (ops.matmul(x, y),)
        return lambda x, y: (ops.sum(x * y, 1),)

    return step


def _restore(outputs: Sequence[HostArray], x: Inputs, params: Params) -> Mapping[str, HostArray]:
    shape = x["x"].shape if params["kernel"] == "triad" else x["x"].shape[:1]
    return {"out": outputs[0].reshape(shape)}


def _formulation(note: str, flat: bool) -> Formulation:
    return Formulation(note=note, prepare=_prepare(flat), step=_step(flat), restore=_restore)


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

WORKLOAD = Workload(
    name="stream",
    title="memory bandwidth",
    source="McCalpin 1995, STREAM; Ilic, Pratas and Sousa 2014, Cache-aware Roofline Model (doi:10.1109/L-CA.2013.6)",
    role="ceiling",
    axes={
        "elements": Axis(
            help="values in all arrays together; times the bytes of one, the working set", low=1, high=1e12
        ),
        "kernel": Axis(help="triad: two reads and a write a value; dot: one read", kind=str, choices=("triad", "dot")),
    },
    presets={
        "smoke": tuple(Point({"elements": 8192, "kernel": k}, headline=False, group=k) for k in ("triad", "dot")),
        "quick": _points(_SIZES, 2**26),
        "standard": _points(_SIZES, 2**26),
        "full": _points(_SIZES, 2**26),
    },
    inputs=inputs,
    reference=reference,
    formulations={
        "forward": {
            "flat": _formulation("triad over vectors; dot as a matrix-vector product", True),
            "vector": Formulation(
                note="dot as a product with a vector, for frameworks that have a kernel of its own for it",
                prepare=_prepare(False),
                step=lambda ops, params: lambda x, y: (ops.matmul(x, y),),
                restore=_restore,
                applies=lambda params: params["kernel"] == "dot",
            ),
            "rows": _formulation("triad over rows; dot as a product and a sum, for compilers that fuse the two", False),
        },
    },
    work=work,
    twins=lambda params, mode: (),
)

"""Where the files of `bench_best` keep what they know by hand, the same for every framework."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from backends.ops import HostArray
from workloads.base import Inputs, Params

Make: TypeAlias = Callable[..., Any]
SIDE = 16  # of the blocks of sparse training
MAPS = (0, 1, 0, 1, 1, 1)  # VGG8b: 1 where a max-pool stands behind the convolution


def local_windows(x, params) -> list[tuple[int, int]]:
    """Rows and columns of the average-pool before each local classifier of VGG8b: b×b, or 2b×b."""
    windows, height = [], params["side"]
    for i, pool in enumerate(MAPS):
        area = height * height * x[f"w{i}"].shape[3] // len(x[f"q{i}"])
        columns = math.isqrt(area if math.isqrt(area) ** 2 == area else area // 2)
        windows.append((area // columns, columns))
        height //= 2 if pool else 1
    return windows


def with_zeros(x: Inputs, params: Params) -> Inputs:
    """The operands of a sparse product as those of a dense one: A (m, k) with its zeros, B."""
    a = np.zeros((params["m"], params["k"]), x["a"].dtype)
    a[np.repeat(np.arange(params["m"]), np.diff(x["a_indptr"])), x["a_indices"]] = x["a"]
    return {"a": a, "b": x["b"]}


def multiplied_out(x: Inputs, params: Params) -> Inputs:
    """The operands of a kaleidoscope as those of a dense product: K (m, m), X."""
    k, groups = np.eye(params["m"]), params["m"] // params["block"]
    for factor in x["w"]:
        k = np.einsum("gij,gjn->ign", factor.astype(np.float64), k.reshape(groups, params["block"], -1))
        k = k.reshape(params["m"], params["m"])
    return {"a": k.astype(x["x"].dtype), "b": x["x"]}


def where_they_leave(x: Inputs, params: Params) -> HostArray:
    """The layer at which each example of an early exit leaves, (batch,)."""
    h, left = x["x"].astype(np.float64), np.full(len(x["x"]), params["layers"] - 1)
    for i in range(params["layers"] - 1):
        h = np.maximum(h @ x[f"w{i}"], 0)
        found = np.sort(h @ x[f"q{i}"], 1)
        left[(found[:, -1] - found[:, -2] >= x["thresholds"][i]) & (left == params["layers"] - 1)] = i
    return left


def _stored(x: Inputs, params: Params) -> list[tuple[HostArray, HostArray]]:
    """Rows and columns of the stored weights of each sparse layer, (out, in)."""
    indptr = (x[f"w{i}_indptr"] for i in range(params["layers"]))
    return [(np.repeat(np.arange(params["hidden"]), np.diff(p)), x[f"w{i}_indices"]) for i, p in enumerate(indptr)]


def sparse_layers(x: Inputs, params: Params) -> list[tuple[HostArray, HostArray]]:
    """Each sparse layer (out, in) with its zeros, and its mask."""
    if params["rule"] == "top_kast":
        raise NotImplementedError("what stores no zeros only")
    made = []
    for i, places in enumerate(_stored(x, params)):
        full = np.zeros((2, params["hidden"], params["hidden"] if i else params["features"]), x["x"].dtype)
        full[0][places], full[1][places] = x[f"w{i}"], 1
        made.append((full[0], full[1]))
    return made


class Sets(NamedTuple):
    """A layer of Top-KAST: all weights (in, out) and masks of what is read and of what learns.

    `rows` and `columns` (out, in) are of what learns, row by row; `seen` are the entries of these that are read.
    """

    weights: HostArray
    read: HostArray
    learnt: HostArray
    rows: HostArray
    columns: HostArray
    seen: HostArray


def kast_layers(x: Inputs, params: Params) -> list[Sets]:
    """Each sparse layer of Top-KAST."""
    if params["rule"] != "top_kast":
        raise NotImplementedError("Top-KAST only")
    made = []
    for i, (rows, columns) in enumerate(_stored(x, params)):
        weights, seen = x[f"w{i}"], x[f"w{i}_seen"]
        masks = np.zeros((2, *weights.shape), weights.dtype)
        masks[0][columns[seen], rows[seen]] = masks[1][columns, rows] = 1
        made.append(Sets(weights, masks[0], masks[1], rows, columns, seen))
    return made


def kast_named(o: Sequence[HostArray], params: Params) -> dict[str, HostArray]:
    """The loss, all weights (in, out), and of an update which set each is in."""
    count = params["layers"]
    sets = {f"sets{i}": np.asarray(v).astype(np.int64) for i, v in enumerate(o[count + 2 :])}
    return {"loss": o[0], **{f"w{i}": v for i, v in enumerate(o[1 : count + 2])}, **sets}


def stored_values(o: Sequence[HostArray], x: Inputs, params: Params) -> dict[str, HostArray]:
    """The loss, every sparse layer (out, in) and the last as a step of sparse training names them."""
    values = {f"w{i}": o[i + 1][places] for i, places in enumerate(_stored(x, params))}
    return {"loss": o[0], **values, f"w{params['layers']}": o[-1]}


def updated_layers(o: Sequence[HostArray], count: int) -> dict[str, HostArray]:
    """New weights and masks (in, out) as an update of patterns names them."""
    names = [*(f"new{i}" for i in range(count)), *(f"mask{i}" for i in range(count))]
    return {name: v.astype(np.float64) for name, v in zip(names, o, strict=True)}


class Blocks(NamedTuple):
    """A sparse layer (out, in) of whole blocks: values (blocks, 16, 16), the block row and block column of each.

    `shape` is how many block rows and block columns there are; blocks stand row by row.
    """

    values: HostArray
    rows: HostArray
    columns: HostArray
    shape: tuple[int, int]

    def padded(self) -> tuple[HostArray, HostArray, HostArray]:
        """Every block row as long as the longest: (rows, 16, longest·16), block columns, and which are filled."""
        lengths = np.bincount(self.rows, minlength=self.shape[0])
        filled = np.arange(lengths.max()) < lengths[:, None]
        tiles, columns = np.zeros((*filled.shape, SIDE, SIDE), self.values.dtype), np.zeros(filled.shape, np.int32)
        tiles[filled], columns[filled] = self.values, self.columns
        return tiles.transpose(0, 2, 1, 3).reshape(len(tiles), SIDE, -1), columns, filled

    def of_padded(self, v: HostArray) -> HostArray:
        """The blocks of such values."""
        return v.reshape(len(v), SIDE, -1, SIDE).transpose(0, 2, 1, 3)[self.padded()[2]]

    def by_column(self, at: HostArray) -> tuple[HostArray, HostArray]:
        """Of each block column which of its blocks' numbers `at` it has, (columns, longest), and which are filled."""
        lengths = np.bincount(self.columns, minlength=self.shape[1])
        filled = np.arange(lengths.max()) < lengths[:, None]
        places = np.zeros(filled.shape, np.int32)
        places[filled] = at[np.argsort(self.columns, kind="stable")]
        return places, filled


def block_layers(x: Inputs, params: Params, phase: str) -> list[Blocks]:
    """Each sparse layer of whole blocks, in the phase that a candidate is of."""
    if params["rule"] != "blocks" or params["phase"] != phase:
        raise NotImplementedError(f"the {phase} in blocks only")
    made = []
    for full, mask in sparse_layers(x, params):
        down, across = (length // SIDE for length in full.shape)
        tiles, there = (v.reshape(down, SIDE, across, SIDE).transpose(0, 2, 1, 3) for v in (full, mask))
        rows, columns = (v.astype(np.int32) for v in np.nonzero(there[:, :, 0, 0]))
        made.append(Blocks(np.ascontiguousarray(tiles[rows, columns]), rows, columns, (down, across)))
    return made


def with_blocks(values: HostArray, rows: HostArray, columns: HostArray, shape: tuple[int, int]) -> HostArray:
    """Blocks among their zeros, (out, in)."""
    tiles = np.zeros((*shape, SIDE, SIDE), values.dtype)
    tiles[rows, columns] = values
    return tiles.transpose(0, 2, 1, 3).reshape(shape[0] * SIDE, shape[1] * SIDE)


def stored_blocks(o: Sequence[HostArray], layers: Sequence[Blocks], x: Inputs, params: Params) -> dict[str, HostArray]:
    """The loss, the blocks of every sparse layer and the last as a step of sparse training names them."""
    full = [with_blocks(v, b.rows, b.columns, b.shape) for v, b in zip(o[1:-1], layers, strict=True)]
    return stored_values([o[0], *full, o[-1]], x, params)


def moved_blocks(o: Sequence[HostArray], layers: Sequence[Blocks]) -> dict[str, HostArray]:
    """Of every layer its blocks after an update, then where they stand, flat in (block rows, block columns)."""
    out: dict[str, HostArray] = {}
    for i, (values, places, layer) in enumerate(zip(o[: len(layers)], o[len(layers) :], layers, strict=True)):
        rows, columns = places // layer.shape[1], places % layer.shape[1]
        ones = np.zeros(layer.shape, np.int64)
        ones[rows, columns] = 1
        out |= {f"new{i}": with_blocks(values, rows, columns, layer.shape).T.astype(np.float64), f"mask{i}": ones.T}
    return out


class Candidates:
    """By workload and mode the makers under their names; `only` says of some in which executions they are tried."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, str], dict[str, Make]] = {}
        self.only: dict[str, tuple[str, ...]] = {}

    def add(self, workload: str, mode: str, name: str, make: Make, *executions: str) -> None:
        """Keep `make`; tried in `executions` only, where any are given."""
        self.known.setdefault((workload, mode), {})[name] = make
        if executions:
            self.only[name] = executions

    def borrow(
        self, workload: str, lender: str, turned: Callable[[Inputs, Params], Inputs] = lambda x, params: x
    ) -> None:
        """`lender`'s forward candidates so far for `workload` too, whose inputs `turned` makes those of the lender."""
        for name, make in list(self.known[lender, "forward"].items()):

            def made(x: Inputs, params: Params, make: Make = make) -> Any:
                return make(turned(x, params), params)

            self.add(workload, "forward", name, made)

    def __call__(self, workload: str, mode: str, *executions: str) -> Callable[[Make], Make]:
        """The same as a decorator, under the function's own name."""

        def register(make: Make) -> Make:
            self.add(workload, mode, make.__name__, make, *executions)
            return make

        return register

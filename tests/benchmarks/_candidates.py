"""Where the files of `bench_best` keep what they know by hand, the same for every framework."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from backends.ops import HostArray
from workloads.base import Inputs, Params

Make: TypeAlias = Callable[..., Any]
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
    made = []
    for i, places in enumerate(_stored(x, params)):
        full = np.zeros((2, params["hidden"], params["hidden"] if i else params["features"]), x["x"].dtype)
        full[0][places], full[1][places] = x[f"w{i}"], 1
        made.append((full[0], full[1]))
    return made


def stored_values(o: Sequence[HostArray], x: Inputs, params: Params) -> dict[str, HostArray]:
    """The loss, every sparse layer (out, in) and the last as a step of sparse training names them."""
    values = {f"w{i}": o[i + 1][places] for i, places in enumerate(_stored(x, params))}
    return {"loss": o[0], **values, f"w{params['layers']}": o[-1]}


def updated_layers(o: Sequence[HostArray], count: int) -> dict[str, HostArray]:
    """New weights and masks (in, out) as an update of patterns names them."""
    names = [*(f"new{i}" for i in range(count)), *(f"mask{i}" for i in range(count))]
    return {name: v.astype(np.float64) for name, v in zip(names, o, strict=True)}


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

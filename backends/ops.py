"""The thin abstraction: what a workload may ask of a framework, and how a framework is opened.

`Ops` is a closed list. Names and meanings follow the Python array API standard (2024.12) where it has the operation;
what the ideas need beyond it (convolution, sparse products, gradients, compile, wait) stands below. Arrays are the
framework's own: plain operators (`+ - * / @`, comparison, basic slicing) are used on them directly, and nothing wraps
them in the timed path. This file imports nothing of ours.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

HostArray: TypeAlias = npt.NDArray[Any]
Array: TypeAlias = Any  # the framework's own array
Matrix: TypeAlias = Any  # the framework's own sparse operand, or a tuple of its arrays
Scalar: TypeAlias = str | int | float | bool | None
Layout = Literal["nhwc", "nchw"]
Execution = Literal["eager", "graph", "compiled"]
FallbackKind = Literal["densified", "host", "uncompiled", "substituted"]

EXECUTIONS: tuple[Execution, ...] = ("eager", "graph", "compiled")
FLUSH_BYTES = 256 << 20  # twice the largest level-2 cache of a GPU on sale (B200: 126 MB)
SPARSE_FORMATS = ("csr", "csc", "coo", "bsr", "bag")

# The TPU chips that libtpu compiles for, and its name for one chip alone. Of v2, v3, v4 and v7x a device is one of the
# chip's two cores, as libtpu describes it: half of the chip's rate and memory.
TPU_CHIPS = {
    "v2": "v2:1x1",
    "v3": "v3:1x1",
    "v4": "v4:1x1x1",
    "v5e": "v5e:1x1",
    "v5p": "v5p:1x1x1",
    "v6e": "v6e:1x1",
    "v7x": "tpu7x:1x1x1",
}


class Unsupported(Exception):  # noqa: N818 - it is an outcome, and named as in the records
    """The framework says no here; the message is its own words, or names what it offers instead."""


@dataclass(frozen=True, slots=True)
class Device:
    """One device as a user writes it: `cpu`, `cuda`, `cuda:1`, `tpu:0`, `tpu-aot:v5e`."""

    kind: str
    index: int = 0
    chip: str | None = None

    @classmethod
    def parse(cls, text: str) -> Device:
        """Read `cpu`, `cuda[:i]`, `tpu[:i]` or `tpu-aot:<chip>`; ValueError says what was found and expected."""
        kind, _, rest = text.partition(":")
        if kind == "tpu-aot":
            if rest not in TPU_CHIPS:
                raise ValueError(f"device {text!r} names no chip to compile for; known are {', '.join(TPU_CHIPS)}")
            return cls(kind, 0, rest)
        if kind == "cpu" and not rest:
            return cls(kind)
        if kind in ("cuda", "tpu") and (not rest or rest.isdecimal()):
            return cls(kind, int(rest or 0))
        raise ValueError(f"device {text!r} is not one of cpu, cuda[:i], tpu[:i], tpu-aot:<chip>")

    def __str__(self) -> str:
        if self.chip is not None:
            return f"{self.kind}:{self.chip}"
        return f"{self.kind}:{self.index}" if self.index else self.kind


class CSR(NamedTuple):
    """A sparse matrix on the host: `values` (nnz,), `indices` (nnz,) int32 sorted in rows, `indptr` (rows+1,)."""

    values: HostArray
    indices: HostArray
    indptr: HostArray
    shape: tuple[int, int]

    @property
    def rows(self) -> HostArray:
        """Row of each non-zero, (nnz,) int32."""
        return np.repeat(np.arange(self.shape[0], dtype=np.int32), np.diff(self.indptr))

    def transposed(self) -> tuple[CSR, HostArray]:
        """The transpose as CSR, and the permutation (nnz,) int32 with `transpose.values == values[permutation]`."""
        order = np.argsort(self.indices, kind="stable").astype(np.int32)
        counts = np.bincount(self.indices, minlength=self.shape[1])
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        return CSR(self.values[order], self.rows[order], indptr, (self.shape[1], self.shape[0])), order

    def dense(self) -> HostArray:
        """The same matrix with its zeros, (rows, columns)."""
        out = np.zeros(self.shape, self.values.dtype)
        out[self.rows, self.indices] = self.values
        return out


class Fallback(NamedTuple):
    """Something else that the framework ran without a word, as it was seen to run.

    `densified`: a sparse operand became dense. `host`: on an accelerator, work or values went to the host.
    `uncompiled`: code asked to be compiled ran as in eager. `substituted`: another product than the format's own.
    """

    kind: FallbackKind
    what: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """A callable ready to be timed, and what making it cost.

    An adapter may try several settings of its compiler; the figures are those of the one kept, and `flags`, which may
    fill in only with the first call, name it. A refusal (Unsupported) may also come from the first call. `trace_s` and
    `compile_s` are None where the framework does both inside the first call. `traces()` counts how often the framework
    traced or compiled since it was made; a timed region in which it grows is not a measurement.

    `kept` names the setting that won a trial, or was told; None where there is only one.

    `fallbacks(operands)` says what else the framework ran instead, by watching one more call or reading the program:
    called after the clock, since both take time and watching may slow the calls that follow.
    """

    call: Callable[..., tuple[Array, ...]]
    trace_s: float | None = None
    compile_s: float | None = None
    temp_bytes: int | None = None
    flags: Mapping[str, Scalar] = field(default_factory=dict)
    kept: str | None = None
    traces: Callable[[], int] = lambda: 0
    fallbacks: Callable[[Sequence[Array | Matrix]], Sequence[Fallback]] = lambda _: ()


class Ops(ABC):
    """One framework on one device. Axis arguments are ints; shapes are static; dtypes are NumPy names ("float32")."""

    device: Device

    # -- transfer ---------------------------------------------------------------------------------------------------
    @abstractmethod
    def asarray(self, x: HostArray) -> Array:
        """Copy a host array to the device, same shape and dtype (bfloat16 comes as `ml_dtypes.bfloat16`)."""

    def positions(self, x: HostArray) -> Array:
        """Copy positions for `take` to the device as int32, or as the integers by which the framework reads faster."""
        return self.asarray(x.astype(np.int32))

    @abstractmethod
    def filters(self, w: HostArray) -> Array:
        """Copy convolution filters (kh, kw, ci, co) to the device, shape kept, memory arranged as it likes best."""

    def pack_filters(self, w: HostArray, images: tuple[int, int, int, int], stride: int, padding: int) -> Array:
        """Filters (kh, kw, ci, co) laid out for `conv2d` of channels-last `images` (n, h, w, ci), and for nothing else.

        Raises Unsupported where the framework has no such filters: it lays them out when it compiles, or in each call.
        """
        raise Unsupported(
            f"filters {w.shape} for images {images}, stride {stride}, padding {padding}, are not laid out ahead of a "
            "call here: the framework or its compiler does it itself"
        )

    @abstractmethod
    def to_numpy(self, x: Array) -> HostArray:
        """Copy a dense array of the device to the host; waits for it."""

    @abstractmethod
    def wait(self, outputs: Sequence[Array | Matrix]) -> None:
        """Return when every one of `outputs` is computed (or converted), without copying any to the host."""

    # -- array API standard -----------------------------------------------------------------------------------------
    @abstractmethod
    def astype(self, x: Array, dtype: str) -> Array: ...
    @abstractmethod
    def reshape(self, x: Array, shape: tuple[int, ...]) -> Array: ...
    @abstractmethod
    def permute_dims(self, x: Array, axes: tuple[int, ...]) -> Array: ...
    @abstractmethod
    def expand_dims(self, x: Array, axis: int) -> Array: ...
    @abstractmethod
    def concat(self, xs: Sequence[Array], axis: int) -> Array: ...
    @abstractmethod
    def stack(self, xs: Sequence[Array], axis: int) -> Array: ...
    @abstractmethod
    def zeros(self, shape: tuple[int, ...], dtype: str) -> Array: ...
    @abstractmethod
    def sum(self, x: Array, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Array: ...
    @abstractmethod
    def max(self, x: Array, axis: int | tuple[int, ...], keepdims: bool = False) -> Array: ...
    @abstractmethod
    def exp(self, x: Array) -> Array: ...
    @abstractmethod
    def log(self, x: Array) -> Array: ...
    @abstractmethod
    def sqrt(self, x: Array) -> Array: ...
    @abstractmethod
    def where(self, condition: Array, x: Array, y: Array | float) -> Array: ...
    @abstractmethod
    def maximum(self, x: Array, y: Array | float) -> Array: ...
    @abstractmethod
    def take(self, x: Array, indices: Array, axis: int = 0) -> Array: ...
    @abstractmethod
    def matmul(self, a: Array, b: Array) -> Array: ...
    @abstractmethod
    def einsum(self, equation: str, *xs: Array) -> Array:
        """Einstein summation (not in the standard; in every framework)."""

    # -- neural networks --------------------------------------------------------------------------------------------
    @abstractmethod
    def relu(self, x: Array) -> Array: ...

    def relu_grad(self, gradient: Array, y: Array) -> Array:
        """The gradient before a relu of output y, from the one behind it: `gradient` where y > 0, else zero."""
        return self.where(y > 0, gradient, 0.0)

    @abstractmethod
    def softplus(self, x: Array) -> Array: ...
    @abstractmethod
    def softmax(self, x: Array, axis: int) -> Array: ...
    @abstractmethod
    def log_softmax(self, x: Array, axis: int) -> Array: ...
    @abstractmethod
    def conv2d(self, x: Array, w: Array, *, stride: int, padding: int, layout: Layout) -> Array:
        """Cross-correlation of x, (n, h, w, ci) or (n, ci, h, w), with `filters` w (kh, kw, ci, co); zero padding."""

    @abstractmethod
    def max_pool2d(self, x: Array, size: int, *, layout: Layout) -> Array:
        """Maximum over non-overlapping `size`×`size` windows; height and width must divide."""

    @abstractmethod
    def avg_pool2d(self, x: Array, size: int, *, layout: Layout) -> Array:
        """Mean over non-overlapping `size`×`size` windows; height and width must divide."""

    # -- sparse -----------------------------------------------------------------------------------------------------
    @abstractmethod
    def sparse(self, csr: CSR, format: str, block: int = 1) -> Matrix:
        """Convert to the framework's own `format` (one of SPARSE_FORMATS); Unsupported names the formats it has.

        `block` is the side of the blocks of `bsr`. A matrix may be an argument of a compiled callable where the
        framework allows it; where it does not, `compile` raises Unsupported.
        """

    @abstractmethod
    def sparse_matmul(self, a: Matrix, b: Array) -> Array:
        """a (M×K, sparse) · b (K×N, dense) → (M×N, dense), or · b (K,) → (M,); Unsupported where there is none."""

    @abstractmethod
    def sparse_matmul_transposed(self, a: Matrix, b: Array) -> Array:
        """aᵀ · b of a sparse a (M×K) and dense b (M×N) → (K×N), without building aᵀ; Unsupported where it has none."""

    @abstractmethod
    def sparse_values(self, a: Matrix) -> Array:
        """The stored values, in the order of the CSR it was made from: (nnz,), or (blocks, b, b) for `bsr`."""

    @abstractmethod
    def sparse_with_values(self, a: Matrix, values: Array) -> Matrix:
        """The same pattern with other values, given in the order of `sparse_values`; no copy of the pattern."""

    @abstractmethod
    def sampled_matmul(self, a: Matrix, x: Array, y: Array) -> Array:
        """(x · yᵀ) at the non-zeros of a only, in the order of `sparse_values`; x (M×N), y (K×N).

        Only the framework's own sampled product; Unsupported where it has none.
        """

    @abstractmethod
    def segment_sum(self, x: Array, segment_ids: Array, num_segments: int) -> Array:
        """Sum the rows of x (n, …) into (num_segments, …); `segment_ids` (n,) are sorted."""

    # -- gradients --------------------------------------------------------------------------------------------------
    @abstractmethod
    def value_and_grad(
        self, fn: Callable[..., Any], argnums: Sequence[int], has_aux: bool = False
    ) -> Callable[..., tuple[Any, tuple[Array, ...]]]:
        """As `jax.value_and_grad`: a callable of fn's arguments returning (loss, gradients of `argnums`).

        With `has_aux`, fn returns (loss, aux) and the callable ((loss, aux), gradients); aux carries no gradient.
        """

    @abstractmethod
    def stop_gradient(self, x: Array) -> Array: ...

    def sgd_step(self, w: Array, gradient: Array, rate: float) -> Array:
        """w − rate·gradient, the step of plain SGD, in one pass where the framework has one."""
        return w - rate * gradient

    def sgd_step_along(self, w: Array, left: Array, right: Array, rate: float) -> Array:
        """w − rate·(left·right): `sgd_step` along a product, within it where the framework's GEMM can add."""
        return self.sgd_step(w, self.matmul(left, right), rate)

    # -- running ----------------------------------------------------------------------------------------------------
    @abstractmethod
    def compile(
        self,
        fn: Callable[..., tuple[Array, ...]],
        execution: Execution,
        args: Sequence[Array | Matrix],
        keep: str | None = None,
    ) -> Compiled:
        """Make `fn` ready to be called with arguments like `args`; `eager` returns it as it is.

        `keep` is what an earlier process of the case kept of several settings: it is taken without a trial, since a
        trial on a busy machine may end another way in every process, and they would not be of one case.

        Raises Unsupported where the execution does not exist here, would be a no-op, or refuses the computation.
        """

    @abstractmethod
    def settings(self) -> dict[str, Scalar]:
        """What was really set, read back from the framework: threads, precision switches, library versions."""

    def flush_cache(self) -> bool:
        """Read FLUSH_BYTES on the device and wait, so that no operand is left in its caches; False where it has none.

        The buffer is made by the first call, and `device_peak_bytes` leaves it out.
        """
        return False

    def device_s(
        self,
        call: Callable[..., Sequence[Array]],  # noqa: ARG002 - where there is such a clock
        operands: Sequence[Array | Matrix],  # noqa: ARG002
    ) -> float | None:
        """Median seconds of a call by the device's own clock, launching hidden; None where there is no such clock."""
        return None

    def reset_peak_bytes(self) -> None:
        """Start a new window of the device allocator's peak; nothing where the device has no allocator of its own."""
        return None

    def device_peak_bytes(self) -> int | None:
        """Peak since `reset_peak_bytes` of the framework's own allocator on the device; None where none tells."""
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """One framework's adapter, as data. Making one imports no framework; `devices` and `open` do.

    `environ(device, threads, cache)` is the environment to set before the import; `cache` is the folder of compile
    caches. `preload` are the modules that the fork server imports: none of them may start a runtime; `ahead` are those
    it imports in their place to compile for a `tpu-aot` device, none where there is no such route. `install` is the
    command that mends its absence. `open` raises Unsupported, with the framework's words, for a device it has not.
    """

    name: str
    title: str
    module: str
    distributions: tuple[str, ...]
    install: str
    preload: tuple[str, ...]
    ahead: tuple[str, ...] = ()
    executions: tuple[Execution, ...]
    environ: Callable[[Device, int, Path], Mapping[str, str]]
    devices: Callable[[], Sequence[Device]]
    open: Callable[[Device], Ops]
    default: bool = True

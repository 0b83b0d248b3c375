"""The thin abstraction: what a workload may ask of a framework, and how a framework is opened.

`Ops` is a closed list. Names and meanings follow the Python array API standard (2024.12) where it has the operation;
what the ideas need beyond it (convolution, sparse products, gradients, compile, wait) stands below. Arrays are the
framework's own: plain operators (`+ - * / @`, comparison, basic slicing) are used on them directly, and nothing wraps
them in the timed path. The small types of which it speaks live beside it and can be imported from here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from backends.compiled import (
    EXECUTIONS,
    Array,
    Compiled,
    Execution,
    Fallback,
    FallbackKind,
    Matrix,
    Scalar,
    Unsupported,
)
from backends.csr import CSR, HostArray
from backends.device import TPU_CHIPS, Device
from backends.idea_ops import QUANTIZED_KINDS, IdeaOps

__all__ = [
    "CSR",
    "EXECUTIONS",
    "FLUSH_BYTES",
    "QUANTIZED_KINDS",
    "SPARSE_FORMATS",
    "TPU_CHIPS",
    "Array",
    "Backend",
    "Compiled",
    "Device",
    "Execution",
    "Fallback",
    "FallbackKind",
    "HostArray",
    "Layout",
    "Matrix",
    "Ops",
    "Scalar",
    "Unsupported",
]

Layout = Literal["nhwc", "nchw"]

FLUSH_BYTES = 256 << 20  # twice the largest level-2 cache of a GPU on sale (B200: 126 MB)
SPARSE_FORMATS = ("csr", "csc", "coo", "bsr", "bag", "cusparselt", "cutlass")  # the last two hold 2 of each 4


class Ops(IdeaOps):
    """One framework on one device. Axis arguments are ints; shapes are static; dtypes are NumPy names ("float32").

    A new backend sets `device` and `framework` and writes the 19 methods of `CoreOps`: `asarray`, `to_numpy`, `wait`,
    `astype`, `reshape`, `permute_dims`, `expand_dims`, `concat`, `stack`, `zeros`, `sum`, `max`, `exp`, `log`, `sqrt`,
    `where`, `maximum`, `take` and `matmul`. Every method below has a default. It is the operation written with the core
    (`relu`, `softmax`), or what holds where a framework offers nothing (`compile` runs eagerly), or Unsupported, which
    a run records as this framework's answer. What only some ideas need stands in `IdeaOps`.

    Write more of them where the framework has the operation itself: a default that stands in for a faster operation
    makes the framework look slow. For an operation that is not in this list, a workload gives the framework a
    formulation of its own, in that framework's own words. `backends.conformance.faults` checks a backend.
    """

    before_trial: Callable[[], object] = staticmethod(lambda: None)  # the harness sets it; see `compile`

    # -- layouts of its own -----------------------------------------------------------------------------------------
    def filters(self, w: HostArray) -> Array:
        """Copy convolution filters (kh, kw, ci, co) to the device, shape kept, memory arranged as it likes best."""
        return self.asarray(w)

    def pack_filters(self, w: HostArray, images: tuple[int, int, int, int], stride: int, padding: int) -> Array:
        """Filters (kh, kw, ci, co) laid out for `conv2d` of channels-last `images` (n, h, w, ci), and for nothing else.

        Raises Unsupported where the framework has no such filters: it lays them out when it compiles, or in each call.
        """
        raise Unsupported(
            f"filters {w.shape} for images {images}, stride {stride}, padding {padding}, are not laid out ahead of a "
            "call here: the framework or its compiler does it itself"
        )

    # -- choosing ---------------------------------------------------------------------------------------------------
    def sort(self, x: Array, axis: int = -1, descending: bool = False) -> Array:
        """The values of x in order along `axis`, the same shape; where a NaN comes to stand is not defined."""
        raise self._unsupported("sort")

    def argmax(self, x: Array, axis: int) -> Array:
        """The position of the greatest value along `axis`, which goes; int32 or int64, as the framework has it.

        Of equal values it is the first, except in TensorFlow, which promises none of them.
        """
        raise self._unsupported("argmax")

    def topk(self, x: Array, k: int) -> tuple[Array, Array]:
        """The k greatest values (…, k) along the last axis, greatest first, and their positions (…, k).

        Not in the standard. Positions are int32 or int64, as the framework has them. Of equal values JAX and TensorFlow
        give the first positions; in PyTorch and NumPy which of them come, and in what order, is not defined.
        """
        raise self._unsupported("topk")

    def kth_greatest(self, x: Array, k: int) -> Array:
        """The k-th greatest value of a vector, without a dimension: one of a whole selection where there is no more."""
        return self.topk(x, k)[0][k - 1]

    def einsum(self, equation: str, *xs: Array) -> Array:
        """Einstein summation (not in the standard; in every framework)."""
        raise self._unsupported("einsum")

    # -- neural networks --------------------------------------------------------------------------------------------
    def relu(self, x: Array) -> Array:
        return self.maximum(x, 0.0)

    def relu_grad(self, gradient: Array, y: Array) -> Array:
        """The gradient before a relu of output y, from the one behind it: `gradient` where y > 0, else zero."""
        return self.where(y > 0, gradient, 0.0)

    def softplus(self, x: Array) -> Array:
        """log(1 + exp(x)), without an overflow for a large x."""
        return self.maximum(x, 0.0) + self.log(1.0 + self.exp(-self.maximum(x, -x)))

    def softmax(self, x: Array, axis: int) -> Array:
        exponentials = self.exp(x - self.max(x, axis, True))
        return exponentials / self.sum(exponentials, axis, True)

    def log_softmax(self, x: Array, axis: int) -> Array:
        shifted = x - self.max(x, axis, True)
        return shifted - self.log(self.sum(self.exp(shifted), axis, True))

    def conv2d(self, x: Array, w: Array, *, stride: int, padding: int, layout: Layout) -> Array:
        """Cross-correlation of x, (n, h, w, ci) or (n, ci, h, w), with `filters` w (kh, kw, ci, co); zero padding."""
        raise self._unsupported("conv2d")

    def max_pool2d(self, x: Array, size: int, *, layout: Layout) -> Array:
        """Maximum over non-overlapping `size`×`size` windows; height and width must divide."""
        raise self._unsupported("max_pool2d")

    def avg_pool2d(self, x: Array, size: int, *, layout: Layout) -> Array:
        """Mean over non-overlapping `size`×`size` windows; height and width must divide."""
        raise self._unsupported("avg_pool2d")

    # -- sparse -----------------------------------------------------------------------------------------------------
    def sparse(self, csr: CSR, format: str, block: int = 1) -> Matrix:
        """Convert to the framework's own `format` (one of SPARSE_FORMATS); Unsupported names the formats it has.

        `block` is the side of the blocks of `bsr`. A matrix may be an argument of a compiled callable where the
        framework allows it; where it does not, `compile` raises Unsupported.
        """
        raise self._unsupported(f"sparse format {format}")

    def sparse_matmul(self, a: Matrix, b: Array) -> Array:
        """a (M×K, sparse) · b (K×N, dense) → (M×N, dense), or · b (K,) → (M,); Unsupported where there is none."""
        raise self._unsupported("sparse product")

    def sparse_matmul_transposed(self, a: Matrix, b: Array) -> Array:
        """aᵀ · b of a sparse a (M×K) and dense b (M×N) → (K×N), without building aᵀ; Unsupported where it has none."""
        raise self._unsupported("transposed sparse product")

    def sparse_values(self, a: Matrix) -> Array:
        """The stored values, in the order of the CSR it was made from: (nnz,), or (blocks, b, b) for `bsr`."""
        raise self._unsupported("sparse values")

    def sparse_with_values(self, a: Matrix, values: Array) -> Matrix:
        """The same pattern with other values, given in the order of `sparse_values`; no copy of the pattern."""
        raise self._unsupported("sparse operand with other values")

    def sampled_matmul(self, a: Matrix, x: Array, y: Array) -> Array:
        """(x · yᵀ) at the non-zeros of a only, in the order of `sparse_values`; x (M×N), y (K×N).

        Only the framework's own sampled product; Unsupported where it has none.
        """
        raise self._unsupported("sampled product")

    def segment_sum(self, x: Array, segment_ids: Array, num_segments: int) -> Array:
        """Sum the rows of x (n, …) into (num_segments, …); `segment_ids` (n,) are sorted."""
        raise self._unsupported("segment_sum")

    # -- gradients --------------------------------------------------------------------------------------------------
    def value_and_grad(
        self, fn: Callable[..., Any], argnums: Sequence[int], has_aux: bool = False
    ) -> Callable[..., tuple[Any, tuple[Array, ...]]]:
        """As `jax.value_and_grad`: a callable of fn's arguments returning (loss, gradients of `argnums`).

        With `has_aux`, fn returns (loss, aux) and the callable ((loss, aux), gradients); aux carries no gradient.
        """
        raise self._unsupported("automatic differentiation")

    def stop_gradient(self, x: Array) -> Array:
        """x, through which no gradient passes; x itself where there are no gradients."""
        if type(self).value_and_grad is not Ops.value_and_grad:
            raise self._unsupported("stop_gradient")
        return x

    def sgd_step(self, w: Array, gradient: Array, rate: float) -> Array:
        """w − rate·gradient, the step of plain SGD, in one pass where the framework has one."""
        return w - rate * gradient

    def sgd_step_along(self, w: Array, left: Array, right: Array, rate: float) -> Array:
        """w − rate·(left·right): `sgd_step` along a product, within it where the framework's GEMM can add."""
        return self.sgd_step(w, self.matmul(left, right), rate)

    # -- running ----------------------------------------------------------------------------------------------------
    def compile(
        self,
        fn: Callable[..., tuple[Array, ...]],
        execution: Execution,
        args: Sequence[Array | Matrix],
        keep: str | None = None,
    ) -> Compiled:
        """Make `fn` ready to be called with arguments like `args`; `eager` returns it as it is.

        `keep` is what an earlier process of the case kept of several settings: it is taken without a trial, since a
        trial on a busy machine may end another way in every process, and they would not be of one case. Before a trial
        an adapter calls `before_trial`, which returns when nothing else runs.

        Raises Unsupported where the execution does not exist here, would be a no-op, or refuses the computation.
        """
        if execution != "eager":
            raise Unsupported(f"{self._name_of_framework()} has no compiler; execution {execution} would be a no-op")
        return Compiled(call=fn)

    def settings(self) -> dict[str, Scalar]:
        """What was really set, read back from the framework: threads, precision switches, library versions.

        `threads` is how many compute and `interop_threads` or `inter_op_threads` how many run operations side by side:
        under these names they are held against the number that a run asks for.
        """
        return {}

    def flush_cache(self) -> bool:
        """Read FLUSH_BYTES on the device and wait, so that no operand is left in its caches; False where it has none.

        The buffer is made by the first call, and `device_peak_bytes` leaves it out.
        """
        return False

    def device_s(
        self,
        call: Callable[..., Sequence[Array]],
        operands: Sequence[Array | Matrix],
    ) -> float | None:
        """Median seconds of a call by the device's own clock, launching hidden; None where there is no such clock."""
        return None

    def kernels(
        self,
        call: Callable[..., Sequence[Array]],
        operands: Sequence[Array | Matrix],
    ) -> Sequence[str]:
        """Names of the kernels or library calls of a call on the device; none where the framework does not tell."""
        return ()

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
    command that installs it. `open` raises Unsupported, with the framework's words, for a device it has not. `profiler`
    is the module that profiles calls with the framework's own profiler (`backends.profiling`); None of one without.
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
    profiler: str | None = None

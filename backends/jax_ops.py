"""JAX's operators: arrays are jax.Array, sparse operands jax.experimental.sparse.BCSR and BCOO.

float64. JAX makes 64-bit arrays 32-bit unless `jax_enable_x64` is set, which also changes what int32 sums, iotas and
`while` counters become. So it stays off, as users have it, and goes on for the whole process with the first 64-bit
array that is put on the device (`settings` tells). Python scalars stay weakly typed either way.

Imports JAX: only an opened backend imports this file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from backends import jax_compile, jax_device, jax_fallback, jax_kernels, jax_sparse
from backends.dtypes import tf32
from backends.jax_idea_ops import JaxIdeaOps
from backends.ops import (
    CSR,
    FLUSH_BYTES,
    Array,
    Compiled,
    Device,
    Execution,
    Fallback,
    HostArray,
    Layout,
    Matrix,
    Scalar,
    Unsupported,
)

CONVOLUTION = {"nhwc": ("NHWC", "HWIO", "NHWC"), "nchw": ("NCHW", "HWIO", "NCHW")}


class JaxOps(JaxIdeaOps):
    """JAX on one device. Operations are jax.numpy's where its cached dispatch is the faster one, else jax.lax's."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self._device = jax_device.find(device)
        self._peaks = jax_device.Peaks()
        self._flush: Array | None = None  # what is read to empty the caches of a GPU
        self._jax, self._jnp, self._lax = jax, jnp, lax
        self._read = jax.jit(jnp.sum)
        self._compile, self._kernels, self._sparse = jax_compile, jax_kernels, jax_sparse
        # float32 is float32, no TF32 and no bfloat16 passes, unless a run asks TF32 of all.
        jax.config.update("jax_default_matmul_precision", "tensorfloat32" if tf32() else "highest")
        if device.index or device.kind not in ("cpu", "cuda", "tpu"):
            jax.config.update("jax_default_device", self._device)  # constants belong beside the operands
        if device.kind == "cuda":
            jax.config.update("jax_bcoo_cusparse_lowering", True)  # else a generic gather and scatter
        jax_compile.count_compilations()

    def asarray(self, x: HostArray) -> Array:
        if self._jax.dtypes.canonicalize_dtype(x.dtype) != x.dtype:
            self._jax.config.update("jax_enable_x64", True)
        if self.device.kind == "cpu":
            x = jax_device.apart(x)
        # Not jnp.array, which compiles two programs for every shape and holds two copies.
        return self._jax.device_put(x, self._device).block_until_ready()

    def filters(self, w: HostArray) -> Array:
        return self.asarray(w)  # XLA chooses the layout of operands itself

    def to_numpy(self, x: Array) -> HostArray:
        return np.asarray(x)

    def wait(self, outputs: Sequence[Array]) -> None:
        for output in outputs:  # the methods are half as dear as jax.block_until_ready for the one or two usual outputs
            output.block_until_ready()

    def astype(self, x: Array, dtype: str) -> Array:
        return self._lax.convert_element_type(x, dtype)

    def reshape(self, x: Array, shape: tuple[int, ...]) -> Array:
        return self._jnp.reshape(x, shape)

    def permute_dims(self, x: Array, axes: tuple[int, ...]) -> Array:
        return self._jnp.permute_dims(x, axes)

    def expand_dims(self, x: Array, axis: int) -> Array:
        return self._jnp.expand_dims(x, axis)

    def concat(self, xs: Sequence[Array], axis: int) -> Array:
        return self._jnp.concatenate(xs, axis)

    def stack(self, xs: Sequence[Array], axis: int) -> Array:
        return self._jnp.stack(xs, axis)

    def zeros(self, shape: tuple[int, ...], dtype: str) -> Array:
        return self._jnp.zeros(shape, dtype)

    def sum(self, x: Array, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Array:
        return self._jnp.sum(x, axis=axis, keepdims=keepdims)

    def max(self, x: Array, axis: int | tuple[int, ...], keepdims: bool = False) -> Array:
        return self._jnp.max(x, axis=axis, keepdims=keepdims)

    def exp(self, x: Array) -> Array:
        return self._jnp.exp(x)

    def log(self, x: Array) -> Array:
        return self._jnp.log(x)

    def sqrt(self, x: Array) -> Array:
        return self._jnp.sqrt(x)

    def where(self, condition: Array, x: Array, y: Array | float) -> Array:
        return self._jnp.where(condition, x, y)

    def maximum(self, x: Array, y: Array | float) -> Array:
        return self._jnp.maximum(x, y)

    def take(self, x: Array, indices: Array, axis: int = 0) -> Array:
        return self._jnp.take(x, indices, axis, mode="clip")  # the default also fills what lies outside with NaN

    def matmul(self, a: Array, b: Array) -> Array:
        return self._jnp.matmul(a, b)

    def sort(self, x: Array, axis: int = -1, descending: bool = False) -> Array:
        return self._jnp.sort(x, axis=axis, descending=descending)

    def argmax(self, x: Array, axis: int) -> Array:
        return self._jnp.argmax(x, axis)

    def topk(self, x: Array, k: int) -> tuple[Array, Array]:
        values, positions = self._lax.top_k(x, k)
        return values, positions

    def einsum(self, equation: str, *xs: Array) -> Array:
        return self._jnp.einsum(equation, *xs)

    def relu(self, x: Array) -> Array:
        return self._kernels.relu(x)

    def relu_grad(self, gradient: Array, y: Array) -> Array:
        return self._kernels.relu_grad(gradient, y)

    def softplus(self, x: Array) -> Array:
        return self._jax.nn.softplus(x)

    def softmax(self, x: Array, axis: int) -> Array:
        return self._kernels.softmax(x, axis)

    def log_softmax(self, x: Array, axis: int) -> Array:
        return self._kernels.log_softmax(x, axis)

    def conv2d(self, x: Array, w: Array, *, stride: int, padding: int, layout: Layout) -> Array:
        return self._lax.conv_general_dilated(
            x, w, (stride, stride), ((padding, padding), (padding, padding)), dimension_numbers=CONVOLUTION[layout]
        )

    def max_pool2d(self, x: Array, size: int, *, layout: Layout) -> Array:
        return self._kernels.max_pool2d(x, size, layout)

    def avg_pool2d(self, x: Array, size: int, *, layout: Layout) -> Array:
        return self._kernels.avg_pool2d(x, size, layout)

    def sparse(self, csr: CSR, format: str, block: int = 1) -> Matrix:
        return self._sparse.convert(csr, format, self.asarray, self.device.kind)

    def sparse_matmul(self, a: Matrix, b: Array) -> Array:
        return self._sparse.matmul(a, b)

    def sparse_matmul_transposed(self, a: Matrix, b: Array) -> Array:
        return self._sparse.matmul_transposed(a, b)

    def sparse_values(self, a: Matrix) -> Array:
        return a.data

    def sparse_with_values(self, a: Matrix, values: Array) -> Matrix:
        return self._sparse.with_values(a, values)

    def sampled_matmul(self, a: Matrix, x: Array, y: Array) -> Array:
        return self._sparse.sampled_matmul(a, x, y)

    def segment_sum(self, x: Array, segment_ids: Array, num_segments: int) -> Array:
        return self._jax.ops.segment_sum(x, segment_ids, num_segments, indices_are_sorted=True)

    def value_and_grad(
        self, fn: Callable[..., Any], argnums: Sequence[int], has_aux: bool = False
    ) -> Callable[..., tuple[Any, tuple[Array, ...]]]:
        gradients: Callable[..., tuple[Any, tuple[Array, ...]]] = self._jax.value_and_grad(fn, tuple(argnums), has_aux)
        return gradients

    def stop_gradient(self, x: Array) -> Array:
        return self._lax.stop_gradient(x)

    def compile(
        self,
        fn: Callable[..., tuple[Array, ...]],
        execution: Execution,
        args: Sequence[Array | Matrix],
        keep: str | None = None,
    ) -> Compiled:
        if execution == "eager":
            traces = self._compile.compilations_since()
            return self._watched(Compiled(call=fn, traces=traces), lambda operands: self._eager(fn, operands))
        if execution != "compiled":
            raise Unsupported(f"JAX has no execution {execution!r}: it runs eager or compiled (jax.jit)")
        compiled: Compiled = self._compile.compile(
            fn, args, kind=self.device.kind, keep=keep, before_trial=self.before_trial
        )
        self._peaks.first = self._peak()
        return self._watched(compiled, compiled.fallbacks)

    def _eager(self, fn: Callable[..., Any], operands: Sequence[Array | Matrix]) -> Sequence[Fallback]:
        return jax_fallback.of_eager(fn, operands, self.device.kind)

    def _watched(self, compiled: Compiled, program: Callable[[Sequence[Any]], Sequence[Fallback]]) -> Compiled:
        """`compiled` with an account of its program and, off the host, of where its results are."""

        def fallbacks(operands: Sequence[Array | Matrix]) -> Sequence[Fallback]:
            if self.device.kind == "cpu":
                return program(operands)
            return [*program(operands), *jax_fallback.of_outputs(compiled.call(*operands), self._device.platform)]

        return replace(compiled, fallbacks=fallbacks)

    def settings(self) -> dict[str, Scalar]:
        import jaxlib

        config = self._jax.config
        workspace = {"library_workspace": "in the peak: XLA makes it a temporary of the program"}
        return {
            **(workspace if self.device.kind == "cuda" else {}),
            "jax": self._jax.__version__,
            "jaxlib": jaxlib.__version__,
            "platform": self._device.platform,
            "platform_version": " ".join(self._device.client.platform_version.split()),
            "device_kind": self._device.device_kind,
            "threads": jax_device.pool_threads(),
            "x64": config.jax_enable_x64,
            "matmul_precision": config.jax_default_matmul_precision,
            "tf32": config.jax_default_matmul_precision not in ("highest", "float32"),
            "cusparse": config.jax_bcoo_cusparse_lowering,
            "compilation_cache": config.jax_compilation_cache_dir is not None,
            "xla_flags": os.environ.get("XLA_FLAGS"),
        }

    def flush_cache(self) -> bool:
        if self.device.kind != "cuda":
            return False
        if self._flush is None:
            self._flush = self._jnp.zeros(FLUSH_BYTES // 4, "float32", device=self._device)
        self._read(self._flush).block_until_ready()
        return True

    def kernels(self, call: Callable[..., Sequence[Array]], operands: Sequence[Array | Matrix]) -> Sequence[str]:
        text = getattr(call, "as_text", None)  # of what was compiled ahead; an eager call has no program
        return jax_fallback.kernels(text()) if text is not None and self.device.kind != "cpu" else ()

    def reset_peak_bytes(self) -> None:
        self._peaks.window = self._peak()

    def device_peak_bytes(self) -> int | None:
        """The window's peak, None where it is not known: JAX's allocator remembers its peak and cannot forget it.

        It is the window's where it rose in it, or in the first call of a callable compiled ahead, which is the same.
        """
        peak = self._peak()
        before = self._peaks.window if self._peaks.first is None else self._peaks.first
        if peak is None or before is None or peak <= before:
            return None
        return peak - (0 if self._flush is None else FLUSH_BYTES)

    def _peak(self) -> int | None:
        statistics = self._device.memory_stats()  # None on cpu, whose allocator is the host's
        return None if statistics is None else statistics.get("peak_bytes_in_use")

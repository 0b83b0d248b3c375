"""JAX's route to the TPU compiler: its own, `jax.jit(fn).lower(described).compile()`.

Imports JAX: only an opened `tpu-aot` device imports this file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax

from backends.aot import Ahead, Chip, Program, versions
from backends.jax_ops import JaxOps
from backends.ops import CSR, Array, Device, Matrix, Scalar


class JaxAotOps(Ahead, JaxOps):
    """Operands are made on the host by JAX and enter the program as shapes alone; sparse ones are those of a TPU."""

    route = "jax.jit"

    def __init__(self, device: Device) -> None:
        JaxOps.__init__(self, Device("cpu"))  # sets a precision of its own, which the chip replaces
        self.device = device
        self._chip = Chip(device)

    def sparse(self, csr: CSR, format: str, block: int = 1) -> Matrix:
        """As on a TPU: COO; Unsupported for CSR, of which JAX has no kernel there."""
        return self._sparse.convert(csr, format, self.asarray, "tpu")

    def program(self, fn: Callable[..., tuple[Array, ...]], operands: Sequence[Array | Matrix]) -> Program:
        """Lowered and compiled by JAX, as it is where a TPU is attached."""
        described = jax.tree_util.tree_map(lambda x: self._chip.described(x.shape, x.dtype), list(operands))
        return self._chip.compile_jax(self.route, fn, described)

    def settings(self) -> dict[str, Scalar]:
        """Versions, and the precision of products."""
        precision = jax.config.jax_default_matmul_precision
        return {**versions("jax", "jaxlib", "libtpu"), "matmul_precision": precision, "x64": jax.config.jax_enable_x64}

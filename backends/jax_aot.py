"""JAX's route to the compiler of a device that is not there: its own, `jax.jit(fn).lower(described).compile()`.

Imports JAX: only an opened device that is compiled for imports this file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax

from backends import aot
from backends.ahead import Ahead, Program
from backends.jax_ops import JaxOps
from backends.ops import CSR, Array, Device, Matrix, Scalar


class JaxAotOps(Ahead, JaxOps):
    """Operands are made on the host by JAX and enter the program as shapes; sparse ones are those of the device."""

    route = "jax.jit"

    def __init__(self, device: Device) -> None:
        JaxOps.__init__(self, Device("cpu"))  # sets a precision of its own, which the target replaces
        self.device = device
        self._target = aot.target(device)

    def sparse(self, csr: CSR, format: str, block: int = 1) -> Matrix:
        """As where the device is: COO, and CSR where JAX has a kernel there; Unsupported for others."""
        return self._sparse.convert(csr, format, self.asarray, self._target.kind)

    def program(self, fn: Callable[..., tuple[Array, ...]], operands: Sequence[Array | Matrix]) -> Program:
        """Lowered and compiled by JAX, as it is where the device is."""
        described = jax.tree_util.tree_map(lambda x: self._target.described(x.shape, x.dtype), list(operands))
        return self._target.compile_jax(self.route, fn, described)

    def settings(self) -> dict[str, Scalar]:
        """Versions, and the precision of products."""
        return {
            **self._target.settings(jax.config.jax_default_matmul_precision),
            "x64": jax.config.jax_enable_x64,
        }

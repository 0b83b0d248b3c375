"""TensorFlow's route to the compiler of a device that is not there: the HLO that it lowers a function to.

Public TensorFlow builds have no TPU device, and none for a GPU without one. Their lowering to HLO is XLA's bridge with
the kernels registered for the CPU, which knows all that XLA can express; `XlaComputation` turns it into StableHLO, and
the device's compiler does the rest. Imports TensorFlow: only an opened device that is compiled for imports this file.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Sequence

from backends import aot
from backends.ahead import Ahead, Program, route, versions
from backends.ops import Array, Device, Matrix, Scalar
from backends.tensorflow_ops import TensorflowOps


class TensorflowAotOps(Ahead, TensorflowOps):
    """Operands are tensors of the host; the program takes their shapes."""

    route = "tf.function → HLO → StableHLO"

    def __init__(self, device: Device) -> None:
        TensorflowOps.__init__(self, Device("cpu"))
        self.device = device
        self._target = aot.target(device)
        # TensorFlow marks every product `highest`, unless it may round where the hardware likes to.
        self._tf.config.experimental.enable_tensor_float_32_execution(self._target.precision == "default")

    def program(self, fn: Callable[..., tuple[Array, ...]], operands: Sequence[Array | Matrix]) -> Program:
        """Traced and lowered by TensorFlow, whose refusals are its own; then compiled by XLA."""
        start = time.perf_counter()
        serialized = self._lowered(fn, operands)
        with route("the StableHLO of an HLO module", "tensorflow", "jax"):
            client = importlib.import_module("jaxlib.xla_client")
            module = client._xla.mlir.xla_computation_to_mlir_module(client.XlaComputation(serialized))
        return self._target.compile_mlir(self.route, module, time.perf_counter() - start)

    def _lowered(self, fn: Callable[..., tuple[Array, ...]], operands: Sequence[Array | Matrix]) -> bytes:
        function = self._tf.function(fn, autograph=False, jit_compile=True)
        with self._tracing(True):
            lower = function.experimental_get_compiler_ir(*operands)
            serialized: bytes = lower(stage="hlo_serialized")
        return serialized

    def settings(self) -> dict[str, Scalar]:
        """Versions, and the precision of products."""
        rounded = self._tf.config.experimental.tensor_float_32_execution_enabled()
        return {**versions("tensorflow"), **self._target.settings("default" if rounded else "highest")}

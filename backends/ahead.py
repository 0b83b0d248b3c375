"""Compiling for a device that is not there: what a program is, who makes one, and what the compiler answers of it.

A framework's adapter opens such a device as an `Ahead`: operands stay on the host, where they are described, and a
function becomes a `Program`. Each framework gets there by a route of its own (`jax_aot.py`, `torch_aot.py`,
`tensorflow_aot.py`), which ends at a `Target`: a description of one device and its compiler, nothing that could run.
`tpu_target.py` and `gpu_target.py` have the targets, `aot.py` opens the one that a device names. JAX is imported when
a target is opened.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from backends.ops import Array, Compiled, Device, Execution, Matrix, Ops, Scalar, Unsupported

# The versions that the private interfaces below were seen working with.
SEEN = {
    "jax": "0.10.2",
    "jaxlib": "0.10.2",
    "libtpu": "0.0.52",
    "jax-cuda12-plugin": "0.10.2",
    "nvidia-cuda-nvcc-cu12": "12.9.86",
    "torchax": "0.0.13",
    "torch": "2.13.0",
    "tensorflow": "2.21.0",
}
PRECISIONS = ("default", "highest")


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What the compiler said of one program: seconds to trace and to compile, its cost model, bytes, and HLO text.

    `cost` is XLA's own cost analysis by its own names ("flops", "bytes accessed", "optimal_seconds"); a figure that
    it does not give is absent. `hlo` is the optimised, scheduled program. Bytes are of one chip's main memory.
    `fallbacks` has what the framework put in place of what was asked, where it can be told before anything runs.
    """

    route: str
    trace_s: float
    compile_s: float
    cost: Mapping[str, float]
    argument_bytes: int
    output_bytes: int
    alias_bytes: int
    temp_bytes: int
    code_bytes: int
    hlo: str
    compiler: str
    fallbacks: tuple[str, ...] = ()


class Ahead(Ops, ABC):
    """`Ops` whose device is a description: operands are host arrays, and `program` is all that is done with them."""

    route: str

    @abstractmethod
    def program(self, fn: Callable[..., tuple[Array, ...]], operands: Sequence[Array | Matrix]) -> Program:
        """Compile `fn` for the device, for operands of these shapes; Unsupported has the words of who refuses."""

    def compile(
        self,
        fn: Callable[..., tuple[Array, ...]],
        execution: Execution,
        args: Sequence[Array | Matrix],
        keep: str | None = None,
    ) -> Compiled:
        """Always Unsupported: there is nothing here that could be called."""
        raise Unsupported(f"{self.device} is compiled for and not run: there is no callable to time")


class Target(ABC):
    """One device as its compiler is told of it, and that compiler, JAX's plug-in for its platform.

    `packages` are the distributions that have a say in what is compiled, `install` the command that brings them,
    `precision` how float32 products are made, and `kind` the `Device.kind` whose kernels of JAX's are lowered to.
    """

    packages: ClassVar[tuple[str, ...]]
    kind: ClassVar[str]

    def __init__(self, device: Device, install: str, precision: str) -> None:
        jax = importlib.import_module("jax")
        self.install, self.precision = install, precision
        jax.config.update("jax_default_matmul_precision", precision)
        jax.config.update("jax_enable_compilation_cache", False)  # a compiled program of another run says no seconds
        topologies = importlib.import_module("jax.experimental.topologies")
        with compiling():
            self.target = self._described(topologies, device)
        self.sharding = jax.sharding.SingleDeviceSharding(self.target)
        self.compiler = " ".join(self.target.client.platform_version.split())

    @abstractmethod
    def _described(self, topologies: Any, device: Device) -> Any:
        """The jax.Device that stands for `device`, by `jax.experimental.topologies`."""

    def described(self, shape: Sequence[int], dtype: Any) -> Any:
        """An operand of this shape and dtype that lies on the device, as JAX describes one."""
        return importlib.import_module("jax").ShapeDtypeStruct(tuple(shape), dtype, sharding=self.sharding)

    def compile_jax(self, how: str, fn: Callable[..., Any], operands: Sequence[Any]) -> Program:
        """A function of JAX's, traced for described `operands` and compiled."""
        jax = importlib.import_module("jax")
        start = time.perf_counter()
        with warnings.catch_warnings(record=True) as caught:
            trace = jax.jit(fn).trace(*operands)
            lowered = trace.lower()
        traced = time.perf_counter()
        with compiling():
            executable = lowered.compile()
        done = time.perf_counter()
        program = self.read(how, executable.runtime_executable(), traced - start, done - traced)
        return replace(program, fallbacks=self._fallbacks(trace, lowered, caught))

    def _fallbacks(self, trace: Any, lowered: Any, caught: Sequence[warnings.WarningMessage]) -> tuple[str, ...]:
        """What JAX put in place of what was asked; any other of its warnings is passed on."""
        fallback = importlib.import_module("backends.jax_fallback")
        said = fallback.about_sparse(caught)
        for warning in caught:
            if str(warning.message) not in said:
                warnings.showwarning(warning.message, warning.category, warning.filename, warning.lineno)
        return tuple(map(str, fallback.of_program(trace.jaxpr, lowered.as_text(), said, self.kind)))

    def compile_mlir(self, how: str, module: str, trace_s: float) -> Program:
        """A StableHLO module as text, compiled."""
        with route("jaxlib's compiler interface", *self.packages):
            client, mlir = (importlib.import_module(m) for m in ("jaxlib.xla_client", "jax.interpreters.mlir"))
            parsed = mlir.ir.Module.parse(module, mlir.make_ir_context())
            devices, options = client.DeviceList((self.target,)), self._options(client.CompileOptions())
            compile_ = self.target.client.compile
        start = time.perf_counter()
        with compiling():
            executable = compile_(parsed, devices, options)
        return self.read(how, executable, trace_s, time.perf_counter() - start)

    def read(self, how: str, executable: Any, trace_s: float, compile_s: float) -> Program:
        """The compiler's account of an executable."""
        with route("jaxlib's account of an executable", *self.packages):
            memory = executable.get_compiled_memory_stats()
            return Program(
                route=how,
                trace_s=trace_s,
                compile_s=compile_s,
                cost=self._cost(executable),
                argument_bytes=memory.argument_size_in_bytes,
                output_bytes=memory.output_size_in_bytes,
                alias_bytes=memory.alias_size_in_bytes,
                temp_bytes=memory.temp_size_in_bytes,
                code_bytes=memory.generated_code_size_in_bytes,
                hlo="\n".join(module.to_string() for module in executable.hlo_modules()),
                compiler=self.compiler,
            )

    def _options(self, options: Any) -> Any:
        """XLA's `options` as JAX itself would set them."""
        return options

    def _cost(self, executable: Any) -> Mapping[str, float]:
        """XLA's cost analysis of the program; none where the platform has none."""
        found: Mapping[str, float] = executable.cost_analysis()
        return found

    def settings(self, precision: Scalar) -> dict[str, Scalar]:
        """Versions of what compiles, and `precision`, which the framework says its products have; of a GPU as TF32."""
        tf32 = {"tf32": precision != "highest"} if self.kind == "cuda" else {}
        return {**versions("jax", "jaxlib", *self.packages), "matmul_precision": precision, **tf32}


@contextmanager
def route(what: str, *packages: str) -> Iterator[None]:
    """One sentence where a step of a route is not what it was: which step, with which versions, which it was seen with.

    Private or young interfaces are used here; an absent name or another signature is theirs and no error of a case.
    """
    try:
        yield
    except (ImportError, AttributeError, TypeError) as error:
        found = ", ".join(f"{name} {it} (seen working with {SEEN[name]})" for name, it in versions(*packages).items())
        words = " ".join(str(error).split())
        raise Unsupported(f"the route to XLA's compiler broke at {what}: {words}; found {found}") from error


@contextmanager
def compiling() -> Iterator[None]:
    """What the compiler refuses becomes Unsupported with its words; running out of the chip's memory is such a word."""
    try:
        yield
    except NotImplementedError as refusal:
        raise Unsupported(first_line(refusal)) from refusal
    except RuntimeError as refusal:  # JaxRuntimeError is one
        raise Unsupported(first_line(refusal)) from refusal


def first_line(error: Exception) -> str:
    """The first line of its words that is not empty, or its type."""
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return first or type(error).__name__


def versions(*packages: str) -> dict[str, Scalar]:
    """Installed versions by name; None for what is absent."""
    out: dict[str, Scalar] = {}
    for name in packages:
        try:
            out[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            out[name] = None
    return out

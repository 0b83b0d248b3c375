"""Compiling for a TPU that is not there: the chips that can be named, libtpu's compiler, and what it says of a program.

A device `tpu-aot:<chip>` is libtpu's description of one chip and its compiler, nothing that could run. A framework's
adapter opens it as an `Ahead`: operands stay on the host, where they are described, and a function becomes a
`Program`. Each framework gets there by a route of its own (`jax_aot.py`, `torch_aot.py`, `tensorflow_aot.py`); what
the compiler answers is read in one place, here. JAX and libtpu are imported when a chip is opened.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from backends.install import install_hint
from backends.ops import TPU_CHIPS, Array, Compiled, Device, Execution, Matrix, Ops, Scalar, Unsupported

INSTALL = install_hint("tpu-aot")
SEEN = {"jax": "0.10.2", "libtpu": "0.0.52", "torchax": "0.0.13", "torch": "2.13.0", "tensorflow": "2.21.0"}
PRELOAD = ("jax", "jax.numpy", "jax.experimental.topologies")


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What the compiler said of one program: seconds to trace and to compile, its cost model, bytes, and HLO text.

    `cost` is XLA's own cost analysis by its own names ("flops", "bytes accessed", "optimal_seconds"); a figure that
    it does not give is absent. `hlo` is the optimised, scheduled program. Bytes are of one chip's main memory.
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


class Ahead(Ops, ABC):
    """`Ops` whose device is a description: operands are host arrays, and `program` is all that is done with them."""

    route: str

    @abstractmethod
    def program(self, fn: Callable[..., tuple[Array, ...]], operands: Sequence[Array | Matrix]) -> Program:
        """Compile `fn` for the chip, for operands of these shapes; Unsupported has the words of who refuses."""

    def compile(
        self,
        fn: Callable[..., tuple[Array, ...]],
        execution: Execution,
        args: Sequence[Array | Matrix],
        keep: str | None = None,
    ) -> Compiled:
        """Always Unsupported: there is nothing here that could be called."""
        raise Unsupported(f"{self.device} is compiled for and not run: there is no callable to time")


def precision() -> str:
    """How float32 products are made, the same in every framework: `default` or `highest`, by HWLOTTERY_TPU_PRECISION.

    `default` is the chip's own and what TPU programs run with: operands rounded to bfloat16, sums in float32. `highest`
    is true float32 in six such passes, as the frameworks are told where they run; its programs take six times as long
    to compile. ValueError for another.
    """
    asked = os.environ.get("HWLOTTERY_TPU_PRECISION", "default")
    if asked not in ("default", "highest"):
        raise ValueError(f"HWLOTTERY_TPU_PRECISION must be default or highest, found {asked!r}")
    return asked


def environ() -> dict[str, str]:
    """What libtpu and JAX read before they are loaded: no questions to a metadata server, no log files, no TPU."""
    return {
        "JAX_PLATFORMS": "cpu",
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_ACCELERATOR_TYPE": "v5litepod-1",
        "TPU_WORKER_HOSTNAMES": "localhost",
        "TPU_LOG_DIR": "disabled",
        "TPU_MIN_LOG_LEVEL": "3",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # its lock is for a chip that two processes would share
    }


class Chip:
    """One chip as libtpu describes it, and its compiler. Made in a tenth of a second."""

    def __init__(self, device: Device) -> None:
        if device.chip not in TPU_CHIPS:
            raise Unsupported(f"no chip {device.chip!r} can be compiled for; known are {', '.join(TPU_CHIPS)}")
        why = missing(device)
        if why is not None:
            raise Unsupported(why)
        jax = importlib.import_module("jax")
        jax.config.update("jax_default_matmul_precision", precision())
        jax.config.update("jax_enable_compilation_cache", False)  # a compiled program of another run says no seconds
        with route("libtpu's description of a chip", "jax", "libtpu"):
            topologies = importlib.import_module("jax.experimental.topologies")
            described = topologies.get_topology_desc(platform="tpu", topology_name=TPU_CHIPS[device.chip])
            self.target = described.devices[0]
            self.sharding = jax.sharding.SingleDeviceSharding(self.target)
            self.compiler = " ".join(self.target.client.platform_version.split())

    def described(self, shape: Sequence[int], dtype: Any) -> Any:
        """An operand of this shape and dtype that lies on the chip, as JAX describes one."""
        return importlib.import_module("jax").ShapeDtypeStruct(tuple(shape), dtype, sharding=self.sharding)

    def compile_jax(self, how: str, fn: Callable[..., Any], operands: Sequence[Any]) -> Program:
        """A function of JAX's, traced for described `operands` and compiled."""
        jax = importlib.import_module("jax")
        start = time.perf_counter()
        lowered = jax.jit(fn).lower(*operands)
        traced = time.perf_counter()
        with compiling():
            executable = lowered.compile()
        done = time.perf_counter()
        return self.read(how, executable.runtime_executable(), traced - start, done - traced)

    def compile_mlir(self, how: str, module: str, trace_s: float) -> Program:
        """A StableHLO module as text, compiled."""
        with route("jaxlib's compiler interface", "jax", "libtpu"):
            client, mlir = (importlib.import_module(m) for m in ("jaxlib.xla_client", "jax.interpreters.mlir"))
            parsed = mlir.ir.Module.parse(module, mlir.make_ir_context())
            devices, options = client.DeviceList((self.target,)), client.CompileOptions()
            compile_ = self.target.client.compile
        start = time.perf_counter()
        with compiling():
            executable = compile_(parsed, devices, options)
        return self.read(how, executable, trace_s, time.perf_counter() - start)

    def read(self, how: str, executable: Any, trace_s: float, compile_s: float) -> Program:
        """The compiler's account of an executable."""
        with route("jaxlib's account of an executable", "jax", "libtpu"):
            memory = executable.get_compiled_memory_stats()
            return Program(
                route=how,
                trace_s=trace_s,
                compile_s=compile_s,
                cost=executable.cost_analysis(),
                argument_bytes=memory.argument_size_in_bytes,
                output_bytes=memory.output_size_in_bytes,
                alias_bytes=memory.alias_size_in_bytes,
                temp_bytes=memory.temp_size_in_bytes,
                code_bytes=memory.generated_code_size_in_bytes,
                hlo="\n".join(module.to_string() for module in executable.hlo_modules()),
                compiler=self.compiler,
            )


def missing(device: Device) -> str | None:
    """One sentence for a package without which nothing can be compiled for `device`; None when all are there."""
    for module in ("libtpu", "jax"):
        if importlib.util.find_spec(module) is None:
            return f"compiling for {device} needs {module}, which is not installed here; try: {INSTALL}"
    return None


@contextmanager
def route(what: str, *packages: str) -> Iterator[None]:
    """One sentence where a step of a route is not what it was: which step, with which versions, which it was seen with.

    Private or young interfaces are used here; an absent name or another signature is theirs and no error of a case.
    """
    try:
        yield
    except (ImportError, AttributeError, TypeError) as error:
        found = ", ".join(f"{name} {versions(name)[name]} (seen working with {SEEN[name]})" for name in packages)
        words = " ".join(str(error).split())
        raise Unsupported(f"the route to the TPU compiler broke at {what}: {words}; found {found}") from error


@contextmanager
def compiling() -> Iterator[None]:
    """What the compiler refuses becomes Unsupported with its words; running out of the chip's memory is such a word."""
    try:
        yield
    except NotImplementedError as refusal:
        raise Unsupported(_line(refusal)) from refusal
    except RuntimeError as refusal:  # JaxRuntimeError is one
        raise Unsupported(_line(refusal)) from refusal


def _line(error: Exception) -> str:
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

"""What compiles for a device that is not there, by the kind of the device: packages, environment, target."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass

from backends import gpu_target, tpu_target
from backends.ahead import PRECISIONS, Target, versions
from backends.device import GPU_AHEAD, TPU_AHEAD
from backends.dtypes import tf32
from backends.gpu_cards import GPU_CARDS
from backends.install import install_hint
from backends.ops import TPU_CHIPS, Device, Unsupported

PRELOAD = ("jax", "jax.numpy", "jax.experimental.topologies")


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiler:
    """One kind of devices that are compiled for: the name of its compiler, what it needs, and what there is.

    `extra` is the extra of this package that installs it, `modules` are by distribution what must be importable, and
    the distributions of `paired` must be of one version. `names` are its devices, as `KIND:NAME`.
    """

    kind: str
    name: str
    extra: str
    names: tuple[str, ...]
    target: type[Target]
    environ: Mapping[str, str]
    modules: Mapping[str, str]
    paired: tuple[str, ...] = ()

    @property
    def install(self) -> str:
        """The command that installs what it needs."""
        return install_hint(self.extra)

    def found(self) -> str:
        """Its first package with the installed version."""
        (name, version), *_ = versions(*self.modules).items()
        return f"{name} {version}"

    def missing(self, what: str) -> str | None:
        """One sentence for what keeps it from compiling for `what`: a package, or two that do not fit; else None."""
        for distribution, module in {**self.modules, "jax": "jax"}.items():
            if not _there(module):
                return f"compiling for {what} needs {distribution}, which is not installed here; try: {self.install}"
        found = versions(*self.paired)
        if len({str(version).partition("+")[0] for version in found.values()}) > 1:
            said = ", ".join(f"{name} {version}" for name, version in found.items())
            return f"compiling for {what} needs packages of one version, found {said}; try: {self.install}"
        return None


COMPILERS = {
    TPU_AHEAD: Compiler(
        kind=TPU_AHEAD,
        name="TPU compiler",
        extra="tpu-aot",
        names=tuple(TPU_CHIPS),
        target=tpu_target.Chip,
        environ=tpu_target.environ(),
        modules=tpu_target.MODULES,
    ),
    GPU_AHEAD: Compiler(
        kind=GPU_AHEAD,
        name="GPU compiler",
        extra="gpu-aot",
        names=tuple(GPU_CARDS),
        target=gpu_target.CardTarget,
        environ=gpu_target.environ(),
        modules=gpu_target.MODULES,
        paired=gpu_target.PAIRED,
    ),
}


def environ(device: Device) -> Mapping[str, str]:
    """What is set before a framework is imported to compile for `device`; nothing for one that is run."""
    return COMPILERS[device.kind].environ if device.ahead_of_time else {}


def missing(device: Device) -> str | None:
    """One sentence for what keeps programs from being compiled for `device`; None where nothing does."""
    return COMPILERS[device.kind].missing(str(device))


def target(device: Device) -> Target:
    """The description of `device` and its compiler; Unsupported, in one sentence, where there is none here."""
    compiler = COMPILERS[device.kind]
    if device.chip not in compiler.names:
        raise Unsupported(f"nothing named {device.chip!r} can be compiled for; known are {', '.join(compiler.names)}")
    why = missing(device)
    if why is not None:
        raise Unsupported(why)
    return compiler.target(device, compiler.install, precision(device))


def precision(device: Device) -> str:
    """How float32 products are made for `device`, the same in every framework.

    Of a GPU `highest`, which is true float32, as the frameworks are told where one runs; `default`, which is TF32, in
    a run that asks for that. Of a TPU `default` or
    `highest`, by HWLOTTERY_TPU_PRECISION: `default` is the chip's own and what TPU programs run with, operands rounded
    to bfloat16 and sums in float32; `highest` is true float32 in six such passes, and its programs take six times as
    long to compile. ValueError for another.
    """
    if device.kind == GPU_AHEAD:
        return "default" if tf32() else "highest"
    asked = os.environ.get("HWLOTTERY_TPU_PRECISION", "default")
    if asked not in PRECISIONS:
        raise ValueError(f"HWLOTTERY_TPU_PRECISION must be {' or '.join(PRECISIONS)}, found {asked!r}")
    return asked


def _there(module: str) -> bool:
    """Whether a module can be imported; its parent packages, if any, are."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the parent is not there
        return False

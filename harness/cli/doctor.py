"""Looks at the machine as a run would: does each framework import, which devices does it see, what is missing."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from backends import aot
from backends.discovery import backends
from backends.ops import TPU_CHIPS, Backend, Device
from harness.cli.cache import cache_folder
from harness.machine.facts import usable_cores
from harness.measuring.energy import rapl
from harness.measuring.energy.meter import Unavailable
from harness.measuring.energy.nvml import ask
from harness.records.text import one_line
from harness.worker.client import Server, ServerError
from harness.worker.messages import DevicesJob
from workloads.discovery import workloads

_LOOK_S = 120.0
_VERSION_S = 20.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: is it well, what was found, and the command or advice that fixes it."""

    what: str
    well: bool
    found: str
    fix: str = ""


def examine(as_json: bool) -> int:
    """Print the findings; 0 when at least one framework runs."""
    found, broken = backends()
    _, broken_workloads = workloads()
    findings = [_framework(b) for b in found.values()]
    ready = any(f.well for f, b in zip(findings, found.values(), strict=True) if b.default)
    findings += [Finding(str(b.path), False, b.reason, "fix or remove the file") for b in (*broken, *broken_workloads)]
    findings += [_compiler(), _clear_refs(), _energy(), _gpu(findings), _tpu(), _ahead()]
    if as_json:
        click.echo(json.dumps([asdict(f) for f in findings], indent=2, ensure_ascii=False))
    else:
        for f in findings:
            click.echo(
                f"{'ok     ' if f.well else 'missing'} {f.what}: {f.found}" + (f"\n        → {f.fix}" if f.fix else "")
            )
    return 0 if ready else 1


def _framework(backend: Backend) -> Finding:
    if importlib.util.find_spec(backend.module) is None:
        return Finding(backend.title, False, "not installed", backend.install)
    try:
        with Server(backend, Device("cpu"), usable_cores(), cache_folder()) as server:
            ready = server.start()
            measured = server.run(DevicesJob(), _LOOK_S).measured
    except ServerError as error:
        return Finding(backend.title, False, str(error), backend.install)
    if measured.status != "ok":
        return Finding(backend.title, False, str(measured.reason), backend.install)
    return Finding(backend.title, True, f"devices {', '.join(measured.answer)}; imported in {ready.import_s:.1f} s")


def _compiler() -> Finding:
    """The one that torch.compile takes on the CPU: $CXX, which a run passes on, or else g++."""
    own = os.environ.get("CXX")
    name, whence = (own, " ($CXX)") if own else ("g++", "")
    path = shutil.which(name)
    fix = f"install a C++ compiler ({name}); torch.compile on the CPU needs one"
    if path is None:
        other = shutil.which("clang++") or shutil.which("c++")
        fix = "let CXX name a C++ compiler that is there, or unset it" if own else fix
        fix += f"; export CXX={other} takes the one that is here" if other else ""
        return Finding("C++ compiler", False, f"{name}{whence} is not found", fix)
    try:
        answer = subprocess.run([path, "--version"], capture_output=True, timeout=_VERSION_S, check=True)
        version = answer.stdout.decode(errors="replace").partition("\n")[0].strip()
    except (OSError, subprocess.SubprocessError) as error:
        return Finding("C++ compiler", False, f"{path}{whence} does not run: {one_line(str(error))}", fix)
    return Finding("C++ compiler", True, f"{path}{whence}: {version}")


def _clear_refs() -> Finding:
    path = Path("/proc/self/clear_refs")
    well = os.access(path, os.W_OK)
    fix = "" if well else "peak host memory needs Linux with a writable /proc"
    return Finding("memory peaks", well, f"{path} {'can' if well else 'cannot'} be written", fix)


def _energy() -> Finding:
    try:
        names = rapl.domains()
        rapl.meter()
    except Unavailable as why:
        return Finding("energy", True, f"the host's energy is modelled, with bounds: {why}")
    return Finding("energy", True, f"RAPL counts {', '.join(names)}")


def cards(nvml: Any = None) -> list[str]:
    """Every NVIDIA card that the driver shows, by name and memory; Unavailable, in NVML's words, where there is none.

    `nvml` stands in the place of the module of nvidia-ml-py. No framework is asked, and no context is made.
    """
    if nvml is None:
        try:
            nvml = importlib.import_module("pynvml")
        except ImportError:
            raise Unavailable("nvidia-ml-py is not installed, so nothing can look") from None
    ask(nvml, nvml.nvmlInit)
    try:
        handles = [ask(nvml, nvml.nvmlDeviceGetHandleByIndex, i) for i in range(ask(nvml, nvml.nvmlDeviceGetCount))]
        return [
            f"{_text(ask(nvml, nvml.nvmlDeviceGetName, handle))} "
            f"({ask(nvml, nvml.nvmlDeviceGetMemoryInfo, handle).total / 2**30:.0f} GiB)"
            for handle in handles
        ]
    finally:
        ask(nvml, nvml.nvmlShutdown)


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _gpu(frameworks: Sequence[Finding], nvml: Any = None) -> Finding:
    """What the driver shows, and which of the `frameworks`, as they were found, see it."""
    try:
        found = cards(nvml)
    except Unavailable as why:
        return Finding("GPU", True, f"none found ({why})")
    if not found:
        return Finding("GPU", True, "none found (the driver is there and shows no card)")
    seen = [f.what for f in frameworks if "cuda" in f.found]
    said = f"{', '.join(found)}; seen by {', '.join(seen) or 'no framework that is installed'}"
    fix = "" if seen else "install a framework built for CUDA, such as the one that pytorch.org names for your driver"
    return Finding("GPU", bool(seen), said, fix)


def _tpu() -> Finding:
    chips = sorted(Path("/dev").glob("accel[0-9]*")) or sorted(Path("/dev/vfio").glob("[0-9]*"))
    return Finding(
        "TPU",
        True,
        f"{', '.join(map(str, chips)) or 'none found'}; the paths to one have never run on a TPU: they are written "
        "from the packages' sources and tested against stand-ins; no results from them are claimed",
    )


def _ahead() -> Finding:
    """Whether programs can be compiled for a TPU that is not there, and by which frameworks."""
    why = aot.missing(Device("tpu-aot", 0, "v5e"))
    if why is not None:
        return Finding("tpu-aot", False, why.partition("; try:")[0], aot.INSTALL)
    routes = [b.title for b in backends()[0].values() if b.ahead and importlib.util.find_spec(b.module) is not None]
    lacking = importlib.util.find_spec("torchax") is None and "PyTorch" in routes
    found = (
        f"libtpu {aot.versions('libtpu')['libtpu']} compiles for {', '.join(TPU_CHIPS)}; routes: {', '.join(routes)}"
    )
    if lacking:
        return Finding("tpu-aot", False, f"{found}, but torchax, PyTorch's, is not installed", aot.INSTALL)
    return Finding("tpu-aot", True, found)

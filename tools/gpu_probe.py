"""First light on a GPU machine, a line a fact: python tools/gpu_probe.py [DEVICE] [BACKEND,…].

The machine, NVML, then each framework: does a fork of a process that has imported it see the device, does it compute
right, eager and compiled, what does it launch, and do its clock and its allocator answer. Each step is a process of its
own with a limit of seconds, so that what hangs or dies takes nothing with it. tools/gpu_run.py begins with it.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

if TYPE_CHECKING:
    from backends.ops import Ops

LIMIT_S = 100.0  # of a step
SHORT_S = 30.0  # of those that import no framework
SIDE = 1024
CALLS = 100
TOOLS = ("gcc", "g++", "ptxas", "nvcc", "nvidia-smi")
VARIABLES = ("CUDA", "NVIDIA_", "XLA", "JAX", "TRITON", "TORCH", "PYTORCH", "LD_", "CC", "CXX", "OMP", "TF_", "HIP_")
PACKAGES = (
    *("click", "msgspec", "numpy", "scipy", "pandas", "rich", "platformdirs", "array-api-compat", "nvidia-ml-py"),
    *("torch", "triton", "jax", "jaxlib", "jax-cuda13-plugin", "jax-cuda12-plugin", "tensorflow"),
)
LIBDEVICE = Path("/usr/local/cuda/nvvm/libdevice/libdevice.10.bc")


def main(device: str = "cuda", backends: str = "torch,jax", limit_s: float = LIMIT_S) -> Iterator[list[str]]:
    """The lines of every step, as soon as it is over."""
    yield step(["machine"], min(SHORT_S, limit_s))
    if device != "cpu":
        yield step(["nvml", device], min(SHORT_S, limit_s))
    for name in backends.split(","):
        yield step(["framework", device, name], limit_s, environ_of(name, device))


def environ_of(name: str, device: str) -> dict[str, str]:
    """What a run's fork server of this framework would get, with compile caches of its own."""
    from backends.discovery import backends
    from backends.ops import Device
    from harness.machine.facts import usable_cores
    from harness.worker.environment import environment

    cache = Path(tempfile.gettempdir()) / f"hwlottery-probe-{os.getuid()}"
    return environment(backends()[0][name], Device.parse(device), usable_cores(), cache)


def step(arguments: Sequence[str], limit_s: float, environ: dict[str, str] | None = None) -> list[str]:
    """The lines of one step, its name in front of each; what it said, too, where it does not end or fails."""
    began = time.monotonic()
    command = [sys.executable, str(Path(__file__).resolve()), "--step", *arguments]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        said, errors = process.communicate(timeout=limit_s)
        end = "" if process.returncode == 0 else f"ended with code {process.returncode}: {_last(errors)}"
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)  # it forks
        said, errors = process.communicate()
        end = f"NOT DONE in {limit_s:g} s"
    except BaseException:  # told to stop
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        raise
    lines = [line for line in said.splitlines() if line.strip()]
    lines += [end] if end else []
    name = arguments[-1] if arguments[0] == "framework" else arguments[0]
    return [f"{name}: {line}" for line in [*lines, f"took {time.monotonic() - began:.1f} s"]]


def _last(errors: str) -> str:
    return next((line.strip() for line in reversed(errors.splitlines()) if line.strip()), "it left no words")


# -- steps ------------------------------------------------------------------------------------------------------------


def machine() -> Iterator[str]:
    """What is installed and set."""
    import psutil

    memory = psutil.virtual_memory()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield (
        f"Python {sys.version.split()[0]}, {os.uname().sysname} {os.uname().release}, {cores} cores, memory "
        f"{memory.total / 2**30:.0f} GiB, {memory.available / 2**30:.0f} GiB of it available"
    )
    yield f"packages {', '.join(f'{name} {version(name)}' for name in PACKAGES if version(name)) or 'none'}"
    yield f"missing {', '.join(name for name in PACKAGES if not version(name)) or 'none'}"
    yield f"tools {', '.join(f'{tool} {shutil.which(tool) or None}' for tool in TOOLS)}, libdevice {LIBDEVICE.exists()}"
    found = {name: value for name, value in sorted(os.environ.items()) if name.startswith(VARIABLES)}
    yield f"variables {', '.join(f'{name}={value}' for name, value in found.items()) or 'none'}"


def version(distribution: str) -> str | None:
    """Of an installed distribution."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def nvml(device: str) -> Iterator[str]:
    """What NVML tells of the card, and how fast."""
    from backends.ops import Device
    from harness.measuring import gpu_conditions
    from harness.measuring.energy import nvml as energy
    from harness.measuring.energy.meter import Unavailable, update_period

    try:
        gpu = energy.open_gpu(Device.parse(device).index)
    except Unavailable as why:
        yield f"unavailable: {why}"
        return
    yield ", ".join(f"{name} {value}" for name, value in gpu_conditions.settings(gpu).items())
    readings: dict[str, Callable[[], object]] = {
        "energy": energy.TotalEnergy(gpu).read,
        "what holds the clocks": lambda: gpu_conditions.words(gpu_conditions.reasons(gpu)),
    }
    for name, read in readings.items():
        try:
            value, began = read(), time.perf_counter()
            for _ in range(20):
                read()
            yield f"{name} {value}, {(time.perf_counter() - began) / 20 * 1e6:.0f} µs a reading"
        except Unavailable as why:
            yield f"{name} unavailable: {why}"
    period = update_period(readings["energy"], time.perf_counter, time.sleep)
    yield f"energy counter moves every {period:.3f} s" if period else "energy counter's period is unknown"


def framework(device: str, name: str) -> Iterator[str]:
    """Import as a fork server does, look whether that started CUDA, and let a fork compute."""
    from backends.discovery import backends
    from harness.worker import case, server

    backend = backends()[0][name]
    began = time.perf_counter()
    for module in (*backend.preload, *case.PRELOAD):
        importlib.import_module(module)
    yield f"imported in {time.perf_counter() - began:.1f} s"
    started = server.started_cuda() if device != "cpu" else None
    yield f"NOT CLEAN for forks: {started}" if started else "clean for forks"
    sys.stdout.flush()
    child = os.fork()
    if not child:
        try:
            for line in computed(backend, device):
                print(line, flush=True)
        except BaseException as error:
            print(f"FAILED: {type(error).__name__}: {' '.join(str(error).split())[:400]}", flush=True)
            traceback.print_exc()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if status:
        yield f"FAILED: the fork ended with status {status}"


def computed(backend: Any, device: str) -> Iterator[str]:
    """A product with an activation and an exponential behind it, in both executions, against float64."""
    import numpy as np

    from backends.ops import Device

    began = time.perf_counter()
    ops = backend.open(Device.parse(device))
    square = ops.asarray(np.ones((64, 64), np.float32))
    ops.wait([ops.matmul(square, square)])
    yield f"opened, with a first product, in {time.perf_counter() - began:.1f} s"
    host = np.random.default_rng(0).standard_normal((SIDE, SIDE)).astype(np.float32)
    expected = np.exp(np.maximum(host.astype(float) @ host, 0) * 1e-3)
    x = ops.asarray(host)
    for execution in backend.executions:
        yield from executed(ops, execution, x, expected)
    began = time.perf_counter()
    flushed = ops.flush_cache() and ops.flush_cache()
    yield f"caches emptied: {flushed}, twice in {time.perf_counter() - began:.3f} s"
    wanted = (
        "tf32",
        "float32_matmul_precision",
        "matmul_precision",
        "cudnn_benchmark",
        "device_kind",
        "library_workspace",
    )
    yield f"settings {', '.join(f'{k} {v}' for k, v in ops.settings().items() if k in wanted)}"
    ops.reset_peak_bytes()
    ops.wait([ops.matmul(x, x)])
    peak = ops.device_peak_bytes()
    known = f"operand and result are {2 * SIDE**2 / 2**18:.0f} MiB"
    yield f"peak {'unknown' if peak is None else f'{peak / 2**20:.1f} MiB'}, {known}"


def executed(ops: Ops, execution: Any, x: Any, expected: Any) -> Iterator[str]:
    """One execution: its first call, later ones, how far off, and what ran."""
    import numpy as np

    began = time.perf_counter()
    made = ops.compile(lambda a: (ops.exp(ops.relu(ops.matmul(a, a)) * 1e-3),), execution, [x])
    outputs = made.call(x)
    ops.wait(outputs)
    first_s = time.perf_counter() - began
    off = float(np.abs(ops.to_numpy(outputs[0]) - expected).max() / expected.max())
    began = time.perf_counter()
    for _ in range(CALLS):
        ops.wait(made.call(x))
    each_s = (time.perf_counter() - began) / CALLS
    flags = {**made.flags, "kept": made.kept}
    said = ", ".join(f"{name} {value}" for name, value in flags.items() if value is not None)
    yield f"{execution}: first {first_s:.2f} s, then {each_s * 1e6:.0f} µs, off by {off:.1e}; {said or 'no flags'}"
    own_s = ops.device_s(made.call, [x])
    yield f"{execution}: by the device's clock {'unknown' if own_s is None else f'{own_s * 1e6:.0f} µs'}"
    yield f"{execution}: kernels {', '.join(ops.kernels(made.call, [x])) or 'unknown'}"
    yield f"{execution}: fallbacks {'; '.join(map(str, made.fallbacks([x]))) or 'none'}"


STEPS: dict[str, Callable[..., Iterator[str]]] = {"machine": machine, "nvml": nvml, "framework": framework}

if __name__ == "__main__":
    if sys.argv[1:2] == ["--step"]:
        for fact in STEPS[sys.argv[2]](*sys.argv[3:]):
            print(fact, flush=True)
    else:
        for facts in main(*sys.argv[1:3]):
            print(*facts, sep="\n", flush=True)

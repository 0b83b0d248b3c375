"""What the abstraction costs: each computation through `Ops`, and by hand in the framework, interleaved in one process.

    pytest tests/bench_handwritten.py --benchmark-only

A twin must first agree with the workload to 1e-4; one that does not has no ratio. Both sides have the same data,
process, threads, precision and, compiled, the same compiler options; the `wait` of each is its own. Blocks of calls
come in pairs whose order is drawn; the ratio is the median over pairs of (through the abstraction / by hand), with its
bootstrap interval. Nothing is asserted about speed: see the table at the end, and `extra_info` in the JSON.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import importlib.util
import math
import os
import random
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from statistics import geometric_mean
from typing import Any

import numpy as np
import pytest

from backends.discovery import backends
from backends.ops import Compiled, Device, HostArray, Ops, Unsupported
from harness.commands import cache_folder
from harness.intervals import median_interval
from harness.oracle import judge, rounded, upcast
from harness.spawn import environment
from workloads.base import Formulation, Inputs, Mode, Params, Workload
from workloads.discovery import workloads

BACKENDS, _ = backends()
WORKLOADS, _ = workloads()
FRAMEWORKS = ("torch", "jax", "tensorflow")
SECONDS = float(os.environ.get("HWLOTTERY_BENCH_SECONDS", "1.5"))  # of each pair
BLOCK_S = 2e-3  # calls of a block take at least this long together: the clock and the loop are then below 0.1 %
FEWEST, MOST = 15, 1500  # pairs of blocks
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Computation:
    """A row: a workload's mode at one setting, in the formulation that is best or usual in each framework."""

    label: str
    workload: str
    mode: Mode
    axes: Mapping[str, Any]
    formulation: str | Mapping[str, str]

    def of(self, framework: str) -> Formulation:
        name = self.formulation if isinstance(self.formulation, str) else self.formulation[framework]
        return WORKLOADS[self.workload].formulations[self.mode][name]

    def params(self, preset: str) -> Params:
        """The point of the preset that has these axes; `smoke` has shapes of its own, and any point of it will do."""
        workload, wanted = WORKLOADS[self.workload], {} if preset == "smoke" else self.axes
        points = [p.params for p in workload.presets[preset] if p.mode == self.mode]
        found = [p for p in points if wanted.items() <= p.items()]
        return workload.check(found[0] if found else dict(self.axes))


DENSE = {"m": 1024, "k": 1024, "grads": "both"}
COMPUTATIONS = (
    Computation("dense product, n=128", "dense_matmul", "forward", {**DENSE, "n": 128}, "nn"),
    Computation("dense product, n=1", "dense_matmul", "forward", {**DENSE, "n": 1}, "nn"),
    Computation(
        "sparse product, CSR", "unstructured_sparse", "forward", {"m": 1024, "k": 1024, "n": 128, "density": 0.1}, "csr"
    ),
    Computation("block-sparse product", "block_sparse", "forward", {"block": 16, "density": 0.1}, "gather_bmm"),
    Computation(
        "capsule routing",
        "capsule_routing",
        "forward",
        {},
        {"torch": "folded_blocks", "jax": "folded", "tensorflow": "folded"},
    ),
    Computation("capsule convolution", "capsule_conv", "forward", {}, "folded_conv"),
    Computation("CNN step", "dense_cnn", "train_step", {}, "nhwc"),
    Computation("MLP step", "dense_mlp", "train_step", {}, "autodiff"),
    Computation("local learning step", "local_update", "train_step", {"network": "mlp"}, "autodiff"),
    Computation(
        "forward-forward step",
        "forward_forward",
        "train_step",
        {},
        {"torch": "by_hand", "jax": "autodiff", "tensorflow": "autodiff"},
    ),
)


class WrongTwinError(AssertionError):
    """The hand-written computation is not the workload's: a ratio of the two would say nothing."""


@dataclass(frozen=True)
class Pair:
    """The two sides as callables without arguments that return when their outputs are ready."""

    through: Callable[[], Any]
    by_hand: Callable[[], Any]


@cache
def opened(framework: str) -> tuple[Ops, Any]:
    """The adapter, opened in the environment of a run, and the module of hand-written twins; skips where absent."""
    backend, device = BACKENDS[framework], Device("cpu")
    if importlib.util.find_spec(backend.module) is None:
        pytest.skip(f"{backend.module} is not installed: {backend.install}")
    settings = environment(backend, device, len(os.sched_getaffinity(0)), cache_folder())
    os.environ.update(settings)
    allocator(settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a framework's own, while it is imported
        return backend.open(device), importlib.import_module(f"handwritten_{framework}")


def allocator(settings: Mapping[str, str]) -> None:
    """What the environment tells glibc at the start of a worker, told to this process, which runs already."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        for option, name in ((-3, "MALLOC_MMAP_THRESHOLD_"), (-1, "MALLOC_TRIM_THRESHOLD_"), (-2, "MALLOC_TOP_PAD_")):
            libc.mallopt(option, int(settings[name]))


def agree(found: Mapping[str, HostArray], expected: Mapping[str, HostArray], inputs: Inputs) -> None:
    """WrongTwinError unless every output, and every parameter's change, is the workload's to TOLERANCE."""
    verdict = judge(found, {name: np.asarray(v, np.float64) for name, v in expected.items()}, inputs, TOLERANCE)
    if not verdict.agrees:
        raise WrongTwinError(f"by hand is not what the workload computes: {verdict.reason}")


def pair(computation: Computation, framework: str, execution: str, preset: str = "quick") -> Pair:
    """Both sides prepared, compiled and compared. Unsupported where the adapter says no; WrongTwinError."""
    ops, module = opened(framework)
    workload: Workload = WORKLOADS[computation.workload]
    params, formulation = computation.params(preset), computation.of(framework)
    inputs = rounded(workload.inputs(params, 0), "float32")
    operands = formulation.prepare(ops, inputs, params)
    compiled: Compiled = ops.compile(formulation.step(ops, params), execution, operands)  # type: ignore[arg-type]
    outputs = compiled.call(*operands)
    ops.wait(outputs)
    expected = formulation.restore([ops.to_numpy(o) for o in outputs], inputs, params)

    # After the adapter's, which makes torch.compile forget what it compiled before.
    fn, args, arrange = module.TWINS[computation.workload](inputs, params, execution)
    # One copy of what both sides read: where a matrix happens to lie in memory alone makes ±4 %.
    args = [next((o for o in operands if module.same(arg, o)), arg) for arg in args]
    call = module.compile(fn, execution, args, compiled.flags)
    outputs = call(*args)
    module.wait(outputs)
    found = formulation.restore(arrange([module.host(o) for o in outputs]), inputs, params)
    agree(found, expected, upcast(inputs))

    def through() -> None:
        ops.wait(compiled.call(*operands))

    def by_hand() -> None:
        module.wait(call(*args))

    return Pair(through, by_hand)


def interleaved(sides: Pair, seconds: float) -> HostArray:
    """(pairs, 2) seconds a call: through the abstraction, by hand. Which comes first is drawn for each pair."""
    for side in (sides.through, sides.by_hand):
        _block(side, 3)
    calls = max(1, math.ceil(BLOCK_S / min(_block(s, 3) for s in (sides.through, sides.by_hand))))
    rng, times = random.Random(0), []
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        deadline = time.perf_counter() + seconds
        while len(times) < FEWEST or (len(times) < MOST and time.perf_counter() < deadline):
            if rng.random() < 0.5:
                first = _block(sides.through, calls)
                times.append((first, _block(sides.by_hand, calls)))
            else:
                first = _block(sides.by_hand, calls)
                times.append((_block(sides.through, calls), first))
    finally:
        if collecting:
            gc.enable()
    return np.array(times)


def _block(side: Callable[[], Any], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        side()
    return (time.perf_counter() - start) / calls


@pytest.fixture(scope="module")
def table(request: pytest.FixtureRequest) -> Iterator[list[tuple[str, str, str, HostArray]]]:
    """Rows (framework, computation, execution, times), printed when the last is measured."""
    rows: list[tuple[str, str, str, HostArray]] = []
    yield rows
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        for framework in FRAMEWORKS:
            show(framework, [row[1:] for row in rows if row[0] == framework])


def show(framework: str, rows: list[tuple[str, str, HostArray]]) -> None:
    from rich.console import Console
    from rich.table import Table

    if not rows:
        return
    out = Table(title=f"{BACKENDS[framework].title}: time through the abstraction over time by hand")
    for heading in ("computation", "execution", "ratio", "95 % interval", "through, ms", "by hand, ms", "pairs"):
        out.add_column(heading, justify="left" if heading in ("computation", "execution") else "right")
    ratios = {}
    for label, execution, times in rows:
        ratio, low, high = figures(times)
        ratios[f"{label}, {execution}"] = ratio
        through, by_hand = np.median(times, axis=0) * 1e3
        span = f"{low:.3f} … {high:.3f}"
        out.add_row(label, execution, f"{ratio:.3f}", span, f"{through:.4g}", f"{by_hand:.4g}", str(len(times)))
    console = Console()
    console.width = max(console.width, 110)  # a pipe is 80 columns wide, and the rows are not
    console.print()
    console.print(out)
    worst = max(ratios, key=ratios.__getitem__)
    mean = geometric_mean(list(ratios.values()))
    console.print(f"geometric mean {mean:.3f}; the worst is {ratios[worst]:.3f} ({worst})")


def figures(times: HostArray) -> tuple[float, float, float]:
    """Median of the ratios of pairs, and its 95 % interval."""
    ratios = times[:, 0] / times[:, 1]
    low, high = median_interval(ratios[None, :])
    return float(np.median(ratios)), float(low[0]), float(high[0])


CASES = [
    pytest.param(c, framework, execution, id=f"{framework}-{execution}-{c.label.replace(' ', '_')}")
    for framework in FRAMEWORKS
    for execution in BACKENDS[framework].executions
    for c in COMPUTATIONS
]


@pytest.mark.filterwarnings("ignore")  # compilers' own warnings are not what is measured
@pytest.mark.parametrize(("computation", "framework", "execution"), CASES)
def test_the_abstraction_costs_little(computation, framework, execution, benchmark, table):
    """Measures and prints; never judges."""
    try:
        sides = pair(computation, framework, execution)
    except Unsupported as refusal:
        pytest.skip(f"{framework} {execution}: {refusal}")
    times = benchmark.pedantic(interleaved, args=(sides, SECONDS), rounds=1, iterations=1)
    ratio, low, high = figures(times)
    through, by_hand = np.median(times, axis=0)
    benchmark.group = f"{framework} {execution}"
    benchmark.extra_info.update(
        ratio=ratio, ratio_low=low, ratio_high=high, through_s=through, by_hand_s=by_hand, pairs=len(times)
    )
    table.append((framework, computation.label, execution, times))

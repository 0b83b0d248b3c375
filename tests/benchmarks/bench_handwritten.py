"""What the abstraction costs: each computation through `Ops`, and by hand in the framework, interleaved in one process.

    pytest tests/benchmarks/bench_handwritten.py --benchmark-only

A twin must first agree with the workload to 1e-4; one that does not has no ratio. Both sides have the same data,
process, threads, precision and, compiled, the same compiler options; the `wait` of each is its own. Blocks of calls
come in pairs whose order is drawn; the ratio is the median over pairs of (through the abstraction / by hand), with its
bootstrap interval. Nothing is asserted about speed: see the table at the end, and `extra_info` in the JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
from _interleaved import (
    BACKENDS,
    FRAMEWORKS,
    SECONDS,
    WORKLOADS,
    Pair,
    WrongTwinError,
    adapter,
    agree,
    beside,
    figures,
    interleaved,
)

from backends.ops import Compiled, HostArray, Ops, Unsupported
from harness.measuring.correctness import rounded, upcast
from tools import perf_tables
from workloads.base import Definition, Formulation, Mode, Params

__all__ = ["COMPUTATIONS", "FRAMEWORKS", "WrongTwinError", "figures", "opened", "pair"]


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
        {"torch": "folded_small_blocks", "jax": "folded", "tensorflow": "folded"},
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


@cache
def opened(framework: str) -> tuple[Ops, Any]:
    """The adapter, opened in the environment of a run, and the module of hand-written twins; skips where absent."""
    return adapter(framework), beside(framework, "handwritten")


def pair(computation: Computation, framework: str, execution: str, preset: str = "quick") -> Pair:
    """Both sides prepared, compiled and compared. Unsupported where the adapter says no; WrongTwinError."""
    ops, module = opened(framework)
    workload: Definition = WORKLOADS[computation.workload]
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
    if not rows:
        return
    columns = [
        perf_tables.Column(key="computation", head="computation"),
        perf_tables.Column(key="execution", head="execution"),
        *perf_tables.RATIO,
        perf_tables.Column(key="through_s", head="through, s", format=".4g"),
        perf_tables.Column(key="by_hand_s", head="by hand, s", format=".4g"),
        perf_tables.Column(key="pairs", head="pairs", format="d"),
    ]
    cells = []
    for label, execution, times in rows:
        ratio, low, high = figures(times)
        through, by_hand = map(float, np.median(times, axis=0))
        names = {"computation": label, "execution": execution}
        cells.append(
            {
                **names,
                "ratio": ratio,
                "low": low,
                "high": high,
                "through_s": through,
                "by_hand_s": by_hand,
                "pairs": len(times),
            }
        )
    title = f"{BACKENDS[framework].title}: time through the abstraction over time by hand"
    perf_tables.report("handwritten", perf_tables.Table(title=title, columns=columns, rows=cells, ratio="ratio"))


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
    times = benchmark.pedantic(interleaved, args=((sides.through, sides.by_hand), SECONDS), rounds=1, iterations=1)
    ratio, low, high = figures(times)
    through, by_hand = np.median(times, axis=0)
    benchmark.group = f"{framework} {execution}"
    benchmark.extra_info.update(
        ratio=ratio, ratio_low=low, ratio_high=high, through_s=through, by_hand_s=by_hand, pairs=len(times)
    )
    table.append((framework, computation.label, execution, times))

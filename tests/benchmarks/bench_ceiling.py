"""How much of the machine's dense product rate the dense products and convolutions reach, interleaved in one process.

    pytest tests/benchmarks/bench_ceiling.py --benchmark-only -s

The ceiling is the fastest square product of any framework, SQUARE³ in float32, timed in the same rounds as what is held
against it: a share is the median over rounds of (rate of the case / rate of the ceiling). Of each case and framework
the best formulation and execution counts, found by a few calls. Shapes are those of `standard`; a convolution is one
layer of VGG8b, or the twin of the capsule convolution. Nothing is asserted: see the table, and `extra_info`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
from _interleaved import BACKENDS, FRAMEWORKS, SECONDS, WORKLOADS, Side, adapter, interleaved

from backends.ops import HostArray, Unsupported
from harness.measuring.correctness import rounded
from harness.stats.intervals import median_interval
from tools import perf_tables
from workloads.base import Params
from workloads.common import networks

SQUARE = 2048  # 17 GFLOP: long enough for the rate of the machine, short enough to be drawn often
FEWEST = 7
TRIES = 2
HOPELESS = 2.0  # a path whose call takes this many times the fastest so far is not called again


@dataclass(frozen=True)
class Case:
    """A dense product or convolution at one setting."""

    label: str
    workload: str
    params: Params

    @property
    def flop(self) -> int:
        return WORKLOADS[self.workload].work(self.params, "forward", 4).useful_flop


def _product(m: int, k: int, n: int) -> Params:
    return {"m": m, "k": k, "n": n, "grads": "both"}


def _layers() -> Iterator[Case]:
    """The convolutions of VGG8b at full width and batch 128."""
    for number, layer in enumerate(networks.vgg("vgg8b", 32, 3, 1)):
        if layer.is_conv:
            yield Case(
                f"VGG8b {number}: {layer.channels_in}→{layer.channels_out}, {layer.side}²",
                "dense_conv",
                {
                    "batch": 128,
                    "height": layer.side,
                    "in_channels": layer.channels_in,
                    "out_channels": layer.channels_out,
                    "kernel": layer.kernel,
                    "stride": 1,
                    "padding": layer.kernel // 2,
                },
            )


_CAPSULES = {"height": 15, "in_channels": 128, "out_channels": 128, "kernel": 3, "stride": 2, "padding": 0}
CASES = (
    Case("product 4096³", "dense_matmul", _product(4096, 4096, 4096)),
    Case("product 7680×2560×1500", "dense_matmul", _product(7680, 2560, 1500)),
    Case("product 7680×2560×128", "dense_matmul", _product(7680, 2560, 128)),
    Case("product 160×9216×128", "dense_matmul", _product(160, 9216, 128)),
    Case("convolution, capsules' twin, 4·64", "dense_conv", {"batch": 256, **_CAPSULES}),
    *_layers(),
)


@cache
def ceiling() -> tuple[Side, str, int]:
    """The fastest square product there is here: the call, whose it is, its FLOP."""
    case = Case("", "dense_matmul", _product(SQUARE, SQUARE, SQUARE))
    tried = [(*best(case, framework), framework) for framework in FRAMEWORKS if _present(framework)]
    side, path, _, framework = min(tried, key=lambda found: found[2])
    return side, f"{BACKENDS[framework].title} {path}", case.flop


def _present(framework: str) -> bool:
    try:
        adapter(framework)
    except pytest.skip.Exception:
        return False
    return True


def best(case: Case, framework: str) -> tuple[Side, str, float]:
    """The fastest path of a framework: the call, its name, seconds of its fastest of TRIES calls."""
    ops, workload = adapter(framework), WORKLOADS[case.workload]
    inputs = rounded(workload.inputs(case.params, 0), "float32")
    found: list[tuple[float, str, Side]] = []
    for name, formulation in workload.formulations["forward"].items():
        if not formulation.applies(case.params):
            continue
        for execution in formulation.executions or BACKENDS[framework].executions:
            try:
                operands = formulation.prepare(ops, inputs, case.params)
                call = ops.compile(formulation.step(ops, case.params), execution, operands).call
                side = _side(ops, call, operands)
                side()
            except Unsupported:
                continue
            seconds = _timed(side)
            if not found or seconds < HOPELESS * min(found)[0]:
                found.append((min(_timed(side) for _ in range(TRIES)), f"{name} {execution}", side))
    seconds, path, side = min(found)
    return side, path, seconds


def _side(ops: Any, call: Callable[..., Any], operands: Any) -> Side:
    def side() -> None:
        ops.wait(call(*operands))

    return side


def _timed(side: Side) -> float:
    start = time.perf_counter()
    side()
    return time.perf_counter() - start


def shares(times: HostArray, flop: int, ceiling_flop: int) -> tuple[float, float, float]:
    """Median over rounds of (rate of the first / rate of the second), and its 95 % interval."""
    ratios = (flop / times[:, 0]) / (ceiling_flop / times[:, 1])
    low, high = median_interval(ratios[None, :])
    return float(np.median(ratios)), float(low[0]), float(high[0])


@pytest.fixture(scope="module")
def table(request: pytest.FixtureRequest) -> Iterator[list[tuple[str, str, str, float, tuple[float, float, float]]]]:
    """Rows (framework, label, path, GFLOP/s, share with interval), printed when the last is measured."""
    rows: list[tuple[str, str, str, float, tuple[float, float, float]]] = []
    yield rows
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        show(rows)


def show(rows: list[tuple[str, str, str, float, tuple[float, float, float]]]) -> None:
    if not rows:
        return
    columns = [
        perf_tables.Column(key="computation", head="computation"),
        perf_tables.Column(key="backend", head="backend"),
        perf_tables.Column(key="path", head="path"),
        perf_tables.Column(key="share", head="share", format=".0%"),
        perf_tables.Column(key="gflop_per_s", head="GFLOP/s", format=".0f"),
    ]
    labels = list(dict.fromkeys(row[1] for row in rows))
    rows = sorted(rows, key=lambda row: (labels.index(row[1]), FRAMEWORKS.index(row[0])))
    cells = [
        {"computation": label, "backend": framework, "path": path, "share": share[0], "gflop_per_s": rate}
        for framework, label, path, rate, share in rows
    ]
    title = f"Share of the ceiling, a product {SQUARE}³ of {ceiling()[1]}"
    perf_tables.report("ceiling", perf_tables.Table(title=title, columns=columns, rows=cells))


@pytest.mark.filterwarnings("ignore")  # compilers' own warnings are not what is measured
@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.label.replace(" ", "_"))
def test_a_dense_computation_reaches_the_ceiling(case, framework, benchmark, table):
    """Measures and prints; never judges."""
    adapter(framework)
    top, _, top_flop = ceiling()
    side, path, _ = best(case, framework)
    times = benchmark.pedantic(interleaved, args=((side, top), SECONDS, FEWEST), rounds=1, iterations=1)
    share = shares(times, case.flop, top_flop)
    rate = case.flop / float(np.median(times[:, 0])) / 1e9
    benchmark.group = case.label
    benchmark.extra_info.update(share=share[0], share_low=share[1], share_high=share[2], gflop_per_s=rate, path=path)
    table.append((framework, case.label, path, rate, share))

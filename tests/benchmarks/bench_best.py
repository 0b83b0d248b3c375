"""The best path of each workload against the fastest known by hand in the same framework, interleaved in one process.

    pytest tests/benchmarks/bench_best.py --benchmark-only -s [-k torch]

Ours: every formulation in every execution, as a run has them. By hand: the candidates of `best_FRAMEWORK.py` in every
setting of the compiler named there, and the twins of `handwritten_FRAMEWORK.py`. Each must first agree to 1e-4 with the
NumPy reference of the workload; one that does not is left out, and said so. A few calls of each find the FINALISTS
fastest of both sides; these are then timed in rounds of blocks, and the ratio is of the fastest of either side by its
median. What is faster by hand with looser arithmetic alone (XLA's fast-math, which no run has) is told in a column of
its own. Nothing is asserted about speed: see the table at the end, and HWLOTTERY_BENCH_OUT. On each line stands
which path won; HWLOTTERY_BENCH_VERBOSE=1 prints every path that was tried, with its time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from _computations import COMPUTATIONS, Computation
from _interleaved import (
    BACKENDS,
    FRAMEWORKS,
    SECONDS,
    TOLERANCE,
    WORKLOADS,
    WrongTwinError,
    adapter,
    agree,
    beside,
    figures,
    interleaved,
)
from bench_handwritten import COMPUTATIONS as TWINS

from backends.ops import HostArray, Unsupported
from harness.measuring.correctness import upcast
from tools import perf_tables
from workloads.base import Inputs

FINALISTS = 4  # of each side; those within CLOSE of its fastest: a small call's time changes with what runs before it
CLOSE = 1.3
NEAR, NEAR_MOST = 2.0, 6  # of the few calls that find them: those of a side that are then timed together
TRIAL_S = 0.1  # of the few calls that find them
FEW = 8
HOPELESS = 8.0  # a path that takes this many times the fastest so far is not called more than twice
NOT_WRITTEN = (
    "the MLP only",
    "the CNN only",
    "one column only",
    "two factors only",
)  # what a candidate of another computation says
VERBOSE = os.environ.get("HWLOTTERY_BENCH_VERBOSE") == "1"


@dataclass(frozen=True)
class Path:
    """A way that agreed: its name, the call, and the seconds of its fastest of a few calls."""

    name: str
    side: Callable[[], Any]
    seconds: float


@dataclass
class Trial:
    """Paths of one side as they are tried; `refused` says which did not run or did not agree, and why."""

    expected: Mapping[str, HostArray]
    inputs: Inputs
    best: list[float]  # the fastest so far, of both sides
    tolerance: float = TOLERANCE
    paths: list[Path] = field(default_factory=list)
    looser: list[Path] = field(default_factory=list)  # of settings that our side has not: told, and not judged
    refused: dict[str, str] = field(default_factory=dict)

    def consider(
        self, name: str, make: Callable[[], tuple[Callable[[], Any], Callable[[Any], Mapping[str, HostArray]]]]
    ):
        """`make` gives the side and how its outputs are named; anything that it or its first call raises refuses it."""
        try:
            side, named = make()
            agree(named(side()), self.expected, upcast(self.inputs), self.tolerance)
        except Exception as error:
            self.refused[name] = (str(error).splitlines() or [type(error).__name__])[0][:160]
            return
        times: list[float] = []
        deadline = time.perf_counter() + TRIAL_S
        while len(times) < FEW or time.perf_counter() < deadline:
            start = time.perf_counter()
            side()
            times.append(time.perf_counter() - start)
            if len(times) > 1 and min(times) > HOPELESS * self.best[0]:
                break
        self.best[0] = min(self.best[0], *times)
        self.paths.append(Path(name, side, min(times)))

    def set_apart(self, executions: Collection[str]) -> None:
        """Paths of `executions` compute with looser arithmetic than ours: no finalist is one of them."""
        self.looser += [path for path in self.paths if path.name.split()[-1] in executions]
        self.paths = [path for path in self.paths if path not in self.looser]

    def faster_but_looser(self) -> str:
        """The fastest of those set apart and its share of the time of the fastest judged, where it is less."""
        found, judged = min(self.looser, key=lambda p: p.seconds, default=None), min(p.seconds for p in self.paths)
        return "" if found is None or found.seconds >= judged else f"{found.name}: {found.seconds / judged:.2f}"

    def finalists(self) -> list[Path]:
        """The fastest, found side by side among those that came near: the machine may change its speed meanwhile."""
        ranked = sorted(self.paths, key=lambda p: p.seconds)[:NEAR_MOST]
        near = [p for p in ranked if p.seconds <= NEAR * ranked[0].seconds]
        medians = np.median(interleaved([p.side for p in near], TRIAL_S * len(near), 5), axis=0)
        order = np.argsort(medians)[:FINALISTS]
        return [near[i] for i in order if medians[i] <= CLOSE * medians[order[0]]]


def ours(computation: Computation, framework: str, trial: Trial) -> None:
    """Every formulation that applies, in every execution of the backend."""
    ops, (inputs, params) = adapter(framework), computation.inputs()
    for name, formulation in WORKLOADS[computation.workload].formulations[computation.mode].items():
        if not formulation.applies(params):
            continue
        for execution in formulation.executions or BACKENDS[framework].executions:

            def make(formulation=formulation, execution=execution):
                operands = formulation.prepare(ops, inputs, params)
                call = ops.compile(formulation.step(ops, params), execution, operands).call

                def side():
                    outputs = call(*operands)
                    ops.wait(outputs)
                    return outputs

                return side, lambda outputs: formulation.restore([ops.to_numpy(o) for o in outputs], inputs, params)

            trial.consider(f"{name} {execution}", make)


def by_hand(computation: Computation, framework: str, trial: Trial) -> None:
    """Every candidate in every setting of its module, and the twin of `bench_handwritten` where it has one."""
    best, twins = beside(framework, "best"), beside(framework, "handwritten")
    inputs, params = computation.inputs()
    makers = dict(best.CANDIDATES.get((computation.workload, computation.mode), {}))
    twin = next((t for t in TWINS if t.workload == computation.workload and t.mode == computation.mode), None)
    if twin is not None and not (computation.workload == "local_update" and params["network"] != "mlp"):
        restore = twin.of(framework).restore

        def handwritten(inputs, params, execution="compiled"):
            fn, args, arrange = twins.TWINS[computation.workload](inputs, params, execution)
            return fn, args, lambda outputs: restore(arrange(outputs), inputs, params)

        makers["twin"] = handwritten
    for name, maker in makers.items():
        for execution, compiler in best.EXECUTIONS.items():

            def make(maker=maker, compiler=compiler, execution=execution):
                extra = (execution if execution == "eager" else "compiled",) if maker is makers.get("twin") else ()
                fn, args, named = maker(inputs, params, *extra)
                call = compiler(fn, args)

                def side():
                    outputs = call(*args)
                    best.wait(outputs)
                    return outputs

                return side, lambda outputs: named([best.host(o) for o in outputs])

            if execution in best.ONLY.get(name, best.EXECUTIONS):
                trial.consider(f"{name} {execution}", make)
    trial.set_apart(best.LOOSER)


@dataclass(frozen=True)
class Row:
    """The outcome: names of both winners, and (rounds, 2) seconds a call.

    `looser` names what was faster by hand with looser arithmetic, and its share of the time by a few calls.
    """

    framework: str
    label: str
    ours: str
    by_hand: str
    times: HostArray
    looser: str = ""


def duel(computation: Computation, framework: str, seconds: float) -> Row:
    """Both sides tried, the finalists timed together. WrongTwinError where a side has no path that agrees."""
    inputs, params = computation.inputs()
    expected = WORKLOADS[computation.workload].reference(upcast(inputs), params, computation.mode)
    best = [float("inf")]
    sides = []
    for tried in (ours, by_hand):
        trial = Trial(expected, inputs, best, computation.tolerance)
        tried(computation, framework, trial)
        sides.append(trial)
        if VERBOSE:
            for path in sorted(trial.paths, key=lambda p: p.seconds):
                print(f"    {tried.__name__:8} {path.name:45} {path.seconds * 1e3:10.3f} ms")
            for name, why in trial.refused.items():
                print(f"    {tried.__name__:8} {name:45} {why}")
        if not trial.paths and all(why in NOT_WRITTEN for why in trial.refused.values()):
            pytest.skip(f"{framework}: no way to compute it by hand is written yet")
        if not trial.paths:
            raise WrongTwinError(
                f"{framework} {computation.label}: no path of {tried.__name__} agrees: {trial.refused}"
            )
    finalists = [(n, p) for n, trial in enumerate(sides) for p in trial.finalists()]
    times = interleaved([p.side for _, p in finalists], seconds, 7)
    medians = np.median(times, axis=0)
    winners = [
        min((m, i) for i, (m, (n, _)) in enumerate(zip(medians, finalists, strict=True)) if n == s)[1] for s in (0, 1)
    ]
    names = [finalists[i][1].name for i in winners]
    return Row(framework, computation.label, names[0], names[1], times[:, winners], sides[1].faster_but_looser())


@pytest.fixture(scope="module")
def table(request: pytest.FixtureRequest) -> Iterator[list[Row]]:
    """Rows, printed when the last is measured."""
    rows: list[Row] = []
    yield rows
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        for framework in FRAMEWORKS:
            show(framework, [row for row in rows if row.framework == framework])


def show(framework: str, rows: list[Row]) -> None:
    if not rows:
        return
    columns = [
        perf_tables.Column(key="computation", head="computation"),
        perf_tables.Column(key="best_path", head="best path"),
        perf_tables.Column(key="by_hand", head="fastest by hand"),
        *perf_tables.RATIO,
        perf_tables.Column(key="best_path_s", head="best path, s", format=".4g"),
        perf_tables.Column(key="by_hand_s", head="by hand, s", format=".4g"),
    ]
    cells = []
    for row in rows:
        ratio, low, high = figures(row.times)
        first, second = map(float, np.median(row.times, axis=0))
        names = {"computation": row.label, "best_path": row.ours, "by_hand": row.by_hand}
        if any(other.looser for other in rows):
            names["looser"] = row.looser
        cells.append({**names, "ratio": ratio, "low": low, "high": high, "best_path_s": first, "by_hand_s": second})
    if any(row.looser for row in rows):
        columns.append(perf_tables.Column(key="looser", head="looser arithmetic by hand, of its time"))
    title = f"{BACKENDS[framework].title}: time of the best path over that of the fastest by hand"
    perf_tables.report("best", perf_tables.Table(title=title, columns=columns, rows=cells, ratio="ratio"))


CASES = [
    pytest.param(c, framework, id=f"{framework}-{c.preset}-{c.label.replace(' ', '_')}")
    for framework in FRAMEWORKS
    for c in COMPUTATIONS
]


@pytest.mark.filterwarnings("ignore")  # compilers' own warnings are not what is measured
@pytest.mark.parametrize(("computation", "framework"), CASES)
def test_the_best_path_is_the_fastest_there_is(computation, framework, benchmark, table):
    """Measures and prints; never judges."""
    adapter(framework)
    row = benchmark.pedantic(duel, args=(computation, framework, SECONDS), rounds=1, iterations=1)
    ratio, low, high = figures(row.times)
    first, second = np.median(row.times, axis=0)
    benchmark.group = framework
    benchmark.extra_info.update(
        ratio=ratio, ratio_low=low, ratio_high=high, ours=row.ours, by_hand=row.by_hand, ours_s=first, by_hand_s=second
    )
    table.append(row)


__all__ = ["COMPUTATIONS", "Trial", "Unsupported", "duel"]

"""Can the numbers be trusted? Runs of the harness beside torch.utils.benchmark and pytest-benchmark, interleaved.

    pytest tests/benchmarks/bench_trust.py -s

A chain of 20 products is held against itself (A/A) and against a chain of 21, 5 % more work (power), by `hwlottery run`
with the windows, groups and controls of `quick`, but ten groups. As many of them at a time as `quick` takes are what a
run of `quick` would have said; all ten are what `--rounds 10` says. Between two runs each of the other tools times the
same chain in PyTorch in pairs of fresh processes, as long as `quick` does. The table at the end says how far from 1 the
ratios are, how often intervals hold 1, and what was called slower. HWLOTTERY_TRUST_RUNS sets how many runs.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

import numpy as np
import pytest

from harness.figures.best_paths import best_paths
from harness.figures.frame import frame, rows_of
from harness.figures.summary import summarise
from harness.planning.options import FEWEST_ROUNDS, WINDOWS
from harness.records.store import load
from harness.stats.intervals import median_intervals
from harness.stats.process_times import paired_ratios
from tools import perf_tables
from tools.perf_tables import Column, Table

ROOT = Path(__file__).resolve().parents[2]
RUNS = int(os.environ.get("HWLOTTERY_TRUST_RUNS", "3"))
GROUPS = 10
PAIRS = int(os.environ.get("HWLOTTERY_TRUST_PAIRS", "4"))  # of each other tool, each size, after each run
FRAMEWORKS = [name for name in ("torch", "jax", "tensorflow") if importlib.util.find_spec(name) is not None]
SECONDS = FEWEST_ROUNDS * WINDOWS["quick"].window_s

WORKLOAD_FILE = """from _planted import CHAIN, POINTS, SIZE, _work, inputs, reference
from workloads.base import Axis, Point, Twin, Definition

WORKLOAD = Definition(
    name="{name}", title="{name}", source="tests", role="{role}", axes={axes}, presets={presets},
    inputs=inputs, reference=reference, formulations=CHAIN, work=_work, twins=lambda params, mode: {twins},
)
"""

TOOL = """
import sys, torch
size, links = int(sys.argv[1]), 20
torch.set_num_threads(len(__import__("os").sched_getaffinity(0)))
x, w = torch.randn(size, size), torch.randn(size, size) / size ** 0.5
def chain():
    y = x
    for _ in range(links):
        y = y @ w
    return y
"""
TORCH_TIMER = f"""{TOOL}
from torch.utils.benchmark import Timer
timer = Timer("chain()", globals={{"chain": chain}}, num_threads=torch.get_num_threads())
print(timer.blocked_autorange(min_run_time={SECONDS}).median)
"""
PYTEST_TIMER = f"""{TOOL.replace("int(sys.argv[1])", "int(__import__('os').environ['SIZE'])")}
def test_chain(benchmark):
    benchmark(chain)
"""


def _workloads(folder: Path) -> None:
    """The idea with 0 or 5 % of extra work, and the twin that both are held against."""
    folder.mkdir()
    shutil.copy(ROOT / "tests" / "helpers" / "planted.py", folder / "_planted.py")
    for name, role, axes, presets, twins in (
        (
            "chain_with_extra",
            "idea",
            '{"size": SIZE, "extra": Axis(help="products more than the twin has", low=0)}',
            '{"quick": [Point(p) for p in POINTS]}',
            '[Twin("same_shape", "chain_plain", {"size": params["size"]}, mode)]',
        ),
        ("chain_plain", "twin", '{"size": SIZE}', "{}", "()"),
    ):
        text = WORKLOAD_FILE.format(name=name, role=role, axes=axes, presets=presets, twins=twins)
        (folder / f"{name}.py").write_text(text)


def _run(folder: Path, plugins: Path, seed: int) -> Path:
    command = [sys.executable, "-m", "harness", "run", "--preset", "quick", "--workload", "chain_with_extra"]
    command += ["--backend", ",".join(FRAMEWORKS), "--seed", str(seed), "--rounds", str(GROUPS), "--out", str(folder)]
    path = os.pathsep.join([str(plugins), str(ROOT)])
    environment = os.environ | {"HWLOTTERY_WORKLOADS": str(plugins), "PYTHONPATH": path}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
    return folder


def _torch_timer(size: int) -> float:
    done = subprocess.run([sys.executable, "-c", TORCH_TIMER, str(size)], capture_output=True, text=True, check=True)
    return float(done.stdout)


def _pytest_timer(size: int, folder: Path) -> float:
    folder.mkdir(exist_ok=True)
    (folder / "test_chain.py").write_text(PYTEST_TIMER)
    out = folder / "out.json"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder), f"--rootdir={folder}"]
    command += [f"--benchmark-json={out}", f"--benchmark-max-time={SECONDS}", "--benchmark-min-rounds=5"]
    subprocess.run(command, env=os.environ | {"SIZE": str(size)}, capture_output=True, check=True)
    return float(json.loads(out.read_text())["benchmarks"][0]["stats"]["median"])


def distances(quick: Sequence[tuple[str, Sequence[float]]], others: Mapping[str, Sequence[float]]) -> Table:
    """How far from 1 the ratios of A/A stay: of what a run of `quick` would have said, and of the other tools."""
    rows = {f"hwlottery, {FEWEST_ROUNDS} groups as in quick": [median(part) for _, part in quick]}
    rows |= {f"of these {b}": [median(part) for name, part in quick if name == b] for b in FRAMEWORKS}
    columns = [
        Column(key="what", head="measured by"),
        Column(key="pairs", head="pairs", format="d"),
        Column(key="median_off", head="median", format=".1%"),
        Column(key="p95_off", head="95th percentile", format=".1%"),
    ]
    cells = []
    for name, ratios in {**rows, **others}.items():
        far = [max(r, 1 / r) - 1 for r in ratios]
        middle, most = map(float, np.quantile(far, (0.5, 0.95)))
        cells.append({"what": name, "pairs": len(far), "median_off": middle, "p95_off": most})
    about = f"{RUNS} runs of {GROUPS} groups, interleaved with the other tools"
    return Table(title="A/A: distance of a ratio from 1", about=about, columns=columns, rows=cells)


def power(verdicts: Sequence[tuple[str, str, float]]) -> Table:
    """What was said of 5 % more work: (backend, verdict, ratio) of each trial."""
    columns = [
        Column(key="backend", head="backend"),
        *(Column(key=key, head=key, format="d") for key in ("slower", "tie", "faster", "trials")),
        Column(key="median_ratio", head="median ratio", format=".3f"),
    ]
    cells = []
    for name in ("all", *FRAMEWORKS):
        ours = [(verdict, ratio) for backend, verdict, ratio in verdicts if name in ("all", backend)]
        said = {word: sum(verdict == word for verdict, _ in ours) for word in ("slower", "tie", "faster")}
        cells.append({"backend": name, **said, "trials": len(ours), "median_ratio": median(ratio for _, ratio in ours)})
    return Table(title=f"Power: 5 % more work, {GROUPS} groups", columns=columns, rows=cells)


def _ratios(folder: Path) -> dict[tuple[str, int, int], list[float]]:
    """For each backend, size and extra: time of the idea over its twin's in every group, both by best path."""
    table = frame([record for record in load(folder).records if not record.control])
    best = [row for row in rows_of(best_paths(table)) if row["workload"].startswith("chain")]
    twins = {(r["backend"], r["params"]["size"]): r for r in best if r["workload"] == "chain_plain"}
    out = {}
    for row in best:
        if row["workload"] == "chain_with_extra":
            twin = twins[row["backend"], row["params"]["size"]]
            key = (row["backend"], row["params"]["size"], row["params"]["extra"])
            out[key] = paired_ratios(row["paired"], twin["paired"])
    return out


def _at_quick(groups: list[float]) -> list[list[float]]:
    """The groups of a run, as many at a time as `quick` takes: each part is what one run of `quick` would have."""
    n = FEWEST_ROUNDS
    return [groups[k : k + n] for k in range(0, len(groups) - n + 1, n)]


@pytest.mark.skipif("torch" not in FRAMEWORKS, reason="the other tools time PyTorch, which is not installed")
def test_how_far_the_same_case_is_from_itself_and_whether_five_percent_are_seen(tmp_path, capsys):
    plugins = tmp_path / "plugins"
    _workloads(plugins)
    quick: list[tuple[str, list[float]]] = []
    verdicts: list[tuple[str, str, float]] = []
    same: list[str] = []
    floors: list[float] = []
    others: dict[str, list[float]] = {"torch.utils.benchmark": [], "pytest-benchmark": []}
    for seed in range(RUNS):
        folder = _run(tmp_path / f"run{seed}", plugins, seed)
        for (backend, _, extra), groups in _ratios(folder).items():
            quick += [(backend, part) for part in _at_quick(groups)] if not extra else []
        summary = summarise(load(folder).records)
        floors.append(summary.noise or 0.0)
        for row in summary.rows:
            against = row.principal
            if against is not None and row.params["extra"]:
                verdicts.append((row.backend, str(against.verdict), 1 / (against.speed_up or float("nan"))))
            elif against is not None:
                same.append(str(against.verdict))
        for size in (96, 256):
            for _ in range(PAIRS):
                others["torch.utils.benchmark"].append(_torch_timer(size) / _torch_timer(size))
                bench = tmp_path / "bench"
                others["pytest-benchmark"].append(_pytest_timer(size, bench) / _pytest_timer(size, bench))
    assert len(verdicts) == len(same) == 2 * len(FRAMEWORKS) * RUNS
    low, high = median_intervals([part for _, part in quick])
    holds = (low <= 1) & (high >= 1)
    said = [verdict for _, verdict, _ in verdicts]
    tables = (distances(quick, others), power(verdicts))
    found = {
        "runs": RUNS,
        "groups": GROUPS,
        "pairs whose 95 % interval holds 1": int(holds.sum()),
        "pairs": len(holds),
        f"called a tie by {GROUPS} groups": same.count("tie"),
        "of": len(same),
        **{f"noise floor of run {number}": floor for number, floor in enumerate(floors, 1)},
    }
    with capsys.disabled():
        for table in tables:
            perf_tables.report("trust", table)
        print("\n".join(f"{name}: {value:g}" for name, value in found.items()))
    perf_tables.store("trust", facts=found)
    assert "faster" not in said, "more work can be missed, but not be called faster"

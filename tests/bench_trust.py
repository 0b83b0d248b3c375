"""Can the numbers be trusted? Runs of the harness beside torch.utils.benchmark and pytest-benchmark, interleaved.

    pytest tests/bench_trust.py -s

A chain of 20 products is held against itself (A/A) and against a chain of 21, 5 % more work (power), by `hwlottery run`
at the budget of `quick`: the same windows, rounds, heats and controls. Between two runs each of the other tools times
the same chain in PyTorch in pairs of fresh processes, as long as the harness does (five windows). Nothing is asserted
about speed; the table at the end says how often intervals hold 1, how far from 1 the ratios are, and what was called
slower. HWLOTTERY_TRUST_RUNS sets how many runs.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from harness.noise import paired_floors
from harness.run import ROUNDS, WINDOWS
from harness.store import load

HERE = Path(__file__).parent
RUNS = int(os.environ.get("HWLOTTERY_TRUST_RUNS", "5"))
PAIRS = int(os.environ.get("HWLOTTERY_TRUST_PAIRS", "4"))  # of each other tool, each size, after each run
FRAMEWORKS = [name for name in ("torch", "jax", "tensorflow") if importlib.util.find_spec(name) is not None]
SECONDS = ROUNDS["quick"] * WINDOWS["quick"].window_s

WORKLOAD_FILE = """from _planted import CHAIN, POINTS, SIZE, _work, inputs, reference
from workloads.base import Axis, Point, Twin, Workload

WORKLOAD = Workload(
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
    shutil.copy(HERE / "planted.py", folder / "_planted.py")
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
    command += ["--backend", ",".join(FRAMEWORKS), "--seed", str(seed), "--out", str(folder)]
    path = os.pathsep.join([str(plugins), str(HERE.parent)])
    environment = os.environ | {"HWLOTTERY_WORKLOADS": str(plugins), "PYTHONPATH": path}
    subprocess.run(command, cwd=HERE.parent, env=environment, check=True, stdout=subprocess.DEVNULL)
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


def _off(ratios: list[float]) -> str:
    """How far from 1 a share of the ratios stays, as a percentage."""
    far = [max(r, 1 / r) - 1 for r in ratios]
    return f"{100 * np.quantile(far, 0.5):6.1f} % {100 * np.quantile(far, 0.95):6.1f} %"


@pytest.mark.skipif("torch" not in FRAMEWORKS, reason="the other tools time PyTorch, which is not installed")
def test_how_far_the_same_case_is_from_itself_and_whether_five_percent_are_seen(tmp_path, capsys):
    plugins = tmp_path / "plugins"
    _workloads(plugins)
    aa: list[dict] = []
    planted: list[dict] = []
    controls: list[float] = []
    floors: list[float] = []
    others: dict[str, list[float]] = {"torch.utils.benchmark": [], "pytest-benchmark": []}
    for seed in range(RUNS):
        folder = _run(tmp_path / f"run{seed}", plugins, seed)
        report = [sys.executable, "-m", "harness", "report", str(folder), "--format", "json"]
        summary = json.loads(subprocess.run(report, cwd=HERE.parent, capture_output=True, check=True).stdout)
        for row in summary["rows"]:
            (planted if row["params"]["extra"] else aa).append(row["against"][0] | {"where": row["backend"]})
        controls += paired_floors(load(folder).records)
        floors.append(summary["noise"])
        for size in (96, 256):
            for _ in range(PAIRS):
                others["torch.utils.benchmark"].append(_torch_timer(size) / _torch_timer(size))
                others["pytest-benchmark"].append(
                    _pytest_timer(size, tmp_path / "bench") / _pytest_timer(size, tmp_path / "bench")
                )
    assert len(aa) == len(planted) == 2 * len(FRAMEWORKS) * RUNS
    holds = [a["speed_up_low"] <= 1 <= a["speed_up_high"] for a in aa]
    said = [a["verdict"] for a in planted]
    with capsys.disabled():
        print(
            f"\n\nA/A: distance from 1 of the ratio of a case to itself, {RUNS} runs interleaved with the other tools"
        )
        print(f"  {'':34} {'pairs':>5} {'median':>8} {'95th':>8}")
        ratios = {"hwlottery, idea against twin": [a["speed_up"] for a in aa], "hwlottery, controls": controls}
        for name, values in (ratios | others).items():
            print(f"  {name:34} {len(values):5} {_off(values)}")
        print(f"  the 95 % interval holds 1 in {sum(holds)} of {len(holds)} pairs ({100 * np.mean(holds):.0f} %)")
        print(f"  called a tie: {sum(a['verdict'] == 'tie' for a in aa)} of {len(aa)}")
        print(f"  noise floors of the runs: {', '.join(f'{100 * f:.1f} %' for f in floors)}")
        print(
            f"Power: 5 % more work called slower in {said.count('slower')} of {len(said)} trials "
            f"({100 * said.count('slower') / len(said):.0f} %), faster in {said.count('faster')}, "
            f"tie in {said.count('tie')}; median ratio {np.median([1 / a['speed_up'] for a in planted]):.3f}"
        )
        for name in FRAMEWORKS:
            ours = [a for a in planted if a["where"] == name]
            slower = sum(a["verdict"] == "slower" for a in ours)
            print(
                f"  {name}: slower in {slower} of {len(ours)}, "
                f"A/A {_off([a['speed_up'] for a in aa if a['where'] == name])}"
            )

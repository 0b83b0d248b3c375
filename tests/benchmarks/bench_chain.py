"""Does a run say the same again? Whole runs of `quick`, each held against the others, and 5 % more work found.

    pytest tests/benchmarks/bench_chain.py -s

`bench_trust.py` tests one link, the ratio of two cases in one group. This tests the chain: survey, sweep, choice of
paths, groups, intervals, verdicts, break-even, ranks, and `compare`. HWLOTTERY_CHAIN_RUNS sets how many whole runs, of
as many minutes each as `quick` takes; HWLOTTERY_CHAIN_FOLDERS names runs that exist already instead, separated as the
system's paths are. In every run a chain of 20 products stands beside its twin; in as many short runs more, its best
formulation does 21. The study says what it found, `tools/chain.py` how.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tools import chain, perf_tables

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = ROOT / "tests" / "helpers" / "lengthened"
RUNS = int(os.environ.get("HWLOTTERY_CHAIN_RUNS", "3"))
CHAIN = ("--workload", "links", "--formulation", "chain", "--rounds", "10")  # few cases and many rounds
FOLDERS = [Path(name) for name in os.environ.get("HWLOTTERY_CHAIN_FOLDERS", "").split(os.pathsep) if name]


def run(folder: Path, *arguments: str, extra: int = 0) -> Path:
    """A run of `quick`; the chain, where it is asked for, does `extra` products more."""
    command = [sys.executable, "-m", "harness", "run", "--preset", "quick", *arguments, "--out", str(folder)]
    environment = os.environ | {"HWLOTTERY_WORKLOADS": str(PLUGINS), "HWLOTTERY_CHAIN_EXTRA": str(extra)}
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    assert done.returncode in (0, 1), f"{' '.join(command)} ended with {done.returncode}"
    return folder


def test_whole_runs_of_the_same_code_say_the_same(tmp_path, capsys):
    folders, numbers = FOLDERS, range(1, RUNS + 1)
    assert len(folders) >= 2 or (not folders and RUNS >= 2), "a run is held against another: two at least"
    if not folders:
        folders = [run(tmp_path / f"run-{number}") for number in numbers]
    sides = [[run(tmp_path / f"chain-{n}-{extra}", *CHAIN, extra=extra) for extra in (0, 1)] for n in numbers]
    plain, planted = zip(*sides, strict=True)
    made = chain.evaluate(folders, planted, "pytest tests/benchmarks/bench_chain.py -s", plain=plain)
    with capsys.disabled():
        print(perf_tables.markdown(made))
    if os.environ.get(perf_tables.OUT):
        perf_tables.write(Path(os.environ[perf_tables.OUT]), made)
    assert all(row["of"] for row in made.tables[0].rows), "in some respect nothing was compared"

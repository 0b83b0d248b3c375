"""How long a user waits: for the first pair, for every idea, for `quick` cold and warm; and what one more idea adds.

    pytest tests/benchmarks/bench_waits.py -s

Whole runs, as many minutes as they take. The figures to hold on two cores that do nothing else: a first pair within
20 s, every idea in every framework with a speed-up and an interval within 2 minutes, `quick` within 5 minutes with cold
compile caches and 3 with warm ones, `ideas` within 6; an idea of four formulations 12 s more.
HWLOTTERY_WAITS_STANDARD=1 runs `standard` too, within 40 minutes. `tools/waits.py` reads the figures from the records.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from harness.records.store import load
from tools import perf_tables, waits

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = ROOT / "tests" / "helpers" / "four_ways"
OWN = ("before", "after", "transposed", "twice")  # the formulations of the idea that is added


def run(folder, cache, *arguments, **environment):
    """A run of a preset with its compile caches in `cache`; it may end with 1, where a case failed."""
    command = [sys.executable, "-m", "harness", "run", *arguments, "--out", str(folder)]
    env = os.environ | {"HWLOTTERY_CACHE": str(cache)} | environment
    done = subprocess.run(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL)
    assert done.returncode in (0, 1), f"{' '.join(command)} ended with {done.returncode}"
    return load(folder)


def test_how_long_a_user_waits(tmp_path):
    """`quick` cold and warm, and cold again with an idea of four formulations more; `ideas` cold."""
    quick = ("--preset", "quick")
    runs = [run(tmp_path / name, tmp_path / "cache", *quick) for name in ("cold", "warm")]
    more = run(tmp_path / "more", tmp_path / "more-cache", *quick, HWLOTTERY_WORKLOADS=str(PLUGINS))
    added = {r.case.formulation for r in more.records if r.case.workload == "scaled_product" and r.status == "ok"}
    assert added == set(OWN)
    runs.append(run(tmp_path / "ideas", tmp_path / "ideas-cache", "--preset", "ideas"))
    if os.environ.get("HWLOTTERY_WAITS_STANDARD"):
        runs.append(run(tmp_path / "standard", tmp_path / "other", "--preset", "standard"))
    made = waits.table(runs)
    perf_tables.report("waits", made)
    perf_tables.report("waits", waits.adds(runs[0], more))
    assert all(row["first_s"] < row["every_s"] < row["whole_s"] for row in made.rows)

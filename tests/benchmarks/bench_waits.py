"""How long a user waits: for the first pair, for every idea, for `quick` cold and warm; and what one more idea adds.

    pytest tests/benchmarks/bench_waits.py -s

Whole runs, as many minutes as they take. The figures to hold on two cores that do nothing else: a first pair within
20 s, every idea in every framework with a speed-up and an interval within 2 minutes, `quick` within 5 minutes with cold
compile caches and 3 with warm ones; an idea of four formulations 12 s more. HWLOTTERY_WAITS_STANDARD=1 runs `standard`
too, within 40 minutes. `tools/waits.py` reads the figures from the records.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from harness.records.store import load
from tools import perf_tables, waits
from tools.perf_tables import Column, Table

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = ROOT / "tests" / "helpers" / "four_ways"
OWN = ("before", "after", "transposed", "twice")  # the formulations of the idea that is added
FEW = ("--preset", "quick", "--set", "density=0.1", "--set", "n=128", "--formulation")


def run(folder, cache, *arguments, **environment):
    """A run of a preset with its compile caches in `cache`; it may end with 1, where a case failed."""
    command = [sys.executable, "-m", "harness", "run", *arguments, "--out", str(folder)]
    env = os.environ | {"HWLOTTERY_CACHE": str(cache)} | environment
    done = subprocess.run(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL)
    assert done.returncode in (0, 1), f"{' '.join(command)} ended with {done.returncode}"
    return load(folder)


def test_how_long_a_user_waits(tmp_path):
    runs = [run(tmp_path / name, tmp_path / "cache", "--preset", "quick") for name in ("cold", "warm")]
    if os.environ.get("HWLOTTERY_WAITS_STANDARD"):
        runs.append(run(tmp_path / "standard", tmp_path / "other", "--preset", "standard"))
    made = waits.table(runs)
    perf_tables.report("waits", made)
    assert all(row["first_s"] < row["every_s"] < row["whole_s"] for row in made.rows)


def test_what_one_more_idea_adds(tmp_path):
    """Both cold: a run of one idea, and one with an idea of four formulations beside it, of the same twin."""
    few = run(tmp_path / "few", tmp_path / "few-cache", *FEW, "csr", "--workload", "unstructured_sparse")
    more = (",".join(("csr", *OWN)), "--workload", "unstructured_sparse,scaled_product")  # no name but what is there
    both = run(tmp_path / "both", tmp_path / "both-cache", *FEW, *more, HWLOTTERY_WORKLOADS=str(PLUGINS))
    added = {r.case.formulation for r in both.records if r.case.workload == "scaled_product" and r.status == "ok"}
    assert added == set(OWN)
    rows = [
        {
            "idea": "of four formulations",
            "without_s": few.info.wall_s,
            "with_s": both.info.wall_s,
            "adds_s": (both.info.wall_s or 0.0) - (few.info.wall_s or 0.0),
        }
    ]
    heads = {"idea": "one more idea", "without_s": "run without, s", "with_s": "with it, s", "adds_s": "adds, s"}
    columns = [Column(key=key, head=head, format="" if key == "idea" else ".0f") for key, head in heads.items()]
    table = Table(title="What one more idea adds", about="three frameworks, cold", columns=columns, rows=rows)
    perf_tables.report("waits", table)

"""Equal refusals are told once with their number; a workload that is not known here makes nothing else untrue."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from _command import call

from harness.gate.refusal import grouped, refusal

ROOT = Path(__file__).resolve().parents[2]


def test_what_says_the_same_of_several_places_is_one():
    first, second = refusal("case", "line 1", "there is no workload 'x'", "add it"), refusal("work", "line 2", "a", "b")
    several = [first, refusal("case", "line 7", "there is no workload 'x'", "add it"), second]
    assert [str(r) for r in grouped([*several, *several[:2]])] == [
        "line 1 and 3 more places: there is no workload 'x'; add it",
        "line 2: a; b",
    ]
    assert grouped([second]) == [second]
    assert "1 more place:" in str(grouped(several)[0])


def test_a_run_of_a_workload_that_is_not_known_here_is_refused_for_that_and_nothing_else(tmp_path):
    """Its records stand beside those of a good run, whose controls are then among what is refused."""
    folder = tmp_path / "run"
    shutil.copytree(ROOT / "results" / "quick-cpu", folder)
    lines = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    lines = [r for r in lines if not (r["control"] and r["case"]["workload"] == "dense_matmul")]  # the run's ceiling
    foreign = {r["case"]["workload"] for r in lines if r["control"]}
    for record in lines:
        if record["case"]["workload"] in foreign:
            record["case"]["workload"] += "_of_mine"
    (folder / "records.jsonl").write_text("".join(json.dumps(r) + "\n" for r in lines))
    before = call("validate", ROOT / "results" / "quick-cpu").stdout.count("refused [")
    out = call("validate", folder)
    told = [line for line in out.stdout.splitlines() if "refused [" in line]
    assert out.returncode == 1
    assert sum("there is no workload" in line for line in told) == len(foreign)
    assert all(
        "name the file or folder of yours in HWLOTTERY_WORKLOADS" in line for line in told if "no workload" in line
    )
    assert len(told) == len(foreign) + before, told
    assert "no-control" not in out.stdout

"""What the README shows is what the code does."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from readme_blocks import README, ROOT, examples, regenerated


def test_tables_and_help_are_those_that_the_code_prints():
    text = README.read_text()
    assert regenerated(text) == text, "run: python tests/readme_blocks.py"


def test_a_drifted_block_is_seen():
    text = README.read_text().replace("`--preset`", "`--presett`", 1)
    assert regenerated(text) != text


def test_a_lost_block_is_seen():
    with pytest.raises(ValueError, match="must have one block 'help'"):
        regenerated(README.read_text().replace("<!-- begin: help -->", ""))


def test_the_examples_are_complete_and_run(tmp_path):
    """The workload and the backend of the README, as files in folders of their own, through the real command."""
    environ = {**os.environ}
    found = examples()
    assert sorted(kind for kind, _ in found.values()) == ["backend", "notebook", "workload"]
    for name, (kind, code) in found.items():
        if kind == "notebook":
            continue
        folder = tmp_path / kind
        folder.mkdir()
        (folder / name).write_text(code)
        environ[f"HWLOTTERY_{kind.upper()}S"] = str(folder)
    command = [sys.executable, "-m", "harness", "run", "--preset", "smoke", "--workload", "vector_norm"]
    out = subprocess.run(
        [*command, "--backend", "numpy,scipy", "--out", str(tmp_path / "out"), "--json"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environ,
        timeout=120,
    )
    assert out.returncode == 0, out.stderr
    records = [json.loads(line) for line in out.stdout.splitlines()]
    ideas = {(r["case"]["backend"], r["case"]["formulation"]): r["status"] for r in records if r["headline"]}
    assert ideas == {(b, f): "ok" for b in ("numpy", "scipy") for f in ("sum", "einsum")}


def test_the_notebook_lines_give_a_frame():
    out = subprocess.run(
        [sys.executable, "-c", examples()["frame.py"][1]], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert "time_ratio" in out.stdout

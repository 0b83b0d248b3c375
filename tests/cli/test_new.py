"""`new` writes an example that is checked and runs as it is, never over a file, and never under a name that is none."""

from __future__ import annotations

import json

import pytest
from _command import call

from harness.figures.ceilings import CEILINGS_ALONE


def test_a_new_workload_passes_the_check_and_runs(tmp_path):
    out = call("new", "workload", "my_idea", "-o", tmp_path / "ideas")
    file = tmp_path / "ideas" / "my_idea.py"
    assert out.returncode == 0, out.stderr
    assert f"check {file}" in out.stdout
    assert f"run --preset smoke --workload-file {file}" in out.stdout
    checked = call("check", file, "--backend", "numpy")
    assert checked.returncode == 0, checked.stdout
    ran = call("run", "--preset", "smoke", "--workload-file", file, "--backend", "numpy", "--out", tmp_path / "out")
    assert ran.returncode == 0, ran.stderr
    assert "my_idea" in ran.stdout
    records = [json.loads(line) for line in (tmp_path / "out" / "records.jsonl").read_text().splitlines()]
    # no other idea runs, and here no program is compiled
    assert {r["case"]["workload"] for r in records} == {"my_idea", "dense_matmul", *CEILINGS_ALONE} - {"polynomial"}


def test_a_new_backend_passes_the_check_and_runs(tmp_path):
    out = call("new", "backend", "mine", "-o", tmp_path)
    file = tmp_path / "mine_backend.py"
    assert out.returncode == 0, out.stderr
    checked = call("check", file)
    assert checked.returncode == 0, checked.stdout
    small = ("--preset", "smoke", "--workload", "capsule_conv", "--backend", "mine", "--out", tmp_path / "out")
    ran = call("run", *small, HWLOTTERY_BACKENDS=str(file))
    assert ran.returncode == 0, ran.stderr
    assert "capsule_conv" in ran.stdout


@pytest.mark.parametrize("kind", ["workload", "backend"])
@pytest.mark.parametrize("name", ["1st", "two words", "a-b", "class", "_hidden", "Ä"])
def test_a_name_that_is_none_is_refused(kind, name, tmp_path):
    out = call("new", kind, name, "-o", tmp_path)
    assert out.returncode == 2
    assert f"{name!r} cannot name a {kind}; use letters, digits and underscores" in out.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_kept(tmp_path):
    (tmp_path / "mine.py").write_text("precious")
    out = call("new", "workload", "mine", "-o", tmp_path)
    assert out.returncode == 2
    assert "mine.py is there already and is kept" in out.stderr
    assert (tmp_path / "mine.py").read_text() == "precious"
    taken = call("new", "workload", "dense_matmul", "-o", tmp_path)
    assert "there is a workload dense_matmul already" in taken.stderr


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    out = call("new", "workload", "mine", "-o", tmp_path / "file")
    assert out.returncode == 2
    assert "cannot be written" in out.stderr
    assert "Traceback" not in out.stderr

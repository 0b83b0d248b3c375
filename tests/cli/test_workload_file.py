"""`run --workload-file`: a workload in any file joins the run, here and in every fork server."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from _command import call

from harness.figures.ceilings import CEILINGS_ALONE

HELPERS = Path(__file__).parents[1] / "helpers"
SMOKE = ("run", "--preset", "smoke", "--backend", "numpy", "--dry-run", "--json")


def planned(*arguments, **environ):
    out = call(*SMOKE, *arguments, **environ)
    assert out.returncode == 0, out.stderr
    return {json.loads(line)["workload"] for line in out.stdout.splitlines()}


@pytest.fixture
def file(tmp_path):
    return Path(shutil.copy(HELPERS / "checked_workload.py", tmp_path / "mine.py"))


def test_without_a_name_only_the_file_s_workloads_run_with_their_twins_and_the_ceilings(file):
    assert planned("--workload-file", file) == {"checked", "dense_matmul", *CEILINGS_ALONE} - {"polynomial"}


def test_with_a_name_the_named_run_and_the_file_is_known(file):
    named = planned("--workload-file", file, "--workload", "capsule_conv")
    assert "checked" not in named
    assert "capsule_conv" in named
    assert {"checked", "capsule_conv"} <= planned("--workload-file", file, "--workload", "capsule_conv,checked")


def test_several_files_and_a_file_that_a_folder_has_already(file):
    other = file.with_name("other.py")
    other.write_text(file.read_text().replace('"checked"', '"other"'))
    assert {"checked", "other"} <= planned("--workload-file", file, "--workload-file", other)
    assert "checked" in planned("--workload-file", file, HWLOTTERY_WORKLOADS=str(file.parent))


def test_a_helper_beside_the_file_is_imported_and_is_no_workload(file):
    (file.parent / "_rows.py").write_text("ROWS = 64\n")
    file.write_text(
        file.read_text().replace("import numpy", "import _rows\nimport numpy", 1).replace("64", "_rows.ROWS")
    )
    assert "checked" in planned("--workload-file", file)
    assert "checked" in planned("--workload", "checked", HWLOTTERY_WORKLOADS=str(file.parent))


def test_a_file_of_the_name_of_one_of_ours_takes_the_place_of_none(tmp_path):
    folder = tmp_path / "workloads"
    folder.mkdir()
    file = Path(shutil.copy(HELPERS / "checked_workload.py", folder / "base.py"))
    assert "checked" in planned("--workload-file", file)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import nonexistent_module\n", "does not load: ModuleNotFoundError: No module named 'nonexistent_module'"),
        ("", "defines none: it must define one workload"),
    ],
)
def test_a_file_that_is_no_workload_ends_the_run_before_it_begins(tmp_path, text, words):
    (tmp_path / "mine.py").write_text(text)
    out = call(*SMOKE, "--workload-file", tmp_path / "mine.py")
    assert out.returncode == 2
    assert words in out.stderr


def test_a_name_that_is_taken_is_told_with_both_files(file):
    file.write_text(file.read_text().replace('"checked"', '"capsule_conv"'))
    out = call(*SMOKE, "--workload-file", file)
    assert out.returncode == 2
    assert "workload 'capsule_conv' is defined twice" in out.stderr
    assert str(file) in out.stderr
    assert "workloads/capsule_conv.py" in out.stderr

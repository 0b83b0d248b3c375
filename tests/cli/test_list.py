"""`list`: a line a workload, all about one by its name, JSON for programs, and all of it at once."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from _command import ROOT, call

from harness.cli import listing
from harness.planning.plan import PRESETS
from workloads.discovery import workloads

NAMES = list(workloads()[0])


def test_a_workload_is_a_line_of_80_columns():
    out = call("list", "workloads", COLUMNS="80")
    head, *lines = out.stdout.splitlines()
    assert head.split() == ["name", "what", "modes"]
    assert [line.split()[0] for line in lines] == NAMES
    assert max(map(len, lines)) <= 80
    assert "list workloads NAME" in out.stderr


@pytest.mark.parametrize("what", ["workloads", "backends", "devices", "presets", "formulations"])
def test_every_list_stays_within_80_columns_where_a_word_allows_it_and_speaks_json(what):
    out = call("list", what, COLUMNS="80")
    assert out.returncode == 0
    assert max(len(line) for line in out.stdout.splitlines() if "install" not in line) <= 88
    assert json.loads(call("list", what, "--json").stdout)


def test_every_preset_is_listed_with_its_use():
    assert tuple(row["preset"] for row in listing.listing("presets")) == PRESETS
    assert all(row["for"] and row["points"] for row in listing.listing("presets"))


def test_a_name_shows_axes_presets_formulations_and_twins():
    out = call("list", "workloads", "capsule_conv", "unstructured_sparse")
    assert out.returncode == 0
    for words in (
        "axes",
        "in_capsules: kinds of capsules below",
        "quick: batch=4",
        "im2col: k²",
        "dense_conv, forward",
    ):
        assert words in out.stdout
    assert "unstructured_sparse: unstructured sparse product (idea)" in out.stdout
    assert max(map(len, out.stdout.splitlines())) <= 80
    (row,) = json.loads(call("list", "workloads", "capsule_conv", "--json").stdout)
    assert row["twins"][0]["workload"] == "dense_conv"
    assert row["axes"]["stride"]["low"] == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("workloads", "capsul_conv"), "no workload 'capsul_conv'; did you mean capsule_conv?"),
        (("presets", "quick"), "list presets takes no name; list workloads NAME shows"),
        (("workload",), "did you mean workloads"),
    ],
)
def test_what_there_is_not_is_a_sentence(arguments, words):
    out = call("list", *arguments)
    assert out.returncode == 2
    assert words in out.stderr


def test_help_and_lists_import_nothing_that_they_do_not_need():
    """What takes time at the start is imports: `--help` needs click alone, a list no table of pandas and no scipy."""
    code = (
        "import sys\n"
        "from harness.cli.main import run_cli\n"
        "run_cli(['--help'])\n"
        "heavy = {'numpy', 'pandas', 'scipy', 'msgspec', 'rich', 'psutil', 'torch'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
        "[run_cli(['list', what]) for what in ('workloads', 'backends', 'presets', 'formulations')]\n"
        "slow = {'pandas', 'scipy', 'msgspec', 'rich', 'psutil', 'torch', 'jax', 'sklearn'}\n"
        "print(sorted(slow & set(sys.modules)))\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert out.stdout.splitlines().count("[]") == 2

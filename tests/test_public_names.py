"""The names of a notebook: all there, light to import, and the example of the docstring does what it says."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import harness

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("name", harness.__all__)
def test_every_public_name_is_there(name):
    assert getattr(harness, name) is not None
    assert name in dir(harness)


def test_an_unknown_name_is_told_with_those_that_are():
    with pytest.raises(AttributeError, match=r"no attribute 'best_path'; its public names are .*best_paths"):
        harness.best_path  # noqa: B018


def test_importing_it_imports_no_room_and_nothing_heavy():
    code = (
        "import sys, harness\n"
        "heavy = {'pandas', 'numpy', 'msgspec', 'click', 'torch'} & set(sys.modules)\n"
        "print(sorted(heavy), sorted(m for m in sys.modules if m.startswith('harness.')))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert out.stdout.strip() == "[] []"


def test_load_takes_a_string_a_path_or_several():
    folder = ROOT / "results" / "quick-cpu"
    rows = len(harness.load(folder))
    assert rows > 100
    assert len(harness.load(str(folder))) == rows
    assert len(harness.load([str(folder), folder])) == 2 * rows
    with pytest.raises(harness.UserError, match="is not a results folder"):
        harness.load("/nowhere")


def test_the_example_of_the_docstring_says_of_what_it_prints():
    example = harness.__doc__.partition("checkout:\n\n")[2].partition("\n\nEvery public name")[0]
    wide = "import pandas\npandas.set_option('display.width', 300, 'display.max_columns', 9, 'display.max_rows', 99)\n"
    code = wide + textwrap.dedent(example)
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    head, *rows = out.stdout.splitlines()
    for column in ("workload", "point", "mode", "backend", "twin_workload", "time_ratio", "tax"):
        assert column in head
    assert any("unstructured_sparse" in row and "dense_matmul" in row for row in rows)

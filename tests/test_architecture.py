"""The house rules that can be checked by reading the code."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAY_IMPORT = {
    "backends": {"backends"},
    "workloads": {"workloads", "backends"},
    "harness": {"harness", "workloads", "backends"},
}
FRAMEWORKS = {"torch", "jax", "jaxlib", "tensorflow"}


def imported(source: str, *, top_level_only: bool = False) -> set[str]:
    tree = ast.parse(source)
    nodes = tree.body if top_level_only else ast.walk(tree)
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


def wrong_way(package: str, source: str) -> set[str]:
    return (imported(source) & MAY_IMPORT.keys()) - MAY_IMPORT[package]


FILES = [(p, f) for p in MAY_IMPORT for f in sorted((ROOT / p).rglob("*.py"))]


@pytest.mark.parametrize(("package", "file"), FILES, ids=lambda v: str(getattr(v, "name", v)))
def test_imports_run_from_harness_to_workloads_to_backends_and_never_back(package, file):
    assert not wrong_way(package, file.read_text())


def test_an_import_the_wrong_way_is_seen():
    assert wrong_way("backends", "from harness.record import Case") == {"harness"}
    assert wrong_way("workloads", "def f():\n    import harness.plan") == {"harness"}
    assert wrong_way("harness", "import workloads, backends") == set()


ALWAYS_LOADED = [f for p, f in FILES if p != "backends" or f.match("*_backend.py")]


@pytest.mark.parametrize("file", ALWAYS_LOADED, ids=lambda f: f.name)
def test_no_framework_is_imported_at_the_top_of_a_module(file):
    """Only inside functions or in an adapter's own rooms, so that everything loads with none of them installed."""
    assert not imported(file.read_text(), top_level_only=True) & FRAMEWORKS


def test_list_help_and_doctor_work_with_no_framework_installed():
    """A meta path finder hides them; the commands do not need them, and doctor says what mends it."""
    code = (
        "import sys\n"
        "class Hide:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'jax', 'jaxlib', 'tensorflow'):\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "import importlib.util\n"
        "real = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda n, p=None: None if n in ('torch', 'jax', 'tensorflow') else real(n, p)\n"
        "sys.meta_path.insert(0, Hide())\n"
        "from harness.cli import run_cli\n"
        "asked = ['--help'], ['list', 'workloads'], ['list', 'backends', '--json'], ['list', 'devices']\n"
        "codes = [run_cli(arguments) for arguments in asked]\n"
        "codes.append(run_cli(['run', '--preset', 'smoke', '--dry-run']))\n"
        "codes.append(run_cli(['doctor']))\n"
        "print(codes)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert out.stdout.splitlines()[-1] == "[0, 0, 0, 0, 2, 1]"
    for extra in ("torch", "jax", "tensorflow"):
        assert f'→ python -m pip install "hwlottery[{extra}]"' in out.stdout
    assert 'no framework is installed; try: python -m pip install "hwlottery[all]"' in out.stderr


def test_the_command_line_answers_without_pandas_or_frameworks():
    """What is slow to import is imported by the commands that need it."""
    slow = "{'pandas', 'torch', 'jax', 'scipy'}"
    code = f"import sys, harness.cli, harness.inventory; print(sorted({slow} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert out.stdout.strip() == "[]"


def test_results_holds_data_only_and_tests_are_flat():
    assert not list((ROOT / "results").rglob("*.py"))
    assert not [p for p in (ROOT / "tests").iterdir() if p.is_dir() and p.name != "__pycache__"]

"""The house rules that can be checked by reading the code."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
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
    assert wrong_way("backends", "from harness.records.record import Case") == {"harness"}
    assert wrong_way("workloads", "def f():\n    import harness.planning.plan") == {"harness"}
    assert wrong_way("harness", "import workloads, backends") == set()


# -- rooms of harness/ -------------------------------------------------------------------------------------------------

# In the order in which data walks: each room imports only rooms to its left.
ROOMS = (
    *("errors", "records", "stats", "machine", "measuring", "worker", "planning", "running"),
    *("figures", "modelling", "gate", "report", "web", "leaderboard", "fleet", "quality", "cli"),
)
DOORS = {"__init__", "__main__"}  # the public names, and the command: they open any room, but only when they are asked


def modules_of(source: str) -> set[str]:
    """The modules of ours that a file imports, anywhere: `from harness.stats import noise` may name module or value."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names if name.split(".")[0] in MAY_IMPORT}


def rooms_to_the_right(room: str, source: str) -> set[str]:
    named = {name.split(".")[1] for name in modules_of(source) if name.startswith("harness.")}
    unknown = named - set(ROOMS)
    return {other for other in named & set(ROOMS) if ROOMS.index(other) > ROOMS.index(room)} | unknown


IN_ROOMS = [(f.relative_to(ROOT / "harness").parts[0].removesuffix(".py"), f) for p, f in FILES if p == "harness"]
IN_ROOMS = [(room, file) for room, file in IN_ROOMS if room not in DOORS]


@pytest.mark.parametrize(("room", "file"), IN_ROOMS, ids=lambda v: str(getattr(v, "name", v)))
def test_every_file_of_harness_stands_in_a_room_and_imports_only_rooms_to_its_left(room, file):
    assert room in ROOMS
    assert not rooms_to_the_right(room, file.read_text())


def test_an_import_of_a_room_to_the_right_is_seen():
    assert rooms_to_the_right("stats", "def f():\n    from harness.cli.main import run_cli") == {"cli"}
    assert rooms_to_the_right("stats", "from harness.attic.chest import gold") == {"attic"}
    assert rooms_to_the_right("cli", "from harness.stats.noise import noise_floor\nimport harness.errors") == set()


def circles(imports: dict[str, set[str]]) -> list[str]:
    """The modules that import themselves by way of others."""
    reached = {name: set(others) for name, others in imports.items()}
    grown = True
    while grown:
        grown = False
        for others in reached.values():
            more = set().union(*(reached.get(other, set()) for other in others)) - others
            others |= more
            grown = grown or bool(more)
    return sorted(name for name, others in reached.items() if name in others)


def test_no_file_imports_itself_by_way_of_others():
    """Imports that only a checker of types reads, and those inside functions, count as well."""
    names = {".".join(f.relative_to(ROOT).with_suffix("").parts): f for _, f in FILES if f.stem not in DOORS}
    imports = {}
    for name, file in names.items():
        found = modules_of(file.read_text())
        imports[name] = {m for m in names if m in found or any(f.rpartition(".")[0] == m for f in found)} - {name}
    assert circles(imports) == []


def test_a_circle_is_seen():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == ["a", "b", "c"]


# -- size and names ----------------------------------------------------------------------------------------------------

EVERY_FILE = [f for folder in (*MAY_IMPORT, "tests", "tools") for f in sorted((ROOT / folder).rglob("*.py"))]


def test_files_are_small_enough_to_be_read():
    """95 of 100 within 300 lines, none past 400."""
    lines = {str(f.relative_to(ROOT)): len(f.read_text().splitlines()) for f in EVERY_FILE}
    long = {name: count for name, count in lines.items() if count > 300}
    assert not {name: count for name, count in long.items() if count > 400}
    assert len(long) <= 0.05 * len(lines), long


def public_classes(source: str) -> list[str]:
    return [n.name for n in ast.parse(source).body if isinstance(n, ast.ClassDef) and not n.name.startswith("_")]


def test_no_two_public_classes_share_a_name():
    names = [name for _, file in FILES for name in public_classes(file.read_text())]
    assert sorted({name for name in names if names.count(name) > 1}) == []


# -- code in strings ---------------------------------------------------------------------------------------------------

_OURS = r"(?:harness|workloads|backends|tools)"
_FROM = re.compile(rf"\bfrom ({_OURS}(?:\.\w+)*) import \(?([\w, ]+)")
_IMPORT = re.compile(r"(?<![\w.] )\bimport ([\w., ]+)")
_WHOLE = re.compile(rf"{_OURS}(?:\.\w+)+")  # what `python -m` or `monkeypatch.setattr` is given


def embedded(source: str) -> set[str]:
    """What the strings of a file name of ours: modules, and names in them, in code for a process or by themselves."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            for module, several in _FROM.findall(node.value):
                names |= {f"{module}.{name.split()[0]}" for name in several.split(",") if name.strip()}
            several = [
                part.split()[0] for found in _IMPORT.findall(node.value) for part in found.split(",") if part.strip()
            ]
            names |= {name for name in [*several, node.value] if _WHOLE.fullmatch(name)}
    return names


@cache
def bound(file: Path) -> set[str]:
    """Every name that a module binds; of a package also what it opens when it is asked, which its strings name."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, ast.Constant) and file.stem == "__init__":
            names.add(str(node.value))
    return names


def is_there(dotted: str) -> bool:
    """Whether a module of this name is a file here, or the name is bound in one."""
    at, parts = ROOT, dotted.split(".")
    for number, part in enumerate(parts):
        if (at / part).is_dir():
            at /= part
        elif (at / f"{part}.py").is_file():
            return number + 1 == len(parts) or parts[number + 1] in bound(at / f"{part}.py")
        else:
            package = at / "__init__.py"
            return package.is_file() and number + 1 == len(parts) and part in bound(package)
    return True


PLANTED = {
    "harness.records.gone",
    "harness.attic.chest.gold",
    "harness.stats.nois.noise_floor",
    "harness.stats.noise.nose",
}


@pytest.mark.parametrize(
    "file",
    [f for f in EVERY_FILE if f.is_relative_to(ROOT / "tests") or f.is_relative_to(ROOT / "tools")],
    ids=lambda f: f.name,
)
def test_code_in_strings_names_only_what_is_there(file):
    assert {name for name in embedded(file.read_text()) - PLANTED if not is_there(name)} == set()


def test_code_in_strings_that_names_a_module_that_moved_is_seen():
    code = 'run("-c", "import os; import harness.records.gone, sys; from harness.stats.nois import noise_floor")\n'
    code += 'setattr("harness.stats.noise.nose", 1)\nf"from harness.attic.chest import gold{1}"'
    assert {name for name in embedded(code) if not is_there(name)} == PLANTED


# -- what loads when ---------------------------------------------------------------------------------------------------

ALWAYS_LOADED = [f for p, f in FILES if p != "backends" or f.match("*_backend.py")]


@pytest.mark.parametrize("file", ALWAYS_LOADED, ids=lambda f: f.name)
def test_no_framework_is_imported_at_the_top_of_a_module(file):
    """Only inside functions or in an adapter's own rooms, so that everything loads with none of them installed."""
    assert not imported(file.read_text(), top_level_only=True) & FRAMEWORKS


def test_list_help_and_doctor_work_with_no_framework_installed():
    """A meta path finder hides them; the commands do not need them, and doctor says what fixes it."""
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
        "from harness.cli.main import run_cli\n"
        "asked = ['--help'], ['list', 'workloads'], ['list', 'backends', '--json'], ['list', 'devices']\n"
        "codes = [run_cli(arguments) for arguments in asked]\n"
        "codes.append(run_cli(['run', '--preset', 'smoke', '--dry-run']))\n"
        "codes.append(run_cli(['doctor']))\n"
        "print(codes)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert out.stdout.splitlines()[-1] == "[0, 0, 0, 0, 2, 1]"
    for extra in ("torch", "jax", "tensorflow"):
        assert f'→ python -m pip install -e ".[{extra}]"' in out.stdout
    assert 'no framework is installed; try: python -m pip install -e ".[all]"' in out.stderr


def test_the_command_line_answers_without_pandas_or_frameworks():
    """What is slow to import is imported by the commands that need it."""
    slow = "{'pandas', 'torch', 'jax', 'scipy'}"
    code = f"import sys, harness.cli.main, harness.cli.listing; print(sorted({slow} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert out.stdout.strip() == "[]"


def test_results_holds_data_only():
    assert not list((ROOT / "results").rglob("*.py"))


def test_tests_mirror_the_rooms():
    """Beside a folder for each room: one for what several tests share, for benchmarks, for the docs and the tools."""
    folders = {p.name for p in (ROOT / "tests").iterdir() if p.is_dir() and p.name != "__pycache__"}
    assert folders <= {*ROOMS, "backends", "workloads", "helpers", "benchmarks", "docs", "tools"}

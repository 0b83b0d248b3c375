"""Plug-ins by their files and by entry points: what is found, what is broken, and what is said of it."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys

import pytest

from backends.discovery import backends, folders, is_ours, plugin_files, with_helpers
from harness.machine import digest
from harness.worker.check import is_backend
from workloads.discovery import workloads

PLUGIN = """
from backends.ops import Backend, Device
from backends.numpy_backend import open_device
{more}
BACKEND = Backend(
    name={name!r}, title="Mine", module="numpy", distributions=(), install="nothing", preload=(),
    executions=("eager",), environ=lambda device, threads, cache: {{}}, devices=lambda: (Device("cpu"),),
    open=open_device, default=False,
)
"""


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch):
    """Modules and the path are what they were when a test is over."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    place = tmp_path / "mine"
    place.mkdir()
    monkeypatch.setenv("HWLOTTERY_BACKENDS", str(place))
    return place


def plugin(path, name="mine", more=""):
    path.write_text(PLUGIN.format(name=name, more=more))
    return path


def reasons():
    return [broken.reason for broken in backends()[1]]


def test_a_file_adds_a_backend(folder):
    plugin(folder / "mine_backend.py")
    found, broken = backends()
    assert found["mine"].title == "Mine"
    assert {"numpy", "torch", "jax", "tensorflow", "array_api_strict"} <= set(found)
    assert not broken


def test_a_plug_in_imports_what_stands_beside_it_and_a_file_with_an_underscore_is_none_itself(folder):
    (folder / "_helper_backend.py").write_text("TITLE = 'helped'\n")
    (folder / "beside_of_mine.py").write_text("NUMBER = 7\n")
    more = (
        "from beside_of_mine import NUMBER\nfrom _helper_backend import TITLE\nassert (TITLE, NUMBER) == ('helped', 7)"
    )
    plugin(folder / "mine_backend.py", more=more)
    found, broken = backends()
    assert "mine" in found
    assert not broken
    assert sys.path[-1] == str(folder)


def test_what_is_found_is_what_is_there_now(folder, monkeypatch):
    """Of this process: a file that comes or goes, and a folder named by where one stands."""
    assert "mine" not in backends()[0]
    plugin(folder / "mine_backend.py")
    assert "mine" in backends()[0]
    (folder / "mine_backend.py").unlink()
    assert "mine" not in backends()[0]
    monkeypatch.setenv("HWLOTTERY_BACKENDS", ".")
    for name in ("here", "there"):
        (folder.parent / name).mkdir()
        plugin(folder.parent / name / f"{name}_backend.py", name)
        monkeypatch.chdir(folder.parent / name)
        assert {"here", "there"} & set(backends()[0]) == {name}
    monkeypatch.setenv("HWLOTTERY_BACKENDS", str(folder / "later"))
    assert len(reasons()) == 1
    (folder / "later").mkdir()
    assert reasons() == []


def test_workloads_are_those_that_are_there_now(tmp_path, monkeypatch):
    monkeypatch.setenv("HWLOTTERY_WORKLOADS", str(tmp_path))
    before = set(workloads()[0])
    (tmp_path / "broken.py").write_text("WORKLOAD = None\n")
    assert len(workloads()[1]) == 1
    (tmp_path / "broken.py").unlink()
    assert workloads()[1] == ()
    assert set(workloads()[0]) == before


def test_what_is_installed_does_not_give_way_to_a_file_beside_a_plug_in(folder):
    (folder / "msgspec.py").write_text("raise RuntimeError('never')\n")
    plugin(folder / "mine_backend.py", more="import json")
    assert "mine" in backends()[0]
    assert reasons() == []


def test_two_helpers_of_one_name_are_told_apart(tmp_path, monkeypatch):
    places = [tmp_path / "first", tmp_path / "second"]
    for place in places:
        place.mkdir()
        (place / "_shared_name.py").write_text(f"WHERE = {place.name!r}\n")
        plugin(place / f"{place.name}_backend.py", place.name, "from _shared_name import WHERE")
    monkeypatch.setenv("HWLOTTERY_BACKENDS", ":".join(map(str, places)))
    found, broken = backends()
    assert "first" in found
    assert "second" not in found
    assert [b.reason for b in broken] == [
        f"{places[1] / 'second_backend.py'} does not load: ImportError: it imports _shared_name, which is "
        f"{places[0] / '_shared_name.py'} and not {places[1] / '_shared_name.py'}; rename one of them"
    ]


def test_of_two_files_with_one_name_both_are_named_and_the_first_is_kept(folder):
    first, second = plugin(folder / "a_backend.py"), plugin(folder / "b_backend.py")
    assert reasons() == [f"backend 'mine' is defined twice, by {first} and by {second}; rename one of them"]


def test_the_same_of_workloads(tmp_path, monkeypatch):
    monkeypatch.setenv("HWLOTTERY_WORKLOADS", str(tmp_path))
    for name in ("one", "two"):
        (tmp_path / f"{name}.py").write_text("from workloads.dense_matmul import WORKLOAD as ours\nWORKLOAD = ours\n")
    assert [b.reason for b in workloads()[1]] == []  # one object under several names is one
    copied = "import copy\nfrom workloads.dense_matmul import WORKLOAD as ours\nWORKLOAD = copy.copy(ours)\n"
    (tmp_path / "three.py").write_text(copied)
    (reason,) = [b.reason for b in workloads()[1]]
    assert "dense_matmul.py" in reason
    assert str(tmp_path / "three.py") in reason


def test_a_file_without_a_backend_is_told_of_the_underscore(folder):
    helper = folder / "helper_backend.py"
    helper.write_text("NUMBER = 7\n")
    assert reasons() == [f"{helper} must end with BACKEND = Backend(…), found nothing; a helper's file begins with _"]
    helper.write_text("BACKEND = 7\n")
    for name in [n for n in sys.modules if n.endswith(".helper_backend")]:
        del sys.modules[name]
    assert reasons() == [f"{helper} must end with BACKEND = Backend(…), found int"]


def test_a_file_that_raises_is_broken_and_the_others_are_found(folder):
    path = folder / "bad_backend.py"
    path.write_text("1 / 0\n")
    plugin(folder / "mine_backend.py")
    assert reasons() == [f"{path} does not load: ZeroDivisionError: division by zero"]
    assert "mine" in backends()[0]


def test_our_own_helpers_are_skipped_in_our_own_folder_only(tmp_path):
    (tmp_path / "base.py").write_text("")
    (ours,) = folders(tmp_path, "HWLOTTERY_NO_SUCH_VARIABLE")
    assert [p.name for p in plugin_files([ours], "*.py", frozenset({"base"}))] == ["base.py"]


# -- entry points ------------------------------------------------------------------------------------------------------


@pytest.fixture
def distribution(tmp_path, monkeypatch):
    """Makes a distribution as an installer leaves it: a module and a dist-info folder that are on the path."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(entry_points, name="somebodys-backends", **modules):
        info = tmp_path / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(entry_points)
        for module, text in modules.items():
            (tmp_path / f"{module}.py").write_text(text)

    return make


@pytest.mark.parametrize("value", ["installed_mine", "installed_mine:BACKEND"])
def test_an_installed_distribution_adds_a_backend(distribution, value):
    distribution(f"[hwlottery.backends]\nmine = {value}\n", installed_mine=PLUGIN.format(name="mine", more=""))
    found, broken = backends()
    assert found["mine"].title == "Mine"
    assert not broken


def test_a_broken_entry_point_names_its_distribution(distribution):
    distribution(
        "[hwlottery.backends]\na = no_such_module_of_mine\nb = installed_number:BACKEND\n",
        installed_number="BACKEND = 7\n",
    )
    broken = backends()[1]
    assert {str(b.path) for b in broken} == {"somebodys-backends"}
    assert [b.reason for b in broken] == [
        "entry point a = no_such_module_of_mine of somebodys-backends does not load: "
        "ModuleNotFoundError: No module named 'no_such_module_of_mine'",
        "entry point b = installed_number:BACKEND of somebodys-backends must end with BACKEND = Backend(…), found int",
    ]


def test_an_entry_point_does_not_take_a_name_that_is_ours(distribution):
    distribution(
        "[hwlottery.backends]\nnumpy = installed_numpy\n", installed_numpy=PLUGIN.format(name="numpy", more="")
    )
    found, broken = backends()
    assert found["numpy"].title == "NumPy"
    (reason,) = [b.reason for b in broken]
    assert "numpy_backend.py and by entry point numpy = installed_numpy of somebodys-backends" in reason


def test_entry_points_are_read_once_for_a_folder_and_path(folder, monkeypatch):
    """They are read from every installed distribution, which takes as long as a small case."""
    read = importlib.metadata.entry_points
    groups = []
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda *, group: groups.append(group) or read(group=group))
    plugin(folder / "mine_backend.py")
    for _ in range(3):
        backends()
    known = len(groups)
    assert known > 0
    backends()
    assert len(groups) == known
    monkeypatch.setenv("HWLOTTERY_BACKENDS", str(folder.parent))
    assert "mine" not in backends()[0]
    assert len(groups) > known


def test_an_installed_distribution_adds_a_workload(distribution):
    text = "import dataclasses\nfrom workloads.dense_matmul import WORKLOAD as ours\n"
    text += "WORKLOAD = dataclasses.replace(ours, name='installed')\n"
    distribution("[hwlottery.workloads]\nmine = installed_workload\n", installed_workload=text)
    found, broken = workloads()
    assert "installed" in found
    assert not broken


# -- what somebody's code may do while it is loaded --------------------------------------------------------------------


def fault(tried):
    return pytest.mark.fault(tried, "plug-ins")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        pytest.param("raise SystemExit(3)", "SystemExit: 3", marks=fault("a plug-in that raises SystemExit")),
        pytest.param("raise BaseException('x')", "BaseException: x", marks=fault("a plug-in raising BaseException")),
        pytest.param("def f(:", "SyntaxError: ", marks=fault("a plug-in that is no Python")),
        pytest.param("import no_such_thing", "ModuleNotFoundError: ", marks=fault("a plug-in whose import fails")),
    ],
)
def test_whatever_a_plug_in_raises_it_is_left_out_and_the_rest_is_found(folder, monkeypatch, body, said):
    path = folder / "bad_backend.py"
    path.write_text(body + "\n")
    plugin(folder / "mine_backend.py")
    workload = folder / "bad.py"
    workload.write_text(body + "\n")
    monkeypatch.setenv("HWLOTTERY_WORKLOADS", str(workload))
    assert reasons()[0].startswith(f"{path} does not load: {said}")
    assert "mine" in backends()[0]
    found, broken = workloads()
    assert broken[0].reason.startswith(f"{workload} does not load: {said}")
    assert "dense_matmul" in found


@fault("a plug-in that is nested without end, or imports a name that no file can have")
@pytest.mark.parametrize(
    "body", ["x = " + "-" * 20_000 + "1", "x = a" + ".b" * 3000, "import " + "a" * 300, "x = " + "9" * 5000, "\0"]
)
def test_a_plug_in_that_python_itself_cannot_take_is_named_and_hashed(folder, monkeypatch, body):
    """In its file, and in a helper's beside it."""
    path, helper = folder / "bad.py", folder / "_helper_of_bad.py"
    path.write_text(body + "\n")
    monkeypatch.setenv("HWLOTTERY_WORKLOADS", str(path))
    assert workloads()[1][0].reason.startswith(f"{path} does not load: ")
    assert "plug-in bad.py" in digest.plug_ins()
    assert not is_backend(path)
    helper.write_text(body + "\n")
    path.write_text("import _helper_of_bad\n")
    assert with_helpers(path) == [helper.resolve(), path.resolve()]
    assert "plug-in bad.py" in digest.plug_ins()


@fault("a plug-in that prints while it is loaded, in Python and below it")
def test_what_a_plug_in_prints_while_it_is_loaded_goes_to_stderr(folder):
    plugin(folder / "mine_backend.py", more="import os\nprint('chatty')\nos.write(1, b'below\\n')")
    code = "from backends.discovery import backends; print(*backends()[0])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=digest.ROOT)
    assert out.stdout.split()[-1] == "mine"
    assert "chatty" not in out.stdout
    assert "below" not in out.stdout
    assert out.stderr.split() == ["chatty", "below"] or set(out.stderr.split()) == {"chatty", "below"}


@fault("a folder of plug-ins that is not there")
def test_a_folder_of_plug_ins_that_is_not_there_is_named(tmp_path, monkeypatch):
    for variable, found in (("HWLOTTERY_BACKENDS", backends), ("HWLOTTERY_WORKLOADS", workloads)):
        place = tmp_path / "no_such_folder"
        monkeypatch.setenv(variable, str(place))
        assert [b.reason for b in found()[1]] == [
            f"{place} is not there; {variable} names it: correct the path or take it out"
        ]


@fault("a plug-in backend that calls itself numpy")
def test_a_file_does_not_take_a_name_that_is_ours(folder):
    path = plugin(folder / "numpy_backend.py", "numpy")
    assert backends()[0]["numpy"].title == "NumPy"
    (reason,) = reasons()
    assert "backends/numpy_backend.py and by " in reason
    assert str(path) in reason


# -- plug-ins as sources -----------------------------------------------------------------------------------------------


@fault("a plug-in whose code was changed")
def test_a_plug_in_has_a_digest_by_its_file_s_name_that_changes_with_its_code(folder):
    path = plugin(folder / "mine_backend.py")
    (name,) = before = digest.plug_ins()
    assert name == "plug-in mine_backend.py"
    path.write_text(path.read_text() + "\n# a comment\n")
    assert digest.plug_ins() == before
    path.write_text(path.read_text() + "\nNUMBER = 7\n")
    assert digest.plug_ins() != before


@fault("a plug-in whose helper beside it was changed")
def test_what_a_plug_in_imports_from_beside_it_counts_and_what_else_lies_there_does_not(folder):
    path = plugin(folder / "mine_backend.py", more="def later():\n    import first_helper_of_mine")
    (folder / "first_helper_of_mine.py").write_text("from package_of_mine.part import NUMBER\n")
    (folder / "package_of_mine").mkdir()
    for name in ("__init__", "part"):
        (folder / "package_of_mine" / f"{name}.py").write_text("NUMBER = 1\n")
    (folder / "stranger.py").write_text("NUMBER = 1\n")
    names = [file.relative_to(folder.resolve()).as_posix() for file in with_helpers(path)]
    expected = ["first_helper_of_mine.py", "mine_backend.py", "package_of_mine/__init__.py", "package_of_mine/part.py"]
    assert names == expected
    before = digest.plug_ins()
    (folder / "stranger.py").write_text("NUMBER = 2\n")
    assert digest.plug_ins() == before
    (folder / "package_of_mine" / "part.py").write_text("NUMBER = 2\n")
    assert digest.plug_ins() != before


def test_two_plug_ins_of_one_file_name_have_a_digest_each_and_no_plug_in_has_none(tmp_path, monkeypatch):
    monkeypatch.delenv("HWLOTTERY_WORKLOADS", raising=False)
    monkeypatch.delenv("HWLOTTERY_BACKENDS", raising=False)
    assert digest.plug_ins() == {}
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        plugin(tmp_path / name / "mine_backend.py", name)
    monkeypatch.setenv("HWLOTTERY_BACKENDS", f"{tmp_path / 'a'}:{tmp_path / 'b'}")
    assert list(digest.plug_ins()) == ["plug-in mine_backend.py", "plug-in mine_backend.py (2)"]


def test_an_installed_plug_in_has_a_digest_of_its_whole_package(distribution, tmp_path):
    text = PLUGIN.format(name="mine", more="")
    distribution("[hwlottery.backends]\nmine = installed_alone\n", installed_alone=text)
    before = digest.plug_ins()
    assert list(before) == ["plug-in installed_alone"]
    (tmp_path / "installed_alone.py").write_text(text + "NUMBER = 7\n")
    assert digest.plug_ins() != before


def test_a_file_elsewhere_in_a_checkout_is_somebody_s_own():
    assert is_ours(digest.ROOT / "workloads" / "dense_matmul.py")
    assert not is_ours(digest.ROOT / "ideas" / "mine.py")

"""Plug-ins by their files and by entry points: what is found, what is broken, and what is said of it."""

from __future__ import annotations

import importlib.metadata
import sys

import pytest

from backends.discovery import backends, folders, plugin_files
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
    workloads.__globals__["_found"].cache_clear()
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
    workloads.__globals__["_found"].cache_clear()
    found, broken = workloads()
    workloads.__globals__["_found"].cache_clear()
    assert "installed" in found
    assert not broken

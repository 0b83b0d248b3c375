"""Fixtures of several files: the workload that misbehaves, and a fork server that knows it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from backends.discovery import backends
from backends.ops import Device
from harness.cli.cache import cache_folder
from harness.measuring.settings import PowerModel
from harness.records.record import Case
from harness.worker.client import Server
from harness.worker.messages import CaseJob, DataJob

GIB = 1 << 30
# What measures, or waits for what others do within fractions of a second: these have the machine for themselves.
ALONE = (
    *("measuring/test_measure.py", "measuring/test_memory_truth.py", "measuring/test_gpu_conditions.py"),
    *("planning/test_groups.py", "web/test_browser.py"),
    *("worker/test_outcomes.py", "worker/test_side_by_side_preparation.py"),
)

os.environ.setdefault("HWLOTTERY_HOST_LOCK", "off")  # runs of several tests at once need not wait for each other
# What the frameworks read when they are imported, before any test imports one: the compile caches of the user among it,
# without which every compiled test compiles again.
for _backend in backends()[0].values():
    os.environ.update(_backend.environ(Device("cpu"), len(os.sched_getaffinity(0)), cache_folder()))


def pytest_collection_modifyitems(items):
    """Mark what must not run beside other tests; `tox run` has two steps, this and the rest on all cores.

    What takes longest begins first, so that no process waits for one long test at the end.
    """
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here) and item.path.relative_to(here).as_posix().startswith(ALONE):
            item.add_marker("alone")
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture
def one_run(monkeypatch):
    """Intervals as the groups of a run have them, without what other runs differ by."""
    monkeypatch.setattr("harness.stats.intervals.RUN_SD", 0.0)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the misbehaving workload, on the path where workloads are looked for."""
    folder = tmp_path_factory.mktemp("bad")
    shutil.copy(Path(__file__).parent / "helpers" / "misbehaving.py", folder)
    before = os.environ.get("HWLOTTERY_WORKLOADS")
    os.environ["HWLOTTERY_WORKLOADS"] = str(folder)
    yield folder
    if before is None:
        del os.environ["HWLOTTERY_WORKLOADS"]
    else:
        os.environ["HWLOTTERY_WORKLOADS"] = before


@pytest.fixture
def bad(tmp_path, monkeypatch):
    """A folder of a test's own with the misbehaving workload, for commands that are started as a user does."""
    folder = tmp_path / "bad"
    folder.mkdir()
    shutil.copy(Path(__file__).parent / "helpers" / "misbehaving.py", folder)
    monkeypatch.setenv("HWLOTTERY_WORKLOADS", str(folder))
    return folder


@pytest.fixture(scope="module")
def server(place):
    """NumPy's server, with the inputs of the misbehaving workload made."""
    with Server(backends()[0]["numpy"], Device("cpu"), 1, place / "cache", memory_bytes=GIB) as server:
        job = DataJob(
            workload="misbehaving",
            points=[({"n": 16}, "forward")],
            dtype="float32",
            seed=0,
            folders=[str(place / "data")],
            threads=1,
        )
        assert server.run(job, 60).measured.status == "ok"
        yield server


@pytest.fixture
def bad_job(place):
    """A job of the misbehaving workload: formulation, sampling and whatever else of the case is to differ."""

    def make(formulation, sampling, **changes):
        facts = {
            "workload": "misbehaving",
            "formulation": formulation,
            "params": {"n": 16},
            "dtype": "float32",
            "mode": "forward",
            "backend": "numpy",
            "execution": "eager",
            "device": "cpu",
        }
        return CaseJob(
            case=Case(**{**facts, **changes}),
            data=str(place / "data"),
            threads=1,
            cache=str(place / "cache"),
            sampling=sampling,
            power=PowerModel(),
        )

    return make

"""Threads as asked, seen from inside a real worker of every framework, and one worker that has too few."""

from __future__ import annotations

import importlib.util
import os
import sys

import pytest
import threadpoolctl

from backends.discovery import backends
from backends.ops import Device
from harness.cli.cache import cache_folder
from harness.measuring import threads
from harness.measuring.settings import PowerModel, Sampling
from harness.records.record import Case
from harness.worker.client import Server
from harness.worker.messages import CaseJob, DataJob

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are pinned on Linux only")
SIDE_BY_SIDE = ("inter_op_threads", "interop_threads")
PARAMS = {"m": 48, "k": 32, "n": 8, "grads": "both"}
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    job = DataJob(
        workload="dense_matmul", points=[(PARAMS, "forward")], dtype="float32", seed=0, folders=[str(folder)], threads=1
    )
    with Server(backends()[0]["numpy"], Device("cpu"), 1, cache_folder()) as server:
        assert server.run(job, 60).measured.status == "ok"
    return folder


def settings(data, name: str, *, given: int, asked: int):
    backend = backends()[0][name]
    if importlib.util.find_spec(backend.module) is None:
        pytest.skip(f"{backend.module} is not installed: {backend.install}")
    case = Case(
        workload="dense_matmul",
        formulation="nn",
        params=PARAMS,
        dtype="float32",
        mode="forward",
        backend=name,
        execution="eager",
        device="cpu",
    )
    job = CaseJob(
        case=case,
        data=str(data),
        threads=asked,
        cache=str(cache_folder()),
        sampling=Sampling(window_s=0.0, min_samples=4, sample_s=0.0),
        power=PowerModel(),
    )
    with Server(backend, Device("cpu"), given, cache_folder()) as server:
        measured = server.run(job, 240).measured
    assert measured.status == "ok", measured.reason
    return measured.settings


@pytest.mark.parametrize("name", ["numpy", "torch", "jax", "tensorflow"])
def test_every_framework_has_the_threads_that_were_asked(data, name):
    asked = min(2, CORES)
    found = settings(data, name, given=asked, asked=asked)
    assert found["threads_mismatch"] is None
    assert found["threads"] == found["threads_affinity"] == found["threads_asked"] == asked


@pytest.mark.skipif(CORES < 2, reason="needs two cores")
def test_a_worker_with_fewer_threads_than_asked_says_so(data):
    found = settings(data, "torch", given=1, asked=2)
    assert found["threads_mismatch"] == "2 threads were asked and the process has affinity 1, threads 1"


@pytest.mark.skipif(CORES < 2, reason="needs two cores")
@pytest.mark.parametrize(("name", "key"), [("torch", "interop_threads"), ("tensorflow", "inter_op_threads")])
def test_a_worker_that_runs_more_operations_side_by_side_than_asked_says_so(data, name, key):
    """Under the name that each adapter itself reports."""
    found = settings(data, name, given=2, asked=1)
    assert found[key] == 2
    assert f"{key} 2" in found["threads_mismatch"]


def test_each_witness_can_say_no():
    quiet = {"affinity": 2, "pool_openblas": 1, "pool_openmp": 2, "threads": 2, **dict.fromkeys(SIDE_BY_SIDE, 2)}
    assert threads.mismatch(quiet, 2) is None
    for name, count in [("affinity", 4), ("pool_openblas", 3), ("threads", 1), *((n, 8) for n in SIDE_BY_SIDE)]:
        assert threads.mismatch({**quiet, name: count}, 2).endswith(f"has {name} {count}")
    both = threads.mismatch({**quiet, "threads": 1, "pool_openmp": 16}, 2)
    assert both == "2 threads were asked and the process has pool_openmp 16, threads 1"


def test_an_unknown_count_is_no_mismatch():
    assert threads.mismatch({"affinity": None, "threads": None}, 2) is None


def test_pools_of_libraries_are_seen():
    """NumPy has a pool of OpenBLAS, whose limit is seen to change."""
    import numpy as np

    np.ones((4, 4)) @ np.ones((4, 4))
    with threadpoolctl.threadpool_limits(1):
        found = threads.observed({"threads": 1, "inter_op_threads": "unknown"})
    assert {count for name, count in found.items() if name.startswith("pool_")} == {1}
    assert found["threads"] == 1
    assert found["inter_op_threads"] is None

"""No tracing and no compiling inside the timed region: provoked in each framework, and refused by the harness."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

from backends.discovery import backends
from backends.ops import Device
from harness.cli.cache import cache_folder
from harness.measuring.settings import PowerModel, Sampling
from harness.records.record import Case
from harness.worker.client import Server
from harness.worker.messages import CaseJob, DataJob


@pytest.mark.parametrize(("backend", "execution"), [("torch", "compiled"), ("jax", "eager"), ("tensorflow", "graph")])
def test_a_framework_that_traces_while_it_is_timed_is_no_measurement(backend, execution, tmp_path, monkeypatch):
    """The same computation traced once is `ok`; traced again at every call it is an error, and has no time."""
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    shutil.copy(Path(__file__).parents[1] / "helpers" / "retracing.py", tmp_path)
    monkeypatch.setenv("HWLOTTERY_WORKLOADS", str(tmp_path))

    def job(formulation):
        case = Case(
            workload="retracing",
            formulation=formulation,
            params={"n": 16},
            dtype="float32",
            mode="forward",
            backend=backend,
            execution=execution,
            device="cpu",
        )
        data, cache = str(tmp_path / "data"), str(cache_folder())
        # two threads: TensorFlow traces inside a graph that runs, and waits for ever where its pool has one
        # few calls: PyTorch stops to compile anew, and runs eager, after eight
        sampling = Sampling(window_s=0.001, sample_s=1e-6, min_samples=1, max_samples=1)
        return CaseJob(case=case, data=data, threads=2, cache=cache, sampling=sampling, power=PowerModel())

    points, folders = [({"n": 16}, "forward")], [str(tmp_path / "data")]
    with Server(backends()[0][backend], Device("cpu"), 2, cache_folder()) as server:
        data = DataJob(workload="retracing", points=points, dtype="float32", seed=0, folders=folders, threads=1)
        assert server.run(data, 60).measured.status == "ok"
        once, again = (server.run(job(name), 120).measured for name in ("once", "again"))
    assert (once.status, once.reason) == ("ok", None)
    assert again.status == "error"
    assert "more times inside the timed region" in again.reason
    assert again.trial is None
    assert not again.samples_s

"""What layers that learn on their own save: no gradient passes between them, and their activations are given back."""

from __future__ import annotations

import importlib.util
from functools import cache

import numpy as np
import pytest

from backends.discovery import backends
from backends.ops import Device
from harness.cli.cache import cache_folder
from harness.measuring.correctness import rounded
from harness.measuring.settings import PowerModel, Sampling
from harness.records.record import Case
from harness.worker.client import Server
from harness.worker.messages import CaseJob, DataJob
from workloads.discovery import workloads

pytestmark = pytest.mark.slow

FOUND, _ = workloads()
LOCAL = FOUND["local_update"]
FRAMEWORKS = ("torch", "jax", "tensorflow")
SMALL = {"network": "mlp", "batch": 8, "side": 8, "channels": 1, "width": 1 / 32}
# Eight layers of 256 units under a batch that makes activations, 4 MB a layer, weigh more than all weights.
DEEP = {"network": "mlp8", "batch": 4096, "side": 16, "channels": 1, "width": 0.25}
# Of back-propagation's peak at most. The formulas say a quarter; eager PyTorch and TensorFlow take half, since each
# layer has temporaries of its own; what XLA's schedule keeps differs by processor.
SAVED = {"torch": 0.65, "tensorflow": 0.65, "jax": 0.85}


@cache
def _ops(name):
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    return backends()[0][name].open(Device("cpu"))


# -- no gradient passes ------------------------------------------------------------------------------------------------


def _first_layer(ops, name, later):
    """The updated first weights and classifier, the parameters of all later layers scaled by `later`."""
    x = rounded(LOCAL.inputs(SMALL, 0), "float32")
    x |= {key: np.float32(later) * v for key, v in x.items() if key[0] in "wq" and key[1:] != "0"}
    formulation = LOCAL.formulations["train_step"][name]
    outputs = formulation.step(ops, SMALL)(*formulation.prepare(ops, x, SMALL))
    restored = formulation.restore([ops.to_numpy(o) for o in outputs], x, SMALL)
    return restored["w0"], restored["q0"], restored["loss2"]


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("name", ["autodiff", "joint", "by_hand"])
def test_the_loss_of_a_layer_has_no_gradient_to_the_layers_before(framework, name):
    """Other parameters above change their losses, and the step of the first layer not by one bit."""
    ops = _ops(framework)
    item, other = (_first_layer(ops, name, later) for later in (1, -3))
    assert np.array_equal(item[0], other[0])
    assert np.array_equal(item[1], other[1])
    assert not np.isclose(item[2], other[2]), "the change must be large enough to be seen"


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_gradient_that_passes_is_seen(framework, monkeypatch):
    """With the stop taken out of the joint formulation the first layer's step depends on those above."""
    ops = _ops(framework)
    monkeypatch.setattr(type(ops), "stop_gradient", lambda self, x: x)
    item, other = (_first_layer(ops, "joint", later) for later in (1, -3))
    assert not np.array_equal(item[0], other[0])


# -- activations are given back ----------------------------------------------------------------------------------------


def test_the_formulas_say_how_much_depth_costs_back_propagation_alone():
    """Two neighbouring activations instead of all of them: a quarter, eight layers deep."""
    (twin,) = LOCAL.twins(DEEP, "train_step")
    local = LOCAL.work(DEEP, "train_step", 4).live_bytes
    kept = FOUND[twin.workload].work(twin.params, "train_step", 4).live_bytes
    assert local == 4 * (256 * 256 * 8 + 8 * 256 * 10 + 4096 * 512)
    assert local < 0.3 * kept


@pytest.mark.slow
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_local_learning_needs_less_memory_than_back_propagation(framework, tmp_path):
    """Measured by the harness, each in its own process, by the framework's own differentiation."""
    if importlib.util.find_spec(framework) is None:
        pytest.skip(f"{framework} is not installed")
    backend = backends()[0][framework]
    (twin,) = LOCAL.twins(DEEP, "train_step")
    peaks = {}
    with Server(backend, Device("cpu"), 2, cache_folder()) as server:
        for name, params in {"local_update": DEEP, twin.workload: dict(twin.params)}.items():
            point, data = (params, "train_step"), str(tmp_path / name)
            job = DataJob(workload=name, points=[point], dtype="float32", seed=0, folders=[data], threads=2)
            assert server.run(job, 120).measured.status == "ok"
            case = Case(
                workload=name,
                formulation="autodiff",
                params=params,
                dtype="float32",
                mode="train_step",
                backend=framework,
                execution=backend.executions[0],
                device="cpu",
            )
            cache, sampling = str(cache_folder()), Sampling(window_s=0.01, min_samples=2)
            job = CaseJob(case=case, data=data, threads=2, cache=cache, sampling=sampling, power=PowerModel())
            measured = server.run(job, 120).measured
            assert (measured.status, measured.reason) == ("ok", None)
            peaks[name] = measured.memory.host_peak_bytes
            if peaks[name] is None:
                pytest.skip(measured.memory.source)
            assert peaks[name] > 0.9 * FOUND[name].work(params, "train_step", 4).live_bytes
    assert peaks["local_update"] < SAVED[framework] * peaks[twin.workload]

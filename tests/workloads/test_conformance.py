"""Every workload, formulation and execution of `smoke` on every backend, against the NumPy float64 reference.

Runs in one process (isolation is tested elsewhere). A skip carries the framework's words; the frameworks named in
HWLOTTERY_REQUIRE (tox sets it) must be present, so that a missing one is a failure and not a skip.
"""

from __future__ import annotations

import importlib.util
import os
from functools import cache

import numpy as np
import pytest

from backends.discovery import backends
from backends.ops import Device, Ops, Unsupported
from harness.cli.run import cache_folder
from harness.measuring.correctness import judge, rounded, upcast
from workloads.base import MODES
from workloads.discovery import workloads

BACKENDS, _ = backends()
WORKLOADS, _ = workloads()
REQUIRED = [name for name in os.environ.get("HWLOTTERY_REQUIRE", "").split(",") if name]


@cache
def _open(name: str) -> Ops:
    if importlib.util.find_spec(BACKENDS[name].module) is None:
        if name in REQUIRED:
            pytest.fail(f"{name} is required here and {BACKENDS[name].module} is not installed")
        pytest.skip(f"{BACKENDS[name].module} is not installed: {BACKENDS[name].install}")
    backend, device = BACKENDS[name], Device("cpu")
    os.environ.update(backend.environ(device, len(os.sched_getaffinity(0)), cache_folder()))
    return backend.open(device)


def _cases():
    for workload in WORKLOADS.values():
        for point in workload.presets["smoke"]:
            for name, formulation in workload.formulations[point.mode].items():
                if not formulation.applies(point.params):
                    continue
                yield pytest.param(
                    workload, point, name, id=f"{workload.name}-{point.mode}-{name}-{_label(point.params)}"
                )


def _first(workload, mode):
    return next(p for p in workload.presets["smoke"] if p.mode == mode)


def _label(params):
    return ",".join(f"{k}={v}" for k, v in params.items())


@cache
def _reference(workload_name, index):
    workload = WORKLOADS[workload_name]
    point = workload.presets["smoke"][index]
    inputs = rounded(workload.inputs(workload.check(point.params), 0), "float32")
    return inputs, workload.reference(upcast(inputs), workload.check(point.params), point.mode)


@pytest.mark.parametrize("execution", ["eager", "graph", "compiled"])
@pytest.mark.parametrize("backend", sorted(BACKENDS))
@pytest.mark.parametrize(("workload", "point", "name"), list(_cases()))
def test_agrees_with_the_reference(workload, point, name, backend, execution):
    """The callable that would be timed gives the reference's numbers, twice, and does not retrace the second time."""
    if execution not in BACKENDS[backend].executions:
        pytest.skip(f"{backend} has no execution {execution}")
    if execution == "compiled" and point is not _first(workload, point.mode):
        pytest.skip("a compiler is tried at the first point of each mode: further points are for the numbers")
    ops = _open(backend)
    formulation = workload.formulations[point.mode][name]
    params = workload.check(point.params)
    if formulation.executions is not None and execution not in formulation.executions:
        pytest.skip(f"{name} has no execution {execution}")
    inputs, reference = _reference(workload.name, list(workload.presets["smoke"]).index(point))
    try:
        operands = formulation.prepare(ops, inputs, params)
        compiled = ops.compile(formulation.step(ops, params), execution, operands)
        outputs = compiled.call(*operands)
        ops.wait(outputs)
    except Unsupported as refusal:
        if not str(refusal).strip():
            pytest.fail("Unsupported must say why")
        pytest.skip(f"{backend} {execution}: {refusal}")
    before = compiled.traces()
    again = compiled.call(*operands)
    ops.wait(again)
    assert compiled.traces() == before, "a second call with the same arguments retraced"
    for result in (outputs, again):
        host = formulation.restore([ops.to_numpy(o) for o in result], inputs, params)
        verdict = judge(host, reference, upcast(inputs), workload.tolerances["float32", point.mode])
        assert verdict.agrees, verdict


@pytest.mark.parametrize("workload", list(WORKLOADS.values()), ids=str)
def test_every_workload_states_its_facts(workload):
    """Every point of every preset passes the axis check and has positive work; every idea has a twin that exists."""
    for points in workload.presets.values():
        for point in points:
            params = workload.check(point.params)
            assert point.mode in MODES
            assert workload.formulations[point.mode]
            work = workload.work(params, point.mode, 4)
            assert work.least_bytes > 0
            assert work.live_bytes > 0
            twins = workload.twins(params, point.mode)
            assert twins or workload.role != "idea", "an idea needs the dense path that it is held against"
            for twin in twins:
                WORKLOADS[twin.workload].check(twin.params)
                assert np.isfinite(WORKLOADS[twin.workload].work(twin.params, twin.mode, 4).useful_flop)

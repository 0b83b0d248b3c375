"""What the tests of both counters of FLOP begin with: the formulations that are counted, their operands, their step."""

from __future__ import annotations

import importlib.util
from functools import cache

import pytest

from backends.discovery import backends
from backends.ops import Device, Unsupported
from harness.measuring.correctness import rounded
from workloads.base import Parameters
from workloads.discovery import workloads

FOUND, _ = workloads()


@cache
def opened_on_cpu(name):
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    return backends()[0][name].open(Device("cpu"))


# Of the ideas that execute something else in most of their formulations, those that do what their formula says.
AS_USEFUL = {
    "structured_pruned": {"sliced", "sliced_transposed", "taken", "sliced_by_hand", "sliced_autodiff"},
    "quantized_matmul": {"converted", "converted_rows", "unpacked"},
    "nm_sparse": set(),
    "mixture_of_experts": {"sorted_loop"},
    "early_exit": {"compacted", "sorted_prefix"},
    "sparse_training": set(),
}


def counted_cases():
    for workload in FOUND.values():
        for place, point in enumerate(workload.presets["smoke"]):
            for name, formulation in workload.formulations[point.mode].items():
                if place and workload.name in AS_USEFUL:
                    continue  # the first point tells
                if formulation.applies(point.params) and name in AS_USEFUL.get(workload.name, {name}):
                    yield pytest.param(workload, place, name, id=f"{workload.name}-{point.mode}-{place}-{name}")


@cache
def inputs_at(name, place):
    workload = FOUND[name]
    return rounded(workload.inputs(workload.check(workload.presets["smoke"][place].params), 0), "float32")


def made(framework, workload, place, name):
    """The operands and the step of a formulation, in a framework; skipped where the framework refuses."""
    ops, point = opened_on_cpu(framework), workload.presets["smoke"][place]
    params = Parameters(workload.check(point.params))
    formulation = workload.formulations[point.mode][name]
    try:
        return formulation.prepare(ops, inputs_at(workload.name, place), params), formulation.step(ops, params)
    except Unsupported as refusal:
        pytest.skip(f"{framework}: {refusal}")

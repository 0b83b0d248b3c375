"""Every workload, formulation and execution of `smoke` on every backend, against the NumPy float64 reference.

Runs in one process (isolation is tested elsewhere). A skip carries the framework's words; the frameworks named in
HWLOTTERY_REQUIRE (tox sets it) must be present, so that a missing one is a failure and not a skip.
"""

from __future__ import annotations

import pytest
from _opened import BACKENDS, opened

from backends.ops import Unsupported
from harness.measuring.correctness import epsilon, judge, rounded, upcast
from workloads.conformance import Attempt, Oracle, conformity
from workloads.discovery import workloads

WORKLOADS, _ = workloads()
ORACLE = Oracle(rounded, upcast, judge, epsilon)

# Of workloads with many formulations, those that torch.compile is tried with. JAX and TensorFlow's graphs try each
# formulation of them at one point; and JAX, which compiles each operation by itself where nothing compiles the whole,
# tries every formulation at one point then.
TRACED = {
    "block_sparse": {"gather_bmm", "bsr"},
    "capsule_conv": {"folded_conv", "loop"},
    "capsule_routing": {"folded"},
    "local_update": {"by_hand", "joint"},
    "quantized_matmul": {"packed"},
    "nm_sparse": set(),
    "structured_pruned": set(),
    "dense_block": set(),
    "mixture_of_experts": {"blocked"},
    "early_exit": {"masked"},
    "sparse_training": set(),
    "kaleidoscope": {"sums"},
    "table_product": {"take_sum"},
    "decision_forest": {"traverse"},
    "selective_scan": {"sequential"},
    "spiking": set(),
    "causal_attention": set(),
}


def _cases():
    for workload in WORKLOADS.values():
        for point in workload.presets["smoke"]:
            for name, formulation in workload.formulations[point.mode].items():
                if not formulation.applies(point.params):
                    continue
                yield pytest.param(
                    workload, point, name, id=f"{workload.name}-{point.mode}-{name}-{_label(point.params)}"
                )


def _first(workload, mode, name=None):
    """The first smoke point of a mode, at which formulation `name` applies."""
    points = (p for p in workload.presets["smoke"] if p.mode == mode)
    return next(p for p in points if name is None or workload.formulations[mode][name].applies(p.params))


def _label(params):
    return ",".join(f"{k}={v}" for k, v in params.items())


def test_what_is_tried_with_a_compiler_exists():
    """Else a renamed formulation would be tried with none, and nobody would see it."""
    for name, tried in TRACED.items():
        assert tried <= {f for several in WORKLOADS[name].formulations.values() for f in several}, name


@pytest.mark.parametrize("execution", ["eager", "graph", "compiled"])
@pytest.mark.parametrize("backend", sorted(BACKENDS))
@pytest.mark.parametrize(("workload", "point", "name"), list(_cases()))
def test_agrees_with_the_reference(workload, point, name, backend, execution):
    """The callable that would be timed gives the reference's numbers, twice and for other inputs, without retracing."""
    if execution not in BACKENDS[backend].executions:
        pytest.skip(f"{backend} has no execution {execution}")
    if execution == "compiled" and point is not _first(workload, point.mode):
        pytest.skip("a compiler is tried at the first point of each mode: further points are for the numbers")
    if execution == "compiled" and backend == "torch" and name not in TRACED.get(workload.name, {name}):
        pytest.skip("torch.compile takes seconds for each: of these one or two; preset smoke compiles all")
    eager_jax = backend == "jax" and execution == "eager"
    once = eager_jax or ((backend == "jax" or execution == "graph") and workload.name in TRACED)
    if once and point is not _first(workload, point.mode, name):
        pytest.skip("it has tried this formulation at another point")
    ops = opened(backend)
    formulation = workload.formulations[point.mode][name]
    if formulation.executions is not None and execution not in formulation.executions:
        pytest.skip(f"{name} has no execution {execution}")
    try:
        assert conformity(Attempt(workload, point, name, ops, execution, ORACLE)) == []
    except Unsupported as refusal:
        pytest.skip(f"{backend} {execution}: {refusal}")

"""What a workload says of itself: every fault is one sentence with file and line, and each is planted here."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from backends.discovery import backends
from harness.errors import PlanError
from harness.planning import plan
from harness.planning.plan import Ask
from workloads.authoring.functions import WorkloadError
from workloads.base import Axis, Definition, Formulation, Point, Twin, Work
from workloads.discovery import workloads
from workloads.facts import faults, inputs_of, twins_of, work_of

WORKLOADS = workloads()[0]
HERE = "test_facts.py"
AT = {"n": 8}


def _work(params, mode, itemsize):
    return Work(2 * params.n, itemsize * params.n, itemsize * params.n)


def _inputs(params, seed):
    return {}


def _twins(params, mode):
    return [Twin("dense", "dense_mlp", {"batch": 2, "features": 3, "hidden": 4, "layers": 1}, mode)]


FORM = Formulation(
    note="n", prepare=lambda ops, x, p: [], step=lambda ops, p: lambda: (), restore=lambda outputs, x, p: {}
)
GOOD = Definition(
    name="mine",
    title="mine",
    source="a test",
    axes={"n": Axis(low=1)},
    presets={"smoke": (Point(AT),), "quick": (Point({"n": 64}),)},
    inputs=_inputs,
    reference=lambda x, p, mode: {},
    formulations={"forward": {"a": FORM}},
    work=_work,
    twins=_twins,
)


@pytest.mark.parametrize("name", list(WORKLOADS))
def test_the_facts_of_our_own_workloads_hold(name):
    assert faults(WORKLOADS[name], WORKLOADS) == []


def test_a_workload_without_a_fault_has_none():
    assert faults(GOOD, WORKLOADS) == []


@pytest.mark.parametrize(
    ("formulas", "words"),
    [
        (
            lambda p, m, e: Work(2.5 * p.n, 4, 4),
            r"useful_flop of mine is 20.0 \(float\) at n=8; .* use // instead of /",
        ),
        (lambda p, m, e: Work(True, 4, 4), r"useful_flop of mine is True \(bool\)"),
        (lambda p, m, e: Work(0, 4, 4), r"useful_flop of mine is 0 \(int\)"),
        (lambda p, m, e: Work(1, -4, 4), r"least_bytes of mine is -4 \(int\)"),
        (lambda p, m, e: Work(1, 4, 0), r"live_bytes of mine is 0 \(int\)"),
        (lambda p, m, e: 3, r"work of mine must return a Work, found int"),
        (lambda p, m, e: p.rows, r"work of mine raises AttributeError: there is no axis 'rows'; the axes are n at n=8"),
        (lambda p, m, e: 1 // 0, r"work of mine raises ZeroDivisionError"),
    ],
)
def test_formulas_that_cannot_be_true_are_refused_where_they_stand(formulas, words):
    with pytest.raises(WorkloadError, match=rf"{HERE}:\d+: {words}"):
        work_of(replace(GOOD, work=formulas), AT, "forward", 4)
    assert any(f"{HERE}:" in fault for fault in faults(replace(GOOD, work=formulas)))


def test_an_error_names_the_line_in_which_it_arose():
    def helper(p):
        return p.n // 0  # here

    def work(p, mode, itemsize):
        return helper(p)

    line = helper.__code__.co_firstlineno + 1
    with pytest.raises(WorkloadError, match=rf"{HERE}:{line}: work of mine raises ZeroDivisionError"):
        work_of(replace(GOOD, work=work), AT, "forward", 4)


def test_axes_that_do_not_go_together_keep_the_author_s_sentence():
    def work(p, mode, itemsize):
        raise ValueError("n must be a multiple of 3, found 8")

    with pytest.raises(WorkloadError, match=rf"^n must be a multiple of 3, found 8 \(.*{HERE}:\d+\)$"):
        work_of(replace(GOOD, work=work), AT, "forward", 4)


def test_what_raises_in_twins_and_inputs_is_named_with_its_line():
    def broken(p, other):
        return [][p.n]

    with pytest.raises(WorkloadError, match=rf"{HERE}:\d+: twins of mine raises IndexError"):
        twins_of(replace(GOOD, twins=broken), AT, "forward")
    with pytest.raises(WorkloadError, match=rf"{HERE}:\d+: inputs of mine raises IndexError"):
        inputs_of(replace(GOOD, inputs=broken), AT, "forward", 0)
    with pytest.raises(WorkloadError, match=rf"{HERE}:\d+: inputs of mine must return arrays by name, found \{{\}}"):
        inputs_of(GOOD, AT, "forward", 0)
    with pytest.raises(WorkloadError, match=rf"{HERE}:\d+: twins of mine must be Twins, found \('dense',\)"):
        twins_of(replace(GOOD, twins=lambda p, m: ["dense"]), AT, "forward")


def _twin(**changes):
    twin = {"kind": "dense", "workload": "dense_mlp", "params": dict(_twins(None, "forward")[0].params)} | changes
    return {"twins": lambda p, mode: [Twin(**({"mode": mode} | twin))]}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"role": "ides"}, "the role of mine is 'ides'; choose one of idea, twin, ceiling"),
        ({"name": " "}, "the name of this workload is empty"),
        ({"presets": {"smoke": ()}}, "preset smoke of mine has no point"),
        ({"presets": {"quick": (Point(AT, "backward"),)}}, "a point of mode 'backward' and formulations of forward"),
        ({"presets": {"quick": (Point({"m": 1}),)}}, "mine has no axis 'm'"),
        ({"tolerances": {}}, "mine has no tolerances"),
        ({"tolerances": {("float31", "forward"): 1e-5}}, "tolerance for 'float31' in mode 'forward'"),
        ({"tolerances": {("float32", "forward"): 0.0}}, "for float32, forward is 0.0; it must be above 0"),
        ({"tolerances": {("float32", "train_step"): 1e-5}}, "for float32 and none for its mode forward"),
        (
            {"tolerances": lambda p: {("float32", "forward"): p.n - 8.0}},
            "for float32, forward is 0.0; it must be above",
        ),
        ({"gate_limit": lambda p: 0.0}, "the gate of mine is 0.0 at n=8; it must be above 0, or None"),
        ({"axes": {"n": Axis(), "mode": Axis(default=1)}}, "axis mode of mine needs another name"),
        ({"axes": {"n": Axis(), "w": Axis(default="x", break_even=True)}}, "axis w of mine is words"),
        ({"axes": {"n": Axis(low=3, high=2)}}, "axis n of mine has bounds 3…2"),
        ({"axes": {"n": Axis(choices=("a",))}}, "axis n of mine has choices, which are for words"),
        ({"axes": {"n": Axis(kind=bool)}}, "axis n of mine has the kind <class 'bool'>"),
        ({"formulations": {}}, "mine has no formulation; write one"),
        ({"formulations": {"backward": {"a": FORM}}}, "formulations of mode 'backward'; modes are forward, train_step"),
        ({"formulations": {"forward": {"a": replace(FORM, executions=("jit",))}}}, r"has executions \('jit',\)"),
        ({"formulations": {"forward": {"a": replace(FORM, executions=())}}}, r"has executions \(\)"),
        ({"formulations": {"forward": {"a": replace(FORM, applies=lambda p: p.n)}}}, "return True or False, found 8"),
        ({"formulations": {"forward": {"a": replace(FORM, applies=lambda p: p.m)}}}, "raises AttributeError"),
        (
            {"formulations": {"forward": {"a": replace(FORM, applies=lambda p: False)}}},
            "no formulation of mine applies",
        ),
        ({"twins": lambda p, mode: []}, "mine is an idea without a twin at n=8"),
        (_twin(workload="dens_mlp"), "twin dens_mlp of mine is defined by no file"),
        (_twin(dtype="int8"), "twin dense_mlp of mine has no dtype int8 of its own in mode forward"),
        (_twin(mode="backward"), "twin dense_mlp of mine has the mode 'backward'"),
        (
            _twin(workload="dense_conv", params={"batch": 2}),
            "twin dense_conv of mine cannot be at batch=2: dense_conv needs a value",
        ),
        (_twin(params={"rows": 2}), "twin dense_mlp of mine cannot be at rows=2: dense_mlp has no axis 'rows'"),
        (
            _twin(workload="dense_conv", mode="train_step"),
            "twin dense_conv of mine has no formulation of mode train_step; it has forward",
        ),
    ],
)
def test_a_fact_that_cannot_be_true_is_refused(changes, words):
    found = faults(replace(GOOD, **changes), WORKLOADS)
    assert found, "nothing was noticed"
    assert any(re.search(words, fault) for fault in found), found


# -- where it is planned ----------------------------------------------------------------------------------------------
NUMPY = {"numpy": backends()[0]["numpy"]}


def _planned(*definitions, **changes):
    known = {**WORKLOADS, **{d.name: d for d in definitions}}
    return plan.cases(Ask(backends=("numpy",), **changes), known, NUMPY)


@pytest.mark.parametrize(
    ("changes", "asked", "words"),
    [
        ({"work": lambda p, m, e: Work(2.5 * p.n, 4, 4)}, {}, r"test_facts.py:\d+: useful_flop of mine is 160.0"),
        ({"work": lambda p, m, e: p.m}, {}, r"test_facts.py:\d+: work of mine raises AttributeError"),
        ({"twins": lambda p, m: p.m}, {}, r"test_facts.py:\d+: twins of mine raises AttributeError"),
        ({"role": "ides"}, {}, "the role of mine is 'ides'"),
        ({}, {"preset": "standard"}, "mine has no point in preset standard; its presets are smoke, quick"),
        ({}, {"formulations": ("csr",)}, "mine has nothing that fits csr; its formulations are forward: a"),
        ({"presets": {"quick": (Point(AT, "train_step"),)}}, {}, "mine has a point of mode 'train_step'"),
        ({"presets": {"smoke": (Point(AT, "train_step"),)}}, {"preset": "smoke"}, "has a point of mode 'train_step'"),
    ],
)
def test_a_plan_refuses_what_could_only_measure_the_ceilings(changes, asked, words):
    with pytest.raises(PlanError, match=words):
        _planned(replace(GOOD, **changes), workloads=("mine",), **asked)


def test_an_idea_without_a_twin_can_be_measured():
    assert {p.case.workload for p in _planned(replace(GOOD, twins=lambda p, m: []), workloads=("mine",))} >= {"mine"}


def test_a_plan_takes_a_workload_whose_facts_hold():
    assert {p.case.workload for p in _planned(GOOD, workloads=("mine",))} >= {"mine", "dense_mlp"}

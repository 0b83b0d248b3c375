"""Planning is pure: what is asked becomes cases, and the survey's records decide what goes on."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
from _records import timing

from backends.discovery import backends
from harness.errors import PlanError
from harness.planning import plan, selection
from harness.planning.foresight import Ignorance
from harness.planning.groups import twin_points
from harness.planning.plan import Ask
from harness.records.record import SCHEMA, Record
from workloads.base import Axis, Definition, Formulation, Point, Twin, Work
from workloads.discovery import workloads

FORM = Formulation(note="", prepare=None, step=None, restore=None)


def _workload(name, role="idea", twins=(), points=(), forms=("a", "b")):
    return Definition(
        name=name,
        title=name,
        source="",
        role=role,
        axes={"n": Axis(help="", low=1)},
        presets={"quick": points},
        inputs=None,
        reference=None,
        formulations={"forward": dict.fromkeys(forms, FORM)},
        work=lambda params, mode, itemsize: Work(params["n"], itemsize * params["n"], params["n"]),
        twins=lambda params, mode: twins,
    )


DENSE = _workload("dense", role="twin", forms=("d",))
IDEA = _workload(
    "idea",
    twins=(Twin("same_shape", "dense", {"n": 7}, "forward"),),
    points=(Point({"n": 1}), Point({"n": 2}, survey=False, headline=False)),
)
CEILING = _workload("ceiling", role="ceiling", points=(Point({"n": 9}, headline=False),), forms=("c",))
ALL = {w.name: w for w in (DENSE, IDEA, CEILING)}
NUMPY = {"numpy": backends()[0]["numpy"]}


def _record(item, time, status="ok", rounds=(0,)):
    return Record(
        schema=SCHEMA,
        run="r",
        case=item.case,
        status=status,
        reason=None,
        failure_class=None,
        fallback=None,
        verdict=None,
        time=timing(list(time) if isinstance(time, tuple) else [time], rounds=rounds),
        memory=None,
        energy=None,
        work=item.work,
        twins=[],
        headline=True,
        settings={},
        environment={},
        started_at="",
    )


def _plan(**changes):
    return plan.cases(Ask(backends=("numpy",), **changes), ALL, NUMPY)


def test_a_plan_holds_ideas_their_twins_and_the_ceilings():
    found = {(p.case.workload, p.case.params["n"], p.survey) for p in _plan()}
    assert found == {("idea", 1, True), ("idea", 2, False), ("dense", 7, True), ("ceiling", 9, True)}


def test_a_ceiling_is_measured_in_every_execution():
    """One that is only eager is no ceiling: a compiled product with a vector read faster than PyTorch's own."""
    backend = replace(NUMPY["numpy"], executions=("eager", "compiled"))
    found = plan.cases(Ask(backends=("numpy",)), ALL, {"numpy": backend})
    assert {p.case.execution for p in found if p.case.workload == "ceiling"} == {"eager", "compiled"}


def test_a_ceiling_of_a_single_operation_is_measured_in_the_execution_that_its_backend_names_first():
    backend = replace(NUMPY["numpy"], executions=("compiled", "eager"))
    lone = replace(CEILING, name="lone", lone=True)
    found = plan.cases(Ask(backends=("numpy",)), {**ALL, "lone": lone}, {"numpy": backend})
    assert [p.case.execution for p in found if p.case.workload == "lone"] == ["compiled"]
    eager = plan.cases(Ask(backends=("numpy",), executions=("eager",)), {**ALL, "lone": lone}, {"numpy": backend})
    assert not [p for p in eager if p.case.workload == "lone"]


def test_a_ceiling_is_not_planned_in_an_execution_that_its_formulation_has_not():
    forms = CEILING.formulations["forward"]
    compiled = {name: replace(form, executions=("compiled",)) for name, form in forms.items()}
    only = replace(CEILING, formulations={"forward": compiled})
    backend = replace(NUMPY["numpy"], executions=("eager", "compiled"))
    found = plan.cases(Ask(backends=("numpy",)), {**ALL, "ceiling": only}, {"numpy": backend})
    assert [p.case.execution for p in found if p.case.workload == "ceiling"] == ["compiled"]
    eager = plan.cases(Ask(backends=("numpy",)), {**ALL, "ceiling": only}, NUMPY)
    assert not [p for p in eager if p.case.workload == "ceiling"]


def test_a_twin_of_several_points_is_planned_once():
    dense = [p for p in _plan() if p.case.workload == "dense"]
    assert len(dense) == 1
    assert not dense[0].headline


def test_axes_from_the_command_line_make_a_point_for_each_value():
    found = sorted(p.case.params["n"] for p in _plan(axes={"n": (3, 4, 5)}) if p.case.workload == "idea")
    assert found == [3, 3, 4, 4, 5, 5]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"workloads": ("idae",)}, "no workload 'idae'; did you mean idea"),
        ({"preset": "quik"}, "no preset 'quik'; did you mean quick?"),
        ({"formulations": ("zz",)}, "no formulation 'zz'; known are"),
        ({"dtypes": ("float31",)}, "no dtype 'float31'; did you mean float32"),
        ({"devices": ("gpu",)}, "device 'gpu' is not one of cpu, cuda"),
        ({"axes": {"n": (-3,)}}, "axis n of idea must be at least 1, found -3"),
        ({"axes": {"n": ("x",)}}, "axis n of idea must be int, found 'x'"),
        ({"axes": {"n": (1.5,)}}, "axis n of idea must be int, found 1.5"),
    ],
)
def test_a_wrong_request_is_refused_with_what_and_where(changes, words):
    with pytest.raises(PlanError, match="^(?s:.*)" + __import__("re").escape(words)):
        _plan(**changes)


@pytest.mark.parametrize(
    ("seconds", "factor"),
    [(0.5 * selection.LONG_S, selection.SWEEP_FACTOR), (selection.LONG_S, selection.LONG_SWEEP_FACTOR)],
)
def test_the_sweep_takes_what_came_close_and_names_the_rest(seconds, factor):
    """Closer where calls are long."""
    planned = _plan()
    survey = {(p.case.workload, p.case.formulation): p for p in planned if p.survey}

    def swept(ratio):
        times = {"a": seconds, "b": ratio * seconds}
        records = {survey["idea", n].case.key: _record(survey["idea", n], t) for n, t in times.items()}
        return [[p.case.formulation for p in part] for part in selection.sweep(planned, records)]

    assert swept(factor - 0.05) == [["a", "b"], [], []]
    assert swept(factor + 0.05) == [["a"], ["b"], []]


@pytest.mark.parametrize(("sparse", "zeros", "swept"), [(2.0, 1.0, "ab"), (1.0, 1.5, "ab"), (1.0, 1.7, "a")])
def test_what_skips_zeros_is_swept_though_the_product_with_them_won_the_survey(sparse, zeros, swept):
    forms = {"a": FORM, "b": replace(FORM, multiplies_zeros=True)}
    planned = plan.cases(
        Ask(backends=("numpy",)), {**ALL, "idea": replace(IDEA, formulations={"forward": forms})}, NUMPY
    )
    times = {"a": 1e-3 * sparse, "b": 1e-3 * zeros}
    survey = [p for p in planned if p.survey and p.case.workload == "idea"]
    run, out, beaten = selection.sweep(planned, {p.case.key: _record(p, times[p.case.formulation]) for p in survey})
    assert "".join(p.case.formulation for p in run) == swept
    assert (len(out), beaten) == (2 - len(run), [])


@pytest.mark.parametrize(("of_b", "swept"), [(1.2, "ab"), (1.3, "a"), (None, "ab")])
def test_a_point_is_not_swept_by_what_another_is_expected_to_beat_there(of_b, swept):
    forms = {"a": FORM, "b": FORM}
    planned = plan.cases(
        Ask(backends=("numpy",)), {**ALL, "idea": replace(IDEA, formulations={"forward": forms})}, NUMPY
    )
    survey = [p for p in planned if p.survey and p.case.workload == "idea"]
    records = {p.case.key: _record(p, 1e-3 * (1.0 if p.case.formulation == "a" else 1.1)) for p in survey}

    class Told(Ignorance):
        def expected(self, planned):
            return {"a": 1.0, "b": of_b}[planned.case.formulation]

    run, out, beaten = selection.sweep(planned, records, Told())
    assert "".join(p.case.formulation for p in run) == swept
    assert (out, len(beaten)) == ([], 2 - len(run))


@pytest.mark.parametrize("of_b", [1.2, 5.0])
def test_a_point_at_which_the_best_of_the_survey_is_not_planned_has_what_came_next(of_b):
    """As where a formulation is made for the shape of another point; else the point would have no time."""
    planned = [p for p in _plan() if p.survey or p.case.formulation != "a"]
    survey = [p for p in planned if p.survey and p.case.workload == "idea"]
    records = {p.case.key: _record(p, 1e-3 * (1.0 if p.case.formulation == "a" else of_b)) for p in survey}
    run, out, _ = selection.sweep(planned, records)
    assert ([p.case.formulation for p in run], out) == (["b"], [])


def test_a_family_in_which_nothing_ran_is_swept_whole():
    planned = _plan()
    records = {p.case.key: _record(p, 1.0, status="timeout") for p in planned if p.survey}
    run, out, beaten = selection.sweep(planned, records)
    assert (len(run), out, beaten) == (2, [], [])


@pytest.mark.parametrize(
    ("seconds", "factor"),
    [(0.5 * selection.LONG_CALL_S, selection.LOOK_FACTOR), (selection.LONG_CALL_S, selection.LONG_LOOK_FACTOR)],
)
def test_finalists_are_those_that_may_be_the_best_of_their_point(seconds, factor):
    """Closer where calls are long."""
    planned = _plan()
    first = {p.case.formulation: p for p in planned if p.case.workload == "idea" and p.survey}

    def stay(ratio):
        times = {"a": seconds, "b": ratio * seconds}
        records = {first[n].case.key: _record(first[n], t) for n, t in times.items()}
        return [p.case.formulation for p in selection.finalists(planned, records)]

    assert stay(factor - 0.05) == ["a", "b"]
    assert stay(factor + 0.05) == ["a"]


def test_after_a_group_the_ratio_in_it_decides_who_stays():
    """The two were surveyed in another order, and the machine halved its speed for one of the two groups."""
    planned = _plan()
    first = {p.case.formulation: p for p in planned if p.case.workload == "idea" and p.survey}

    def stay(a, b):
        records = {first[n].case.key: _record(first[n], t, rounds=range(len(t))) for n, t in (("a", a), ("b", b))}
        return [p.case.formulation for p in selection.finalists(planned, records)]

    assert stay((2.0, 1.0, 2.0), (1.0, 1.05, 2.1)) == ["a", "b"]
    assert stay((2.0, 1.0, 2.0), (1.0, 1.1, 2.2)) == ["a"]
    assert stay((1.0, 1.1, 2.2), (2.0, 1.0, 2.0)) == ["b"]
    # Their medians, 2 and 2.5, are of different groups.
    assert stay((1.0, 1.0, 2.0, 4.0), (1.0, 2.5, 2.04, 4.08)) == ["a", "b"]


@pytest.mark.parametrize(("factor", "kept"), [(1.2, ["b", "a"]), (selection.KNOWN_FACTOR + 0.1, ["b"])])
def test_what_had_all_its_rounds_is_not_given_up_for_a_newcomer_that_had_one(factor, kept):
    planned = _plan()
    first = {p.case.formulation: p for p in planned if p.case.workload == "idea" and p.survey}
    known, new = ((factor,) * 5, range(5)), ((1.0, 1.0), (0, 4))
    records = {first[n].case.key: _record(first[n], t, rounds=at) for n, (t, at) in {"a": known, "b": new}.items()}
    assert [p.case.formulation for p in selection.finalists(planned, records)] == kept


def test_a_failure_is_no_finalist():
    planned = _plan()
    assert selection.finalists(planned, {p.case.key: _record(p, 1.0, status="wrong") for p in planned}) == []


def test_the_order_is_random_and_the_same_for_the_same_seed():
    planned = _plan(axes={"n": tuple(range(1, 30))})
    keys = [[p.case.key for p in selection.shuffled(planned, seed, r)] for seed, r in ((0, 1), (0, 1), (0, 2))]
    assert keys[0] == keys[1] != keys[2]
    assert sorted(keys[0]) == sorted(keys[2]) == sorted(p.case.key for p in planned)


def test_quick_takes_all_seven_ideas_with_every_execution():
    """Dropping workloads or executions is no way to be quick."""
    found, _ = workloads()
    planned = plan.cases(Ask(preset="quick", backends=tuple(backends()[0])), found, backends()[0])
    ideas = {
        "dense_cnn",
        "unstructured_sparse",
        "block_sparse",
        "capsule_routing",
        "capsule_conv",
        "local_update",
        "forward_forward",
    }
    assert ideas <= {p.case.workload for p in planned if p.headline}
    for name, backend in backends()[0].items():
        executions = {p.case.execution for p in planned if p.case.backend == name and p.survey}
        assert executions == set(backend.executions)


def test_planning_imports_no_framework():
    code = (
        "import sys; from harness.planning import plan; from workloads.discovery import workloads; "
        "from backends.discovery import backends; "
        "plan.cases(plan.Ask(backends=tuple(backends()[0])), workloads()[0], backends()[0]); "
        "print([m for m in ('torch', 'jax', 'tensorflow', 'pandas', 'sklearn') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_a_twin_may_have_a_dtype_of_its_own_and_a_tolerance_may_depend_on_the_axes():
    """The twin runs in its dtype and no other; the idea in what its axes allow."""
    own = Twin("bfloat16", "dense", {"n": 7}, "forward", "bfloat16")
    both = _workload("idea", twins=(Twin("same_shape", "dense", {"n": 7}, "forward"), own), points=(Point({"n": 1}),))
    both = replace(both, tolerances=lambda p: {("float32", "forward"): 1e-3 / p.n})
    planned = plan.cases(Ask(workloads=("idea",), backends=("numpy",)), {"idea": both, "dense": DENSE}, NUMPY)
    assert {(p.case.workload, p.case.dtype) for p in planned} == {
        ("idea", "float32"),
        ("dense", "float32"),
        ("dense", "bfloat16"),
    }
    (idea, *_) = [p for p in planned if p.case.workload == "idea"]
    assert [t.dtype for t in idea.twins] == [None, "bfloat16"]
    assert [point[3] for point in twin_points(idea)] == ["float32", "bfloat16"]
    with pytest.raises(PlanError, match="idea has no dtype float16 in mode forward; it has float32"):
        plan.cases(
            Ask(workloads=("idea",), backends=("numpy",), dtypes=("float16",)), {"idea": both, "dense": DENSE}, NUMPY
        )

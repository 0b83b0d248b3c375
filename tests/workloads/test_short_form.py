"""The short form: what it fills in, and what it refuses with file and line."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from backends.discovery import backends
from backends.ops import Device
from workloads import Axis, Parameters, Workload
from workloads.authoring.functions import WorkloadError
from workloads.authoring.points import smoke
from workloads.base import Formulation, Point, Twin, Work
from workloads.facts import faults

OPS = backends()[0]["numpy"].open(Device("cpu"))
HERE = "test_short_form.py"


def vector_norm(**changes):
    """The example of the design page."""
    facts = {"title": "row norms", "source": "a test", "axes": {"rows": 1024, "columns": 1024}} | changes
    w = Workload("vector_norm", **facts)

    @w.inputs
    def inputs(p, rng):
        return {"x": rng.standard_normal((p.rows, p.columns))}

    @w.reference
    def reference(x):
        return {"norm": np.sqrt((x**2).sum(axis=1))}

    @w.formulation(note="square, then sum")
    def by_sum(ops, x):
        return {"norm": ops.sqrt(ops.sum(x * x, axis=1))}

    w.work(flop=lambda p: 2 * p.rows * p.columns, bytes=lambda p, e: e * (p.rows * p.columns + p.rows))
    w.twin("dense_matmul", m="rows", k="columns", n=1, grads="both")
    return w


def _ran(definition, name, params, mode="forward", seed=0):
    inputs = definition.inputs(params, seed)
    formulation = definition.formulations[mode][name]
    outputs = formulation.step(OPS, params)(*formulation.prepare(OPS, inputs, params))
    return formulation.restore([OPS.to_numpy(o) for o in outputs], inputs, params), inputs


def test_the_example_of_the_design_page_is_a_complete_workload():
    made = vector_norm().definition()
    outputs, inputs = _ran(made, "by_sum", {"rows": 3, "columns": 4})
    np.testing.assert_allclose(outputs["norm"], made.reference(inputs, {}, "forward")["norm"])
    assert made.work({"rows": 3, "columns": 4}, "forward", 4) == Work(24, 60, 60)
    assert made.twins({"rows": 3, "columns": 4}, "forward") == [
        Twin("dense", "dense_matmul", {"m": 3, "k": 4, "n": 1, "grads": "both"}, "forward")
    ]
    assert {name: [p.params for p in points] for name, points in made.presets.items()} == {
        "smoke": [{"rows": 8, "columns": 16}],
        "quick": [{"rows": 1024, "columns": 1024}],
        "standard": [{"rows": 1024, "columns": 1024}],
        "full": [{"rows": 1024, "columns": 1024}],
    }
    assert faults(made) == []


def test_inputs_follow_the_seed():
    made = vector_norm().definition()
    first, again, other = (made.inputs({"rows": 3, "columns": 4}, seed)["x"] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_parameters_are_attributes_and_items_and_frozen():
    p = Parameters({"rows": 3, "kind": "a"})
    assert (p.rows, p["kind"], dict(p), len(p)) == (3, "a", {"rows": 3, "kind": "a"}, 2)
    assert p == {"rows": 3, "kind": "a"}
    assert hash(p) == hash(pickle.loads(pickle.dumps(p)))
    with pytest.raises(AttributeError, match="there is no axis 'columns'; the axes are rows, kind"):
        p.columns  # noqa: B018
    with pytest.raises(AttributeError, match="axis rows cannot be changed to 4"):
        p.rows = 4
    with pytest.raises(AttributeError, match="axis rows cannot be removed"):
        del p.rows


def test_the_long_form_gets_typed_parameters_too():
    form = Formulation(
        note="", prepare=lambda ops, x, p: [p.n], step=lambda ops, p: lambda a: (a + p.n,), restore=lambda o, x, p: {}
    )
    assert form.step(None, {"n": 3})(*form.prepare(None, {}, {"n": 3})) == (6,)


def test_the_smoke_size_is_small_distinct_and_within_the_bounds():
    axes = {
        "a": Axis(default=1024, low=1),
        "b": Axis(default=4, low=1),
        "c": Axis(default=500, low=100),
        "share": Axis(default=0.5),
        "word": Axis(default="x"),
        "d": Axis(default=99, low=1),
    }
    assert smoke(axes, {"d": 5}) == {"a": 8, "b": 4, "c": 100, "share": 0.5, "word": "x", "d": 5}


def test_a_smoke_size_may_be_given():
    assert vector_norm(smoke={"rows": 5}).definition().presets["smoke"][0].params == {"rows": 5, "columns": 8}


def test_a_sweep_surveys_one_value_and_has_its_row_there():
    w = vector_norm()
    w.sweep("rows", (64, 128, 256), survey_at=128, columns=32)
    points = w.definition().presets["quick"]
    assert [(p.params["rows"], p.params["columns"], p.survey, p.headline) for p in points] == [
        (128, 32, True, True),
        (64, 32, False, False),
        (256, 32, False, False),
    ]
    assert len({p.group for p in points}) == 1
    with pytest.raises(WorkloadError, match="survey_at=7 is none of the values of rows: 64, 128"):
        w.sweep("rows", (64, 128), survey_at=7)
    with pytest.raises(WorkloadError, match="has no axis 'height' to sweep; its axes are rows, columns"):
        w.sweep("height", (1, 2), survey_at=1)


def test_presets_that_are_given_take_the_place_of_the_defaults():
    w = vector_norm()
    w.preset("quick", rows=8)
    w.preset("quick", Point({"rows": 9}, headline=False))
    assert [p.params for p in w.definition().presets["quick"]] == [
        {"rows": 8, "columns": 1024},
        {"rows": 9, "columns": 1024},
    ]
    assert set(w.definition().presets) == {"smoke", "quick"}
    w.preset("standard", heights=3)
    with pytest.raises(ValueError, match="vector_norm has no axis 'heights'"):
        w.definition()


def test_a_train_step_has_its_own_reference_formulas_and_outputs():
    w = vector_norm()

    @w.reference(mode="train_step")
    def step(x, p):
        return {"loss": np.sum(x) * p.rows, "x": x - 1}

    @w.formulation(mode="train_step", note="by hand", outputs=lambda p: ("loss", "x"))
    def by_hand(ops, p, x):
        return ops.sum(x) * p.rows, x - 1

    w.work(flop=lambda p: 7, bytes=lambda p, e: e, live_bytes=lambda p, e: 2 * e, mode="train_step")
    made = w.definition()
    outputs, inputs = _ran(made, "by_hand", {"rows": 3, "columns": 4}, "train_step")
    for name, value in made.reference(inputs, {"rows": 3, "columns": 4}, "train_step").items():
        np.testing.assert_allclose(outputs[name], value)
    assert made.work({"rows": 3, "columns": 4}, "train_step", 4) == Work(7, 4, 8)
    assert made.work({"rows": 3, "columns": 4}, "forward", 4) == Work(24, 60, 60)
    assert [p.mode for p in made.presets["quick"]] == ["forward", "train_step"]


def test_prepare_and_restore_are_called_by_the_names_of_their_parameters():
    w = vector_norm()

    @w.formulation(
        note="turned",
        prepare=lambda ops, p, x: [ops.asarray(np.ascontiguousarray(x.T)), ops.asarray(np.ones(p.rows))],
        restore=lambda norm, x: {"norm": norm.reshape(len(x))},
    )
    def turned(ops, columns, ones):
        return {"norm": ops.sqrt(ops.sum(columns * columns * ones, axis=0, keepdims=True))}

    made = w.definition()
    outputs, inputs = _ran(made, "turned", {"rows": 3, "columns": 4})
    np.testing.assert_allclose(outputs["norm"], made.reference(inputs, {}, "forward")["norm"])


def test_a_reference_may_take_whatever_inputs_there_are():
    w = Workload("chain", title="t", source="s", axes={"layers": 2})
    w.inputs(lambda p: {"x": np.ones(2), **{f"w{i}": np.full(2, 1.0 + i) for i in range(p.layers)}})
    w.reference(lambda x, p, **weights: {"y": x * weights["w0"] * weights[f"w{p.layers - 1}"]})
    w.work(flop=lambda p: 4, bytes=lambda p, e: 8 * e)

    @w.formulation(note="in turn", prepare=lambda ops, x, **ws: [ops.asarray(v) for v in (x, *ws.values())])
    def in_turn(ops, x, *weights):
        for weight in weights:
            x = x * weight
        return {"y": x}

    outputs, _ = _ran(w.definition(), "in_turn", {"layers": 2})
    np.testing.assert_array_equal(outputs["y"], [2.0, 2.0])


# -- what is refused --------------------------------------------------------------------------------------------------
def _without_ops(w):
    @w.formulation(note="n")
    def wrong(x):
        return {"norm": x}


def _unnamed(w):
    @w.formulation(note="n")
    def wrong(ops, x):
        return ops.sqrt(x)


def _twice(w):
    @w.formulation(note="n")
    def by_sum(ops, x):
        return {"norm": x}


def _stars(w):
    @w.formulation(note="n")
    def wrong(ops, *xs):
        return {"norm": xs[0]}


def _keyword(w):
    @w.formulation(note="n")
    def wrong(ops, *, x):
        return {"norm": x}


def _positional(w):
    @w.reference
    def wrong(x, /):
        return {"norm": x}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (_without_ops, r"HERE:\d+: formulation wrong of vector_norm must take `ops` first, found \(x\)"),
        (_unnamed, r"HERE:\d+: formulation wrong of vector_norm must end each path with .* by outputs="),
        (_twice, r"HERE:\d+: vector_norm has a formulation by_sum of forward already; give it another name"),
        (_stars, r"HERE:\d+: formulation wrong .* takes \*xs, so it needs prepare="),
        (_keyword, r"HERE:\d+: formulation wrong .* make x positional"),
        (_positional, r"HERE:\d+: reference of vector_norm is called by the names .* x has none"),
        (lambda w: w.formulation(note="n")(lambda ops, x: {"norm": x}), r"HERE:\d+: a formulation is named .* `def`"),
        (lambda w: w.work(flop=lambda p: 1), "the work of vector_norm needs flop= and bytes="),
    ],
)
def test_a_part_that_does_not_fit_is_refused_where_it_is_written(wrong, words):
    with pytest.raises(WorkloadError, match=words.replace("HERE", HERE)):
        wrong(vector_norm())


@pytest.mark.parametrize(
    ("axes", "words"),
    [
        ({"mode": 1}, "vector_norm cannot call an axis 'mode'"),
        ({"items": 1}, "vector_norm cannot call an axis 'items'"),
        ({"two words": 1}, "vector_norm cannot call an axis 'two words'"),
        ({"rows": True}, "axis rows of vector_norm must be a number, a word or an Axis, found True"),
        ({"rows": None}, "axis rows of vector_norm must be a number, a word or an Axis, found None"),
    ],
)
def test_an_axis_that_cannot_be_one_is_refused(axes, words):
    with pytest.raises(WorkloadError, match=words):
        Workload("vector_norm", title="t", source="s", axes=axes)


@pytest.mark.parametrize(
    ("left_out", "words"),
    [
        ("_inputs", "bare has no inputs; decorate"),
        ("_formulations", "bare has no formulation; decorate"),
        ("_references", "bare has no reference of forward; give one by w.reference"),
        ("_work", "bare has no work of forward; give one by w.work"),
    ],
)
def test_a_missing_part_is_named(left_out, words):
    w = vector_norm()
    w.name = "bare"
    setattr(w, left_out, None if left_out == "_inputs" else {})
    with pytest.raises(WorkloadError, match=words):
        w.definition()


def test_an_axis_without_a_default_needs_a_point():
    w = vector_norm(axes={"rows": 3, "columns": Axis(low=1)})
    with pytest.raises(ValueError, match="vector_norm needs a value for axis 'columns'"):
        w.definition()


def test_names_that_there_are_not_are_told_when_they_are_asked_for():
    w = vector_norm()

    @w.formulation(note="n")
    def wrong(ops, z):
        return {"norm": z}

    w.reference(lambda y: {"norm": y})
    made = w.definition()
    inputs = made.inputs({"rows": 3, "columns": 4}, 0)
    with pytest.raises(
        WorkloadError, match=rf"{HERE}:\d+: reference of vector_norm asks for 'y', and there is x, p, mode"
    ):
        made.reference(inputs, {"rows": 3, "columns": 4}, "forward")
    with pytest.raises(WorkloadError, match=rf"{HERE}:\d+: formulation wrong .* asks for 'z', and the inputs are x"):
        made.formulations["forward"]["wrong"].prepare(OPS, inputs, {"rows": 3, "columns": 4})


def test_outputs_that_do_not_match_their_names_are_told():
    w = vector_norm()

    @w.formulation(note="n", outputs=("norm", "other"))
    def wrong(ops, x):
        return (x,)

    made = w.definition()
    with pytest.raises(WorkloadError, match=rf"{HERE}:\d+: formulation wrong .* returns 1 arrays for norm, other"):
        _ran(made, "wrong", {"rows": 3, "columns": 4})


def test_a_reference_that_returns_no_names_is_told():
    w = vector_norm()
    w.reference(lambda x: x)
    with pytest.raises(WorkloadError, match=rf"{HERE}:\d+: reference of vector_norm must return outputs by name"):
        w.definition().reference({"x": np.ones(2)}, {"rows": 3, "columns": 4}, "forward")

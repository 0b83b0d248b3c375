"""The conformance test says no: a planted fault of each kind, and the sentence that names it."""

from __future__ import annotations

import re

import numpy as np
import pytest

from backends.discovery import backends
from backends.ops import Compiled, Device, Unsupported
from harness.measuring.correctness import epsilon, judge, rounded, upcast
from workloads import Workload
from workloads.conformance import Attempt, Oracle, _host, conformity, wrong_dtypes

ORACLE = Oracle(rounded, upcast, judge, epsilon)
OPS = backends()[0]["numpy"].open(Device("cpu"))
HERE = "test_conformity.py"


def _workload(step=None, draw=None, exact=None, **options):
    """y = 2x, by the step given."""
    w = Workload("double", title="t", source="s", axes={"n": 6})

    @w.inputs
    def inputs(p, seed, rng):
        return draw(p, seed) if draw else {"x": rng.standard_normal(p.n), "at": np.arange(p.n, dtype=np.int32)}

    @w.reference
    def reference(x):
        return {"y": exact(x) if exact else 2 * x}

    def planted(ops, x):
        return (step(ops, x) if step else x + x,)

    w.formulation(note="n", outputs=("y",), **options)(planted)
    w.work(flop=lambda p: p.n, bytes=lambda p, e: e * p.n)
    return w.definition()


def _found(definition, ops=OPS):
    return conformity(Attempt(definition, definition.presets["smoke"][0], "planted", ops, "eager", ORACLE))


def test_a_formulation_that_is_right_has_no_fault():
    assert _found(_workload()) == []


def _writes(ops, x):
    x *= 2
    return x / 1


def _kept():
    results = []

    def step(ops, x):
        if not results:
            results.append(x + x)
        return results[0]

    return step


def _drifts():
    calls = []

    def step(ops, x):
        calls.append(1)
        return x * (1 + len(calls))

    return step


def _refuses(ops, x):
    raise Unsupported("")


@pytest.mark.parametrize(
    ("definition", "words"),
    [
        (_workload(lambda ops, x: x + x * np.float64(1)), r"output y is float64 in a case of float32; .* ops.astype"),
        (_workload(lambda ops, x: x * 3), r"planted of double .* disagrees with the reference: y is off by"),
        (_workload(_writes), "changes its operands; compute a new array"),
        (_workload(_kept()), "gives the first result again for other inputs"),
        (_workload(_drifts()), "disagrees in a second call with the reference"),
        (_workload(lambda ops, x: x.nothing), rf"{HERE}:\d+: planted of double \(eager\) raises AttributeError"),
        (_workload(_refuses), "raises Unsupported without a word"),
        (_workload(restore=lambda y: {"z": y}), r"outputs are \['z'\], expected \['y'\]"),
        (
            _workload(draw=lambda p, seed: {"x": np.random.default_rng().standard_normal(p.n)}),
            rf"{HERE}:\d+: input x of double differs between two calls with one seed",
        ),
        (_workload(draw=lambda p, seed: {"x": [1.0]}), "input x of double must be a NumPy array, found list"),
        (
            _workload(exact=lambda x: x / 0.0, draw=lambda p, seed: {"x": np.zeros(p.n)}),
            rf"{HERE}:\d+: reference of double: \d+ of \d+ values of y are not finite",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_a_planted_fault_is_named(definition, words):
    found = _found(definition)
    assert found, "nothing was noticed"
    assert re.search(words, found[0]), found


def test_what_is_right_for_one_input_only_is_noticed():
    first = rounded({"x": np.random.default_rng(0).standard_normal(6)}, "float32")["x"]
    found = _found(_workload(lambda ops, x: x + x if np.array_equal(x, first) else x * 3))
    assert re.search("disagrees for other inputs with the reference", found[0]), found


def test_inputs_that_no_seed_changes_are_turned_round():
    fixed = _workload(_kept(), draw=lambda p, seed: {"x": np.arange(1.0, p.n + 1)})
    assert re.search("gives the first result again", _found(fixed)[0])


def test_a_result_that_the_mathematics_makes_the_same_is_no_fault():
    assert _found(_workload(lambda ops, x: x * 0, exact=lambda x: x * 0)) == []


def test_a_step_that_is_traced_again_is_noticed():
    class Retracing:
        """NumPy's operators, and a compiler that traces in each call."""

        def __getattr__(self, name):
            return getattr(OPS, name)

        def compile(self, fn, execution, args, keep=None):
            calls = []

            def call(*operands):
                calls.append(1)
                return fn(*operands)

            return Compiled(call=call, traces=lambda: len(calls))

    assert re.search("is traced again by a second call", _found(_workload(), Retracing())[0])


def test_a_refusal_with_words_passes_through():
    def refuses(ops, x):
        raise Unsupported("no such operator here")

    with pytest.raises(Unsupported, match="no such operator here"):
        _found(_workload(refuses))


def test_integers_and_truth_values_may_be_what_they_are():
    outputs = [np.zeros(1, np.int32), np.zeros(1, bool), np.zeros((), np.float32)]
    assert wrong_dtypes(outputs, ("a", "b", "c"), "float32") is None
    assert "output 2 is float32 in a case of float16" in wrong_dtypes(outputs, ("a",), "float16")


class Matrix:
    """A framework's own matrix, which NumPy could only read value by value."""

    def __init__(self):
        self.read = 0

    def __len__(self):
        return 3

    def __getitem__(self, index):
        self.read += 1
        if index >= 3:
            raise IndexError
        return 1.0


def test_a_matrix_of_a_framework_is_not_read_value_by_value():
    """JAX's COO was: a minute for each of ten conformance tests."""
    matrix, ops = Matrix(), backends()[0]["numpy"].open(Device("cpu"))
    array = np.ones(3, np.float32)
    assert _host(ops, [matrix, array])[0] is None
    assert matrix.read == 0
    assert np.array_equal(_host(ops, [matrix, array])[1], array), "an array is read"

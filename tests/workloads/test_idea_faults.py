"""The oracle refuses a planted fault of each idea's kind: a saturated sum, a wrong group, a token misrouted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backends.discovery import backends
from backends.ops import Device
from harness.measuring.correctness import epsilon, judge, rounded, upcast
from workloads.common import quantized
from workloads.conformance import Attempt, Oracle, conformity
from workloads.discovery import workloads

FOUND, _ = workloads()
ORACLE = Oracle(rounded, upcast, judge, epsilon)
OPS = backends()[0]["numpy"].open(Device("cpu"))


def _point(workload, **axes):
    points = FOUND[workload].presets["smoke"]
    return next(p for p in points if all(p.params[name] == value for name, value in axes.items()))


def _found(workload, name, wrap, **axes):
    """What is said of a formulation whose outputs, or whose operands, are changed by `wrap`."""
    definition, point = FOUND[workload], _point(workload, **axes)
    right = definition.formulations[point.mode][name]
    assert conformity(Attempt(definition, point, name, OPS, "eager", ORACLE)) == []
    by_name = {**definition.formulations[point.mode], "planted": wrap(right)}
    wrong = replace(definition, formulations={point.mode: by_name})
    (sentence,) = conformity(Attempt(wrong, point, "planted", OPS, "eager", ORACLE))
    return sentence


def _outputs(change):
    """A formulation whose step's outputs go through `change`."""
    return lambda right: replace(
        right, step=lambda ops, p: lambda *operands: tuple(change(*right.step(ops, p)(*operands)))
    )


def _inputs(change):
    """A formulation that is prepared from inputs that went through `change`."""
    return lambda right: replace(right, prepare=lambda ops, x, p: right.prepare(ops, change(dict(x)), p))


def test_a_sum_that_saturates_is_refused():
    """Of 512 sums one, by one quantum."""

    def saturated(y):
        return [np.minimum(y, y.max() - 1)]

    found = _found("quantized_matmul", "int8", _outputs(saturated), scheme="w8a8_static")
    assert "y differs in 1 of 512 whole numbers, none may" in found


@pytest.mark.parametrize(("scheme", "name"), [("w8a8", "int8"), ("w8", "converted"), ("w4", "unpacked")])
def test_another_grid_is_refused(scheme, name):
    """Rounding towards zero where it must be to the nearest."""

    def truncated(x):
        packed = quantized.weights(x["w"], scheme, 32 if scheme == "w4" else 64)
        size = x["w"].shape[1] // packed.scales.shape[1]
        step = np.repeat(packed.scales, size, axis=1)
        return {**x, "w": (np.trunc(x["w"] / step) * step).astype(x["w"].dtype)}

    assert "disagrees with the reference: y is off by" in _found(
        "quantized_matmul", name, _inputs(truncated), scheme=scheme, n=16
    )


def test_arithmetic_that_is_right_does_not_pass_a_gate_that_it_misses():
    definition = replace(FOUND["quantized_matmul"], gate_limit=lambda p: 1e-4)
    point = _point("quantized_matmul", scheme="w4")
    (found,) = conformity(Attempt(definition, point, "unpacked", OPS, "eager", ORACLE))
    assert "away from what it stands for, 0.0001 allowed" in found


def test_a_value_in_the_wrong_place_of_its_group_is_refused():
    def moved(x):
        indices = x["a_indices"].copy()
        free = np.setdiff1d(np.arange(4), indices[:2])[0]
        indices[1] = free
        indices[:2] = np.sort(indices[:2])
        return {**x, "a_indices": indices}

    assert "y is off by" in _found("nm_sparse", "unpack", _inputs(moved), n=16, keep=2)


def test_a_unit_too_many_is_refused():
    def kept(x):
        return {**x, "w1": np.roll(x["w1"], 1, axis=1)}

    assert "y is off by" in _found("structured_pruned", "taken", _inputs(kept), batch=8)


def test_a_token_to_the_wrong_expert_is_refused():
    def misrouted(x):
        experts = x["experts_of"].copy()
        experts[3, 0] = np.setdiff1d(np.arange(4), experts[3])[0]
        return {**x, "experts_of": experts}

    for name in ("sorted_loop", "capacity_bmm", "capacity_ranked", "blocked", "all_experts", "one_hot"):
        assert "y is off by" in _found("mixture_of_experts", name, _inputs(misrouted), balance="zipf")


def test_an_example_that_leaves_a_layer_late_is_refused():
    def late(logits, left_at):
        return logits, np.where(np.arange(len(left_at)) == 2, left_at + 1, left_at)

    assert "left_at differs in 1 of 8 whole numbers" in _found("early_exit", "masked", _outputs(late), batch=8)


def test_a_mask_that_is_off_by_one_in_the_update_is_refused():
    """One weight too many is dropped in the first layer: no tie, and no rounding, does that."""

    def off_by_one(right):
        def step(ops, p):
            def run(*operands):
                new, *rest = right.step(ops, p)(*operands)
                mask = rest[p.layers - 1]
                place = np.unravel_index(np.argmax(np.abs(new)), new.shape)
                new, mask = new.copy(), mask.copy()
                new[place] = mask[place] = 0
                return new, *rest[: p.layers - 1], mask, *rest[p.layers :]

            return run

        return replace(right, step=step)

    found = _found("sparse_training", "top_k", off_by_one, phase="update", rule="rigl")
    assert "mask0 differs in 1 of 1536 whole numbers" in found
    assert "new0 is off by" in found


@pytest.mark.parametrize("name", ["masked_dense", "csr_dense_sample"])
def test_a_forward_product_by_the_weights_that_learn_is_refused(name):
    def all_read(x):
        return {**x, "w0_seen": np.arange(len(x["w0_indices"]), dtype=np.int32)}

    assert "the change of w0 is off by" in _found(
        "sparse_training", name, _inputs(all_read), phase="step", rule="top_kast"
    )


def test_a_gradient_outside_of_the_weights_that_learn_is_refused():
    def everywhere(right):
        def prepare(ops, x, p):
            operands = list(right.prepare(ops, x, p))
            operands[3 + p.layers] = np.ones_like(operands[3 + p.layers])
            return operands

        return replace(right, prepare=prepare)

    found = _found("sparse_training", "masked_dense", everywhere, phase="step", rule="top_kast")
    assert "the change of w0 is off by" in found
    assert "w1" not in found


def test_a_gradient_of_the_weights_that_are_read_alone_is_refused():
    """What is in B and not in A stays as it was."""

    def forgetful(right):
        def restore(outputs, x, p):
            stored = outputs[1].copy()
            others = np.setdiff1d(np.arange(len(stored)), x["w0_seen"])
            stored[others] = x["w0"][x["w0_indices"], np.repeat(np.arange(32), np.diff(x["w0_indptr"]))][others]
            return right.restore([outputs[0], stored, *outputs[2:]], x, p)

        return replace(right, restore=restore)

    found = _found("sparse_training", "csr_dense_sample", forgetful, phase="step", rule="top_kast")
    assert "the change of w0 is off by" in found


@pytest.mark.parametrize(("least", "instead"), [(2, 1), (1, 0), (0, 1)])
def test_a_set_that_is_off_by_one_in_the_update_is_refused(least, instead):
    """One weight of A too few, one of B too few, one too many: none of them at a near tie, which there are none of."""

    def off_by_one(right):
        def step(ops, p):
            def run(*operands):
                outputs = list(right.step(ops, p)(*operands))
                sets = outputs[2 + p.layers].copy()
                sets[np.unravel_index(np.argmax(sets == least), sets.shape)] = instead
                outputs[2 + p.layers] = sets
                return tuple(outputs)

            return run

        return replace(right, step=step)

    found = _found("sparse_training", "top_k", off_by_one, phase="update", rule="top_kast")
    assert "sets0 differs in 1 of 1536 whole numbers" in found


def test_a_block_too_many_is_refused_in_the_update():
    """The largest block is dropped as well."""

    def off_by_one(right):
        def step(ops, p):
            def run(*operands):
                new, *rest = (array.copy() for array in right.step(ops, p)(*operands))
                mask = rest[p.layers - 1]
                row, column = (at // 16 for at in np.unravel_index(np.argmax(np.abs(new)), new.shape))
                new[16 * row : 16 * row + 16, 16 * column : 16 * column + 16] = 0
                mask[row, column] = 0
                return new, *rest

            return run

        return replace(right, step=step)

    found = _found("sparse_training", "top_k", off_by_one, phase="update", rule="blocks")
    assert "mask0 differs in 1 of 12 whole numbers" in found
    assert "new0 is off by" in found


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("places", ("mask0 differs in", "new0 is off by")),
        ("unsorted", ("new0 is off by",)),
        ("twice", ("mask0 differs in 1 of 12",)),
        ("exchanged", ("mask0 differs in 1 of 12",)),
    ],
)
def test_a_block_in_the_wrong_place_is_refused_in_the_update(fault, words):
    """The largest block beside where it belongs; two stored out of order; in the order of the transpose, one twice, and
    two exchanged."""

    def misplaced(right):
        def step(ops, p):
            def run(*operands):
                new, *rest = (array.copy() for array in right.step(ops, p)(*operands))
                places, order = rest[p.layers - 1], rest[2 * p.layers - 1]
                if fault == "places":
                    places[np.argmax(np.abs(new).max(axis=(1, 2)))] = np.setdiff1d(np.arange(12), places)[0]
                elif fault == "unsorted":
                    stored = np.arange(len(places))[::-1]  # what is where stays so
                    new, places[:], order[:] = new[stored], places[stored], len(places) - 1 - order
                elif fault == "twice":
                    order[0] = order[1]
                else:
                    order[:2] = order[[1, 0]]
                return new, *rest

            return run

        return replace(right, step=step)

    found = _found("sparse_training", "block_moved", misplaced, phase="update", rule="blocks")
    assert all(said in found for said in words)

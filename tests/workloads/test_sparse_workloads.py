"""The sparse products and the bandwidth kernel: formulas by hand, references by finite differences, refusals."""

import numpy as np
import pytest
from _interleaved import BACKENDS, adapter, agree

from backends.discovery import backends
from backends.ops import Device, Unsupported
from harness.measuring.correctness import judge, rounded, upcast
from workloads.base import LEARNING_RATE
from workloads.common import patterns, sparse
from workloads.discovery import workloads

FOUND, _ = workloads()
UNSTRUCTURED, BLOCK, STREAM = (FOUND[name] for name in ("unstructured_sparse", "block_sparse", "stream"))
OPS = backends()[0]["numpy"].open(Device("cpu"))

SMALL = {"m": 12, "k": 8, "n": 3, "density": 0.25, "pattern": "magnitude"}
SMALL_BLOCKS = {**SMALL, "block": 2}


# -- formulas ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "mode", "expected"),
    [
        # nnz = 6: 2·6·2 FLOP; 6·(4+4) + 4·5 + 4·(3·2 + 4·2) = 48 + 20 + 56 bytes
        ({"m": 4, "k": 3, "n": 2, "density": 0.5}, "forward", (24, 124, 124)),
        # three products; 3·124 + 3·4·6 bytes; alive: 124 + ∂A 24 + ∂B 24
        ({"m": 4, "k": 3, "n": 2, "density": 0.5}, "train_step", (72, 444, 172)),
        # nnz = 104858: 838864 + 4100 + 1048576
        ({"m": 1024, "k": 1024, "n": 128, "density": 0.1}, "forward", (26843648, 1891540, 1891540)),
    ],
)
def test_unstructured_formulas_by_hand(params, mode, expected):
    """Useful FLOP and bytes in float32, worked out on paper."""
    work = UNSTRUCTURED.work({**params, "pattern": "uniform"}, mode, 4)
    assert (work.useful_flop, work.least_bytes, work.live_bytes) == expected


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        # 2 of 8 blocks: 2·2·4·3 FLOP; 2·(4·4+4) + 4·3 + 4·(8·3 + 4·3) = 40 + 12 + 144 bytes
        ("forward", (48, 196, 196)),
        # 3·196 + 3·4·8 bytes; alive: 196 + ∂A 32 + ∂B 96
        ("train_step", (144, 684, 324)),
    ],
)
def test_block_formulas_by_hand(mode, expected):
    """Column indices are counted once a block."""
    params = {"m": 4, "k": 8, "n": 3, "density": 0.25, "block": 2, "pattern": "uniform"}
    work = BLOCK.work(params, mode, 4)
    assert (work.useful_flop, work.least_bytes, work.live_bytes) == expected


def test_half_precision_halves_the_values_not_the_indices():
    """Indices stay int32: 6·(2+4) + 20 + 2·14 bytes."""
    work = UNSTRUCTURED.work({"m": 4, "k": 3, "n": 2, "density": 0.5, "pattern": "uniform"}, "forward", 2)
    assert work.least_bytes == 36 + 20 + 28


@pytest.mark.parametrize("mode", ["forward", "train_step"])
def test_full_density_is_the_dense_twin_and_the_indices(mode):
    """At density 1 the useful FLOP are the twin's, and the bytes exceed its by the indices of each product read."""
    params = {"m": 30, "k": 20, "n": 10, "density": 1.0, "pattern": "uniform"}
    sparse_work = UNSTRUCTURED.work(params, mode, 4)
    for twin in UNSTRUCTURED.twins(params, mode):
        dense = FOUND[twin.workload].work(twin.params, mode, 4)
        assert sparse_work.useful_flop == dense.useful_flop
        products = 1 if mode == "forward" else 3
        assert sparse_work.least_bytes - dense.least_bytes == products * (4 * 600 + 4 * 31)


def test_equal_work_twin():
    """M×δK · δK×N has the FLOP of the non-zeros, up to rounding of δK."""
    params = {"m": 1024, "k": 1024, "n": 128, "density": 0.1, "pattern": "magnitude"}
    kinds = {t.kind: t for t in UNSTRUCTURED.twins(params, "forward")}
    assert list(kinds) == ["same_shape", "equal_work"]
    assert kinds["same_shape"].params["k"] == 1024
    assert kinds["equal_work"].params["k"] == 102
    blocks = {t.kind: t for t in BLOCK.twins({**params, "block": 16}, "forward")}
    assert list(blocks) == ["same_shape", "equal_parameters"]
    assert UNSTRUCTURED.twins({**params, "density": 1e-5}, "forward")[1].params["k"] == 1


def test_stream_formulas_by_hand():
    """6144 values: triad has 2048 an array, dot six rows of 1024."""
    triad = STREAM.work({"elements": 6144, "kernel": "triad"}, "forward", 4)
    assert (triad.useful_flop, triad.least_bytes, triad.live_bytes) == (4096, 24576, 24576)
    dot = STREAM.work({"elements": 6144, "kernel": "dot"}, "forward", 4)
    assert (dot.useful_flop, dot.least_bytes) == (12288, 4 * (6144 + 1024 + 6))


def test_the_ladder_keeps_the_number_of_parameters():
    """Every rung of the standard block-sparse ladder has as many stored values as the dense 2560×2560."""
    rungs = [p for p in BLOCK.presets["standard"] if p.mode == "forward"]
    assert {p.params["m"] // 2560 for p in rungs} == {1, 2, 4, 8}
    assert {BLOCK.work(p.params, "forward", 4).useful_flop for p in rungs} == {2 * 2560**2 * 64}


def test_quick_sweeps_the_densities_and_surveys_once():
    """Seven densities at each number of columns; only density 0.1 is surveyed, and its group is that of the others."""
    points = [p for p in UNSTRUCTURED.presets["quick"] if p.mode == "forward" and p.params["pattern"] == "magnitude"]
    for n in (1, 128):
        mine = [p for p in points if p.params["n"] == n]
        assert {p.params["density"] for p in mine} == {0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01}
        assert [p.params["density"] for p in mine if p.survey] == [0.1]
        assert len({p.group for p in mine}) == 1
        assert mine[0].survey, "the survey comes first: the others need what it found"


# -- inputs and references ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("workload", "params"), [(UNSTRUCTURED, SMALL), (BLOCK, SMALL_BLOCKS)])
@pytest.mark.parametrize("pattern", ["magnitude", "uniform"])
def test_inputs_are_what_the_formulas_count(workload, params, pattern):
    """As many stored values as the formula says, whatever the pattern; B and T have the shapes of the product."""
    params = {**params, "pattern": pattern}
    x = workload.inputs(params, 0)
    assert x["a"].size * 2 * 3 == workload.work(params, "forward", 4).useful_flop
    assert x["b"].shape == (8, 3)
    assert x["target"].shape == (12, 3)
    assert x["a_indices"].dtype == x["a_indptr"].dtype == np.int32
    assert all(v.dtype == np.float64 for k, v in x.items() if k in ("a", "b", "target"))
    again, other = workload.inputs(params, 0), workload.inputs(params, 1)
    assert np.array_equal(x["a"], again["a"])
    assert not np.array_equal(x["a"], other["a"])


@pytest.mark.parametrize(("workload", "params"), [(UNSTRUCTURED, SMALL), (BLOCK, SMALL_BLOCKS)])
def test_the_gradient_is_the_slope_of_the_loss(workload, params):
    """Central differences of the reference's own loss give its update of A and its gradient of B."""
    x = workload.inputs(params, 0)
    out = workload.reference(x, params, "train_step")

    def slope(name, place):
        moved = []
        for step in (1e-5, -1e-5):
            changed = x[name].copy()
            changed[place] += step
            moved.append(float(workload.reference({**x, name: changed}, params, "train_step")["loss"]))
        return (moved[0] - moved[1]) / 2e-5

    for place in [(0,) * x["a"].ndim, (-1,) * x["a"].ndim]:
        assert np.isclose((x["a"] - out["a"])[place] / LEARNING_RATE, slope("a", place), rtol=1e-5)
    for place in [(0, 0), (-1, -1), (3, 1)]:
        assert np.isclose(out["grad_b"][place], slope("b", place), rtol=1e-5, atol=1e-9)


def test_the_forward_reference_by_hand():
    """[[0, 2], [3, 0]] · [[1], [10]] = [[20], [3]]."""
    x = {
        "a": np.array([2.0, 3.0]),
        "a_indices": np.array([1, 0], np.int32),
        "a_indptr": np.array([0, 1, 2], np.int32),
        "b": np.array([[1.0], [10.0]]),
        "target": np.zeros((2, 1)),
    }
    params = {"m": 2, "k": 2, "n": 1, "density": 0.5, "pattern": "uniform"}
    assert UNSTRUCTURED.reference(x, params, "forward")["y"].tolist() == [[20.0], [3.0]]


@pytest.mark.parametrize(("workload", "params"), [(UNSTRUCTURED, SMALL), (BLOCK, SMALL_BLOCKS)])
@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (lambda out, x: {**out, "a": x["a"]}, "change of a"),
        (lambda out, x: {**out, "a": 2 * out["a"] - x["a"]}, "change of a"),
        (lambda out, x: {**out, "a": x["a"] + 0.97 * (out["a"] - x["a"])}, "change of a"),
        (lambda out, x: {**out, "a": x["a"] + (out["a"] - x["a"]).ravel()[::-1].reshape(x["a"].shape)}, "change of a"),
        (lambda out, x: {**out, "grad_b": -out["grad_b"]}, "grad_b"),
        (lambda out, x: {**out, "loss": 1.001 * out["loss"]}, "loss"),
        (lambda out, x: {k: v for k, v in out.items() if k != "grad_b"}, "outputs are"),
    ],
)
def test_a_wrong_step_is_refused(workload, params, spoil, word):
    """No update, twice the update, 3 % too little, the wrong entries, a wrong sign, a wrong loss, a missing output."""
    x = workload.inputs(params, 0)
    expected = workload.reference(x, params, "train_step")
    tolerance = workload.tolerances["float32", "train_step"]
    assert judge(expected, expected, x, tolerance).agrees
    verdict = judge(spoil(expected, x), expected, x, tolerance)
    assert not verdict.agrees
    assert word in verdict.reason


# -- formulations ------------------------------------------------------------------------------------------------------


def _outputs(workload, params, mode, name):
    x = workload.inputs(params, 0)
    formulation = workload.formulations[mode][name]
    operands = formulation.prepare(OPS, x, params)
    result = formulation.step(OPS, params)(*operands)
    return formulation.restore([OPS.to_numpy(o) for o in result], x, params), result, operands


@pytest.mark.parametrize(
    ("workload", "params", "mode", "name"),
    [
        (UNSTRUCTURED, SMALL, "forward", "ell"),
        (UNSTRUCTURED, SMALL, "forward", "gather_segment"),
        (UNSTRUCTURED, SMALL, "train_step", "gather_segment"),
        (UNSTRUCTURED, SMALL, "train_step", "csr_gather"),
        (BLOCK, SMALL_BLOCKS, "forward", "gather_bmm"),
        (BLOCK, SMALL_BLOCKS, "forward", "ell_bmm"),
        (BLOCK, SMALL_BLOCKS, "forward", "equal_rows_bmm"),
        (BLOCK, SMALL_BLOCKS, "train_step", "gather_bmm"),
        (BLOCK, SMALL_BLOCKS, "train_step", "ell_bmm"),
    ],
)
def test_a_product_in_slices_is_the_same_product(monkeypatch, workload, params, mode, name):
    """Where the temporary would be too large, columns of B are taken in turn, down to one at a time."""
    whole = _outputs(workload, params, mode, name)[0]
    for limit in (1, 2 * 24):
        monkeypatch.setattr(sparse, "TEMPORARY", limit)
        sliced = _outputs(workload, params, mode, name)[0]
        assert all(np.allclose(sliced[k], whole[k]) for k in whole)


@pytest.mark.parametrize(
    "name", ["csr_dense_sample", "csr_transposing", "csr_gather", "gather_segment", "masked_dense"]
)
def test_two_unstructured_steps_follow_the_reference(name):
    """The parameter that comes out goes in again: zeros stay zeros, so the second step is right too."""
    _two_steps(UNSTRUCTURED, SMALL, name)


@pytest.mark.parametrize("name", ["bsr_bmm", "csr_dense_sample", "gather_bmm", "ell_bmm", "masked_dense"])
def test_two_block_steps_follow_the_reference(name):
    """The same for blocks, whose padding must stay zero."""
    _two_steps(BLOCK, SMALL_BLOCKS, name)


def _two_steps(workload, params, name):
    x = workload.inputs(params, 0)
    formulation = workload.formulations["train_step"][name]
    operands = list(formulation.prepare(OPS, x, params))
    step = formulation.step(OPS, params)
    _, updated, _ = step(*operands)
    assert not np.allclose(updated, operands[0]), "the step must change the parameter"
    second = formulation.restore(step(updated, *operands[1:]), x, params)
    once = workload.reference(x, params, "train_step")["a"]
    expected = workload.reference({**x, "a": once}, params, "train_step")
    assert judge(second, expected, {**x, "a": once}, 1e-8).agrees


def test_padding_by_hand():
    """Rows of 2, 0 and 1 entries become rows of 2."""
    pattern = patterns.Pattern(np.array([1, 3, 0], np.int32), np.array([0, 2, 2, 3], np.int32), (3, 4))
    ell = sparse.padded(pattern)
    assert ell.columns.tolist() == [[1, 3], [0, 0], [0, 0]]
    assert ell.slots.tolist() == [[0, 1], [0, 0], [2, 0]]
    assert ell.filled.tolist() == [[True, True], [False, False], [True, False]]


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"density": 0.0}, "axis density .* must be in 1e-12…1, found 0"),
        ({"density": 1.5}, "axis density .* found 1.5"),
        ({"n": 0}, "axis n .* found 0"),
        ({"m": 2_000_000}, "axis m .* found 2000000"),
    ],
)
def test_axes_out_of_range_are_refused(change, message):
    """The axis check names the axis, what was found and what is expected."""
    with pytest.raises(ValueError, match=message):
        UNSTRUCTURED.check({**SMALL, **change})


def test_an_unknown_pattern_is_refused():
    """What is neither in the list nor the name of a file's matrix."""
    for workload, params in ((BLOCK, SMALL_BLOCKS), (UNSTRUCTURED, SMALL)):
        for wrong in ("random", "matrix:", "matrix:0123456789abcdeg:a.mtx", "pattern:0123456789abcdef:"):
            with pytest.raises(ValueError, match="must be one of magnitude, uniform, what --matrix FILE makes"):
                workload.check({**params, "pattern": wrong})


def test_a_block_that_does_not_divide_is_refused():
    """By the inputs and by the formulas, before anything is computed."""
    params = {**SMALL_BLOCKS, "block": 5}
    for call in (lambda: BLOCK.inputs(params, 0), lambda: BLOCK.work(params, "forward", 4)):
        with pytest.raises(ValueError, match="block 5 must divide both sides of the matrix, found 12×8"):
            call()


# -- bandwidth ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", ["triad", "dot"])
@pytest.mark.parametrize("elements", [1, 5000, 100_000])
def test_stream_moves_what_it_says(kernel, elements):
    """The arrays that go in and out are as large as the formula's bytes."""
    params = {"elements": elements, "kernel": kernel}
    x = STREAM.inputs(params, 0)
    out = STREAM.reference(x, params, "forward")["out"]
    moved = sum(v.nbytes for v in (*x.values(), out))
    assert moved == STREAM.work(params, "forward", 8).least_bytes


def test_a_wrong_triad_is_refused():
    """Another factor than 3 is caught."""
    params = {"elements": 8192, "kernel": "triad"}
    x = STREAM.inputs(params, 0)
    assert not judge({"out": x["x"] + 3.001 * x["y"]}, STREAM.reference(x, params, "forward"), x, 1e-5).agrees


@pytest.mark.parametrize("mode", ["forward", "train_step"])
@pytest.mark.parametrize("framework", BACKENDS)
def test_block_rows_may_be_empty(framework, mode):
    """Five blocks in eight block rows: what is grouped, padded or summed by row has rows of nothing."""
    params = BLOCK.check({"m": 64, "k": 48, "n": 3, "density": 0.1, "pattern": "uniform", "block": 8})
    x, ops = rounded(BLOCK.inputs(params, 0), "float32"), adapter(framework)
    assert (np.diff(x["a_indptr"]) == 0).sum() >= 3
    expected, ran = BLOCK.reference(upcast(x), params, mode), []
    for name, formulation in BLOCK.formulations[mode].items():
        try:
            operands = formulation.prepare(ops, x, params)
            outputs = formulation.step(ops, params)(*operands)
        except Unsupported:
            continue
        found = formulation.restore([ops.to_numpy(o) for o in outputs], x, params)
        agree(found, expected, upcast(x), BLOCK.tolerances["float32", mode])
        ran.append(name)
    assert {"masked_dense"} < set(ran)

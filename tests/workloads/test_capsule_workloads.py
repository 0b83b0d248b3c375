"""Capsule routing, capsule convolution and the ordinary convolution: formulas by hand, references by brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from backends.numpy_ops import NumpyOps
from backends.ops import Device
from harness.measuring.correctness import judge, rounded, upcast
from workloads import capsule_conv, capsule_routing, dense_conv, dense_matmul
from workloads.base import LEARNING_RATE
from workloads.common import routing_forms
from workloads.common import routing_reference as routing
from workloads.common.windows import out_side, shifted

OPS = NumpyOps(Device("cpu"))
ROUTING = {"batch": 3, "in_capsules": 5, "out_capsules": 4, "in_dim": 3, "out_dim": 2, "rounds": 3}
CONV = {"batch": 2, "height": 6, "in_capsules": 2, "out_capsules": 3, "kernel": 3, "stride": 2, "padding": 0}


def _tolerance(workload, mode):
    return workload.WORKLOAD.tolerances["float32", mode]


# -- formulas -------------------------------------------------------------------------------------------------------
def test_routing_work_by_hand():
    """B, I, J, d, D, R = 2, 3, 4, 5, 6, 2: û takes 2·2·3·4·5·6 = 1440, a pass 288, there are 3."""
    params = {"batch": 2, "in_capsules": 3, "out_capsules": 4, "in_dim": 5, "out_dim": 6, "rounds": 2}
    u, w, v = 30, 360, 48
    forward = capsule_routing.WORKLOAD.work(params, "forward", 4)
    assert forward.useful_flop == 1440 + 3 * 288
    assert forward.least_bytes == 4 * (u + w + v)
    assert forward.live_bytes == 4 * (u + w + 2 * v)
    train = capsule_routing.WORKLOAD.work(params, "train_step", 4)
    assert train.useful_flop == 3 * (1440 + 3 * 288) - 1440
    assert train.least_bytes == 4 * ((u + w + v) + (u + w + v + w) + 3 * w)
    assert train.live_bytes == 4 * (u + 2 * w + 3 * v)


def test_one_round_keeps_no_running_sum():
    """With R = 1 there is one pass over û and nothing but u, W and v lives."""
    work = capsule_routing.WORKLOAD.work({**ROUTING, "rounds": 1}, "forward", 8)
    assert work.useful_flop == 2 * 3 * 5 * 4 * 2 * 3 + 2 * 3 * 5 * 4 * 2
    assert work.live_bytes == work.least_bytes


def test_the_papers_routing_twin_is_fully_connected_9216_to_160():
    """The dense product 160×9216 by 9216×B, whose useful FLOP are those of û."""
    params = capsule_routing.WORKLOAD.presets["quick"][0].params
    (twin,) = capsule_routing.WORKLOAD.twins(params, "train_step")
    assert (twin.workload, twin.mode) == ("dense_matmul", "train_step")
    assert twin.params == {"m": 160, "k": 9216, "n": 32, "grads": "weights"}
    dense = dense_matmul.WORKLOAD.work(twin.params, "forward", 4).useful_flop
    assert capsule_routing.WORKLOAD.work(params, "forward", 4).useful_flop == dense + 2 * 32 * 1152 * 10 * 16 * 5


def test_capsule_conv_work_by_hand():
    """N, H, Ci, Co, k, s = 2, 6, 2, 3, 3, 2 gives OH = 2 and 128·2·4·6·9 FLOP."""
    work = capsule_conv.WORKLOAD.work(CONV, "forward", 4)
    assert work.useful_flop == 128 * 2 * 4 * 6 * 9
    assert work.least_bytes == work.live_bytes == 16 * 4 * (2 * 2 * 36 + 9 * 6 + 2 * 3 * 4)


def test_dense_conv_work_by_hand():
    """2·N·OH·OW·Co·Ci·k² and each operand once, also with padding."""
    params = dict(zip(dense_conv.WORKLOAD.axes, (2, 7, 3, 5, 3, 2, 1), strict=True))
    work = dense_conv.WORKLOAD.work(params, "forward", 2)
    assert work.useful_flop == 2 * 2 * 16 * 5 * 3 * 9
    assert work.least_bytes == 2 * (2 * 49 * 3 + 9 * 15 + 2 * 16 * 5)


@pytest.mark.parametrize("preset", ["smoke", "quick", "standard", "full"])
def test_the_convolution_twin_does_the_same_work_on_the_same_bytes(preset):
    """W = 1: equal FLOP, and equal traffic, since folding moves no value away."""
    for point in capsule_conv.WORKLOAD.presets[preset]:
        (twin,) = capsule_conv.WORKLOAD.twins(point.params, "forward")
        assert dense_conv.WORKLOAD.work(twin.params, "forward", 4) == capsule_conv.WORKLOAD.work(
            point.params, "forward", 4
        )


@pytest.mark.parametrize(("height", "kernel", "stride", "padding", "side"), [(15, 3, 2, 0, 7), (16, 3, 2, 1, 8)])
def test_out_side(height, kernel, stride, padding, side):
    assert out_side(height, kernel, stride, padding) == side


def test_a_kernel_that_does_not_fit_is_refused_in_one_sentence():
    with pytest.raises(ValueError, match=r"kernel of 9 does not fit into a height of 6 with padding 1: choose"):
        capsule_conv.WORKLOAD.work({**CONV, "kernel": 9, "padding": 1}, "forward", 4)


# -- inputs ---------------------------------------------------------------------------------------------------------
def test_routing_inputs_are_capsules():
    """Lengths of u below 1, the first s of order 1, and each image's own digit as its label."""
    params = capsule_routing.WORKLOAD.presets["quick"][0].params
    x = capsule_routing.WORKLOAD.inputs(params, 0)
    assert 0.1 < np.linalg.norm(x["u"], axis=-1).mean() < np.linalg.norm(x["u"], axis=-1).max() < 1
    s = np.einsum("bid,ijde->bje", x["u"], x["w"]) / 10
    assert 0.3 < np.linalg.norm(s, axis=-1).mean() < 3
    assert (x["labels"].sum(axis=1) == 1).all()


def test_inputs_follow_the_seed():
    for workload, params in ((capsule_routing.WORKLOAD, ROUTING), (capsule_conv.WORKLOAD, CONV)):
        a, b, c = (workload.inputs(params, seed) for seed in (0, 0, 1))
        assert all(np.array_equal(a[k], b[k]) for k in a)
        assert not all(np.array_equal(a[k], c[k]) for k in a)


# -- routing --------------------------------------------------------------------------------------------------------
def _by_loops(u, w, rounds):
    """Procedure 1 with scalars in loops; logits kept and added to."""
    batch, below, above = len(u), *w.shape[:2]
    v = np.zeros((batch, above, w.shape[3]))
    for n in range(batch):
        logits = np.zeros((below, above))
        for r in range(rounds):
            c = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
            for j in range(above):
                s = sum(c[i, j] * (u[n, i] @ w[i, j]) for i in range(below))
                v[n, j] = s * (s @ s) / (1 + s @ s) / np.sqrt(s @ s + routing.EPSILON)
            if r + 1 < rounds:
                logits += np.array([[(u[n, i] @ w[i, j]) @ v[n, j] for j in range(above)] for i in range(below)])
    return v


@pytest.mark.parametrize("rounds", [1, 2, 3, 4])
def test_routing_reference_is_procedure_1(rounds):
    """The reference equals the procedure written with loops, also where a batch takes more than one part."""
    params = {**ROUTING, "batch": 35, "rounds": rounds}
    x = capsule_routing.WORKLOAD.inputs(params, 0)
    found = capsule_routing.WORKLOAD.reference(x, params, "forward")["v"]
    np.testing.assert_allclose(found, _by_loops(x["u"], x["w"], rounds), rtol=1e-12, atol=1e-14)


def test_margin_loss_by_hand():
    """Lengths .5 (present) and .3 (absent): (.9−.5)² + .5·(.3−.1)² = .18, in the formulations' own function."""
    v = np.array([[[0.3, 0.4], [0.3, 0.0]]])
    assert routing_forms.margin_loss(OPS, v, np.array([[1.0, 0.0]])) == pytest.approx(0.18, rel=1e-5)


@pytest.mark.parametrize("rounds", [1, 2, 3, 4])
def test_routing_gradient_by_finite_differences(rounds):
    """The reference's step equals the slope of its loss, coordinate by coordinate."""
    params = {**ROUTING, "rounds": rounds}
    x = capsule_routing.WORKLOAD.inputs(params, 1)

    def loss(w):
        return routing.reference_routing(x["u"], w, x["labels"], rounds)[1]

    gradient = (x["w"] - capsule_routing.WORKLOAD.reference(x, params, "train_step")["w"]) / LEARNING_RATE
    h = 1e-6
    slope = np.zeros_like(gradient)
    for at in itertools.product(*(range(n) for n in gradient.shape)):
        up, down = x["w"].copy(), x["w"].copy()
        up[at] += h
        down[at] -= h
        slope[at] = (loss(up) - loss(down)) / (2 * h)
    assert np.abs(gradient).max() > 1e-3
    np.testing.assert_allclose(gradient, slope, rtol=1e-5, atol=1e-9)


def test_routing_gradient_by_autograd():
    """The same gradient by the autograd package, through the procedure as the paper writes it."""
    import autograd
    import autograd.numpy as anp

    params = capsule_routing.WORKLOAD.presets["smoke"][0].params
    x = capsule_routing.WORKLOAD.inputs(params, 0)

    def loss(w):
        predicted = anp.einsum("bid,ijde->bije", x["u"], w)
        logits = anp.zeros(predicted.shape[:3])
        for _ in range(params["rounds"]):
            c = anp.exp(logits) / anp.sum(anp.exp(logits), axis=2, keepdims=True)
            s = anp.sum(c[..., None] * predicted, axis=1)
            n = anp.sum(s * s, axis=2, keepdims=True)
            v = s * n / (1 + n) / anp.sqrt(n + routing.EPSILON)
            logits = logits + anp.sum(predicted * v[:, None], axis=3)
        length = anp.sqrt(anp.sum(v * v, axis=2) + routing.EPSILON)
        present = x["labels"] * anp.maximum(0, 0.9 - length) ** 2
        absent = 0.5 * (1 - x["labels"]) * anp.maximum(0, length - 0.1) ** 2
        return anp.sum(present + absent) / len(x["u"])

    value, gradient = autograd.value_and_grad(loss)(x["w"])
    found = capsule_routing.WORKLOAD.reference(x, params, "train_step")
    assert found["loss"] == pytest.approx(value, rel=1e-12)
    np.testing.assert_allclose(x["w"] - found["w"], LEARNING_RATE * gradient, rtol=1e-9, atol=1e-15)


def test_squash_of_zero_has_a_slope():
    """No direction, no length: 0 stays 0 and its gradient is finite, which √|s|² alone would not give."""
    zero = np.zeros((1, 4))
    assert not routing.squash(zero).any()
    assert np.isfinite(routing.squash_gradient(zero, np.ones((1, 4)))).all()


@pytest.mark.parametrize("rounds", [1, 2, 4])
@pytest.mark.parametrize("name", list(capsule_routing.WORKLOAD.formulations["forward"]))
def test_every_routing_formulation_takes_any_number_of_rounds(name, rounds):
    """Also where the blocks are uneven and fewer than usual."""
    for below in (3, 5, 13):
        params = {**ROUTING, "rounds": rounds, "in_capsules": below}
        verdict = _run(capsule_routing, name, params, "forward")
        assert verdict.agrees, verdict


@pytest.mark.parametrize("rounds", [1, 2, 3, 4])
def test_the_gradient_by_hand_takes_any_number_of_rounds(rounds):
    """NumPy has no differentiation, so what agrees here is the backward pass as it is written out."""
    verdict = _run(capsule_routing, "folded_by_hand", {**ROUTING, "rounds": rounds}, "train_step")
    assert verdict.agrees, verdict


# -- convolutions ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (2, 0), (2, 1), (3, 2)])
def test_capsule_conv_reference_is_its_definition(stride, padding):
    """A 4×4 product for each image, place, tap and pair of capsules."""
    params = {**CONV, "stride": stride, "padding": padding}
    x = capsule_conv.WORKLOAD.inputs(params, 0)
    found = capsule_conv.WORKLOAD.reference(x, params, "forward")["v"]
    expected = np.zeros_like(found)
    none, pad = (0, 0), (padding, padding)
    poses = np.pad(x["poses"], (none, pad, pad, none, none, none))
    n, oh, _, co = found.shape[:4]
    for b, r, c, o, kx, ky, i in itertools.product(
        range(n), range(oh), range(oh), range(co), range(3), range(3), range(2)
    ):
        expected[b, r, c, o] += poses[b, stride * r + kx, stride * c + ky, i] @ x["w"][kx, ky, i, o]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (2, 1)])
def test_a_capsule_convolution_is_an_ordinary_one(stride, padding):
    """The twin's reference on folded poses and weights gives V, folded."""
    params = {**CONV, "stride": stride, "padding": padding}
    x = capsule_conv.WORKLOAD.inputs(params, 0)
    (twin,) = capsule_conv.WORKLOAD.twins(params, "forward")
    folded = {"x": capsule_conv.folded_poses(x["poses"]), "w": capsule_conv.folded_weights(x["w"])}
    assert folded["x"].shape == (8, 6, 6, 8)
    y = dense_conv.WORKLOAD.reference(folded, twin.params, "forward")["y"]
    v = capsule_conv.WORKLOAD.reference(x, params, "forward")["v"]
    np.testing.assert_allclose(capsule_conv.unfolded_poses(y), v, rtol=1e-12, atol=1e-14)


def test_dense_conv_reference_by_hand():
    """A 3×3 image of 1…9 and a 2×2 filter of ones: the four sums, and with padding the corner alone."""
    params = {"batch": 1, "height": 3, "in_channels": 1, "out_channels": 1, "kernel": 2, "stride": 1, "padding": 0}
    x = {"x": np.arange(1.0, 10.0).reshape(1, 3, 3, 1), "w": np.ones((2, 2, 1, 1))}
    y = dense_conv.WORKLOAD.reference(x, params, "forward")["y"]
    assert y[0, :, :, 0].tolist() == [[12, 16], [24, 28]]
    assert dense_conv.WORKLOAD.reference(x, {**params, "padding": 1}, "forward")["y"][0, 0, 0, 0] == 1


def test_shifted_pads_with_zeros():
    """The first tap of a padded image sees its border."""
    first = shifted(OPS, np.ones((1, 3, 3, 2)), 3, 1, 1)[0]
    assert first[0, :, :, 0].tolist() == [[0, 0, 0], [0, 1, 1], [0, 1, 1]]


# -- the oracle says no ---------------------------------------------------------------------------------------------
def _run(module, name, params, mode, change=None):
    """The verdict on a formulation under NumPy in float32; `change` plants a fault in the axes that it is given."""
    workload = module.WORKLOAD
    inputs = rounded(workload.inputs(params, 0), "float32")
    formulation = workload.formulations[mode][name]
    wrong = {**params, **(change or {})}
    outputs = formulation.step(OPS, wrong)(*formulation.prepare(OPS, inputs, wrong))
    host = formulation.restore([OPS.to_numpy(o) for o in outputs], inputs, wrong)
    reference = workload.reference(upcast(inputs), params, mode)
    return judge(host, reference, upcast(inputs), _tolerance(module, mode))


SMOKE = dict(capsule_routing.WORKLOAD.presets["smoke"][0].params)


@pytest.mark.parametrize("rounds", [2, 4])
def test_the_oracle_refuses_another_number_of_rounds(rounds):
    assert _run(capsule_routing, "folded", SMOKE, "forward").agrees
    assert not _run(capsule_routing, "folded", SMOKE, "forward", {"rounds": rounds}).agrees
    assert not _run(capsule_routing, "folded_by_hand", SMOKE, "train_step", {"rounds": rounds}).agrees


class _WrongAxis(NumpyOps):
    def softmax(self, x, axis):
        return super().softmax(x, {0: 1, 1: 2, 2: 1}[axis])


@pytest.mark.parametrize("name", list(capsule_routing.WORKLOAD.formulations["forward"]))
def test_the_oracle_refuses_a_softmax_over_the_capsules_below(name, monkeypatch):
    monkeypatch.setitem(globals(), "OPS", _WrongAxis(Device("cpu")))
    assert not _run(capsule_routing, name, SMOKE, "forward").agrees


class _NoSoftmax(NumpyOps):
    def softmax(self, x, axis):
        raise AssertionError("a softmax")


@pytest.mark.parametrize("name", list(capsule_routing.WORKLOAD.formulations["forward"]))
def test_the_first_round_takes_no_softmax_of_zeros(name, monkeypatch):
    """Its coupling is 1/J. A softmax of zeros is a constant that XLA's GPU compiler spent 21 s on folding."""
    monkeypatch.setitem(globals(), "OPS", _NoSoftmax(Device("cpu")))
    assert _run(capsule_routing, name, {**SMOKE, "rounds": 1}, "forward").agrees
    with pytest.raises(AssertionError, match="a softmax"):
        _run(capsule_routing, name, {**SMOKE, "rounds": 2}, "forward")


def test_the_oracle_refuses_routing_without_squash(monkeypatch):
    monkeypatch.setattr(routing_forms, "squash", lambda ops, s, axis: s)
    assert not _run(capsule_routing, "textbook", SMOKE, "forward").agrees


def test_the_oracle_refuses_a_step_whose_coupling_carries_no_gradient(monkeypatch):
    """The detached routing of many implementations: without the softmax's slope W goes elsewhere."""
    x = rounded(capsule_routing.WORKLOAD.inputs(SMOKE, 0), "float32")
    reference = capsule_routing.WORKLOAD.reference(upcast(x), SMOKE, "train_step")

    def detached(predicted, tape, gradient_v):
        c, s, _ = tape[-1]
        return c[..., None] * routing.squash_gradient(s, gradient_v)[:, None]

    monkeypatch.setattr(routing, "_route_back", detached)
    found = capsule_routing.WORKLOAD.reference(upcast(x), SMOKE, "train_step")
    verdict = judge(found, reference, upcast(x), _tolerance(capsule_routing, "train_step"))
    assert not verdict.agrees
    assert "change of w" in str(verdict.reason)


def _in_numpy(module):
    """NumPy lays no filters out ahead; those forms have the step of the layout that they are of."""
    return [name for name in module.WORKLOAD.formulations["forward"] if not name.endswith("_packed")]


@pytest.mark.parametrize("name", _in_numpy(capsule_conv))
def test_the_oracle_refuses_the_wrong_stride_of_a_capsule_convolution(name):
    """At height 6 strides 2 and 3 give outputs of one shape, so that only values tell them apart."""
    params = {**CONV, "height": 7, "stride": 3}
    assert _run(capsule_conv, name, params, "forward").agrees
    assert not _run(capsule_conv, name, {**params, "height": 6, "stride": 2}, "forward", {"stride": 3}).agrees


@pytest.mark.parametrize("name", _in_numpy(dense_conv))
def test_the_oracle_refuses_the_wrong_stride_of_a_convolution(name):
    params = dict(zip(dense_conv.WORKLOAD.axes, (2, 6, 3, 5, 3, 2, 0), strict=True))
    assert _run(dense_conv, name, params, "forward").agrees
    assert not _run(dense_conv, name, params, "forward", {"stride": 3}).agrees


def test_the_oracle_refuses_poses_multiplied_from_the_other_side():
    """W·P in place of P·W: the transposed fold."""
    inputs = rounded(capsule_conv.WORKLOAD.inputs(CONV, 0), "float32")
    swapped = {"poses": inputs["poses"].swapaxes(-1, -2), "w": inputs["w"].swapaxes(-1, -2)}
    found = capsule_conv.WORKLOAD.reference(upcast(swapped), CONV, "forward")["v"].swapaxes(-1, -2)
    expected = capsule_conv.WORKLOAD.reference(upcast(inputs), CONV, "forward")
    assert not judge({"v": found}, expected, inputs, _tolerance(capsule_conv, "forward")).agrees


@pytest.mark.parametrize(
    ("batch", "size", "count"), [(32, routing_forms.LARGE, 4), (32, routing_forms.SMALL, 8), (128, 1e5, 24)]
)
def test_blocks_are_as_few_as_keep_within_their_size(batch, size, count):
    """Of the paper's capsules: (c·u) of each is within the size, where MOST_BLOCKS are enough for it."""
    u, w = np.zeros((batch, 1152, 8), np.float32), np.zeros((1152, 10, 8, 16), np.float32)
    us, ws = routing_forms.in_blocks_of(size)(u, w)
    assert len(us) == len(ws) == count
    assert sum(part.shape[1] for part in us) == 1152
    if count < routing_forms.MOST_BLOCKS:
        assert max(part.nbytes for part in us) * 10 <= size
        assert u.nbytes * 10 / (count - 1) > size

"""dense_cnn, dense_mlp, local_update and forward_forward: their formulas by hand, and an oracle that says no."""

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad
from autograd.scipy.special import logsumexp

from backends.numpy_ops import NumpyOps
from backends.ops import Device
from harness.measuring.correctness import judge, rounded, upcast
from workloads import dense_cnn, dense_mlp, forward_forward, local_update
from workloads.base import LEARNING_RATE
from workloads.common import network_reference, networks

OPS = NumpyOps(Device("cpu"))
CNN = {"network": "vgg8b", "batch": 2, "side": 32, "channels": 3, "width": 1 / 32}
MLP = {"batch": 8, "features": 64, "hidden": 32, "layers": 2}
LOCAL_MLP = {"network": "mlp", "batch": 8, "side": 8, "channels": 1, "width": 1 / 32}
LOCAL_CNN = {"network": "vgg8b", "batch": 2, "side": 32, "channels": 3, "width": 1 / 32}
FORWARD_FORWARD = {"batch": 8, "features": 64, "hidden": 32, "layers": 3}
CASES = [
    pytest.param(dense_cnn.WORKLOAD, CNN, id="dense_cnn"),
    pytest.param(dense_mlp.WORKLOAD, MLP, id="dense_mlp"),
    pytest.param(local_update.WORKLOAD, LOCAL_MLP, id="local_update-mlp"),
    pytest.param(local_update.WORKLOAD, LOCAL_CNN, id="local_update-cnn"),
    pytest.param(forward_forward.WORKLOAD, FORWARD_FORWARD, id="forward_forward"),
]


def _step(workload, params):
    """Inputs of a float32 train step as the case would have them, and the reference's outputs."""
    inputs = rounded(workload.inputs(workload.check(params), 0), "float32")
    return inputs, dict(workload.reference(upcast(inputs), params, "train_step"))


def _judge(workload, outputs, reference, inputs):
    small = {**MLP, **LOCAL_CNN, **CNN}  # of the perceptron's axes only the units of a layer count
    return judge(outputs, reference, upcast(inputs), workload.tolerances_at(small)["float32", "train_step"])


def _run(workload, name, params, mode="train_step"):
    """A formulation on NumPy in float32: inputs, host outputs by name."""
    inputs = rounded(workload.inputs(params, 0), "float32")
    formulation = workload.formulations[mode][name]
    outputs = formulation.step(OPS, params)(*formulation.prepare(OPS, inputs, params))
    return inputs, formulation.restore([np.asarray(o) for o in outputs], inputs, params)


# -- counts ---------------------------------------------------------------------------------------------------------
def test_a_step_of_vgg8b_is_three_products_a_layer_but_the_first():
    """Standard: B=128, 1.90 GFLOP an image forward; the images need no gradient."""
    params = {"network": "vgg8b", "batch": 128, "side": 32, "channels": 3, "width": 1}
    forward = dense_cnn.WORKLOAD.work(params, "forward", 4).useful_flop
    convolutions = 1024 * (3 * 128 + 128 * 256) + 256 * (256 * 256 + 256 * 512) + 64 * 512 * 512 + 16 * 512 * 512
    assert forward == 128 * 2 * (9 * convolutions + 2048 * 1024 + 1024 * 10)
    assert dense_cnn.WORKLOAD.work(params, "train_step", 4).useful_flop == 3 * forward - 128 * 2 * 9 * 1024 * 3 * 128


def test_a_step_of_the_mlp_is_six_flop_a_weight_and_sample_but_for_the_first_layer():
    """Σ6BP_l − 2BP_1 with the output layer among the l."""
    params = {"batch": 128, "features": 784, "hidden": 1024, "layers": 3}
    p = [784 * 1024, 1024 * 1024, 1024 * 1024, 1024 * 10]
    assert dense_mlp.WORKLOAD.work(params, "train_step", 4).useful_flop == 6 * 128 * sum(p) - 2 * 128 * p[0]
    assert dense_mlp.WORKLOAD.work(params, "forward", 4).useful_flop == 2 * 128 * sum(p)


def test_local_work_of_the_mlp_by_hand():
    """Σ4BP_l + Σ6B·h_l·C; live are the parameters and two neighbouring activations."""
    params = {"network": "mlp", "batch": 128, "side": 28, "channels": 1, "width": 1}
    p, q = [784 * 1024, 1024 * 1024, 1024 * 1024], 1024 * 10
    work = local_update.WORKLOAD.work(params, "train_step", 4)
    assert work.useful_flop == 4 * 128 * sum(p) + 6 * 128 * 3 * q
    ends = [784 + 1024, 2048, 2048]
    moved = sum(2 * (128 * e + w) + 3 * w for e, w in zip(ends, p, strict=True))
    assert work.least_bytes == 4 * (moved + 3 * (3 * (128 * (1024 + 10) + q) + 3 * q))
    assert work.live_bytes == 4 * (sum(p) + 3 * q + 128 * 2048)
    assert local_update.WORKLOAD.work(params, "forward", 4).useful_flop == 2 * 128 * (sum(p) + q)


def test_a_local_classifier_of_a_convolution_counts_what_it_reads_after_pooling():
    """VGG8b at full width: six classifiers of 2048 values and one of 1024."""
    params = {"network": "vgg8b", "batch": 1, "side": 32, "channels": 3, "width": 1}
    hidden = dense_cnn.WORKLOAD.work(params, "forward", 4).useful_flop - 2 * 1024 * 10
    assert local_update.WORKLOAD.work(params, "train_step", 4).useful_flop == 2 * hidden + 6 * (6 * 2048 + 1024) * 10


def test_forward_forward_work_by_hand():
    """Σ8BP_l: two products of the doubled batch; live are the parameters and two activations of it."""
    params = {"batch": 128, "features": 784, "hidden": 1024, "layers": 3}
    p = [784 * 1024, 1024 * 1024, 1024 * 1024]
    work = forward_forward.WORKLOAD.work(params, "train_step", 4)
    assert work.useful_flop == 8 * 128 * sum(p)
    assert work.least_bytes == 4 * (2 * (256 * (784 + 1024 + 2048 + 2048) + sum(p)) + 3 * sum(p))
    assert work.live_bytes == 4 * (sum(p) + 256 * 2048)
    assert forward_forward.WORKLOAD.work(params, "forward", 4).useful_flop == 2 * 128 * sum(p)


@pytest.mark.parametrize(("workload", "params"), CASES[2:])
def test_an_idea_is_held_against_the_same_network_by_back_propagation(workload, params):
    """The twin has the same batch and hidden weights, and one more layer."""
    (twin,) = workload.twins(params, "train_step")
    module = {"dense_mlp": dense_mlp, "dense_cnn": dense_cnn}[twin.workload]
    theirs = module.WORKLOAD.inputs(module.WORKLOAD.check(twin.params), 0)
    ours = workload.inputs(params, 0)
    assert len(next(iter(theirs.values()))) == params["batch"]
    hidden = [name for name in ours if name.startswith("w")]
    assert [ours[name].shape for name in hidden] == [theirs[name].shape for name in hidden]
    assert {name for name in theirs if name.startswith("w")} - set(hidden) == {f"w{len(hidden)}"}


# -- inputs ---------------------------------------------------------------------------------------------------------
def test_negative_images_differ_from_the_real_ones_in_their_label_only():
    """Both have length 1; the first ten pixels hold one label each, never the same."""
    x = forward_forward.WORKLOAD.inputs(FORWARD_FORWARD, 3)
    positive, negative = x["positive"], x["negative"]
    np.testing.assert_allclose(np.linalg.norm(positive, axis=1), 1)
    np.testing.assert_allclose(positive[:, 10:], negative[:, 10:])
    assert (np.count_nonzero(positive[:, :10], axis=1) == 1).all()
    assert (positive[:, :10].argmax(1) != negative[:, :10].argmax(1)).all()


def test_the_first_weights_put_goodness_at_the_threshold():
    """Where the logistic loss has a slope for both kinds of data, in every layer: losses near log 2."""
    params = {"batch": 16, "features": 784, "hidden": 256, "layers": 3}
    reference = forward_forward.WORKLOAD.reference(forward_forward.WORKLOAD.inputs(params, 0), params, "train_step")
    for i in range(3):
        assert float(reference[f"loss{i}"]) == pytest.approx(np.log(2), rel=0.1)


# -- the reference against automatic differentiation of another kind ------------------------------------------------
def _cross_entropy(z, target):
    return -anp.sum(target * (z - logsumexp(z, axis=1, keepdims=True))) / len(z)


def _local_losses(w, q, x, target, crossing):
    """The sum of the local losses with `autograd`; with `crossing`, gradients pass from layer to layer."""
    total = 0.0
    for wl, ql in zip(w, q, strict=True):
        h = anp.maximum(anp.dot(x, wl), 0)
        total = total + _cross_entropy(anp.dot(h, ql), target)
        x = h if crossing else h._value  # a plain array: no gradient passes
    return total


def _local_step(crossing):
    inputs, reference = _step(local_update.WORKLOAD, LOCAL_MLP)
    x = upcast(inputs)
    w, q = [x[f"w{i}"] for i in range(3)], [x[f"q{i}"] for i in range(3)]
    dw = grad(lambda w: _local_losses(w, q, x["x"], x["target"], crossing))(w)
    dq = grad(lambda both: _local_losses(both[0], both[1], x["x"], x["target"], crossing))((w, q))[1]
    outputs = dict(reference)
    for i in range(3):
        outputs[f"w{i}"] = w[i] - LEARNING_RATE * dw[i]
        outputs[f"q{i}"] = q[i] - LEARNING_RATE * dq[i]
    return inputs, reference, outputs


def test_local_gradients_agree_with_autograd_when_layers_are_cut_apart():
    """The reference by hand is the differentiation of the sum of local losses with every layer's input held fixed."""
    _, reference, outputs = _local_step(crossing=False)
    for name, expected in reference.items():
        np.testing.assert_allclose(outputs[name], expected, rtol=1e-10, atol=1e-12)


def test_a_gradient_that_crosses_a_layer_is_refused():
    """The classifiers' and the last layer's updates stay right; every layer below is found out."""
    inputs, reference, outputs = _local_step(crossing=True)
    verdict = _judge(local_update.WORKLOAD, outputs, reference, inputs)
    assert not verdict.agrees
    assert "the change of w0" in verdict.reason
    assert "the change of w1" in verdict.reason
    assert "w2" not in verdict.reason
    assert "q" not in verdict.reason


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_the_forward_forward_reference_is_the_slope_of_its_loss(layer):
    """Central differences of one layer's loss along a direction, for the update of that layer's weights."""
    params = {"batch": 4, "features": 16, "hidden": 6, "layers": 3}
    inputs = forward_forward.WORKLOAD.inputs(params, 0)
    name = f"w{layer}"
    gradient = (inputs[name] - forward_forward.WORKLOAD.reference(inputs, params, "train_step")[name]) / LEARNING_RATE
    direction = np.random.default_rng(1).standard_normal(gradient.shape)

    def loss(step):
        moved = {**inputs, name: inputs[name] + step * direction}
        return float(forward_forward.WORKLOAD.reference(moved, params, "train_step")[f"loss{layer}"])

    slope = (loss(1e-6) - loss(-1e-6)) / 2e-6
    assert float(np.sum(gradient * direction)) == pytest.approx(slope, rel=1e-5)


def test_goodness_is_summed_over_all_layers_but_the_first():
    """By hand with two layers: the squared length of the second layer's activities."""
    params = {"batch": 4, "features": 16, "hidden": 6, "layers": 2}
    x = forward_forward.WORKLOAD.inputs(params, 0)
    first = np.maximum(x["positive"] @ x["w0"], 0)
    first = first / (np.linalg.norm(first, axis=1, keepdims=True) + forward_forward.TINY)
    expected = np.linalg.norm(np.maximum(first @ x["w1"], 0), axis=1) ** 2
    np.testing.assert_allclose(forward_forward.WORKLOAD.reference(x, params, "forward")["goodness"], expected)


# -- planted faults -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("workload", "params"), CASES)
def test_a_step_that_updates_nothing_is_refused(workload, params):
    """New weights are close to the old ones, so that only the change gives it away; every weight is named."""
    inputs, reference = _step(workload, params)
    parameters = [name for name in reference if name in inputs]
    assert parameters
    for name in parameters:
        verdict = _judge(workload, {**reference, name: inputs[name]}, reference, inputs)
        assert not verdict.agrees
        assert f"the change of {name} is off by 1, " in verdict.reason


@pytest.mark.parametrize(("workload", "params"), CASES)
def test_a_step_uphill_is_refused(workload, params):
    """The right gradient with the wrong sign."""
    inputs, reference = _step(workload, params)
    outputs = {k: 2 * inputs[k].astype(np.float64) - v if k in inputs else v for k, v in reference.items()}
    verdict = _judge(workload, outputs, reference, inputs)
    assert not verdict.agrees
    assert "off by 2, " in verdict.reason


@pytest.mark.parametrize(("workload", "params"), CASES)
def test_float32_rounding_of_the_new_weights_is_not_refused(workload, params):
    """The updates are large enough to be seen at all: rounding to float32 costs less than a tenth of the 1 %."""
    inputs, reference = _step(workload, params)
    for name, value in reference.items():
        if name in inputs:
            change = np.linalg.norm(value - inputs[name])
            assert np.linalg.norm(value.astype(np.float32) - value) < 0.001 * change


def test_a_maximum_that_passes_its_gradient_to_the_wrong_pixel_is_refused(monkeypatch):
    """The gradient of every pooling window goes one row too low; the layers above the pools stay right."""
    inputs, reference = _step(dense_cnn.WORKLOAD, CNN)
    right = network_reference.max_pool_gradient
    monkeypatch.setattr(
        network_reference, "max_pool_gradient", lambda x, dy, size: np.roll(right(x, dy, size), 1, axis=1)
    )
    outputs = dense_cnn.WORKLOAD.reference(upcast(inputs), CNN, "train_step")
    verdict = _judge(dense_cnn.WORKLOAD, outputs, reference, inputs)
    assert not verdict.agrees
    assert "the change of w0" in verdict.reason
    assert "w7" not in verdict.reason


def test_forward_forward_without_normalisation_is_refused(monkeypatch):
    """The second layer sees the goodness of the first: its loss and update are off, the first's are not."""
    _, reference = _step(forward_forward.WORKLOAD, FORWARD_FORWARD)
    monkeypatch.setattr(forward_forward, "_normalised", lambda ops, y, goodness: y)
    inputs, outputs = _run(forward_forward.WORKLOAD, "by_hand", FORWARD_FORWARD)
    verdict = _judge(forward_forward.WORKLOAD, outputs, reference, inputs)
    assert not verdict.agrees
    assert "the change of w1" in verdict.reason
    assert "w0" not in verdict.reason


def test_a_classifier_that_reads_the_map_in_another_order_is_refused(monkeypatch):
    """Channels-first without reordering the rows of the linear layer."""
    monkeypatch.setattr(networks, "put_weights", lambda ops, layer, w, layout: ops.asarray(w))
    inputs, outputs = _run(dense_cnn.WORKLOAD, "nchw", CNN, "forward")
    reference = dense_cnn.WORKLOAD.reference(upcast(inputs), CNN, "forward")
    verdict = judge(outputs, reference, upcast(inputs), dense_cnn.WORKLOAD.tolerances["float32", "forward"])
    assert not verdict.agrees


def test_only_a_wide_perceptron_is_allowed_what_one_turned_relu_changes():
    """Of 1.5 million relus rounding turns one, which moves a column of weights by 4e-4 of the largest."""
    usual, wide = ({**MLP, "hidden": hidden} for hidden in (1024, 4096))
    of = dense_mlp.WORKLOAD.tolerances_at
    assert (of(usual)["float32", "train_step"], of(wide)["float32", "train_step"]) == (1e-4, 1e-3)
    assert of(usual)["float32", "forward"] == of(wide)["float32", "forward"] == 1e-5
    assert dense_mlp.WORKLOAD.tolerance(wide, "float32", "train_step") == 1e-3


def test_channels_first_is_no_formulation_of_the_mlp():
    """It would be the same numbers under another name: it does not apply there, and does to the networks with maps."""
    formulation = local_update.WORKLOAD.formulations["train_step"]["joint_nchw"]
    assert not formulation.applies(LOCAL_MLP)
    assert formulation.applies(LOCAL_CNN)


@pytest.mark.parametrize("params", [LOCAL_MLP, LOCAL_CNN], ids=["mlp", "cnn"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_local_learning_by_hand_agrees_in_the_tolerance_of_its_dtype(params, dtype):
    """Without any automatic differentiation, pooled maps included."""
    workload = local_update.WORKLOAD
    inputs = rounded(workload.inputs(params, 0), dtype)
    formulation = workload.formulations["train_step"]["by_hand"]
    outputs = formulation.step(OPS, params)(*formulation.prepare(OPS, inputs, params))
    host = formulation.restore([np.asarray(o) for o in outputs], inputs, params)
    assert all(v.dtype == dtype for v in host.values())
    reference = workload.reference(upcast(inputs), params, "train_step")
    assert judge(host, reference, upcast(inputs), workload.tolerances[dtype, "train_step"]).agrees

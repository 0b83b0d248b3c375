"""The networks' layers, counts and NumPy reference, by hand-worked numbers and finite differences."""

import importlib.util

import numpy as np
import pytest

from backends.numpy_ops import NumpyOps
from backends.ops import Device
from workloads.common import network_reference as reference
from workloads.common import networks
from workloads.common.networks import Layer

OPS = NumpyOps(Device("cpu"))


@pytest.mark.parametrize(
    ("network", "width", "millions"),
    [("vgg8b", 1, 8.9), ("vgg11b", 1, 11.6), ("vgg11b", 2, 42.0), ("vgg11b", 3, 91.3)],
)
def test_the_networks_have_the_published_number_of_parameters(network, width, millions):
    """On CIFAR-10, to the digit that the authors' table gives (batch norm's own, under 0.02 M, aside)."""
    count = sum(layer.weights for layer in networks.vgg(network, 32, 3, width))
    assert count / 1e6 == pytest.approx(millions, abs=0.06)


def test_a_quarter_width_network_has_a_quarter_of_every_layer():
    """Feature maps and the linear layer shrink alike."""
    layers = networks.vgg("vgg8b", 32, 3, 0.25)
    assert [layer.channels_out for layer in layers] == [32, 64, 64, 128, 128, 128, 256, 10]
    assert [layer.side for layer in layers] == [32, 32, 16, 16, 8, 4, 1, 1]
    assert layers[6].channels_in == 2 * 2 * 128


def test_a_side_that_cannot_be_halved_is_refused():
    """The message names the axis, what was found and what is expected."""
    with pytest.raises(ValueError, match="axis side of vgg8b must be a multiple of 16 for its 4 max-pools, found 20"):
        networks.vgg("vgg8b", 20, 3, 1)


# One convolution 3→2 on 4×4 with a pool, then linear 8→3, then 3→10; B=5.
SMALL = (
    Layer(channels_in=3, channels_out=2, kernel=3, side=4, pool=2),
    Layer(channels_in=8, channels_out=3, flatten=(2, 2)),
    Layer(channels_in=3, channels_out=10),
)


def test_forward_work_by_hand():
    """Per sample: FLOP 2·16·2·3·9, 2·8·3, 2·3·10; values read and written 48+32, 8+3, 3+10; 54+24+30 weights."""
    work = networks.forward_work(SMALL, 5, 4)
    assert work.useful_flop == 5 * (1728 + 48 + 60)
    assert work.least_bytes == 4 * (108 + 5 * (80 + 11 + 13))
    assert work.live_bytes == 4 * (108 + 5 * 80)


def test_back_propagation_work_by_hand():
    """Three products a layer but for the first's input gradient, and three more passes over the weights."""
    work = networks.back_propagation_work(SMALL, 5, 4)
    assert work.useful_flop == 5 * (2 * 1728 + 3 * 48 + 3 * 60)
    moved = [54 + 5 * 80, 24 + 5 * 11, 30 + 5 * 13]
    assert work.least_bytes == 4 * (2 * moved[0] + 3 * moved[1] + 3 * moved[2] + 3 * 108)
    # the convolution's own 48 + 32 exceed 48 + 8 + 3 + 10, all that is kept at the end
    assert work.live_bytes == 4 * (108 + 5 * 80)


def test_back_propagation_through_an_mlp_keeps_every_activation():
    """ΣW + B·Σh_l, the images and the logits among the h_l."""
    work = networks.back_propagation_work(networks.mlp(7, 5, 3), 2, 4)
    assert work.live_bytes == 4 * (7 * 5 + 2 * 25 + 50 + 2 * (7 + 15 + 10))


def test_flop_agree_with_the_counter_of_pytorch():
    """VGG8b forward and backward, as counted by torch.utils.flop_counter on the same layers."""
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed: nothing to compare with")
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    layers = networks.vgg("vgg8b", 32, 3, 1 / 16)
    weights = [
        torch.zeros(layer.shape[::-1] if not layer.is_conv else (*layer.shape[:1:-1], 3, 3), requires_grad=True)
        for layer in layers
    ]
    with FlopCounterMode(display=False) as counter:
        x = torch.zeros(2, 3, 32, 32)
        for layer, w in zip(layers, weights, strict=True):
            x = (
                torch.nn.functional.conv2d(x, w, padding=1)
                if layer.is_conv
                else torch.nn.functional.linear(x.flatten(1), w)
            )
            x = torch.nn.functional.max_pool2d(x, 2) if layer.pool == 2 else x
        forward = counter.get_total_flops()
        x.sum().backward()
    assert networks.forward_work(layers, 2, 4).useful_flop == forward
    assert networks.back_propagation_work(layers, 2, 4).useful_flop == counter.get_total_flops()


def test_a_local_classifier_reads_at_most_its_limit():
    """Height and width are halved in turn, height first: of 2·8·8 values to at most 40, 2·4·4; to 16, 2·2·4."""
    layer = Layer(channels_in=1, channels_out=2, kernel=3, side=8)
    assert networks.classifier(layer, 128).pool == (1, 1)
    assert networks.classifier(layer, 40).pool == (2, 2)
    narrow = networks.classifier(layer, 16)
    assert narrow.pool == (4, 2)
    assert narrow.linear == Layer(channels_in=16, channels_out=10, flatten=(2, 4))


def test_the_local_classifiers_of_vgg8b_are_those_of_the_authors():
    """128·32·32 is pooled by 8×8, 256·32·32 by 16×8, …: 2048 values each, the linear layer 1024."""
    layers = networks.vgg("vgg8b", 32, 3, 1)[:-1]
    found = [networks.classifier(layer, 2048) for layer in layers]
    assert [c.pool for c in found] == [(8, 8), (16, 8), (8, 4), (8, 8), (4, 4), (2, 2), (1, 1)]
    assert [c.linear.channels_in for c in found] == [2048] * 6 + [1024]


# -- the NumPy reference --------------------------------------------------------------------------------------------
def test_convolution_by_hand():
    """Ones on 2×2 against a filter 1…9: every output is the sum of the filter's part that lies on the map."""
    w = np.arange(1.0, 10.0).reshape(3, 3, 1, 1)
    y = reference.convolution(np.ones((1, 2, 2, 1)), w)
    assert y[0, :, :, 0].tolist() == [[5 + 6 + 8 + 9, 4 + 5 + 7 + 8], [2 + 3 + 5 + 6, 1 + 2 + 4 + 5]]


def test_a_convolution_in_parts_is_the_same(monkeypatch):
    """A batch whose patches are too many at once goes through in parts, the filter gradient too."""
    rng = np.random.default_rng(0)
    x, w, dy = rng.standard_normal((5, 4, 4, 2)), rng.standard_normal((3, 3, 2, 3)), rng.standard_normal((5, 4, 4, 3))
    whole = reference.convolution(x, w), reference.convolution_filter_gradient(x, dy, 3)
    monkeypatch.setattr(reference, "_PATCH_VALUES", 2 * 4 * 4 * 2 * 9)
    np.testing.assert_allclose(reference.convolution(x, w), whole[0])
    np.testing.assert_allclose(reference.convolution_filter_gradient(x, dy, 3), whole[1])


def test_a_maximum_found_twice_passes_its_gradient_once():
    """To the first, row by row."""
    x = np.array([[1.0, 3.0], [3.0, 2.0]]).reshape(1, 2, 2, 1)
    gradient = reference.max_pool_gradient(x, np.full((1, 1, 1, 1), 7.0), 2)
    assert gradient[0, :, :, 0].tolist() == [[0, 7], [0, 0]]


def test_mean_pool_windows_need_not_be_square():
    """Two rows, one column: means of pairs, and half the gradient to each."""
    x = np.array([[1.0, 2.0], [3.0, 6.0]]).reshape(1, 2, 2, 1)
    assert reference.mean_pool(x, 2, 1)[0, :, :, 0].tolist() == [[2, 4]]
    gradient = reference.mean_pool_gradient(np.array([2.0, 4.0]).reshape(1, 1, 2, 1), 2, 1)
    assert gradient[0, :, :, 0].tolist() == [[1, 2], [1, 2]]


def test_softmax_cross_entropy_by_hand():
    """Two equal logits: loss log 2, gradient ∓½, halved by the batch of two."""
    loss, dz = reference.softmax_cross_entropy(np.zeros((2, 2)), np.array([[1.0, 0.0], [0.0, 1.0]]))
    assert float(loss) == pytest.approx(np.log(2))
    np.testing.assert_allclose(dz, [[-0.25, 0.25], [0.25, -0.25]])


def _differences(loss, value, step=1e-6):
    """The gradient of loss(value) by central differences."""
    gradient = np.zeros_like(value)
    for i in np.ndindex(value.shape):
        ends = []
        for sign in (1, -1):
            moved = value.copy()
            moved[i] += sign * step
            ends.append(float(loss(moved)))
        gradient[i] = (ends[0] - ends[1]) / (2 * step)
    return gradient


def _network(layers, seed=0):
    rng = np.random.default_rng(seed)
    weights = networks.he_normal(layers, rng)
    side = layers[0].side
    shape = (2, side, side, layers[0].channels_in) if layers[0].is_conv else (2, layers[0].channels_in)
    return weights, rng.standard_normal(shape), np.eye(10)[rng.integers(0, 10, 2)]


@pytest.mark.parametrize(
    "layers",
    [
        networks.mlp(6, 5, 2),
        (
            Layer(channels_in=2, channels_out=3, kernel=3, side=4),
            Layer(channels_in=3, channels_out=2, kernel=3, side=4, pool=2),
            Layer(channels_in=8, channels_out=4, flatten=(2, 2)),
            Layer(channels_in=4, channels_out=10),
        ),
    ],
    ids=["mlp", "cnn"],
)
def test_back_propagation_is_the_slope_of_the_loss(layers):
    """Every weight of every layer, by central differences."""
    weights, x, target = _network(layers)
    _, gradients = reference.back_propagation(layers, weights, x, target)
    for name in weights:

        def loss(value, name=name):
            return reference.back_propagation(layers, {**weights, name: value}, x, target)[0]

        np.testing.assert_allclose(gradients[name], _differences(loss, weights[name]), rtol=1e-5, atol=1e-7)


def test_the_local_gradients_are_the_slopes_of_the_local_loss():
    """Filters and classifier of a convolution whose map is pooled by 4×2."""
    layer = Layer(channels_in=2, channels_out=3, kernel=3, side=4, pool=2)
    classifier = networks.classifier(layer, 6)
    assert classifier.pool == (4, 2)
    rng = np.random.default_rng(1)
    w, q = rng.standard_normal(layer.shape), rng.standard_normal(classifier.linear.shape)
    x, target = rng.standard_normal((2, 4, 4, 2)), np.eye(10)[[3, 7]]
    _, dw, dq, following = reference.local_gradients(layer, classifier, w, q, x, target)
    assert following.shape == (2, 2, 2, 3)

    def loss(w, q):
        return reference.local_gradients(layer, classifier, w, q, x, target)[0]

    np.testing.assert_allclose(dw, _differences(lambda value: loss(value, q), w), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(dq, _differences(lambda value: loss(w, value), q), rtol=1e-5, atol=1e-7)


# -- the parts in Ops -----------------------------------------------------------------------------------------------
def test_patches_times_filters_is_the_convolution():
    """The same numbers as the reference's convolution."""
    layer = Layer(channels_in=2, channels_out=3, kernel=3, side=4)
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 4, 4, 2)), rng.standard_normal(layer.shape)
    y = networks.patches(OPS, layer, x) @ w.reshape(-1, 3)
    np.testing.assert_allclose(y.reshape(2, 4, 4, 3), reference.convolution(x, w))


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
def test_weights_come_back_as_they_went(layout):
    """`host_weights` undoes `put_weights`, and a channels-first network computes the same logits."""
    weights, x, _ = _network(SMALL)
    put = networks.put_parameters(OPS, SMALL, weights, layout)
    for name, back in networks.host_parameters(SMALL, put, layout).items():
        np.testing.assert_array_equal(back, weights[name])
    found = networks.logits(OPS, SMALL, networks.put_images(OPS, x, layout), put, layout)
    np.testing.assert_allclose(found, reference.logits(SMALL, weights, x))

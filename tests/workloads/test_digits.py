"""The digits: the shapes asked for, standardised, drawn without a look at the labels, the same in every process."""

import importlib.util

import numpy as np
import pytest

from workloads.common import digits


@pytest.mark.parametrize(("count", "side", "channels"), [(1, 8, 1), (5, 3, 2), (32, 32, 3), (2000, 8, 1)])
def test_images_have_the_shape_and_unit_variance(count, side, channels):
    """Any count, side and number of channels; zero mean, unit variance over the batch, channels alike."""
    batch = digits.images(count, side, channels, seed=3)
    assert batch.shape == (count, side, side, channels)
    assert batch.dtype == np.float64
    assert abs(batch.mean()) < 1e-12
    assert abs(batch.std() - 1) < 1e-12
    assert np.array_equal(batch[..., 0], batch[..., -1])


def test_images_at_their_own_size_are_the_digits_themselves():
    """At 8×8 nothing is interpolated: standardising is all that happened."""
    raw = digits._digits()[0][digits._draw(20, 7)]
    assert np.allclose(digits.images(20, 8, 1, 7)[..., 0], (raw - raw.mean()) / raw.std())


def test_bilinear_by_hand():
    """Twice the size: an inner pair takes ¾ of its own pixel and ¼ of the neighbour; edges repeat."""
    matrix = digits._bilinear(16)
    row = np.arange(8.0)
    assert np.allclose((matrix @ row)[:4], [0, 0.25, 0.75, 1.25])
    assert (matrix @ row)[-1] == 7
    assert np.allclose(digits._bilinear(5).sum(1), 1)


@pytest.mark.parametrize("features", [1, 2, 64, 65, 784, 1000])
def test_flat_cuts_to_the_number_of_features(features):
    """Exactly `features` columns, whether or not it is a square."""
    batch = digits.flat(50, features, seed=0)
    assert batch.shape == (50, features)
    assert abs(batch.mean()) < 1e-12


def test_flat_and_images_show_the_same_draw():
    """A flat batch of a square number of pixels is the image batch in rows."""
    assert np.allclose(digits.flat(30, 16 * 16, 5), digits.images(30, 16, 1, 5).reshape(30, -1))


@pytest.mark.parametrize("features", [1, 50, 64, 300])
def test_resampling_is_what_flat_does(features):
    """The product of the raw pixels with the resampling matrix, standardised, is the flat batch."""
    raw = digits.pixels()[digits._draw(25, 1)] @ digits.resampling(features)
    assert raw.shape == (25, features)
    assert np.allclose(digits.flat(25, features, 1), (raw - raw.mean()) / raw.std())


def test_labels_belong_to_the_images():
    """The labels of a draw are those of its images: the nearest class mean is right far above chance."""
    x, y = digits.flat(1797, 64, 11), digits.labels(1797, 11)
    means = np.stack([x[y == c].mean(0) for c in range(10)])
    nearest = np.argmin(((x[:, None] - means) ** 2).sum(-1), axis=1)
    assert (nearest == y).mean() > 0.85
    other = digits.labels(1797, 12)
    assert (nearest == other).mean() < 0.3, "labels of another draw must not fit"


def test_one_hot_is_the_labels():
    """One 1 in each row, where the label says."""
    targets = digits.one_hot(40, 2)
    assert targets.shape == (40, 10)
    assert np.array_equal(targets.argmax(1), digits.labels(40, 2))
    assert np.array_equal(targets.sum(1), np.ones(40))


def test_a_draw_is_without_repetition_while_images_last():
    """Up to 1797 no image comes twice; beyond, all come at least once."""
    assert len(set(digits._draw(1797, 0))) == 1797
    assert len(set(digits._draw(4000, 0))) == 1797
    assert np.array_equal(digits._draw(100, 4), digits._draw(200, 4)[:100])


def test_the_order_does_not_tell_the_label():
    """Neighbours in the batch share a label as often as chance has it, and the seed changes the batch."""
    y = digits.labels(1797, 0)
    assert abs((y[1:] == y[:-1]).mean() - 0.1) < 0.03
    assert not np.array_equal(y, digits.labels(1797, 1))
    assert np.array_equal(y, digits.labels(1797, 0))


def test_the_data_file_is_what_load_digits_gives(monkeypatch):
    """Reading the file and asking scikit-learn give the same images; the second is used where the file is not found."""
    by_file = digits._digits()
    digits._digits.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    by_import = digits._digits()
    digits._digits.cache_clear()
    for a, b in zip(by_file, by_import, strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize(
    ("call", "found"),
    [
        (lambda: digits.images(0, 8, 1, 0), "found 0"),
        (lambda: digits.images(1, 0, 1, 0), "at least 1 pixel, found 0"),
        (lambda: digits.images(1, 8, 0, 0), "channel, found 0"),
        (lambda: digits.flat(1, 0, 0), "feature, found 0"),
        (lambda: digits.resampling(0), "feature, found 0"),
    ],
)
def test_empty_shapes_are_refused(call, found):
    """Nothing to draw is an error with the value that was found."""
    with pytest.raises(ValueError, match=found):
        call()


def test_a_cached_array_cannot_be_disturbed():
    """The images kept for the process are read-only, and a batch is a copy."""
    with pytest.raises(ValueError, match="read-only"):
        digits._digits()[0][0] = 1
    digits.images(4, 8, 1, 0)[:] = 0
    assert digits.images(4, 8, 1, 0).any()

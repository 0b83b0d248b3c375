"""Real input: the handwritten digits that come with scikit-learn, resized to the shape that a workload asks for.

1797 images of 8×8 pixels, values 0…16, ten classes (Alpaydin and Kaynak 1998, UCI "Optical Recognition of Handwritten
Digits"). A batch is a random draw that never looks at a label, standardised to zero mean and unit variance as a whole.
"""

from __future__ import annotations

import importlib.util
import math
from functools import cache
from pathlib import Path

import numpy as np

from backends.ops import HostArray

SIDE = 8
CLASSES = 10


@cache
def _digits() -> tuple[HostArray, HostArray]:
    """All images (1797, 8, 8) float64 in 0…16 and their labels (1797,) int64, read-only.

    Reads scikit-learn's data file where it lies: importing `sklearn.datasets` takes a second, and every case is a
    process of its own. `load_digits` is the way in where the file has moved.
    """
    spec = importlib.util.find_spec("sklearn")
    folders = (spec.submodule_search_locations if spec else None) or []
    file = next((f for folder in folders if (f := Path(folder, "datasets", "data", "digits.csv.gz")).is_file()), None)
    if file is not None:
        table = np.loadtxt(file, delimiter=",", dtype=np.int64)
        pixels, labels = table[:, :-1].astype(np.float64), table[:, -1]
    else:
        from sklearn.datasets import load_digits

        bunch = load_digits()
        pixels, labels = np.asarray(bunch.data, np.float64), np.asarray(bunch.target, np.int64)
    pixels = pixels.reshape(-1, SIDE, SIDE)
    for array in (pixels, labels):
        array.setflags(write=False)
    return pixels, labels


def _draw(count: int, seed: int) -> HostArray:
    """Which images make the batch, (count,) int64: each at most once up to 1797, with replacement beyond."""
    if count < 1:
        raise ValueError(f"a batch of digits needs at least 1 image, found {count}")
    total = len(_digits()[0])
    rng = np.random.default_rng(seed)
    order = rng.permutation(total)
    return order[:count] if count <= total else np.concatenate([order, rng.integers(0, total, count - total)])


@cache
def _bilinear(side: int) -> HostArray:
    """Matrix (side, 8) that resamples a row of 8 pixels at `side` evenly spaced centres, edges repeated."""
    centres = np.clip((np.arange(side) + 0.5) * SIDE / side - 0.5, 0, SIDE - 1)
    left = np.minimum(centres.astype(np.int64), SIDE - 2)
    weight = centres - left
    matrix = np.zeros((side, SIDE))
    matrix[np.arange(side), left] = 1 - weight
    matrix[np.arange(side), left + 1] = weight
    return matrix


def resampling(features: int) -> HostArray:
    """Matrix (64, features) that makes `flat`'s pixels from an 8×8 image: `flat` is this product, standardised."""
    if features < 1:
        raise ValueError(f"a flat image needs at least 1 feature, found {features}")
    matrix = _bilinear(math.isqrt(features - 1) + 1)
    return np.ascontiguousarray(np.kron(matrix, matrix)[:features].T)


def pixels() -> HostArray:
    """Every image once, in the file's order, (1797, 64) float64 in 0…16."""
    return _digits()[0].reshape(-1, SIDE * SIDE)


def classes() -> HostArray:
    """The label of every image of `pixels`, (1797,) int64."""
    return _digits()[1]


def _standardised(x: HostArray) -> HostArray:
    """The batch with zero mean and unit variance; all zeros where it is constant (a single pixel)."""
    x -= x.mean()
    deviation = x.std()
    if deviation > 0:
        x /= deviation
    return x


def _resized(count: int, side: int, seed: int) -> HostArray:
    if side < 1:
        raise ValueError(f"the side of an image must be at least 1 pixel, found {side}")
    matrix = _bilinear(side)
    small: HostArray = matrix @ _digits()[0][_draw(count, seed)] @ matrix.T
    return small


def images(count: int, side: int, channels: int, seed: int) -> HostArray:
    """A batch (count, side, side, channels) float64, resized bilinearly, every channel the same grey image."""
    if channels < 1:
        raise ValueError(f"an image needs at least 1 channel, found {channels}")
    return np.repeat(_standardised(_resized(count, side, seed))[..., None], channels, axis=-1)


def flat(count: int, features: int, seed: int) -> HostArray:
    """A batch (count, features) float64: images of the next square at or above `features` pixels, the last ones cut."""
    if features < 1:
        raise ValueError(f"a flat image needs at least 1 feature, found {features}")
    side = math.isqrt(features - 1) + 1
    return _standardised(np.ascontiguousarray(_resized(count, side, seed).reshape(count, -1)[:, :features]))


def labels(count: int, seed: int) -> HostArray:
    """The digit on each image of the batch of the same count and seed, (count,) int32 in 0…9."""
    return _digits()[1][_draw(count, seed)].astype(np.int32)


def one_hot(count: int, seed: int) -> HostArray:
    """`labels` as targets of a classifier, (count, 10) float64."""
    return np.eye(CLASSES)[labels(count, seed)]

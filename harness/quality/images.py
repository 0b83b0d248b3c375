"""The real data: scikit-learn's digits in a fixed split, and a long-tailed draw of them with its balanced control.

1797 images of 8×8 pixels, ten classes. The split is the same in every run: of each class 54 images to test on, 18 to
validate on, the rest to train on (540, 180 and 1077).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from backends.ops import HostArray
from workloads.common import digits

CLASSES = digits.CLASSES
FEATURES = digits.SIDE**2
TEST, VALID = 54, 18  # images of each class
TAIL = 3  # classes that are called rare, of the long-tailed draw
MOST, FEWEST = 120, 6  # training images of the most frequent class, and of the rarest
_SPLIT_SEED = 1797


@dataclass(frozen=True, slots=True)
class Images:
    """`x` (n, 64) float64, `y` (n,) int64 in 0…9."""

    x: HostArray
    y: HostArray

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True, slots=True)
class Split:
    """The images to train on, to validate on and to test on; standardised by the mean and deviation of the first."""

    train: Images
    valid: Images
    test: Images


@cache
def split() -> Split:
    """The one split there is."""
    pixels, labels = digits.pixels(), digits.classes()
    rng = np.random.default_rng(_SPLIT_SEED)
    parts: tuple[list[HostArray], ...] = ([], [], [])
    for digit in range(CLASSES):
        of_class = rng.permutation(np.flatnonzero(labels == digit))
        for part, chosen in zip(parts, np.split(of_class, [TEST, TEST + VALID]), strict=True):
            part.append(chosen)
    test, valid, train = (np.sort(np.concatenate(part)) for part in parts)
    mean, deviation = pixels[train].mean(), pixels[train].std()

    def images(chosen: HostArray) -> Images:
        return Images((pixels[chosen] - mean) / deviation, labels[chosen])

    return Split(images(train), images(valid), images(test))


@dataclass(frozen=True, slots=True)
class Draw:
    """Images to train on with so many of each class, `counts` (10,); `rare` are the classes of the tail."""

    name: str
    images: Images
    counts: tuple[int, ...]
    rare: tuple[int, ...]


def draws(seed: int) -> tuple[Draw, Draw]:
    """The long-tailed draw, n = 120·20^(−rank/9) images of a class, and a balanced one of as many images in all.

    Which digit has which rank is drawn by the seed. The same classes are called rare in both: in the control they are
    as frequent as the others. Both are of what is not tested on.
    """
    known = split()
    pool = Images(np.concatenate([known.train.x, known.valid.x]), np.concatenate([known.train.y, known.valid.y]))
    rng = np.random.default_rng([seed, 1])
    ranks = rng.permutation(CLASSES)
    tailed = [round(MOST * (FEWEST / MOST) ** (rank / (CLASSES - 1))) for rank in ranks]
    share, more = divmod(sum(tailed), CLASSES)
    balanced = [share + (digit < more) for digit in range(CLASSES)]
    rare = tuple(int(d) for d in np.flatnonzero(ranks >= CLASSES - TAIL))

    def drawn(name: str, counts: list[int]) -> Draw:
        chosen = [rng.permutation(np.flatnonzero(pool.y == digit))[: counts[digit]] for digit in range(CLASSES)]
        every = np.concatenate(chosen)
        return Draw(name, Images(pool.x[every], pool.y[every]), tuple(counts), rare)

    return drawn("long_tailed", tailed), drawn("balanced", balanced)

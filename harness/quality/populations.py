"""Trains the models of which it is asked what compression forgets, and has them answer every test image.

All models of a population are trained at once, in NumPy float32; they answer in float64. The dense models are two
halves of as many; every level compresses the same third set, trained the same way from other seeds, and fine-tunes it,
so that a level and the dense models are independent samples, as Welch's test wants them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from backends.ops import HostArray
from harness.quality.compression import CompressionLevel, nothing
from harness.quality.facts import Answers
from harness.quality.images import CLASSES, FEATURES, Draw, Images
from harness.quality.learners import Weights
from harness.quality.sharing import shared

BATCH, RATE = 32, 0.1
HALVES = ("first", "second")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How many models, how long they train, how long they are fine-tuned once compressed, and their hidden units."""

    models: int = 30
    steps: int = 300
    fine_steps: int = 100
    hidden: int = 128


def first_weights(recipe: Recipe, seeds: Sequence[int], branched: bool) -> Weights:
    """He's normal weights (models, …) float32; with `branched` also the classifier behind the first layer."""
    sizes = (FEATURES, recipe.hidden, recipe.hidden, CLASSES)
    several = []
    for seed in seeds:
        rng = np.random.default_rng([seed, 3])
        one = {f"w{i}": rng.standard_normal(ends) * np.sqrt(2 / ends[0]) for i, ends in enumerate(pairwise(sizes))}
        if branched:
            one["q0"] = rng.standard_normal((recipe.hidden, CLASSES)) / np.sqrt(recipe.hidden)
        several.append(one)
    return {name: np.stack([one[name] for one in several]).astype(np.float32) for name in several[0]}


def fit(
    weights: Weights,
    images: Images,
    seeds: Sequence[int],
    steps: int,
    level: CompressionLevel | None,
    part: int,
    threads: int = 1,
) -> Weights:
    """Train for `steps` of plain SGD under a level's projection; what is multiplied in the end, (models, …).

    Images are drawn with replacement, by a generator for each model: `part` tells training from fine-tuning. `threads`
    share the models.
    """

    def some(of: slice, go_on: Callable[[], None]) -> Weights:
        return _fit({name: value[of] for name, value in weights.items()}, images, seeds[of], steps, level, part, go_on)

    found = shared(len(seeds), threads, some)
    return {name: np.concatenate([one[name] for one in found]) for name in found[0]}


def _fit(
    weights: Weights, images: Images, seeds: Sequence[int], steps: int, level: CompressionLevel | None, part: int,
    go_on: Callable[[], None],
) -> Weights:  # fmt: skip
    project = (level.project if level else nothing)(weights)
    drawn = [np.random.default_rng([seed, 4, part]).integers(0, len(images), (steps, BATCH)) for seed in seeds]
    chosen = np.stack(drawn, axis=1)
    x, target = images.x.astype(np.float32), np.eye(CLASSES, dtype=np.float32)[images.y]
    for number in range(steps):
        go_on()
        used = project(weights)
        for name, gradient in _gradients(used, x[chosen[number]], target[chosen[number]]).items():
            weights[name] = weights[name] - np.float32(RATE) * gradient
    return project(weights)


def _gradients(w: Weights, x: HostArray, target: HostArray) -> Weights:
    """Of the mean cross-entropy of the last classifier and, where there is one, of that behind the first layer."""
    h0 = np.maximum(x @ w["w0"], 0)
    h1 = np.maximum(h0 @ w["w1"], 0)
    d2 = (_softmax(h1 @ w["w2"]) - target) / np.float32(x.shape[-2])
    d1 = (d2 @ _turned(w["w2"])) * (h1 > 0)
    d0 = d1 @ _turned(w["w1"])
    out: Weights = {"w2": _turned(h1) @ d2, "w1": _turned(h0) @ d1}
    if "q0" in w:
        d = (_softmax(h0 @ w["q0"]) - target) / np.float32(x.shape[-2])
        out["q0"] = _turned(h0) @ d
        d0 = d0 + d @ _turned(w["q0"])
    out["w0"] = _turned(x) @ (d0 * (h0 > 0))
    return out


def _softmax(z: HostArray) -> HostArray:
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def _turned(x: HostArray) -> HostArray:
    return np.swapaxes(x, -1, -2)


def answers(weights: Weights, x: HostArray, threshold: HostArray | None = None) -> HostArray:
    """The label that each model gives each image, (models, n), in float64.

    With a `threshold` (models,) an image leaves at the first classifier where this is at least so sure of it.
    """
    w = {name: value.astype(np.float64) for name, value in weights.items()}
    h0 = np.maximum(x @ w["w0"], 0)
    said = np.argmax(np.maximum(h0 @ w["w1"], 0) @ w["w2"], axis=-1)
    if threshold is None:
        return np.asarray(said)
    z = h0 @ w["q0"]
    return np.asarray(np.where(_margin(z) >= threshold[:, None], np.argmax(z, axis=-1), said))


def thresholds(weights: Weights, x: HostArray, share: float) -> HostArray:
    """The margin (models,) that so large a share of the images reaches at the first classifier; no label is looked at.

    Of images that were trained on nearly all are sure: the threshold is set on those that are asked.
    """
    margin = _margin(np.maximum(x @ weights["w0"].astype(np.float64), 0) @ weights["q0"].astype(np.float64))
    return np.asarray(np.quantile(margin, 1 - share, axis=-1))


def _margin(z: HostArray) -> HostArray:
    """How much more probable the first label is than the second, (models, n)."""
    top = np.sort(_softmax(z), axis=-1)
    return np.asarray(top[..., -1] - top[..., -2])


class Population:
    """The models of one draw, trained where they are first needed."""

    def __init__(self, draw: Draw, test: Images, recipe: Recipe, seed: int, threads: int = 1) -> None:
        self._draw, self._test, self._recipe, self._seed, self._threads = draw, test, recipe, seed, threads
        self._trained: dict[tuple[int, bool], Weights] = {}

    def _seeds(self, third: int) -> list[int]:
        """Of one of the three sets of models: they are the same in every draw, and no model has two."""
        first = 1000 * (self._seed + 1) + third * self._recipe.models
        return list(range(first, first + self._recipe.models))

    def _of(self, third: int, branched: bool) -> Weights:
        key = (third, branched)
        if key not in self._trained:
            seeds = self._seeds(third)
            begun = first_weights(self._recipe, seeds, branched)
            self._trained[key] = self._fit(begun, seeds, self._recipe.steps, None, 0)
        return {name: value.copy() for name, value in self._trained[key].items()}

    def _fit(
        self, weights: Weights, seeds: Sequence[int], steps: int, level: CompressionLevel | None, part: int
    ) -> Weights:
        return fit(weights, self._draw.images, seeds, steps, level, part, self._threads)

    def dense(self, branched: bool) -> Iterator[Answers]:
        """What the two halves of the dense models say, trained as long as a compressed one in all."""
        method = "dense with an exit" if branched else "dense"
        for third, half in enumerate(HALVES):
            seeds = self._seeds(third)
            weights = self._fit(self._of(third, branched), seeds, self._recipe.fine_steps, None, 1)
            yield self._fact(method, half, seeds, answers(weights, self._test.x))

    def compressed(self, level: CompressionLevel) -> Answers:
        """What the models of a level say."""
        branched, seeds = level.early is not None, self._seeds(2)
        weights = self._fit(self._of(2, branched), seeds, self._recipe.fine_steps, level, 1)
        sure = None if level.early is None else thresholds(weights, self._test.x, level.early)
        return self._fact(level.method, level.level, seeds, answers(weights, self._test.x, sure))

    def _fact(self, method: str, level: str, seeds: list[int], said: HostArray) -> Answers:
        return Answers(
            draw=self._draw.name,
            method=method,
            level=level,
            counts=list(self._draw.counts),
            rare=list(self._draw.rare),
            seeds=seeds,
            says=["".join(map(str, row)) for row in said.tolist()],
        )

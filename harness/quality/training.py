"""Trains many seeds of a learner at once, in NumPy, and counts what each gets right as it goes.

In float64: float32 leaves another count where sums are taken in another order, as on another kind of processor. What
comes of a seed in float64 is the same everywhere, so that whoever doubts a count can train it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from backends.ops import HostArray
from harness.quality.images import Images, Split
from harness.quality.learners import Learner, NetworkShape, Weights, stacked
from harness.quality.sharing import shared
from workloads.base import Definition

TOGETHER = 5  # seeds that a thread trains at once: the weights of so few stay in its cache
HELD = 3  # evaluations in a row at the target: a first crossing alone rewards a spike


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of some seeds: `correct` has the right answers of each at every evaluation, while it was trained.

    `weights` are those at the end, (seeds, …) float64.
    """

    correct: list[list[int]]
    weights: Weights


def batches(learner: Learner, images: Images, seed: int, size: int) -> Iterator[Mapping[str, HostArray]]:
    """The batches of one seed without end: every image once in an order drawn anew, then again."""
    rng = np.random.default_rng([seed, 2])
    while True:
        order = rng.permutation(len(images))
        for start in range(0, len(order) - size + 1, size):
            chosen = order[start : start + size]
            yield learner.batch(images.x[chosen], images.y[chosen], rng)


def right(learner: Learner, weights: Weights, images: Images) -> list[int]:
    """How many images each seed's network names correctly."""
    return [int(n) for n in np.sum(learner.predict(weights, images.x) == images.y, axis=-1)]


def most_right(correct: Sequence[Sequence[int]]) -> tuple[list[int], list[int]]:
    """The most images that each seed had right, and the number of the evaluation, from 1, that first saw so many."""
    most = [max(one) for one in correct]
    return most, [one.index(best) + 1 for one, best in zip(correct, most, strict=True)]


def right_in_float64(learner: Learner, weights: Weights, images: Images) -> list[int]:
    """The same with the weights in float64."""
    return right(learner, {k: np.asarray(v, np.float64) for k, v in weights.items()}, images)


def train(
    learner: Learner,
    workload: Definition,
    shape: NetworkShape,
    split: Split,
    *,
    seeds: Sequence[int],
    rates: Sequence[float],
    steps: int,
    every: int,
    target: int | None = None,
    threads: int = 1,
    told: Callable[[int], None] = lambda _: None,
) -> Trained:
    """Train a network for each of `seeds` at its rate for `steps`, with an evaluation after each `every` of them.

    With a `target`, right answers of the validation images, a seed ends as soon as it has held it for HELD evaluations.
    `threads` share the seeds. `told` is told the steps that are done, of the mean seed.
    """

    def some(part: slice, go_on: Callable[[], None]) -> Trained:
        def done(count: int) -> None:
            go_on()
            taken[part.start] = count * (part.stop - part.start)
            told(sum(list(taken.values())) // len(seeds))

        return _train(learner, workload, shape, split, seeds[part], rates[part], steps, every, target, done)

    taken: dict[int, int] = {}
    found = shared(len(seeds), threads, some, most=TOGETHER)
    correct = [row for one in found for row in one.correct]
    return Trained(correct, {name: np.concatenate([one.weights[name] for one in found]) for name in found[0].weights})


def _train(
    learner: Learner, workload: Definition, shape: NetworkShape, split: Split, seeds: Sequence[int],
    rates: Sequence[float], steps: int, every: int, target: int | None, told: Callable[[int], None],
) -> Trained:  # fmt: skip
    weights = stacked([learner.weights(workload, shape, seed) for seed in seeds], "float64")
    final = {name: value.copy() for name, value in weights.items()}
    streams = [batches(learner, split.train, seed, shape.batch) for seed in seeds]
    rate = np.asarray(rates, np.float64)[:, None, None]
    correct: list[list[int]] = [[] for _ in seeds]
    left = np.arange(len(seeds))
    for done in range(every, steps + 1, every):
        for _ in range(every):
            drawn = [next(streams[k]) for k in left]
            batch = {name: np.stack([one[name] for one in drawn]) for name in learner.operands}
            with np.errstate(over="ignore", invalid="ignore"):  # a rate that is too large diverges, and learns nothing
                learner.step(weights, batch, rate)
        with np.errstate(over="ignore", invalid="ignore"):
            found = right(learner, weights, split.valid)
        for k, count in zip(left, found, strict=True):
            correct[k].append(count)
        for name, value in weights.items():
            final[name][left] = value
        told(done)
        on = np.array([target is None or first_at(correct[k], target, HELD) is None for k in left])
        if not on.all():
            left, rate = left[on], rate[on]
            weights = {name: value[on] for name, value in weights.items()}
        if not len(left):
            break
    return Trained(correct, final)


def first_at(correct: Sequence[int], target: int, held: int = 1) -> int | None:
    """The number of the evaluation, from 1, that begins the first `held` in a row with `target` right; None of none."""
    row = 0
    for number, count in enumerate(correct, 1):
        row = row + 1 if count >= target else 0
        if row == held:
            return number - held + 1
    return None

"""What compression forgets: figures of answers, a level of models held against dense ones.

Per class, recall minus the model's own accuracy (Hooker et al. 2019, arXiv:1911.05248), by Welch's test over models;
the p-values of the ten classes are Holm's (1979), which the paper has none of. A pruning-identified exemplar (PIE) is
an image whose most frequent label over the compressed models is not that over the dense ones. The two halves of the
dense models against each other are the noise floor. All this is of how frequent a class is in the training images; it
says nothing of people.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache

import msgspec
import numpy as np
from scipy.stats import fisher_exact, ttest_ind_from_stats
from scipy.stats.contingency import odds_ratio

from backends.ops import HostArray
from harness.quality.compression import LEVELS
from harness.quality.facts import Answers, Fact
from harness.quality.images import CLASSES, split
from harness.quality.populations import HALVES
from harness.stats.intervals import CONFIDENCE

RESAMPLES = 1000
SPLITS = 100  # random halvings of the dense models
ALARM = 0.05
EXITING = "early exit"  # whose dense models have an exit, too


class Forgets(msgspec.Struct, frozen=True, kw_only=True):
    """One level against the dense models of the same draw.

    `tail_recall_change` is that of the mean recall of the rare classes minus the model's own accuracy, in shares, with
    the bootstrap interval over models and, within them, images. `p_holm` is the least of the rare classes' adjusted
    p-values, `alarms` the classes of all ten whose own is below 0.05. `pie_share` is of the test images;
    `pie_odds` those of a PIE in the rare classes over the others, with Fisher's p. `taxicab` is the mean over images of
    half the L1 distance between the label distributions.
    """

    draw: str
    method: str
    level: str
    models: int
    accuracy: float
    accuracy_change: float
    tail_recall: float
    tail_recall_change: float
    low: float
    high: float
    p_holm: float
    alarms: int
    pie_share: float
    pie_odds: float | None
    pie_odds_low: float | None
    pie_odds_high: float | None
    pie_p: float
    accuracy_on_pie: float | None
    accuracy_off_pie: float | None
    taxicab: float


class NoiseFloor(msgspec.Struct, frozen=True, kw_only=True):
    """The dense models against themselves: `splits` random halvings, each tested as a level is (A/A).

    `alarms` of `tests` adjusted p-values were below 0.05. `tail_change` is what 95 of 100 halvings differ by at most in
    tail recall, `pie_share` the median share of PIEs between halves.
    """

    draw: str
    models: int
    splits: int
    tests: int
    alarms: int
    tail_change: float
    pie_share: float


PUBLISHED = ("method", "level", "accuracy", "tail_recall_change", "low", "high", "p_holm", "pie_share")


# -- one comparison ----------------------------------------------------------------------------------------------------
def said_by(fact: Answers) -> HostArray:
    """The labels (models, images)."""
    return np.array([[ord(c) - ord("0") for c in one] for one in fact.says], np.int8)


def recalls(right: HostArray, truth: HostArray) -> HostArray:
    """Recall of each class less the model's own accuracy, (models, 10), from right answers (models, images)."""
    by_class = np.stack([right[:, truth == c].mean(axis=1) for c in range(CLASSES)], axis=1)
    return np.asarray(by_class - right.mean(axis=1, keepdims=True))


def holm(p: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given."""
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate([(len(p) - k) * p[i] for k, i in enumerate(order)])
    out = np.empty(len(p))
    out[order] = np.minimum(stepped, 1)
    return [float(value) for value in out]


def welch(dense: HostArray, level: HostArray) -> list[float]:
    """Holm's p of Welch's test for each class, of `recalls` (models, 10); where no model varies, 1 if all are equal."""
    sides = [(side.mean(axis=0), side.std(axis=0, ddof=1), len(side)) for side in (dense, level)]
    with np.errstate(invalid="ignore", divide="ignore"):
        p = np.asarray(ttest_ind_from_stats(*sides[0], *sides[1], equal_var=False).pvalue)
    return holm([1.0 if value != value else float(value) for value in p])


def modal(said: HostArray) -> HostArray:
    """The most frequent label of each image over the models, the smallest of equally frequent ones."""
    return np.asarray(np.argmax(frequencies(said), axis=0))


def frequencies(said: HostArray) -> HostArray:
    """The share of the models that give each label, (10, images)."""
    return np.stack([(said == c).mean(axis=0) for c in range(CLASSES)])


def forgets(dense: HostArray, said: HostArray, truth: HostArray, fact: Answers) -> Forgets:
    """A level's figures from its labels and the dense models', (models, images) each."""
    right, right_dense = said == truth, dense == truth
    own, theirs = recalls(right, truth), recalls(right_dense, truth)
    rare = list(fact.rare)
    p = welch(theirs, own)
    low, high = _bootstrap(right_dense, right, truth, rare)
    pie = modal(said) != modal(dense)
    odds, odds_low, odds_high, pie_p = _odds(pie, np.isin(truth, rare))
    return Forgets(
        draw=fact.draw,
        method=fact.method,
        level=fact.level,
        models=len(said),
        accuracy=float(right.mean()),
        accuracy_change=float(right.mean() - right_dense.mean()),
        tail_recall=float(right[:, np.isin(truth, rare)].mean()),
        tail_recall_change=float(own[:, rare].mean() - theirs[:, rare].mean()),
        low=low,
        high=high,
        p_holm=min(p[c] for c in rare),
        alarms=sum(value < ALARM for value in p),
        pie_share=float(pie.mean()),
        pie_odds=odds,
        pie_odds_low=odds_low,
        pie_odds_high=odds_high,
        pie_p=pie_p,
        accuracy_on_pie=float(right[:, pie].mean()) if pie.any() else None,
        accuracy_off_pie=float(right[:, ~pie].mean()) if not pie.all() else None,
        taxicab=float(np.abs(frequencies(said) - frequencies(dense)).sum(axis=0).mean() / 2),
    )


def _bootstrap(dense: HostArray, level: HostArray, truth: HostArray, rare: Sequence[int]) -> tuple[float, float]:
    """The interval of the change of tail recall: models of either side and images of every class are drawn anew."""
    rng = np.random.default_rng(0)
    images = _images(tuple(truth.tolist()))
    in_tail = images * np.isin(truth, rare)

    def tail(right: HostArray) -> HostArray:
        models = rng.multinomial(len(right), np.full(len(right), 1 / len(right)), RESAMPLES) / len(right)
        mean = models @ right
        recall = (mean * in_tail).sum(axis=1) / in_tail.sum(axis=1)  # as many images of every class: the mean recall
        return np.asarray(recall - (mean * images).sum(axis=1) / images.sum(axis=1))

    low, high = np.quantile(tail(level) - tail(dense), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


@cache
def _images(truth: tuple[int, ...]) -> HostArray:
    """How often each image is drawn, (resamples, images): as many of every class as there are."""
    rng, labels = np.random.default_rng(1), np.array(truth)
    out = np.zeros((RESAMPLES, len(labels)))
    for c in range(CLASSES):
        of_class = np.flatnonzero(labels == c)
        out[:, of_class] = rng.multinomial(len(of_class), np.full(len(of_class), 1 / len(of_class)), RESAMPLES)
    return out


def _odds(pie: HostArray, rare: HostArray) -> tuple[float | None, float | None, float | None, float]:
    """The odds of a PIE among the rare classes over those among the others, and Fisher's p; None where nothing is."""
    table = np.array([[(pie & of).sum(), (~pie & of).sum()] for of in (rare, ~rare)], np.int64)
    p = float(fisher_exact(table).pvalue)
    if not pie.any() or pie.all():
        return None, None, None, p
    found = odds_ratio(table)
    low, high = found.confidence_interval(CONFIDENCE)
    return _finite(found.statistic), _finite(low), _finite(high), p


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


# -- all of a study ----------------------------------------------------------------------------------------------------
def _dense(facts: Mapping[str, Fact], draw: str, exiting: bool) -> list[HostArray]:
    """The labels of both halves of a draw's dense models; empty where one is missing."""
    method = "dense with an exit" if exiting else "dense"
    halves = [facts.get(f"{draw} {method} {half}") for half in HALVES]
    known = [said_by(half) for half in halves if isinstance(half, Answers)]
    return known if len(known) == len(HALVES) else []


def all_forgets(facts: Mapping[str, Fact]) -> list[Forgets]:
    """Every level that was trained against the first half of the dense models, which are as many; LEVELS' order."""
    order = {(level.method, level.level): number for number, level in enumerate(LEVELS)}
    truth = split().test.y
    found = [f for f in facts.values() if isinstance(f, Answers) and (f.method, f.level) in order]
    out = []
    for fact in sorted(found, key=lambda f: (f.draw != "long_tailed", order[f.method, f.level])):
        dense = _dense(facts, fact.draw, fact.method == EXITING)
        if dense:
            out.append(forgets(dense[0], said_by(fact), truth, fact))
    return out


def noise_floors(facts: Mapping[str, Fact]) -> Iterator[NoiseFloor]:
    """The A/A control of each draw."""
    truth = split().test.y
    for draw in dict.fromkeys(f.draw for f in facts.values() if isinstance(f, Answers)):
        halves = _dense(facts, draw, False)
        if halves:
            rare = next(f.rare for f in facts.values() if isinstance(f, Answers) and f.draw == draw)
            yield noise_floor(draw, np.concatenate(halves), truth, rare)


def noise_floor(draw: str, said: HostArray, truth: HostArray, rare: Sequence[int]) -> NoiseFloor:
    """The A/A control of dense models with these labels (models, images): halved at random SPLITS times."""
    rng = np.random.default_rng(0)
    relative, alarms, changes, shares = recalls(said == truth, truth), 0, [], []
    for _ in range(SPLITS):
        order = rng.permutation(len(said))
        one, other = order[: len(said) // 2], order[len(said) // 2 :]
        alarms += sum(p < ALARM for p in welch(relative[one], relative[other]))
        changes.append(abs(float(relative[one][:, rare].mean() - relative[other][:, rare].mean())))
        shares.append(float((modal(said[one]) != modal(said[other])).mean()))
    return NoiseFloor(
        draw=draw,
        models=len(said),
        splits=SPLITS,
        tests=SPLITS * CLASSES,
        alarms=alarms,
        tail_change=float(np.quantile(changes, CONFIDENCE)),
        pie_share=float(np.median(shares)),
    )

"""What each method leaves of the weights, and how models are trained under it."""

from __future__ import annotations

import numpy as np
import pytest

from harness.quality import compression
from harness.quality.compression import LEVELS, CompressionLevel
from harness.quality.images import draws, split
from harness.quality.populations import Population, Recipe, answers, first_weights, fit, thresholds
from workloads.discovery import workloads


@pytest.fixture
def weights():
    return first_weights(Recipe(models=3, hidden=64), [1, 2, 3], branched=False)


def left(project, weights):
    return project(weights)(weights)


def test_magnitude_keeps_the_largest_of_each_layer_of_each_model(weights):
    kept = left(compression.magnitude(0.25), weights)
    for name in ("w0", "w1"):
        on = kept[name] != 0
        assert (on.reshape(3, -1).mean(axis=1) == 0.25).all()
        assert np.abs(weights[name][on]).min() > np.abs(weights[name][~on]).max() * 0.9
    assert (kept["w2"] == weights["w2"]).all()


def test_every_group_holds_exactly_as_many_as_it_may(weights):
    kept = left(compression.groups(1, 4), weights)
    for name in ("w0", "w1"):
        models, rows, columns = weights[name].shape
        by_group = (kept[name] != 0).reshape(models, rows // 4, 4, columns).sum(axis=2)
        assert (by_group == 1).all()
        largest = np.abs(weights[name]).reshape(models, rows // 4, 4, columns).max(axis=2)
        assert (np.abs(kept[name]).reshape(models, rows // 4, 4, columns).max(axis=2) == largest).all()


def test_units_go_with_all_their_weights_in_and_out(weights):
    kept = left(compression.units(0.5), weights)
    into = (kept["w0"] != 0).any(axis=1)
    assert (into.sum(axis=1) == 32).all()
    assert ((kept["w1"] != 0).any(axis=2) == into).all()


@pytest.mark.parametrize(("bits", "levels"), [(8, 255), (4, 15)])
def test_few_bits_leave_few_values_a_scale(weights, bits, levels):
    kept = left(compression.whole_numbers(bits), weights)
    column = kept["w0"][0, :, 0]
    assert len(np.unique(column)) <= levels
    step = np.abs(weights["w0"][0, :, 0]).max() / (2 ** (bits - 1) - 1)
    assert np.abs(column - weights["w0"][0, :, 0]).max() <= step / 2 * 1.001


def test_ternary_has_three_values_a_column(weights):
    kept = left(compression.ternary, weights)
    column = np.unique(np.abs(kept["w1"][1, :, 5]).round(6))
    assert len(column) == 2
    assert column[0] == 0


def test_a_column_of_zeros_stays_zeros():
    zeros = {"w0": np.zeros((1, 4, 2), np.float32)}
    assert not left(compression.whole_numbers(8), zeros)["w0"].any()
    assert not left(compression.ternary, zeros)["w0"].any()


def test_fine_tuning_keeps_what_was_taken_out(weights):
    known = split().train
    level = CompressionLevel(method="m", level="l", project=compression.magnitude(0.1))
    before = left(level.project, weights)
    after = fit(dict(weights), known, [1, 2, 3], 5, level, 1)
    assert ((after["w0"] != 0) == (before["w0"] != 0)).all()
    assert (after["w0"] != before["w0"]).any()


def test_training_under_a_projection_learns():
    known = split()
    begun = first_weights(Recipe(models=2, hidden=32), [1, 2], branched=False)
    done = fit(begun, known.train, [1, 2], 80, CompressionLevel(method="m", level="l", project=compression.ternary), 0)
    assert (answers(done, known.test.x) == known.test.y).mean() > 0.5


def test_so_large_a_share_leaves_at_the_first_exit():
    known = split()
    weights = first_weights(Recipe(models=2, hidden=32), [1, 2], branched=True)
    sure = thresholds(weights, known.train.x, 0.75)
    none, every = answers(weights, known.test.x), answers(weights, known.test.x, np.zeros(2))
    some = answers(weights, known.test.x, sure)
    assert (some == np.where(some == every, every, none)).all()
    leaves = (some != none).mean()
    assert 0 < leaves < 1


def test_no_model_is_both_dense_and_compressed_and_draws_have_the_same_seeds():
    recipe = Recipe(models=2, steps=2, fine_steps=1, hidden=16)
    tailed, balanced = (Population(draw, split().test, recipe, 0) for draw in draws(0))
    halves = list(tailed.dense(branched=False))
    level = tailed.compressed(LEVELS[0])
    assert not {*halves[0].seeds} & {*halves[1].seeds}
    assert not {*halves[0].seeds, *halves[1].seeds} & {*level.seeds}
    assert balanced.compressed(LEVELS[0]).seeds == level.seeds
    assert all(len(said) == 540 for said in level.says)


def test_levels_name_axes_that_their_workloads_have():
    """Of the workloads that are here; a level waits for one that is not."""
    known = workloads()[0]
    for level in LEVELS:
        if level.workload in known:
            assert {*level.axes} <= {*known[level.workload].axes}
    assert len({(level.method, level.level) for level in LEVELS}) == len(LEVELS)

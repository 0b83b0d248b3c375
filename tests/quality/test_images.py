"""The split of the digits and the draws of them."""

from __future__ import annotations

import numpy as np

from harness.quality.images import draws, split


def rows(images):
    return {tuple(row) for row in images.x.round(6).tolist()}


def test_the_split_is_fixed_stratified_and_of_every_image_once():
    known = split()
    assert [len(part) for part in (known.train, known.valid, known.test)] == [1077, 180, 540]
    assert np.bincount(known.test.y).tolist() == [54] * 10
    assert np.bincount(known.valid.y).tolist() == [18] * 10
    assert len(rows(known.train) | rows(known.valid) | rows(known.test)) == len(rows(known.train)) + 720


def test_pixels_are_standardised_by_the_images_to_train_on_alone():
    known = split()
    assert abs(known.train.x.mean()) < 1e-12
    assert abs(known.train.x.std() - 1) < 1e-12
    assert abs(known.test.x.mean()) > 1e-6


def test_a_draw_has_a_long_tail_and_its_control_as_many_images_of_the_same_pool():
    tailed, balanced = draws(0)
    assert sorted(tailed.counts, reverse=True) == [120, 86, 62, 44, 32, 23, 16, 12, 8, 6]
    assert sum(balanced.counts) == sum(tailed.counts) == len(tailed.images) == len(balanced.images)
    assert max(balanced.counts) - min(balanced.counts) <= 1
    assert balanced.rare == tailed.rare
    assert sorted(tailed.counts[c] for c in tailed.rare) == [6, 8, 12]
    assert np.bincount(tailed.images.y, minlength=10).tolist() == list(tailed.counts)
    assert not rows(tailed.images) & rows(split().test)


def test_another_seed_makes_other_digits_rare():
    assert len({draws(seed)[0].rare for seed in range(6)}) > 1
    assert draws(3)[0].counts == draws(3)[0].counts

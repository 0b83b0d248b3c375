"""What is called forgotten, and what is not."""

from __future__ import annotations

import numpy as np
import pytest

from harness.quality.facts import Answers
from harness.quality.forgotten import (
    ALARM,
    PUBLISHED,
    SPLITS,
    forgets,
    holm,
    modal,
    noise_floor,
    recalls,
    said_by,
    welch,
)

TRUTH = np.repeat(np.arange(10), 54)
RARE = [7, 8, 9]


def models(count, wrong, seed=0):
    """Labels of models (count, 540) that are wrong on a share of each class, of images of their own."""
    rng = np.random.default_rng(seed)
    share = np.broadcast_to(wrong, 10)[TRUTH]
    return np.where(rng.random((count, 540)) < share, (TRUTH + 1) % 10, TRUTH).astype(np.int8)


def fact(method="magnitude pruning", level="density 0.1", said=()):
    return Answers(
        draw="long_tailed", method=method, level=level, counts=[1] * 10, rare=RARE, seeds=[0],
        says=["".join(map(str, row)) for row in np.asarray(said).tolist()],
    )  # fmt: skip


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]


def test_what_rare_classes_lose_beyond_accuracy_is_found():
    wrong = np.where(np.isin(np.arange(10), RARE), 0.5, 0.1)
    found = forgets(models(30, 0.1), models(30, wrong, 1), TRUTH, fact())
    assert found.tail_recall_change == pytest.approx(-0.28, abs=0.05)  # −0.40, less the −0.12 of accuracy
    assert found.low < found.tail_recall_change < found.high < -0.15
    assert found.p_holm < 1e-6
    assert found.alarms >= 3
    assert found.taxicab > 0.05


def test_a_model_that_is_worse_everywhere_forgets_no_class_more():
    found = forgets(models(30, 0.1), models(30, 0.3, 1), TRUTH, fact())
    assert found.accuracy_change == pytest.approx(-0.2, abs=0.02)
    assert abs(found.tail_recall_change) < 0.03
    assert found.low < 0 < found.high
    assert found.p_holm > ALARM


def test_exemplars_are_images_whose_most_frequent_label_changes_and_their_odds_are_of_the_tail():
    dense, level = models(30, 0.0), models(30, 0.0)
    level[:20, TRUTH == 9] = 0
    level[:20, np.flatnonzero(TRUTH == 0)[:2]] = 5
    found = forgets(dense, level, TRUTH, fact())
    assert found.pie_share == pytest.approx(56 / 540)
    assert found.pie_odds_low > 10
    assert found.pie_p < 1e-6
    assert found.accuracy_on_pie == pytest.approx(1 / 3)
    assert found.accuracy_off_pie == 1


def test_equal_answers_have_no_exemplars_and_no_odds():
    dense = models(30, 0.1)
    found = forgets(dense, dense, TRUTH, fact())
    assert found.pie_share == found.taxicab == found.tail_recall_change == 0
    assert found.pie_odds is None


def test_models_that_do_not_vary_alarm_nobody():
    assert welch(np.ones((5, 10)), np.ones((5, 10))) == [1.0] * 10


def test_recall_is_relative_to_the_models_own_accuracy():
    right = np.ones((1, 540), bool)
    right[0, TRUTH == 3] = False
    found = recalls(right, TRUTH)[0]
    assert found[3] == pytest.approx(-0.9)
    assert found[0] == pytest.approx(0.1)


def test_the_control_of_equal_models_alarms_in_at_most_a_twentieth_of_its_tests():
    floor = noise_floor("long_tailed", models(60, 0.15), TRUTH, RARE)
    assert floor.tests == 10 * SPLITS
    assert floor.alarms <= 0.05 * floor.tests
    assert 0 < floor.tail_change < 0.05


def test_the_control_alarms_where_the_halves_are_not_alike():
    """Thirty models of which one class is worse against thirty others."""
    two = recalls(models(30, 0.1) == TRUTH, TRUTH), recalls(models(30, np.r_[[0.1] * 9, 0.5], 1) == TRUTH, TRUTH)
    assert sum(p < ALARM for p in welch(*two)) >= 1


def test_modal_and_the_text_of_answers():
    said = np.array([[1, 2], [1, 3], [4, 3]])
    assert modal(said).tolist() == [1, 3]
    assert said_by(fact(said=said)).tolist() == said.tolist()


def test_what_json_has_is_what_was_agreed():
    agreed = ("method", "level", "accuracy", "tail_recall_change", "low", "high", "p_holm", "pie_share")
    assert agreed == PUBLISHED

"""Steps in histories: planted ones are found where they are, and histories without any seldom show one."""

from __future__ import annotations

from math import exp, log

import numpy as np
import pytest

from harness.stats.changes import FALSE_ALARM
from harness.stats.intervals import few_interval
from harness.stats.steps import luck_of, of_interval, steps


def history(rng, rows=12, runs=8, rounds=5, luck=0.02, within=0.04, planted=()):
    """Rows of runs of rounds: a run has luck of its own, a round its spread. `planted`: (row, run, factor)."""
    means = np.zeros((rows, runs))
    for row, run, factor in planted:
        means[row, run:] += log(factor)
    means += rng.normal(0, luck, (rows, runs))
    ratios = np.exp(means[..., None] + rng.normal(0, within, (rows, runs, rounds)))
    out = []
    for each in ratios:
        low, high = few_interval(each)
        middle = np.median(each, axis=1)
        out.append([of_interval(*map(log, found), rounds) for found in zip(middle, low, high, strict=True)])
    return out


@pytest.mark.parametrize(("runs", "rounds", "luck"), [(3, 5, 0.02), (3, 5, 0.04), (8, 5, 0.02), (12, 3, 0.05)])
def test_a_history_without_steps_shows_one_in_at_most_one_of_twenty(runs, rounds, luck):
    rng = np.random.default_rng(runs * 100 + rounds)
    n = 120
    alarms = sum(bool(steps(history(rng, runs=runs, rounds=rounds, luck=luck))) for _ in range(n))
    assert alarms <= n * FALSE_ALARM + 4  # as 95 of 100 binomial counts at this rate


def test_a_planted_step_is_found_where_it_is_and_its_interval_holds_it():
    rng = np.random.default_rng(5)
    found = held = near = 0
    for _ in range(40):
        mine = [step for step in steps(history(rng, planted=[(3, 4, 1.3)])) if step.row == 3]
        found += bool(mine)
        near += any(step.at == 4 for step in mine)
        held += any(step.low <= 1.3 <= step.high for step in mine)
    assert found >= 38
    assert near >= 36
    assert held >= 34


def test_two_steps_of_a_row_are_two_and_a_step_back_is_a_step():
    rng = np.random.default_rng(6)
    rows = history(rng, runs=12, luck=0.005, within=0.01, planted=[(0, 4, 1.5), (0, 8, 1 / 1.5)])
    found = [step for step in steps(rows) if step.row == 0]
    assert [step.at for step in found] == [4, 8]
    assert found[0].ratio > 1.2
    assert found[1].ratio == pytest.approx(1 / 1.5, rel=0.05)


def test_runs_that_differ_more_are_believed_less():
    """Three in ten from run to run: what would be a step among calm runs is none here."""
    rng = np.random.default_rng(7)
    calm, wild = history(rng, luck=0.01), history(np.random.default_rng(7), luck=0.09)
    assert luck_of(calm) < 0.03 < luck_of(wild)


def test_fewer_than_three_runs_have_no_step():
    assert steps([]) == []
    for runs in (1, 2):
        rows = history(np.random.default_rng(1), runs=runs, planted=[(0, 1, 5.0)])
        assert steps(rows) == []
    assert luck_of([]) is None


def test_a_figure_gives_its_interval_back():
    found = of_interval(log(2.0), log(1.8), log(2.2), 3)
    assert exp(found.log) == pytest.approx(2.0)
    assert (2 * 4.302652729911275 * found.variance**0.5, found.df) == (pytest.approx(log(2.2) - log(1.8)), 2)

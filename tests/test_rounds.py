"""How many heats each best path gets: what is long gets fewer, and a preset ends within its time."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from harness.heats import Heat
from harness.job import PowerModel, Sampling
from harness.run import LONG_HEAT_S, Options, Runner


def raced(tmp_path, took, rounds=5, long_rounds=3, budget_s=None, enough_s=None):
    """[(round, heat)] as they were run, and the notes; heat i takes took[i] seconds of a clock that is ours."""
    quiet = SimpleNamespace(begin=lambda *_: None, now=lambda *_: None, done=lambda: None)
    options = Options(
        rounds=rounds,
        long_rounds=long_rounds,
        timeout_s=1,
        threads=1,
        sampling=Sampling(),
        power=PowerModel(),
        cache=tmp_path,
        seed=0,
        budget_s=budget_s,
        enough_s=enough_s,
    )
    runner = Runner([], {}, options, SimpleNamespace(before=[], folder=tmp_path), quiet)
    heats = [Heat(number, ()) for number in range(len(took))]
    ran = []

    def run(heat, round_, order):
        ran.append((round_, heat.number))
        runner._heat_s[heat.number] = took[heat.number]
        runner._clock.began -= took[heat.number]

    runner._heats, runner._run_heat = lambda racing: heats, run
    runner._clock.began = time.monotonic()
    runner._race()
    return ran, runner.notes


def test_long_heats_have_fewer_rounds_and_the_run_says_so(tmp_path):
    ran, notes = raced(tmp_path, [1.0, LONG_HEAT_S + 1])
    assert [sum(heat == which for _, heat in ran) for which in (0, 1)] == [5, 3]
    assert notes == ["1 heats that took over 40 s had 3 rounds of 5 at most"]


def test_rounds_that_were_asked_for_are_run_whatever_they_take(tmp_path):
    ran, notes = raced(tmp_path, [1.0, LONG_HEAT_S + 1], long_rounds=5)
    assert len(ran) == 10
    assert not notes


def test_no_second_heat_begins_after_the_time_of_the_preset(tmp_path):
    ran, notes = raced(tmp_path, [10.0, 10.0, 10.0], enough_s=45)
    assert [round_ for round_, _ in ran] == [1, 1, 1, 2]
    assert notes == ["the time of this preset (45 s) ended in round 2 of 5: 2 of 3 heats missing"]


def test_every_heat_has_one_round_however_late_it_is(tmp_path):
    ran, _ = raced(tmp_path, [10.0, 10.0, 10.0], enough_s=5)
    assert sorted(ran) == [(1, 0), (1, 1), (1, 2)]


@pytest.mark.parametrize("enough_s", [None, 45])
def test_a_budget_ends_the_first_round_too(tmp_path, enough_s):
    ran, notes = raced(tmp_path, [10.0, 10.0, 10.0], budget_s=15, enough_s=enough_s)
    assert len(ran) == 2
    assert notes == ["the budget ended in round 1 of 5: 1 of 3 heats missing"]

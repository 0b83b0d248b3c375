"""Steps of a machine's speed-ups: found with the versions that came with them, and never in times."""

from __future__ import annotations

import random

import msgspec
from _records import SHAPE, dense, idea, twin_ref
from _submissions import taken

from harness.leaderboard import site
from harness.leaderboard.history import history_steps
from harness.leaderboard.standings import leaderboard
from harness.records.store import REPRODUCES


def _submissions(gains, *, scales=None, seed=1, **facts):
    """A run a gain of the second of four ideas, each of five rounds; `scales` is the speed of the machine in each."""
    rng = random.Random(seed)
    out = []
    for day, gain in enumerate(gains):
        records = []
        for n in range(1, 5):
            params, run = SHAPE | {"n": n}, f"r{day}"
            scale = 1.0 if scales is None else scales[day]
            factor = gain if n == 2 else 2.0
            times = [scale * rng.lognormvariate(0, 0.01) for _ in range(10)]
            records.append(
                idea([t / factor for t in times[:5]], params=params, twins=[twin_ref(params=params)], run=run)
            )
            records.append(dense(times[5:], params=params, run=run))
        known = {"started_at": f"2026-11-{day + 1:02}T00:00:00Z", "versions": {"torch": f"2.{13 + (day >= 3)}"}}
        out.append(taken(f"{day:x}", records, **known | facts))
    return out


def test_a_step_is_told_with_its_submission_and_the_versions_that_changed():
    submissions = _submissions([2.0, 2.0, 2.0, 3.0, 3.0, 3.0])
    (step,) = history_steps(submissions)
    assert step.entry.point == "k=8,m=8,n=2"
    assert (step.before.digest, step.since.digest) == ("2" * 8, "3" * 8)
    assert step.low < 1.5 < step.high
    assert step.versions == ["torch 2.13 → 2.14"]


def test_a_machine_that_is_three_times_slower_shows_no_step():
    assert history_steps(_submissions([2.0] * 6, scales=[1, 1, 1, 3, 3, 3])) == []


def test_two_runs_are_no_history():
    assert history_steps(_submissions([2.0, 9.0])) == []


def _disturbed(submissions):
    return [
        msgspec.structs.replace(s, entries=[msgspec.structs.replace(e, disturbed=True) for e in s.entries])
        for s in submissions
    ]


def test_disturbed_runs_and_reproductions_are_no_part_of_it():
    gains = [2.0, 2.0, 2.0, 3.0, 3.0, 3.0]
    calm, wild = _submissions(gains)[:3], _disturbed(_submissions(gains)[3:])
    assert history_steps([*calm, *wild]) == []
    again = _submissions(gains, settings={"preset": "quick", REPRODUCES: "r0"})[3:]
    assert history_steps([*calm, *again]) == []


def test_the_page_of_a_machine_says_what_stepped_or_that_nothing_did():
    for gains, said in (([2.0, 2.0, 2.0, 3.0, 3.0, 3.0], "torch 2.13 → 2.14"), ([2.0] * 6, "No step of a speed-up")):
        board = leaderboard(_submissions(gains), [], {})
        (page,) = [content.decode() for name, content in site.pages(board, {}) if name.startswith("machine-")]
        assert said in page
    few = _submissions([2.0] * 6)
    board = leaderboard([*few[:2], *_disturbed(few[2:])], [], {})
    (page,) = [content.decode() for name, content in site.pages(board, {}) if name.startswith("machine-")]
    assert "without those that the machine disturbed: here are 2." in page
    board = leaderboard(_submissions([2.0, 9.0]), [], {})
    (page,) = [content.decode() for name, content in site.pages(board, {}) if name.startswith("machine-")]
    assert "step" not in page.lower().replace("train_step", "")

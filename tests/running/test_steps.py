"""The steps of a run in their order, and what each is told of the time that others took or need."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace

from harness.planning.foresight import Ignorance
from harness.running import runner as runner_module
from harness.running.looking import SURVEY, SWEEP
from harness.running.runner import Runner


def test_the_looks_know_when_the_first_rounds_ended_and_sweeps_what_the_finds_need(monkeypatch):
    told = []
    session = SimpleNamespace(
        pool=nullcontext(),
        options=SimpleNamespace(first_rounds=3),
        clock=SimpleNamespace(elapsed=7.0),
        time_left=SimpleNamespace(anew=lambda: None),
        kept_in_survey=dict,
        reserve=lambda seconds: told.append(("reserved", seconds)),
        finish=lambda: None,
        records={},
    )
    runner = SimpleNamespace(
        _session=session,
        _whole=[],
        _foresight=Ignorance(),
        _judge_machine=lambda before: None,
        _survey=lambda: told.append((SURVEY, session.first_s)),
        _step=lambda name, plan: told.append((name, len(plan))),
        _swept=list,
    )
    rounds = SimpleNamespace(
        first=lambda plan, count: count, late_s=lambda: 5.0, race=lambda since: told.append(("race", since))
    )
    monkeypatch.setattr(runner_module, "Rounds", lambda _: rounds)
    monkeypatch.setattr(runner_module.state, "read", dict)
    Runner.execute(runner)
    assert told == [(SURVEY, 7.0), ("reserved", 5.0), (SWEEP, 0), ("race", 3)]

"""A budget is looked at behind the making of inputs, too: what makes them slowly must not eat it unseen."""

from __future__ import annotations

import pytest
from _sessions import a_session, ok

from backends.discovery import backends
from harness.measuring.settings import Sampling
from harness.planning import plan
from harness.planning.groups import InterleavedGroup, Member
from harness.running import looking, rounds
from harness.running.ahead import compile_all
from harness.running.looking import SURVEY, look
from harness.running.rounds import Rounds
from harness.running.session import BudgetSpentError
from workloads.discovery import workloads

BUDGET_S = 50.0


def planned_on(device, *names):
    ask = plan.Ask(preset="smoke", workloads=names, backends=("jax",), devices=(device,))
    return [p for p in plan.cases(ask, workloads()[0], backends()[0]) if p.survey]


@pytest.fixture
def slow(tmp_path, monkeypatch):
    """A session whose inputs take so many seconds each time, the workloads of which any were made, and what was run."""
    monkeypatch.setattr(looking, "batches", lambda groups, *_: [[group] for group in groups])
    monkeypatch.setattr(rounds, "batches", lambda groups, *_: [[group] for group in groups])

    def begin(planned, seconds, budget_s=BUDGET_S):
        session, made, ran = a_session(tmp_path, planned, budget_s=budget_s), [], []

        def make_inputs(cases):
            made.extend(dict.fromkeys(p.case.workload for p in cases))
            session.clock.began -= seconds

        def kept(member, answer):
            ran.append(member.planned)
            session.records[member.key] = ok(member.planned.case)

        session.pool.make_inputs, session.pool.close = make_inputs, lambda key: None
        session.pool.measure = lambda *_: pytest.fail("it was measured after the budget")
        session.pool.ask, session.keep_alone = lambda member, job: None, kept
        session.expected_s = lambda *_: 1.0
        return session, made, ran

    return begin


def test_nothing_is_measured_whose_inputs_took_what_was_left(slow):
    (planned, *_) = planned_on("cuda", "unstructured_sparse")
    session, made, _ = slow([planned], BUDGET_S + 1)
    with pytest.raises(BudgetSpentError):
        session.measure([InterleavedGroup(0, (Member(planned),))], lambda _: Sampling())
    assert made == ["unstructured_sparse"]


def test_a_survey_names_as_left_out_what_it_made_inputs_for_too_late(slow):
    planned = planned_on("cuda", "unstructured_sparse")
    session, made, _ = slow(planned, BUDGET_S + 1)
    look(session, SURVEY, planned)
    assert made
    assert {p.case.key for p in session.late} == {p.case.key for p in planned}


def test_a_round_says_which_groups_are_missing(slow):
    planned = planned_on("cuda", "unstructured_sparse")[:2]
    session, _, _ = slow(planned, BUDGET_S + 1)
    racing = Rounds(session)
    racing.groups = lambda left: [InterleavedGroup(number, (Member(p),)) for number, p in enumerate(planned)]
    racing.race(0)
    assert session.notes == ["the budget ended in round 1 of 5: 2 of 2 groups missing"]


def test_inputs_of_what_is_only_compiled_are_made_no_further_than_the_budget(slow):
    planned = planned_on("gpu-aot:H100", "unstructured_sparse", "local_update", "capsule_conv")
    session, made, ran = slow(planned, BUDGET_S / 2 + 1)
    compile_all(session, SURVEY, planned)
    assert len(made) == 2, "of three"
    first = made[0]
    assert {p.case.workload for p in ran} <= {first}
    late = {p.case.key for p in planned} - {p.case.key for p in ran}
    assert {p.case.key for p in session.late} == late
    assert session.notes == [f"the budget ended in the survey: {len(late)} cases were not compiled"]
    session, made, ran = slow(planned, BUDGET_S, budget_s=None)
    compile_all(session, SURVEY, planned)
    assert (len(made), len(ran), session.notes) == (len({p.case.workload for p in planned}), len(planned), [])

"""How many groups each best path gets: what is long gets fewer, and a preset ends within its time."""

from __future__ import annotations

import time
from types import SimpleNamespace

import msgspec
import pytest
from _records import record

from backends.discovery import backends
from harness.measuring.settings import PowerModel, Sampling
from harness.planning import plan
from harness.planning.groups import InterleavedGroup, Member
from harness.planning.options import Options
from harness.records.record import KEPT
from harness.running.runner import LONG_GROUP_S, Runner
from workloads.discovery import workloads


def a_runner(tmp_path, planned=(), before=(), **options):
    quiet = SimpleNamespace(begin=lambda *_: None, now=lambda *_: None, done=lambda: None)
    given = {"rounds": 5, "long_rounds": 3, **options}
    options = Options(timeout_s=1, threads=1, sampling=Sampling(), power=PowerModel(), cache=tmp_path, seed=0, **given)
    return Runner(planned, {}, options, SimpleNamespace(before=list(before), folder=tmp_path), quiet)


def ok(case, **settings):
    return msgspec.structs.replace(record(processes=[1.0]), case=case, settings=settings)


def raced(tmp_path, took, rounds=5, long_rounds=3, budget_s=None, **times):
    """[(round, group)] as they were run, and the notes; group i takes took[i] seconds of a clock that is ours."""
    runner = a_runner(tmp_path, rounds=rounds, long_rounds=long_rounds, budget_s=budget_s, **times)
    groups = [InterleavedGroup(number, ()) for number in range(len(took))]
    ran = []

    def run(group, round_, order):
        ran.append((round_, group.number))
        runner._group_s[group.number] = took[group.number]
        runner._clock.began -= took[group.number]

    runner._groups, runner._run_group = lambda racing: groups, run
    runner._clock.began = time.monotonic()
    runner._race()
    return ran, runner.notes


def test_long_groups_have_fewer_rounds_and_the_run_says_so(tmp_path):
    ran, notes = raced(tmp_path, [1.0, LONG_GROUP_S + 1])
    assert [sum(group == which for _, group in ran) for which in (0, 1)] == [5, 3]
    assert notes == ["1 groups that took over 40 s had 3 rounds of 5"]


def test_rounds_that_were_asked_for_are_run_whatever_they_take(tmp_path):
    ran, notes = raced(tmp_path, [1.0, LONG_GROUP_S + 1], long_rounds=5)
    assert len(ran) == 10
    assert not notes


def test_no_second_group_begins_after_the_time_of_the_preset(tmp_path):
    ran, notes = raced(tmp_path, [10.0, 10.0, 10.0], enough_s=45)
    assert [round_ for round_, _ in ran] == [1, 1, 1, 2]
    assert notes == ["the time of this preset (45 s) ended in round 2 of 5: 2 of 3 groups missing"]


def test_every_group_has_one_round_however_late_it_is(tmp_path):
    ran, _ = raced(tmp_path, [10.0, 10.0, 10.0], enough_s=5)
    assert sorted(ran) == [(1, 0), (1, 1), (1, 2)]


def test_a_first_group_that_would_end_after_the_hour_is_left_out_and_the_short_ones_go_first(tmp_path, monkeypatch):
    took = [30.0, 10.0, 20.0, 12.0]
    monkeypatch.setattr(Runner, "_expected_s", lambda runner, group: took[group.number])
    ran, notes = raced(tmp_path, took, enough_s=5, ends_s=45)
    assert ran == [(1, 1), (1, 3), (1, 2)]
    assert notes == ["the time of this preset (45 s) ended in round 1 of 5: 1 of 4 groups missing"]
    ran, _ = raced(tmp_path, took, enough_s=5, ends_s=75)
    assert len(ran) == 4


def test_a_group_is_expected_to_take_what_its_members_took_without_compiling(tmp_path):
    members = [
        Member(p) for p in plan.cases(plan.Ask(workloads=("forward_forward",)), workloads()[0], backends()[0])[:2]
    ]
    time = record(processes=[1.0]).time
    trial = msgspec.structs.replace(time.trials[0], wall_s=7.0, first_call_s=5.0)
    time = msgspec.structs.replace(time, trials=[trial])
    known = [
        msgspec.structs.replace(record(processes=[1.0]), case=member.planned.case, time=time) for member in members
    ]
    runner = a_runner(tmp_path, [member.planned for member in members], known)
    assert runner._expected_s(InterleavedGroup(0, tuple(members))) == 2 * (7.0 - 5.0) + 2 * Sampling().window_s
    runner._group_s[0] = 3.0
    assert runner._expected_s(InterleavedGroup(0, tuple(members))) == 3.0


@pytest.mark.parametrize("enough_s", [None, 45])
def test_a_budget_ends_the_first_round_too(tmp_path, enough_s):
    ran, notes = raced(tmp_path, [10.0, 10.0, 10.0], budget_s=15, enough_s=enough_s)
    assert len(ran) == 2
    assert notes == ["the budget ended in round 1 of 5: 1 of 3 groups missing"]


def test_a_sweep_is_told_what_a_compiler_kept_at_the_survey_point(tmp_path, monkeypatch):
    """Of the same formulation and execution in the same family; its own record of an earlier run comes first."""
    ask = plan.Ask(preset="quick", workloads=("unstructured_sparse",), backends=("jax",))
    planned = plan.cases(ask, workloads()[0], backends()[0])
    surveyed = next(p for p in planned if p.survey and p.case.formulation == "csr" and p.case.execution == "compiled")
    same = [p for p in planned if not p.survey and p.family == surveyed.family and p.case.formulation == "csr"]
    swept = next(p for p in same if p.case.execution == "compiled")
    other = next(p for p in same if p.case.execution == "eager")
    known = ok(surveyed.case, **{KEPT: "off"})
    runner = a_runner(tmp_path, planned, [known])
    runner._chosen = runner._kept_in_survey()
    jobs = {p.case.key: runner._job(Member(p), "data", Sampling()) for p in (surveyed, swept, other)}
    assert jobs[surveyed.case.key].keep == "off", "its own"
    assert jobs[swept.case.key].keep == "off"
    assert jobs[other.case.key].keep is None
    own = ok(swept.case, **{KEPT: "default"})
    runner = a_runner(tmp_path, planned, [known, own])
    runner._chosen = runner._kept_in_survey()
    assert runner._job(Member(swept), "data", Sampling()).keep == "default"

"""How many groups each best path gets: what is long gets fewer, and a preset ends within its time."""

from __future__ import annotations

import dataclasses
import time
from types import SimpleNamespace

import msgspec
import pytest
from _records import record
from _sessions import a_session, ok

from backends.discovery import backends
from harness.measuring.settings import Sampling
from harness.planning import plan
from harness.planning.foresight import Ignorance
from harness.planning.groups import InterleavedGroup, Member
from harness.records.record import KEPT
from harness.running import rounds
from harness.running.rounds import LONG_GROUP_S, Rounds
from harness.worker.client import Answer
from harness.worker.messages import Measured
from workloads.discovery import workloads


class Numbered:
    """A member of no case, told from others by its number."""

    def __init__(self, number):
        self.key = (str(number), False)
        self.control = False
        self.planned = SimpleNamespace(case=SimpleNamespace(backend="numpy", device="cpu"))


def raced(tmp_path, took, rounds=5, long_rounds=3, budget_s=None, **times):
    """[(round, group)] as they were run, and the notes; group i takes took[i] seconds of a clock that is ours."""
    session = a_session(tmp_path, rounds=rounds, long_rounds=long_rounds, budget_s=budget_s, **times)
    racing = Rounds(session)
    groups = [InterleavedGroup(number, (Numbered(number),)) for number in range(len(took))]
    ran = []

    def run(batch, round_):
        for group in batch:
            ran.append((round_, group.number))
            racing.group_s[group.key] = took[group.number]
            session.clock.began -= took[group.number]

    racing.groups, racing.run_batch = lambda left: groups, run
    session.clock.began = time.monotonic()
    racing.race(0)
    return ran, session.notes


@pytest.fixture(autouse=True)
def one_by_one(monkeypatch):
    """Each group is a batch of its own, so that the times of each decide."""
    monkeypatch.setattr(rounds, "batches", lambda groups, *_: ([group] for group in groups))
    monkeypatch.setattr(Rounds, "expected_s", lambda racing, group: racing.group_s.get(group.key, 0.0))
    monkeypatch.setattr(rounds, "has_its_rounds", lambda group, round_, records, options: round_ > options.rounds)


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
    monkeypatch.setattr(Rounds, "expected_s", lambda racing, group: took[group.number])
    ran, notes = raced(tmp_path, took, enough_s=5, ends_s=45)
    assert ran == [(1, 1), (1, 3), (1, 2)]
    assert notes == ["the time of this preset (45 s) ended in round 1 of 5: 1 of 4 groups missing"]
    ran, _ = raced(tmp_path, took, enough_s=5, ends_s=75)
    assert len(ran) == 4


def test_the_first_round_of_a_preset_that_leaves_none_out_compiles_the_longest_beside_the_others(tmp_path, monkeypatch):
    took = [30.0, 10.0, 20.0, 12.0]
    monkeypatch.setattr(Rounds, "expected_s", lambda racing, group: took[group.number])
    ran, _ = raced(tmp_path, took, rounds=1, long_rounds=1)
    assert [number for _, number in ran] == [1, 0, 2, 3]


@pytest.mark.parametrize(
    ("times", "rounds_"),
    [
        ({"enough_s": 70.0, "looks_share": 0.7}, 3),  # 20 s each
        ({"enough_s": 50.0, "looks_share": 0.7}, 1),
        ({"budget_s": 70.0, "looks_share": 0.7}, 3),  # the same run, ended earlier
        ({}, 3),
    ],
)
def test_first_rounds_that_a_preset_has_no_time_for_wait_for_the_looks(tmp_path, monkeypatch, times, rounds_):
    session = a_session(tmp_path, **{"rounds": 5, "long_rounds": 3, **times})
    racing, ran = Rounds(session), []
    racing.groups = lambda plan: [InterleavedGroup(number, (Numbered(number),)) for number in range(2)]
    monkeypatch.setattr(type(session), "expected_s", lambda *_: 10.0)

    def run(batch, round_):
        ran.append(round_)
        session.clock.began -= 10.0

    racing.run_batch, session.clock.began = run, time.monotonic()
    assert racing.first([], 3) == rounds_
    assert ran == sorted(list(range(1, rounds_ + 1)) * 2)


def test_after_the_looks_a_round_goes_first_to_what_has_the_fewest_and_then_to_the_widest(tmp_path, monkeypatch):
    session = a_session(tmp_path, rounds=4, long_rounds=4)
    groups = [InterleavedGroup(number, (Numbered(number),)) for number in range(3)]
    had = {0: [1, 2, 3], 1: [1, 2, 3], 2: []}
    session.records = {g.members[0].key: ok(planned_on("cpu")[0].case) for g in groups}
    for number, rounds_ in had.items():
        stored = record(processes=[1.0] * len(rounds_), rounds=rounds_)
        session.records[str(number), False] = stored
    monkeypatch.setattr(rounds, "width", lambda group, _: {0: 0.1, 1: 0.5, 2: 0.0}[group.number])
    racing = Rounds(session)
    assert [g.number for g in sorted(groups, key=racing._need)] == [2, 1, 0]
    ran = []
    racing.run_batch = lambda batch, round_: ran.extend(g.number for g in batch)
    racing._round(groups, session.options.first_rounds + 1)
    assert ran == [2, 1, 0]


def test_sweeps_leave_time_for_the_rounds_of_what_the_looks_found(tmp_path, monkeypatch):
    session = a_session(tmp_path, rounds=5, long_rounds=3)
    groups = [InterleavedGroup(number, (Numbered(number),)) for number in range(4)]
    for number, rounds_ in {0: [1, 2, 3], 1: [1], 2: [0], 3: [0]}.items():
        session.records[str(number), False] = record(processes=[1.0] * len(rounds_), rounds=rounds_)
    monkeypatch.setattr(rounds, "width", lambda *_: 0.0)
    racing = Rounds(session)
    racing.groups = lambda _: groups
    racing.group_s = {group.key: (1.0, 4.0, 10.0, LONG_GROUP_S + 1)[group.number] for group in groups}
    assert racing.late_s() == 2 * 4.0 + 3 * 10.0


def test_all_rounds_of_what_the_looks_found_come_before_another_of_the_rest(tmp_path, monkeypatch):
    session = a_session(tmp_path, rounds=5, long_rounds=3)
    groups = [InterleavedGroup(number, (Numbered(number),)) for number in range(3)]
    had = {0: [1, 2, 3], 1: [], 2: []}
    racing, ran = Rounds(session), []
    racing.groups = lambda _: groups

    def known():
        for number, rounds_ in had.items():
            session.records[str(number), False] = record(processes=[1.0] * len(rounds_), rounds=rounds_)

    def run(batch, round_):
        for group in batch:
            had[group.number].append(round_)
            ran.append((round_, group.number))
        known()

    known()
    monkeypatch.undo()
    monkeypatch.setattr(rounds, "width", lambda *_: 0.0)
    monkeypatch.setattr(rounds, "batches", lambda groups, *_: ([group] for group in groups))
    monkeypatch.setattr(rounds.selection, "finalists", lambda left, _: left)
    monkeypatch.setattr(Rounds, "expected_s", lambda *_: 1.0)
    racing.run_batch = run
    racing.race(3)
    assert sorted(ran[:6]) == [(4, 1), (4, 2), (5, 1), (5, 2), (6, 1), (6, 2)]
    assert ran[6:] == [(4, 0), (5, 0)]


class Known(Ignorance):
    """Cold first, then warm, then known."""

    def seconds(self, planned, *, cold, again):
        return 8.0 if cold else 2.0 if again else 4.0


def test_a_group_is_expected_to_take_what_its_members_are_and_their_windows_then_what_it_took(tmp_path, monkeypatch):
    monkeypatch.undo()
    cases = plan.cases(plan.Ask(workloads=("forward_forward",)), workloads()[0], backends()[0])
    eager = [p for p in cases if p.case.execution == "eager"][:2]
    compiled = [p for p in cases if p.case.execution == "compiled"][:1]
    known = ok(eager[1].case)
    racing = Rounds(a_session(tmp_path, cases, [known], Known()))
    group = InterleavedGroup(0, tuple(Member(planned) for planned in (*eager, *compiled)))
    costs = Known().costs
    windows = 2 * Sampling().window_s + 2 * 1.0  # the known one's calls take a second, and two are enough
    assert racing.expected_s(group) == pytest.approx(costs.pace * (4.0 + 2.0 + 8.0) + costs.stretch * windows)
    racing._session._compiled.add(compiled[0].case)
    assert racing.expected_s(group) == pytest.approx(costs.pace * (4.0 + 2.0 + 4.0) + costs.stretch * windows)
    racing.group_s[group.key] = 3.0
    assert racing.expected_s(group) == 3.0


@pytest.mark.parametrize("enough_s", [None, 45])
def test_a_budget_ends_the_first_round_too(tmp_path, enough_s):
    ran, notes = raced(tmp_path, [10.0, 10.0, 10.0], budget_s=15, enough_s=enough_s)
    assert len(ran) == 2
    assert notes == ["the budget ended in round 1 of 5: 1 of 3 groups missing"]


@pytest.mark.parametrize(
    ("device", "last", "metered"), [("cuda", False, False), ("cuda", True, True), ("cpu", False, True)]
)
def test_the_energy_of_a_gpu_is_left_to_the_rounds_where_there_are_some(tmp_path, device, last, metered):
    """A sensor of 0.1 s needs a second and more, in each of hundreds of cases of the survey."""
    (planned,) = planned_on(device)
    session = a_session(tmp_path, [planned])
    assert session.job(Member(planned), "data", Sampling(), last=last).metered is metered


def test_a_window_on_a_gpu_is_one_slice_since_nobody_takes_turns(tmp_path):
    sent = []

    class Sent:
        ready = True

        def run(self, job, _):
            sent.append(job)
            return Answer(Measured(status="ok"), 0.0)

        def begin(self, groups, timeout_s, abreast):
            sent.extend(job for jobs, _ in groups for job in jobs)

        def answers(self):
            return [[Answer(Measured(status="ok"), 0.0)]]

        prepared = finish = lambda self: None

        def measure(self, group):
            assert group == 0

    for device in ("cuda", "cpu"):
        (planned,) = planned_on(device)
        session = a_session(tmp_path, [planned])
        session.pool._inputs = SimpleNamespace(of=lambda _: tmp_path)
        session.pool.make_inputs = lambda _: None
        session.pool._servers = {("numpy", device): Sent()}
        session.keep = lambda found: None
        session.measure([InterleavedGroup(0, (Member(planned),))], lambda _: Sampling(slices=20))
    assert [job.sampling.slices for job in sent] == [1, 20]


def planned_on(device):
    ask = plan.Ask(workloads=("forward_forward",), backends=("numpy",))
    planned = plan.cases(ask, workloads()[0], backends()[0])[0]
    return [dataclasses.replace(planned, case=msgspec.structs.replace(planned.case, backend="numpy", device=device))]


def test_a_sweep_is_told_what_a_compiler_kept_at_the_survey_point(tmp_path, monkeypatch):
    """Of the same formulation and execution in the same family; its own record of an earlier run comes first."""
    ask = plan.Ask(preset="quick", workloads=("unstructured_sparse",), backends=("jax",))
    planned = plan.cases(ask, workloads()[0], backends()[0])
    surveyed = next(p for p in planned if p.survey and p.case.formulation == "csr" and p.case.execution == "compiled")
    same = [p for p in planned if not p.survey and p.family == surveyed.family and p.case.formulation == "csr"]
    swept = next(p for p in same if p.case.execution == "compiled")
    other = next(p for p in same if p.case.execution == "eager")
    known = ok(surveyed.case, **{KEPT: "off"})
    session = a_session(tmp_path, planned, [known])
    session.chosen = session.kept_in_survey()
    jobs = {p.case.key: session.job(Member(p), "data", Sampling()) for p in (surveyed, swept, other)}
    assert jobs[surveyed.case.key].keep == "off", "its own"
    assert jobs[swept.case.key].keep == "off"
    assert jobs[other.case.key].keep is None
    own = ok(swept.case, **{KEPT: "default"})
    session = a_session(tmp_path, planned, [known, own])
    session.chosen = session.kept_in_survey()
    assert session.job(Member(swept), "data", Sampling()).keep == "default"


def test_the_numbers_of_groups_go_on_from_the_largest_that_is_stored(tmp_path):
    """A resumed run that began again at 1 had pairs of processes an hour apart."""
    (planned,) = planned_on("cpu")
    stored = ok(planned.case)
    trials = [msgspec.structs.replace(stored.time.trials[0], heat=heat) for heat in (41, 7)]
    time_ = msgspec.structs.replace(stored.time, trials=trials, samples_s=[[1.0], [1.0]])
    stored = msgspec.structs.replace(stored, time=time_)
    session, numbers = a_session(tmp_path, [planned], before=[stored]), []
    session.pool.measure = lambda groups, job, seed: [[None] * len(group.members) for group in groups]
    session._record = lambda member, answer, order, round_, group, state: numbers.append(group)
    session.keep = lambda found: None
    session.measure([InterleavedGroup(n, (Member(planned),)) for n in range(2)], lambda _: Sampling(), 9)
    assert numbers == [42, 43]


def test_the_very_first_group_is_by_itself_so_that_there_is_soon_a_figure(tmp_path, monkeypatch):
    monkeypatch.setattr(rounds, "batches", lambda groups, *_: iter([list(groups)] if groups else []))
    racing = Rounds(a_session(tmp_path))
    groups = [InterleavedGroup(number, (Numbered(number),)) for number in range(3)]
    assert [[g.number for g in batch] for batch in racing._batches(groups, 1)] == [[0], [1, 2]]
    assert [[g.number for g in batch] for batch in racing._batches(groups, 2)] == [[0, 1, 2]]
    racing.group_s[groups[0].key] = 1.0
    assert [len(batch) for batch in racing._batches(groups, 1)] == [3], "a run that goes on has figures"


def test_an_answer_of_an_accelerator_is_stored_before_the_next_case_begins(tmp_path):
    """Members follow each other there, a minute and more a group: what ends a run must not take those that are done."""
    (planned,) = planned_on("cuda")
    session, kept = a_session(tmp_path, [planned]), []
    session.keep = kept.extend

    def measure(groups, job, seed, take):
        take(groups[0], 0, Answer(Measured(status="ok"), 0.0))
        raise KeyboardInterrupt

    session.pool.measure = measure
    group = InterleavedGroup(3, (Member(planned), Member(planned, control=True)))
    with pytest.raises(KeyboardInterrupt):
        session.measure([group], lambda _: Sampling())
    assert [(member.control, made.status) for member, _, made in kept] == [(False, "ok")]


def test_what_is_only_compiled_has_no_rounds(tmp_path, monkeypatch):
    """The compiler says the same again, and no time that ends is missing anything."""
    ask = plan.Ask(
        preset="smoke", devices=("gpu-aot:H100", "cpu"), backends=("numpy", "jax"), workloads=("local_update",)
    )
    planned = plan.cases(ask, workloads()[0], backends()[0])
    session = a_session(tmp_path, planned)
    seen = []
    monkeypatch.setattr(rounds.selection, "finalists", lambda plan, records: seen.append(plan) or [])
    racing = Rounds(session)
    racing.groups = lambda left: []
    racing.race(0)
    devices = {p.case.device for p in planned}
    assert devices == {"gpu-aot:H100", "cpu"}
    assert {p.case.device for several in seen for p in several} == {"cpu"}

"""The looks: what promises most first, an end that leaves time for sweeps and rounds, and what is said of the rest."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import msgspec
import pytest
from _sessions import a_session, ok

from backends.discovery import backends
from harness.planning import plan
from harness.planning.foresight import Ignorance
from harness.planning.groups import MEMBERS, InterleavedGroup, Member
from harness.planning.reasons import LATE
from harness.records.merging import merge
from harness.records.record import OTHER_INPUTS
from harness.running import looking
from harness.running import runner as runner_module
from harness.running.looking import SURVEY, SWEEP, look
from harness.running.runner import Runner
from harness.running.session import path
from workloads.discovery import workloads

BATCH_S = 10.0


@pytest.fixture(scope="module")
def planned():
    ask = plan.Ask(preset="quick", workloads=("unstructured_sparse",), backends=("torch",))
    return plan.cases(ask, workloads()[0], backends()[0])


class Promising(Ignorance):
    """`coo` promises most, `csr` least; all take as long."""

    def seconds(self, planned, *, cold, again):
        return 1.0

    def promise(self, planned):
        return {"coo": 1.0, "csr": 0.01}.get(planned.case.formulation, 0.1)


@pytest.fixture
def looked(tmp_path, monkeypatch):
    """A session in which every group is a batch of BATCH_S, and the keys of what was looked at, in order."""
    monkeypatch.setattr(looking, "batches", lambda groups, *_: [[group] for group in groups])

    def begin(planned, **options):
        session, seen = a_session(tmp_path, planned, foresight=Promising(), **options), []

        def measure(batch, _):
            seen.extend(m.planned for group in batch for m in group.members if m.key not in session.records)
            session.records.update({m.key: ok(m.planned.case) for group in batch for m in group.members})
            session.clock.began -= BATCH_S

        session.measure, session.expected_s = measure, lambda *_: BATCH_S
        return session, seen

    return begin


def test_what_promises_most_in_a_second_is_looked_at_first(looked, planned):
    session, seen = looked(planned)
    look(session, SURVEY, [p for p in planned if p.survey and p.case.workload == "unstructured_sparse"])
    order = [p.case.formulation for p in seen]
    assert order.index("coo") < order.index("csr")
    of_a_point = [p.case.formulation for p in seen if p.point == seen[0].point]
    assert of_a_point == sorted(of_a_point, key=lambda name: {"coo": 0, "csr": 2}.get(name, 1))


def test_the_rest_of_a_point_waits_until_what_promises_more_elsewhere_was_looked_at(looked, planned, monkeypatch):
    def promise(_, planned):
        return 0.5 if planned.case.params["n"] > 1 else 1.0 if planned.case.formulation == "coo" else 1e-3

    monkeypatch.setattr(Promising, "promise", promise)
    session, seen = looked(planned)
    cases = [p for p in planned if p.survey and p.case.workload == "unstructured_sparse"]
    assert sum(p.case.params["n"] == 1 for p in cases) > MEMBERS
    look(session, SURVEY, cases)
    assert seen[-1].case.params["n"] == 1


def test_what_may_show_that_a_point_is_not_slower_than_its_twin_goes_before_all_else(looked, planned, monkeypatch):
    """Even if it takes long, and by itself: with all of its point it would wait for what nobody expects anything of."""
    session, seen = looked(planned)
    cases = [p for p in planned if p.survey and p.case.workload == "unstructured_sparse"]
    slower = cases[-1].point
    monkeypatch.setattr(looking, "behind_twins", lambda *_: {slower: 2.0})
    dear = {p.case.key for p in cases if p.point == slower}
    monkeypatch.setattr(Promising, "seconds", lambda _, p, **more: 100.0 if p.case.key in dear else 1.0)
    likely = [p for p in cases if p.point == slower and (p.case.formulation == "coo" or p.multiplies_zeros)]
    look(session, SURVEY, cases)
    assert {p.case.key for p in seen[: len(likely)]} == {p.case.key for p in likely}
    assert {p.case.key for p in seen} == {p.case.key for p in cases}
    assert 0 < len(likely) < len(dear)


def test_a_headline_point_beside_the_survey_is_looked_at_where_it_seems_to_be_slower_than_its_twin(
    looked, planned, monkeypatch
):
    """The survey was at another density, at which what multiplies with the zeros is slow."""
    session, seen = looked(planned)
    beside = next(p for p in planned if p.multiplies_zeros)
    beside = dataclasses.replace(beside, survey=False, repeated=True)
    session.plan = [*(p for p in planned if p.case.key != beside.case.key), beside]
    look(session, SURVEY, [p for p in planned if p.survey and p.case.key != beside.case.key])
    assert beside not in seen
    session, seen = looked(planned)
    session.plan = [*(p for p in planned if p.case.key != beside.case.key), beside]
    monkeypatch.setattr(looking, "behind_twins", lambda *_: {beside.point: 2.0})
    look(session, SURVEY, [p for p in planned if p.survey and p.case.key != beside.case.key])
    assert beside in seen
    session, seen = looked(planned)
    session.plan = [*(p for p in planned if p.case.key != beside.case.key), beside]
    look(session, SWEEP, [p for p in planned if not p.survey and p.case.key != beside.case.key])
    assert beside not in seen


def test_a_twin_that_the_gate_would_refuse_is_looked_at_first(looked, planned, monkeypatch):
    last = [p for p in planned if p.survey and p.case.formulation == "csr"][-1]
    monkeypatch.setattr(looking, "neglected_twins", lambda *_: [last])
    session, seen = looked(planned)
    look(session, SURVEY, [p for p in planned if p.survey])
    assert seen[0] == last


@pytest.mark.parametrize(
    ("limits", "groups"),
    [
        ({"enough_s": 50.0, "looks_share": 0.7}, 3),
        ({"budget_s": 50.0, "looks_share": 0.7}, 3),
        ({"enough_s": 40.0, "looks_share": 0.55, "compiling_s": 20.0}, 3),  # nothing is compiled
        ({"enough_s": 50.0}, None),  # all is asked for
        ({"looks_share": 0.7}, None),
    ],
)
def test_a_survey_ends_early_enough_and_names_what_it_did_not_come_to(looked, planned, limits, groups):
    session, seen = looked(planned, **limits)
    cases = [p for p in planned if p.survey]
    look(session, SURVEY, cases)
    late = {p.case.key for p in session.late}
    assert late == {p.case.key for p in cases} - {p.case.key for p in seen}
    assert bool(late) == (groups is not None)
    if groups is not None:
        assert session.clock.elapsed == pytest.approx(groups * BATCH_S, abs=1.0)
    session.store.info = msgspec.convert({"left_out": {}}, type=Account)
    session.store.write_info = lambda info: setattr(session.store, "info", info)
    session.finish()
    told = session.store.info.left_out
    assert told == ({LATE: [str(p.case) for p in session.late]} if late else {})


def test_where_the_first_rounds_took_long_the_looks_have_a_third_of_what_is_left(looked, planned):
    session, _ = looked(planned, enough_s=100.0, looks_share=0.3)
    session.first_s = 25.0
    session.clock.began -= session.first_s
    look(session, SURVEY, [p for p in planned if p.survey])
    assert session.clock.elapsed == pytest.approx(45.0, abs=1.0)  # two batches, by 50


class Account(msgspec.Struct, kw_only=True):
    """What of run.json `finish` reads and writes."""

    left_out: dict[str, list[str]]
    ended_at: str | None = None
    phases_s: dict[str, float] = {}
    wall_s: float | None = None
    notes: list[str] = []


@pytest.mark.parametrize("limits", [{"enough_s": 35.0}, {"budget_s": 35.0}])
def test_a_sweep_goes_on_past_that_share_until_the_time_of_the_preset_or_a_budget_ends(looked, planned, limits):
    swept = [p for p in planned if not p.survey]
    session, seen = looked(planned, looks_share=0.5, **limits)
    look(session, SWEEP, swept)
    assert 0.5 * 35.0 < session.clock.elapsed < 35.0 + BATCH_S
    assert seen
    late = {p.case.key for p in session.late}
    assert late == {p.case.key for p in swept} - {p.case.key for p in seen}
    assert late


def test_points_of_a_sweep_whose_path_was_never_looked_at_are_late_and_not_ruled_out(planned, tmp_path):
    survey = [p for p in planned if p.survey and p.case.workload == "unstructured_sparse"]
    ran = [p for p in survey if p.case.formulation == "csr"]
    session = a_session(tmp_path, planned, [ok(p.case) for p in ran])
    session.late = [p for p in survey if p.case.formulation == "coo"]
    runner = SimpleNamespace(_session=session, _foresight=Ignorance(), notes=session.notes)
    Runner._swept(runner)
    points = [p for p in session.late if not p.survey]
    assert points
    assert {path(p) for p in points} <= {path(p) for p in session.late if p.survey}
    (note,) = session.notes
    others = [p for p in planned if not p.survey and p not in points and p.case.formulation != "csr"]
    assert int(note.split()[0]) >= len([p for p in others if p.case.workload == "unstructured_sparse"])


def test_what_compiles_longest_begins_first(tmp_path, planned):
    class Slow(Ignorance):
        def seconds(self, planned, *, cold, again):
            return {"coo": 9.0, "csr": 5.0}.get(planned.case.formulation, 1.0)

    cases = {p.case.formulation: p for p in planned if p.survey and p.case.workload == "unstructured_sparse"}
    session, asked = a_session(tmp_path, planned, foresight=Slow()), []

    def measure(groups, job, seed):
        asked.extend(group.members[0].planned.case.formulation for group in groups)
        return [[None] for _ in groups]

    session.pool.measure = measure
    session._record, session.keep = lambda *_: None, lambda found: None
    groups = [InterleavedGroup(n, (Member(cases[name]),)) for n, name in enumerate(("bag", "csr", "coo"))]
    session.measure(groups, lambda _: session.options.sampling)
    assert asked == ["coo", "csr", "bag"]


# -- other inputs, once, of what may be published ----------------------------------------------------------------------


def test_other_inputs_are_tried_once_and_only_where_a_case_may_be_published(tmp_path, planned):
    (case, *_) = [p for p in planned if p.repeated]
    session = a_session(tmp_path, planned)

    def asked(member, **given):
        return session.job(member, "data", session.options.sampling, **given).recheck

    assert not asked(Member(case), last=False), "a look is measured again"
    assert asked(Member(case))
    assert not asked(Member(case, control=True))
    look_ = ok(case.case)
    session.records[case.case.key, False] = look_
    assert asked(Member(case)), "nothing was tried in the look"
    session.records[case.case.key, False] = merge([look_, ok(case.case, **{OTHER_INPUTS: "agree"})])[0]
    assert not asked(Member(case)), "one record of both says what came of it"


def test_of_several_processes_the_first_s_settings_count_and_later_ones_add_to_them(planned):
    first, later = ok(planned[0].case, a=1), ok(planned[0].case, a=2, b=3)
    (merged,) = merge([first, later])
    assert merged.settings == {"a": 1, "b": 3}


# -- what disturbs a run -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("device", "notes"), [("cpu", 1), ("gpu-aot:H100", 0), ("tpu-aot:v5e", 0)])
def test_a_run_that_only_compiles_is_disturbed_by_nothing(monkeypatch, device, notes):
    """What a compiler says of a program does not hang on who else uses the cores."""
    warning = SimpleNamespace(sentence="other processes kept 1.5 cores busy")
    monkeypatch.setattr(runner_module.state, "warnings", lambda before, after, threads: [warning])
    planned = SimpleNamespace(case=SimpleNamespace(device=device))
    runner = SimpleNamespace(_whole=[planned], notes=[], _session=SimpleNamespace(options=SimpleNamespace(threads=2)))
    Runner._judge_machine(runner, {})
    assert len(runner.notes) == notes


def test_a_sweep_ends_early_enough_for_the_rounds_that_it_leaves_time_for(looked, planned):
    session, _ = looked(planned, enough_s=35.0)
    session.reserve(14.0)
    look(session, SWEEP, [p for p in planned if not p.survey])
    assert session.clock.elapsed == pytest.approx(2 * BATCH_S, abs=1.0)


def test_sweeps_leave_to_rounds_half_of_what_is_left_at_most(looked, planned):
    session, _ = looked(planned, enough_s=60.0)
    session.clock.began -= 20.0
    session.reserve(100.0)
    assert session.reserved_s == pytest.approx(20.0, abs=0.1)
    session.reserve(5.0)
    assert session.reserved_s == 5.0


def test_what_is_slower_than_its_twin_so_far_is_looked_at_before_what_promises_more(looked, planned, monkeypatch):
    cases = [p for p in planned if p.survey and p.case.workload == "unstructured_sparse"]
    points = {p.point for p in cases}
    assert len(points) > 1
    for point in points:
        monkeypatch.setattr(looking, "behind_twins", lambda plan, records, point=point: {point: 1e6})
        session, seen = looked(planned)
        look(session, SURVEY, cases)
        assert seen[0].point == point

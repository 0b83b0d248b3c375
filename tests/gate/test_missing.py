"""What is missing is as false as what is wrong: the plan made anew from run.json is held against the records."""

from __future__ import annotations

import copy

import msgspec
import pytest
from _sound import EVERY, INFO, SOUND, STORED, codes, written

from harness.cli.main import cli
from harness.figures.ceilings import CEILINGS_ALONE
from harness.gate import plan_rules
from harness.gate.known import Known
from harness.gate.lost import lost
from harness.gate.validate import validate
from harness.planning.reasons import BEATEN, LATE, slow
from harness.planning.retold import FLAGS, ask_of
from harness.planning.standing import standing
from harness.records.record import Case
from harness.records.store import load
from harness.stats.process_times import centre
from workloads.discovery import workloads

FOUND = workloads()[0]


def _fastest(records):
    return min((r for r in records if r["time"]), key=lambda r: min(map(min, r["time"]["samples_s"])))


def _dense(record):
    return record["case"]["workload"] == "dense_matmul"


def test_a_twin_without_all_its_formulations_but_a_slow_one_is_refused(tmp_path):
    """Of one framework, and of all of them, so that the run tried them nowhere."""
    for backends in ({"torch"}, {"torch", "jax", "tensorflow"}):
        kept = [
            r
            for r in EVERY
            if not (_dense(r) and r["case"]["backend"] in backends and r["case"]["formulation"] != "tn")
        ]
        found = validate(written(tmp_path / str(len(backends)), kept)).refusals
        missing = [refusal for refusal in found if refusal.code == "missing-case"]
        assert {name for name in ("torch", "jax", "tensorflow") if any(f" {name} " in r.what for r in missing)} == (
            backends
        )
        assert all("was to be tried by every run of this plan, and has no record" in r.what for r in missing)


def test_every_run_has_its_ceilings_but_for_those_that_there_were_not_when_it_began(tmp_path, monkeypatch):
    """The stored run has a dense rate and a bandwidth, and is older than the other ceilings."""
    monkeypatch.setattr("harness.gate.run_rules._own_sources", lambda: INFO["sources"])

    def missed(name):
        whats = [r.what for r in validate(written(tmp_path / name, EVERY)).refusals if r.code == "missing-case"]
        return {what.split("/")[0] for what in whats}

    assert not missed("old") & CEILINGS_ALONE
    monkeypatch.setattr(plan_rules, "CEILINGS_SINCE", INFO["started_at"])
    assert missed("young") & CEILINGS_ALONE == CEILINGS_ALONE - {"stream"}


def test_a_single_case_of_the_survey_is_missed_and_one_that_was_left_out_is_not(tmp_path):
    gone = next(r for r in SOUND if _dense(r) and not r["control"] and r["case"]["formulation"] == "nt")
    kept = [r for r in SOUND if r["case"] != gone["case"]]
    assert codes(written(tmp_path / "r", kept)) >= {"missing-case"}
    case = str(next(r.case for r in load(written(tmp_path / "all")).records if r.case.params == gone["case"]["params"]
                    and r.case.formulation == "nt" and r.case.execution == gone["case"]["execution"]
                    and r.case.backend == gone["case"]["backend"]))  # fmt: skip
    info = {**INFO, "left_out": {"over 3 times slower than the best on every known machine": [case]}}
    assert "missing-case" not in codes(written(tmp_path / "left", kept, info))


def test_the_best_of_a_survey_cannot_be_taken_from_its_sweep(tmp_path, monkeypatch):
    monkeypatch.setattr("harness.gate.run_rules._own_sources", lambda: INFO["sources"])
    known = Known()
    cases = plan_rules.expected(load(STORED).info, known)
    swept = {p.case.key for p in cases if not p.survey and p.case.workload == "unstructured_sparse"}
    by_point = {}
    for record in load(STORED).records:
        if record.case.key in swept and record.status == "ok" and record.case.backend == "jax":
            by_point.setdefault(record.case.point, set()).add(record.case.formulation)
    point, fast = next((p, f) for p, f in by_point.items() if "n=128" in p)
    assert fast
    kept = [
        r
        for r in EVERY
        if not (
            r["case"]["workload"] == "unstructured_sparse"
            and r["case"]["backend"] == "jax"
            and f"density={r['case']['params']['density']:g}," in point
            and r["case"]["params"]["n"] == 128
            and r["case"]["formulation"] in fast
        )
    ]
    assert len(kept) < len(EVERY)
    whats = [r.what for r in validate(written(tmp_path / "r", kept)).refusals if r.code == "missing-case"]
    assert any("was to be swept, for its formulation came first where it was surveyed" in what for what in whats)


@pytest.mark.fault("a point of a sweep left out for another that is not there", "gate")
@pytest.mark.parametrize("all_of_it", [False, True])
def test_what_another_is_expected_to_beat_is_believed_where_there_is_another(tmp_path, monkeypatch, all_of_it):
    monkeypatch.setattr("harness.gate.run_rules._own_sources", lambda: INFO["sources"])
    swept = {p.case.key for p in plan_rules.expected(load(STORED).info, Known()) if not p.survey}
    points = {}
    for record in load(STORED).records:
        if record.case.key in swept and not record.control:
            where = (record.case.workload, record.case.mode, record.case.backend, record.case.point)
            points.setdefault(where, []).append(record)
    swept = max((sorted(records, key=lambda r: centre(r) or float("inf")) for records in points.values()), key=len)
    assert len({record.case.formulation for record in swept}) > 2
    gone = [record.case for record in (swept if all_of_it else swept[:-1])]
    kept = [r for r in EVERY if msgspec.convert(r["case"], Case) not in gone]
    assert len(kept) < len(EVERY)
    report = validate(written(tmp_path / "r", kept, {**INFO, "left_out": {BEATEN: [str(case) for case in gone]}}))
    whats = [r.what for r in report.refusals if r.code == "left-out"]
    assert len(whats) == (len(gone) if all_of_it else 0)
    assert all_of_it or "missing-case" not in {r.code for r in report.refusals}
    assert all("was left out for another at its point, where no other was measured" in what for what in whats)


def test_one_execution_that_is_named_speaks_for_its_formulation(tmp_path, monkeypatch):
    """Of a formulation the slower execution is swept nowhere, and no run names it."""
    monkeypatch.setattr("harness.gate.run_rules._own_sources", lambda: INFO["sources"])
    stored, cases = load(STORED), plan_rules.expected(load(STORED).info, Known())
    there = {record.case.key: record for record in stored.records if not record.control}
    for point in dict.fromkeys(p.point for p in cases if not p.survey and p.case.key in there):
        swept = [p for p in cases if p.point == point]
        survey = standing([p for p in cases if p.survey and p.family == swept[0].family], there)
        first = list(dict.fromkeys(p.case.formulation for _, p in survey))[:2]
        gone = [p.case for p in swept if p.case.formulation in first]
        named = [case for case in gone if case.key in there][:1]
        if named and len(gone) > 1 and any(p.case.key in there and p.case not in gone for p in swept):
            break
    else:
        pytest.fail("no point of the stored run has three formulations")
    kept = [r for r in EVERY if msgspec.convert(r["case"], Case) not in gone]
    for told, refused in (([], True), ([str(case) for case in named], False)):
        left_out = {BEATEN: told} if told else {}
        report = validate(written(tmp_path / f"r{refused}", kept, {**INFO, "left_out": left_out}))
        whats = [r.what for r in report.refusals if r.code == "missing-case"]
        assert any(gone[0].workload in what for what in whats) == refused


def test_what_was_to_be_surveyed_is_not_left_out_of_a_sweep(tmp_path):
    kept, case = _without("tn")
    report = validate(written(tmp_path / "r", kept, {**INFO, "left_out": {BEATEN: [case]}}))
    assert any("and was to be surveyed" in r.what for r in report.refusals if r.code == "left-out")


def test_of_other_sources_a_formulation_is_missed_only_where_it_was_tried_elsewhere(tmp_path):
    """A run of before a formulation came has it nowhere, and is asked for none of it."""
    there = {record.case.key for record in load(STORED).records if not record.control}
    by_way = {}
    for planned in plan_rules.expected(load(STORED).info, Known()):
        if planned.survey and planned.case.workload == "unstructured_sparse" and planned.case.key in there:
            by_way.setdefault(planned.case.way, []).append(planned.case)
    at_points = max(by_way.values(), key=len)
    assert len(at_points) > 1
    all_of_it = [r for r in EVERY if msgspec.convert(r["case"], Case).way == at_points[0].way]
    rest = [r for r in EVERY if r not in all_of_it]
    once = [r for r in all_of_it if msgspec.convert(r["case"], Case) == at_points[0]]
    for name, kept, missed in (("nowhere", rest, False), ("once", [*rest, *once], True)):
        whats = [r.what for r in validate(written(tmp_path / name, kept)).refusals if r.code == "missing-case"]
        assert any("unstructured_sparse" in what for what in whats) == missed


def test_of_the_same_sources_whole_points_and_frameworks_are_missed(tmp_path, monkeypatch):
    monkeypatch.setattr("harness.gate.run_rules._own_sources", lambda: INFO["sources"])
    kept = [r for r in EVERY if r["case"]["backend"] != "jax"]
    whats = [r.what for r in validate(written(tmp_path / "r", kept)).refusals if r.code == "missing-case"]
    assert whats
    assert all(" jax " in what for what in whats)


@pytest.mark.parametrize(
    ("settings", "notes", "believed"),
    [
        ({}, [], False),
        ({"budget_s": 60.0}, [], True),
        ({"enough_s": 170.0}, [], True),
        ({}, ["interrupted in survey, after 4 of 9"], True),
    ],
)
def test_time_that_did_not_last_is_believed_only_of_a_run_that_had_an_end(tmp_path, settings, notes, believed):
    kept, case = _without("nt")
    info = {**INFO, "left_out": {LATE: [case]}, "notes": notes, "settings": {**INFO["settings"], **settings}}
    report = validate(written(tmp_path / "r", kept, info))
    assert {r.code for r in report.refusals} & {"left-out", "missing-case"} == (set() if believed else {"left-out"})
    assert any(mark.code == "left-out" and "did not last" in mark.what for mark in report.marks)


@pytest.mark.fault("the fast formulations of a dense twin left out for want of time", "gate")
@pytest.mark.parametrize("reason", [LATE, slow(3)])
def test_what_is_known_to_be_faster_than_all_that_was_tried_of_a_twin_cannot_be_left_out(tmp_path, reason):
    dense = [r for r in load(STORED).records if r.case.workload == "dense_matmul" and not r.control]
    kept = [r for r in EVERY if not (_dense(r) and r["case"]["backend"] == "jax" and r["case"]["formulation"] != "tn")]
    gone = [str(r.case) for r in dense if r.case.backend == "jax" and r.case.formulation != "tn"]
    info = {**INFO, "left_out": {reason: gone}, "settings": {**INFO["settings"], "budget_s": 60.0}}
    whats = [r.what for r in validate(written(tmp_path / "r", kept, info)).refusals if r.code == "slow-twin"]
    assert whats
    assert all(" jax " in what and "times faster than whatever was tried" in what for what in whats)


def test_what_is_known_to_be_slower_than_what_was_tried_of_a_twin_may_be_left_out(tmp_path):
    kept, case = _without("tn")
    info = {**INFO, "left_out": {LATE: [case]}, "settings": {**INFO["settings"], "budget_s": 60.0}}
    assert not codes(written(tmp_path / "r", kept, info)) & {"left-out", "missing-case", "slow-twin"}


def _without(formulation):
    """The sound records but those of a case of the twin, and its words."""
    gone = next(r for r in SOUND if _dense(r) and not r["control"] and r["case"]["formulation"] == formulation)
    return [r for r in SOUND if r["case"] != gone["case"]], str(msgspec.convert(gone["case"], Case))


@pytest.mark.parametrize(
    "words",
    [
        ("--preset", "quik"),
        ("--workload", "nothing"),
        ("--set", "density=x"),
        ("--set", "batch=" + ",".join(map(str, range(1, 2000)))),
        ("--dtype",),
        ("--device", "gpu:x"),
        ("--set", "m=1e308", "--set", "k=1e308"),
        ("--set", "m=" + "9" * 5000),
    ],
)
def test_a_command_line_that_plans_nothing_is_refused_at_once(tmp_path, words):
    info = copy.deepcopy(INFO)
    info["command"] = ["hwlottery", "run", *words]
    if words[0] == "--preset":
        info["settings"]["preset"] = words[1]
    assert "plan" in codes(written(tmp_path / "r", SOUND, info))


def test_what_was_asked_is_read_back_from_the_words():
    words = ["hwlottery", "run", "--workload", "a,b", "--workload=c", "--set", "n=1,2", "--set", "n=2,3.5", "--json"]
    ask = ask_of([*words, "--execution", "eager", "--out", "--preset"], "quick", 7)
    assert (ask.preset, ask.seed, ask.workloads, ask.executions) == ("quick", 7, ("a", "b", "c"), ("eager",))
    assert ask.axes == {"n": (1, 2, 3.5)}
    for option in ("--smtx", "--matrix"):
        assert ask_of(["hwlottery", "run", option, "a.smtx"], "quick", 0) is None


def test_every_option_without_a_value_is_known_as_one():
    """Else the word behind it, such as --workload, would be taken for its value."""
    flags = {
        option for p in (*cli.commands["run"].params, *cli.params) if getattr(p, "is_flag", False) for option in p.opts
    }
    assert flags - {"--version", "--help"} == FLAGS


def test_what_a_comparison_lost_is_what_was_ok_and_was_neither_left_out_nor_swept():
    run = load(STORED)
    assert lost([run], [run]) == []
    cut = type(run)(run.path, run.info, [r for r in run.records if r.case.backend != "jax"], [])
    gone = lost([run], [cut])
    assert len(gone) == sum(r.status == "ok" and r.case.backend == "jax" and not r.control for r in run.records)
    assert lost([run], [cut], ["backend"]) == []
    cases = plan_rules.expected(run.info, Known())
    swept = {p.case.key for p in cases if not p.survey}
    other = next(r for r in run.records if r.case.key in swept and r.status == "ok")
    fewer = type(run)(run.path, run.info, [r for r in run.records if r is not other], [])
    alone = sum(r.case.point == other.case.point and r.case.backend == other.case.backend
                and r.case.workload == other.case.workload for r in run.records) == 1  # fmt: skip
    assert bool(lost([run], [fewer])) == alone


def test_of_a_workload_that_is_not_here_a_headline_case_is_lost_and_what_a_sweep_took_is_not():
    """The plan of a run of `--workload-file` cannot be made anew without the file."""
    run = load(STORED)
    info = msgspec.structs.replace(run.info, command=[*run.info.command, "--workload", "nobody_has_this"])
    ok = [r for r in run.records if r.status == "ok" and not r.control]

    def gone(case):
        sides = (run.records, [r for r in run.records if r is not case])
        whole, fewer = (type(run)(run.path, info, records, []) for records in sides)
        return lost([whole], [fewer])

    def beside(workload, *, headline):
        several = [r for r in ok if r.case.workload == workload and r.headline is headline]
        places = [(r.case.point, r.case.mode, r.case.backend) for r in several]
        return next(r for r, place in zip(several, places, strict=True) if places.count(place) > 1)

    for swept in (beside("stream", headline=False), beside("unstructured_sparse", headline=False)):
        assert gone(swept) == []
    asked = beside("unstructured_sparse", headline=True)
    assert gone(asked) == [str(asked.case)]

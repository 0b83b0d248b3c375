"""A results folder: whole lines, nothing lost, one record a case, one sentence for what cannot be used."""

from __future__ import annotations

import json
import os

import msgspec
import pytest

from harness.records.record import SCHEMA, Case, Energy, Record, Timing, Trial, WorkFacts
from harness.records.store import INFO, RECORDS, RunInfo, Store, StoreError, load, merge

RUN = RunInfo(
    schema=SCHEMA,
    run="r1",
    started_at="2026-01-01T00:00:00Z",
    ended_at=None,
    command=[],
    machine={},
    versions={},
    settings={},
)


def trial(round_, first=1.0):
    return Trial(
        round=round_,
        order=0,
        started_at=f"t{round_}",
        wall_s=1,
        open_s=0,
        convert_s=0,
        trace_s=None,
        compile_s=None,
        first_call_s=first,
        compile_cache=None,
        warmup_s=[],
        calls_per_sample=1,
        steady=round_ != 1,
        drift=-0.1 * round_,
        cpu_s=1,
        window_s=1,
    )


def record(name="a", round_=0, status="ok", samples=(0.5, 0.6), joules=1.0, reason=None):
    return Record(
        schema=SCHEMA,
        run="r1",
        case=Case(
            workload="w",
            formulation=name,
            params={"n": 1},
            dtype="float32",
            mode="forward",
            backend="numpy",
            execution="eager",
            device="cpu",
        ),
        status=status,
        reason=reason,
        failure_class=None,
        fallback=None,
        verdict=None,
        time=None
        if status != "ok"
        else Timing(
            first_call_s=1.0 + round_,
            compile_s=None,
            convert_s=0,
            samples_s=[list(samples)],
            steady=True,
            drift=0,
            trials=[trial(round_, 1.0 + round_)],
        ),
        memory=None,
        energy=Energy(
            gross_j=joules,
            net_j=None,
            low_j=None,
            high_j=None,
            idle_w=None,
            source="modelled",
            window_s=1,
            update_s=None,
        ),
        work=WorkFacts(useful_flop=1, least_bytes=1, live_bytes=1),
        twins=[],
        headline=True,
        settings={},
        environment={},
        started_at="",
    )


def test_what_is_appended_is_read_back(tmp_path):
    with Store(tmp_path / "out", RUN) as store:
        store.append(record("a"))
        store.append(record("b", status="crash", reason="killed by SIGSEGV"))
    found = load(tmp_path / "out")
    assert found.records == [record("a"), record("b", status="crash", reason="killed by SIGSEGV")]
    assert found.info == RUN
    assert found.warnings == []


def test_a_record_is_on_the_disk_before_the_next_case_starts(tmp_path):
    store = Store(tmp_path / "out", RUN)
    store.append(record("a"))
    lines = (tmp_path / "out" / RECORDS).read_text().splitlines()
    assert [json.loads(line)["case"]["formulation"] for line in lines] == ["a"]
    store.close()


def test_processes_of_a_case_become_one_record(tmp_path):
    with Store(tmp_path / "out", RUN) as store:
        for round_, joules in ((2, 3.0), (0, 9.0), (1, 2.0)):
            store.append(record("a", round_, samples=(round_, round_), joules=joules))
    assert len((tmp_path / "out" / RECORDS).read_text().splitlines()) == 1
    (item,) = load(tmp_path / "out").records
    assert item.time.samples_s == [[0, 0], [1, 1], [2, 2]]
    assert [t.round for t in item.time.trials] == [0, 1, 2]
    assert item.time.first_call_s == 1.0
    assert not item.time.steady
    assert item.time.drift == -0.2
    assert item.energy.gross_j == 3.0


def test_merging_twice_changes_nothing():
    once = merge([record("a", 0), record("a", 1)])
    assert merge([*once, record("a", 1)]) == once


def test_a_case_that_fails_in_one_process_is_a_failure():
    (item,) = merge([record("a", 0), record("a", 1, status="timeout", reason="not done after 5 s")])
    assert item.status == "timeout"
    assert item.reason == "in 1 of 2 processes: not done after 5 s"


def test_a_control_is_kept_apart_from_the_case_that_it_repeats():
    control = msgspec.structs.replace(record("a", 1), control=True)
    assert len(merge([record("a", 0), record("a", 1), control])) == 2


def test_a_torn_line_is_left_out_with_a_warning(tmp_path):
    with Store(tmp_path / "out", RUN) as store:
        store.append(record("a"))
    with (tmp_path / "out" / RECORDS).open("ab") as file:
        file.write(msgspec.json.encode(record("b"))[:100])
    found = load(tmp_path / "out")
    assert [r.case.formulation for r in found.records] == ["a"]
    assert "line 2 was left out" in found.warnings[0]


def test_a_newer_schema_is_left_out_with_a_warning(tmp_path):
    with Store(tmp_path / "out", RUN) as store:
        store.append(msgspec.structs.replace(record("a"), schema=SCHEMA + 1))
    found = load(tmp_path / "out")
    assert found.records == []
    assert "newer" in found.warnings[0]


def test_a_folder_with_something_in_it_is_refused_without_resume(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(StoreError, match="is not empty; name another folder, or add --resume"):
        Store(tmp_path, RUN)
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def test_resume_keeps_what_is_there_and_tries_failures_again(tmp_path):
    with Store(tmp_path / "out", RUN) as store:
        store.append(record("a"))
        store.append(record("b", status="timeout"))
        store.write_info(msgspec.structs.replace(RUN, notes=["hot"], phases_s={"survey_s": 60.0}, wall_s=70.0))
    again = msgspec.structs.replace(RUN, run="r2", started_at="2027-01-01T00:00:00Z")
    with Store(tmp_path / "out", again, resume=True) as store:
        assert [r.case.formulation for r in store.before] == ["a"]
        assert store.info.run == "r1"
        assert (store.info.started_at, store.info.wall_s) == (RUN.started_at, 70.0)
        assert store.info.phases_s == {"survey_s": 60.0}
        assert store.info.notes == ["hot", "went on at 2027-01-01T00:00:00Z"]
        store.append(record("b"))
    assert [(r.case.formulation, r.status) for r in load(tmp_path / "out").records] == [("a", "ok"), ("b", "ok")]


def test_an_unwritable_folder_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        Store(tmp_path / "file" / "out", RUN)


@pytest.mark.parametrize("content", [None, {INFO: "{}"}, {RECORDS: "", INFO: "not json"}])
def test_what_is_no_results_folder_is_one_sentence(tmp_path, content):
    for name, text in (content or {}).items():
        (tmp_path / name).write_text(text)
    with pytest.raises(StoreError) as error:
        load(tmp_path)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


def test_nothing_is_left_half_written(tmp_path):
    with Store(tmp_path / "out", RUN) as store:
        store.append(record("a"))
    assert sorted(os.listdir(tmp_path / "out")) == [RECORDS, INFO]

"""A results folder: whole lines, nothing lost, one record a case, one sentence for what cannot be used."""

from __future__ import annotations

import json
import os

import msgspec
import pytest
from _stored import RUN, record

from harness.records.merging import merge, with_next
from harness.records.record import SCHEMA
from harness.records.store import INFO, RECORDS, Store, StoreError, load


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


@pytest.mark.parametrize(
    "made",
    [
        record("a", 3, joules=0.5),
        record("a", 1),  # before the last, or the same again
        record("a", 2),
        record("a", 3, status="crash", reason="killed"),
        record("a", 3, status="unsupported"),
    ],
    ids=["next", "earlier", "again", "failed", "refused"],
)
@pytest.mark.parametrize("known", [[record("a", 2)], [record("a", 0, joules=2.0), record("a", 2)]], ids=["one", "two"])
def test_the_next_process_of_a_case_is_taken_up_as_merging_does(known, made):
    (before,) = merge(known)
    made = msgspec.structs.replace(made, settings={"kept": "b", "more": 1})
    before = msgspec.structs.replace(before, settings={"kept": "a"})
    assert with_next(before, made) == merge([before, made])[0]


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
    with pytest.raises(StoreError, match="is not empty; name another folder: it holds no run"):
        Store(tmp_path, RUN)
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def test_a_folder_with_a_run_in_it_says_how_to_go_on(tmp_path):
    Store(tmp_path / "out", RUN).close()
    with pytest.raises(StoreError, match="is not empty; name another folder, or add --resume to go on with its run"):
        Store(tmp_path / "out", RUN)


def test_resume_keeps_what_is_there_and_all_that_is_said_of_the_run(tmp_path):
    was = msgspec.structs.replace(RUN, command=["hwlottery", "run", "--seed", "3"], notes=["hot"], wall_s=70.0)
    with Store(tmp_path / "out", was) as store:
        store.append(record("a"))
        store.append(record("b", status="timeout"))
    again = msgspec.structs.replace(RUN, run="r2", started_at="2027-01-01T00:00:00Z")
    with Store(tmp_path / "out", again, resume=True) as store:
        assert [r.case.formulation for r in store.before] == ["a", "b"], "a failure is done, unless it is to be retried"
        assert store.info == msgspec.structs.replace(was, notes=["hot", "went on at 2027-01-01T00:00:00Z"])
        store.append(record("c"))
    assert [r.case.formulation for r in load(tmp_path / "out").records] == ["a", "b", "c"]


@pytest.mark.fault("--resume --retry timeout of a run with failures of three kinds", "resume")
def test_only_the_failures_that_are_named_are_taken_out(tmp_path):
    with Store(tmp_path / "out", RUN) as store:
        store.append(record("a", 1), record("b", status="timeout"), record("c", status="crash"))
        store.append(record("a", 2, status="timeout", reason="late"))
    raw = [record("a", 1), record("b", status="timeout"), record("c", status="crash"), record("a", 2, status="timeout")]
    (tmp_path / "out" / RECORDS).write_bytes(b"".join(msgspec.json.encode(r) + b"\n" for r in raw))
    with Store(tmp_path / "out", RUN, resume=True, retry={"timeout"}) as store:
        assert store.before == [raw[0], raw[2]], "what worked of a case that failed once is kept"
    assert load(tmp_path / "out").records == [raw[0], raw[2]]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"settings": {"threads": 2}}, r"threads \(1 in the run, 2 now\)"),
        ({"versions": {"jax": "2"}}, r"jax \(1 in the run, 2 now\)"),
        ({"versions": {}}, r"jax \(1 in the run, unknown now\)"),
        ({"machine": {"cpu": "B"}}, r"cpu \(A in the run, B now\)"),
        ({"sources": {"backends": "ffff"}}, r"sources of backends \(eeee in the run, ffff now\)"),
    ],
)
@pytest.mark.fault("--resume on another machine, other threads, versions or code", "resume")
def test_other_conditions_are_refused_by_name_and_nothing_is_touched(tmp_path, changed, said):
    same = {"settings": {"threads": 1}, "versions": {"jax": "1"}, "machine": {"cpu": "A", "memory_available_bytes": 5}}
    was = msgspec.structs.replace(RUN, **same, sources={"backends": "eeee"})
    with Store(tmp_path / "out", was) as store:
        store.append(record("a"))
    files = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    with pytest.raises(StoreError, match=said) as error:
        Store(tmp_path / "out", msgspec.structs.replace(was, **changed), resume=True)
    assert "\n" not in str(error.value)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == files


def test_memory_that_is_free_and_another_budget_are_no_other_conditions(tmp_path):
    was = msgspec.structs.replace(RUN, settings={"budget_s": 5}, machine={"memory_available_bytes": 5})
    Store(tmp_path / "out", was).close()
    now = msgspec.structs.replace(RUN, settings={"budget_s": 9}, machine={"memory_available_bytes": 6})
    Store(tmp_path / "out", now, resume=True).close()


@pytest.mark.fault("--resume with a plan that lacks what was measured", "resume")
def test_another_plan_is_refused(tmp_path):
    with Store(tmp_path / "out", RUN) as store:
        store.append(record("a"), record("b"))
    with pytest.raises(StoreError, match=r"of another plan: it holds w/b forward"):
        Store(tmp_path / "out", RUN, resume=True, planned={record("a").case.key})
    Store(tmp_path / "out", RUN, resume=True, planned={record(name).case.key for name in "abc"}).close()


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

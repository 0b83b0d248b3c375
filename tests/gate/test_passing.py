"""The gate: what may be published, and what is marked."""

from __future__ import annotations

import copy
import pickle

import msgspec
import pytest
from _records import dense, idea
from _records import record as a_record
from _sound import AHEAD, INFO, LEFT_OUT, SOUND, STORED, V, written

from harness.cli.main import run_cli
from harness.figures.basis import basis_of
from harness.figures.summary import summarise
from harness.gate import run_rules
from harness.gate.known import Known
from harness.gate.validate import validate
from harness.planning.reasons import refused
from harness.records.store import load


@pytest.mark.parametrize("folder", [STORED, AHEAD], ids=lambda f: f.name)
def test_the_stored_runs_may_be_published(folder):
    report = validate(folder)
    assert report.refusals == []
    assert msgspec.json.encode(report.run.records) == msgspec.json.encode(load(folder).records)
    anew = summarise(report.run.records)
    assert summarise(report.run.records, basis=report.basis) == anew, "and its figures are the same"


def test_a_run_that_left_cases_out_may_be_published_and_is_marked(tmp_path):
    report = validate(written(tmp_path / "r", info={**INFO, "left_out": {refused("torch", V): [LEFT_OUT]}}))
    assert report.refusals == []
    said = f"1 case was left out and is in no count: 1 refused by torch {V}, as before (--exhaustive tries all)"
    assert [str(mark) for mark in report.marks if mark.code == "left-out"] == [said]


@pytest.mark.parametrize("name", ["records.jsonl", "run.json"])
def test_a_file_of_the_folder_stands_for_it(name):
    assert validate(STORED / name).run.path == STORED


def test_the_records_chosen_here_are_sound(tmp_path):
    assert validate(written(tmp_path / "r")).refusals == []


@pytest.mark.parametrize(
    ("share", "refuses"), [(0.99, False), (1.02, False), (1.039, False), (1.041, True), (1.5, True)]
)
def test_a_share_is_refused_where_it_passes_the_ceiling_by_more_than_minutes_of_one_machine_differ_by(share, refuses):
    """1.96 · 0.02 = 3.9 %: the ceiling's fastest sample and the case are of other minutes."""
    ceiling_s, flop = 1e-3, 10_000_000
    stream = a_record("stream", [ceiling_s] * 3, formulation="flat", params={"elements": 1000, "kernel": "dot"}, flop=1)
    stream = msgspec.structs.replace(stream, work=msgspec.structs.replace(stream.work, least_bytes=10**12))
    product = dense([ceiling_s] * 3, flop=flop, params={"m": 1, "k": 1, "n": 1})
    case = idea([ceiling_s / share] * 3, flop=flop, least_bytes=1)
    records = [stream, product, case]
    found = list(run_rules.shares(records, Known(), basis_of(records)))
    assert [refusal.code for refusal in found] == ["share"] * refuses
    control = msgspec.structs.replace(case, control=True)
    assert not list(run_rules.shares([control], Known(), basis_of(records))), "what it is a control of is looked at"


def test_records_that_were_read_can_be_sent_to_another_process():
    run = validate(STORED).run
    assert pickle.loads(pickle.dumps(run.records[0])) == run.records[0]


@pytest.mark.fault("a run measured with plug-ins", "plug-ins")
def test_a_run_with_plug_ins_is_marked_as_modified_and_its_sources_are_not_called_known(tmp_path):
    own = {**run_rules._own_sources(), "plug-in skipper_backend.py": "ab" * 32}
    written(tmp_path / "r", info={**INFO, "sources": own})
    assert [str(m) for m in validate(tmp_path / "r").marks] == [
        "modified: plug-in skipper_backend.py (abababab) is no part of this harness, nor here"
    ]


def test_other_sources_are_a_mark_and_a_release_is_named(tmp_path, monkeypatch):
    info = {**INFO, "sources": {**INFO["sources"], "backends": "0" * 64}}
    assert [m.code for m in validate(written(tmp_path / "other", info=info)).marks] == ["modified"]
    released = dict.fromkeys(INFO["sources"], "1" * 64)  # those of the stored run may be the very ones that validate
    written(tmp_path / "r", info={**INFO, "sources": released})
    monkeypatch.setattr(run_rules, "_releases", lambda: {"0.1.0": released})
    assert [str(m) for m in validate(tmp_path / "r").marks] == ["sources: 0.1.0"]
    own = {**INFO, "sources": run_rules._own_sources()}
    assert "development" in str(validate(written(tmp_path / "own", info=own)).marks[0])


@pytest.mark.parametrize("verb", ["disturbed", "spoilt"])
def test_a_run_whose_own_notes_call_it_disturbed_is_marked(tmp_path, verb, capsys):
    notes = [f"the machine {verb} the run: other processes kept 1.69 cores busy", "3 cases were not run"]
    folder = written(tmp_path / "r", info={**INFO, "notes": [*notes, notes[0]]})
    report = validate(folder)
    assert report.refusals == []
    found = [m.what for m in report.marks if m.code == "disturbed"]
    assert found == ["disturbed: other processes kept 1.69 cores busy"]
    assert run_cli(["validate", str(folder)]) == 0
    assert "may be published, marked as disturbed, " in capsys.readouterr().out
    quiet = written(tmp_path / "quiet", info={**INFO, "notes": notes[1:]})
    assert "disturbed" not in {m.code for m in validate(quiet).marks}
    assert run_cli(["validate", str(quiet)]) == 0
    assert "may be published, " in capsys.readouterr().out


def test_the_list_of_releases_can_be_read():
    for name, sources in run_rules._releases().items():
        assert name
        assert set(sources) == {"backends", "workloads", "harness"}


def test_a_foreign_backend_is_a_mark(tmp_path):
    records = copy.deepcopy(SOUND)
    for record in records:
        record["case"]["backend"] = "mine"
    report = validate(written(tmp_path / "r", records))
    assert report.refusals == []
    assert "backend mine is not part of this harness" in [str(m) for m in report.marks]

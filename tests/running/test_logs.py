"""What failed or printed leaves its words beside the records, and the run says where."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from _records import record

from harness.cli.main import run_cli
from harness.records import store
from harness.running import logs
from harness.running.logs import Logs
from harness.worker.client import Answer

CASE = record(processes=[1.0]).case


def answer(log, status="error", reason="ValueError: no (a.py:3)"):
    return Answer(SimpleNamespace(status=status, reason=reason), 0.0, log)


def test_the_words_of_a_case_stand_in_a_file_of_its_key_with_what_it_was(tmp_path):
    kept = Logs(tmp_path)
    kept.keep(CASE, answer("Traceback …"))
    assert (tmp_path / "logs" / f"{CASE.key}.txt").read_text() == f"{CASE}\nValueError: no (a.py:3)\n\nTraceback …"
    kept.keep(CASE, answer("hello", "ok", None))
    assert (tmp_path / "logs" / f"{CASE.key}.txt").read_text() == f"{CASE}\nok\n\nhello"
    assert kept.note == (
        "tracebacks and output of 1 case that failed or printed are in logs/, a file each, named by its key"
    )


def test_a_run_in_which_nothing_was_said_has_no_logs_and_no_note(tmp_path):
    kept = Logs(tmp_path)
    kept.keep(CASE, answer(None, "ok", None))
    assert kept.note is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("most", [0, 1])
def test_there_are_no_more_files_than_the_limit(tmp_path, monkeypatch, most):
    monkeypatch.setattr(logs, "MOST", most)
    kept = Logs(tmp_path)
    for name in ("csr", "coo", "csc"):
        kept.keep(record(processes=[1.0], formulation=name).case, answer("Traceback …"))
    assert len(list(tmp_path.rglob("*.txt"))) == most


def test_a_run_says_where_tracebacks_and_prints_are(tmp_path, monkeypatch):
    """Through the command: one file a case that raised or printed, none for the others."""
    shutil.copy(Path(__file__).parents[1] / "helpers" / "faulty.py", tmp_path)
    monkeypatch.setenv("HWLOTTERY_WORKLOADS", str(tmp_path))
    out = tmp_path / "out"
    asked = ["run", "--preset", "smoke", "--workload", "faulty", "--backend", "numpy", "--out", str(out)]
    assert run_cli([*asked, "--formulation", "good,chatty,value_error"]) == 1
    run = store.load(out)
    by_name = {r.case.formulation: r for r in run.records if r.case.workload == "faulty"}
    assert {name: r.status for name, r in by_name.items()} == {"good": "ok", "chatty": "ok", "value_error": "error"}
    said = {path.stem: path.read_text() for path in (out / "logs").iterdir()}
    assert said.keys() == {by_name["chatty"].case.key, by_name["value_error"].case.key}
    assert "the step is made" in said[by_name["chatty"].case.key]
    assert "Traceback" in said[by_name["value_error"].case.key]
    assert run.info.notes[-1].startswith("tracebacks and output of 2 cases that failed or printed are in logs/")

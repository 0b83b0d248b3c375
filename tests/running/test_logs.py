"""What failed or printed leaves its words beside the records, and the run says where."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from _records import record

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

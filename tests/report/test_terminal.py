"""The table in a terminal: within 80 columns whatever it holds, and plain text without colour or control characters."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from _records import dense, idea, record, twin_ref

from harness.figures.summary import summarise
from harness.records.store import load
from harness.report.terminal import terminal

ROOT = Path(__file__).resolve().parents[2]
QUICK = ROOT / "results" / "quick-cpu"
REPORT = [sys.executable, "-m", "harness", "report", str(QUICK)]


@pytest.fixture(scope="module")
def summary():
    return summarise(load(QUICK).records)


@pytest.mark.parametrize("width", [80, 100, 159, 160, 220])
@pytest.mark.parametrize("all_points", [False, True])
def test_a_real_run_stays_within_the_width(width, all_points):
    text = terminal(summarise(load(QUICK).records, all_points=all_points), width)
    assert max(map(len, text.splitlines())) <= width


def test_every_idea_place_and_figure_of_a_real_run_is_there_at_80_columns():
    summary = summarise(load(QUICK).records, all_points=True)
    text = terminal(summary, 80)
    for row in summary.rows:
        assert row.workload in text
        assert row.backend in text
    assert text.count("×") >= 2 * len(summary.rows)


def test_a_figure_is_never_broken_over_two_lines(summary):
    """A number and its unit, or an interval, that is cut apart cannot be read."""
    details = terminal(summarise(load(QUICK).records, all_points=True), 80)
    for line in (terminal(summary, 80) + details).splitlines():
        table = re.sub(r"\[[^\]]*\]", "", line)  # whole intervals
        assert table.count("[") == table.count("]") or not re.search(r"\[\d", table), line


def test_unpleasant_texts_stay_in_their_lines():
    reason = "a very long reason " * 40
    rows = [
        idea(status="error", reason=reason, backend="a_backend_with_a_name_of_forty_characters"),
        idea([1e-3, 2e-3], fallback="ran dense " * 30, formulation="f" * 70),
        dense([1e-3, 2e-3]),
    ]
    for all_points in (False, True):
        text = terminal(summarise(rows, all_points=all_points), 80)
        assert max(map(len, text.splitlines())) <= 80


def test_control_characters_of_a_reason_do_not_reach_the_terminal():
    """Results are untrusted: an escape sequence in one must not move the cursor, set a title or colour a line."""
    hostile = "\x1b[2J\x1b]0;title\x07red\x1b[31m\x9b31m\rover\u202eback"
    rows = [
        record("w\x1b[31m", status="error", reason=hostile, backend=hostile, twins=[twin_ref()]),
        idea([1e-3, 2e-3], formulation=hostile, fallback=hostile),
        dense([1e-3, 2e-3]),
    ]
    for all_points in (False, True):
        text = terminal(summarise(rows, all_points=all_points), 80)
        assert not re.findall(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)


def _run(environment, *, piped):
    env = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")} | environment
    if piped:
        return subprocess.run(REPORT, cwd=ROOT, env=env, capture_output=True, check=True).stdout
    main, side = pty.openpty()
    process = subprocess.Popen(REPORT, cwd=ROOT, env=env, stdout=side, stderr=subprocess.DEVNULL)
    os.close(side)
    out = b""
    while True:
        try:
            part = os.read(main, 65536)
        except OSError:  # the other side is closed
            break
        if not part:
            break
        out += part
    os.close(main)
    assert process.wait() == 0
    return out


@pytest.mark.parametrize("environment", [{}, {"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=["plain", "NO_COLOR", "dumb"])
def test_a_pipe_gets_no_escape_sequence(environment):
    out = _run(environment | {"COLUMNS": "80"}, piped=True)
    assert b"\x1b" not in out
    assert max(len(line) for line in out.decode().splitlines()) <= 80


def test_a_terminal_with_no_color_gets_no_escape_sequence():
    out = _run({"NO_COLOR": "1", "TERM": "xterm-256color", "COLUMNS": "80"}, piped=False)
    assert b"What each idea gains and costs" in out
    assert b"\x1b" not in out

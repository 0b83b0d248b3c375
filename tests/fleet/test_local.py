"""The engine of this computer, with processes: what is killed goes on or is tried again, nothing is lost or twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from _command import ROOT, call
from _fleet import fleet, lines, of_command, wait_for

from harness.fleet.campaign import Campaign
from harness.fleet.description import MachineKind
from harness.fleet.engines.base import Finished, Job
from harness.fleet.engines.local import LocalEngine
from harness.fleet.engines.wrapper import code_of, last_words

PATIENCE_S = 60


def _text(tmp_path, runs=1, **told):
    machine = of_command(tmp_path, **told)
    return f'[machine.a]\n{machine}\n[[want]]\nname = "w"\npreset = "smoke"\nbackends = ["numpy"]\nruns = {runs}\n'


def _job(tmp_path, name="w-a-run1-try1", **told):
    described, _ = fleet(tmp_path, _text(tmp_path, **told))
    return Job(
        attempt=name,
        machine="a",
        kind=described.kinds["a"],
        options=["--preset", "smoke"],
        results=tmp_path / "runs" / name,
        log=tmp_path / f"{name}.log",
    )


def _end_of(engine):
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        if heard := engine.heard(0.1):
            return heard[0]
    raise AssertionError("nothing was heard")


def test_a_command_ends_and_says_how(tmp_path):
    engine = LocalEngine()
    job = _job(tmp_path)
    engine.start(job)
    assert _end_of(engine) == Finished(attempt=job.attempt, code=0, said="")
    assert lines(job.results / "records.jsonl") == [0, 1, 2, 3, 4]


def test_what_cannot_be_run_says_why(tmp_path):
    engine = LocalEngine()
    engine.start(_job(tmp_path, FAKE_CODE="2"))
    heard = _end_of(engine)
    assert (heard.code, heard.said) == (2, "error: nothing can be run here; install something")
    nowhere = MachineKind(name="a", labels={}, python="/nowhere/python")
    job = Job(
        attempt="x", machine="a", kind=nowhere, options=[], results=tmp_path / "x", log=tmp_path / "x.log", place=None
    )
    engine.start(job)
    assert _end_of(engine).code == 127
    assert "/nowhere/python" in last_words(job.log)


@pytest.mark.fault("SIGTERM of a fleet's run, SIGKILL of its shell", "fleets")
def test_a_stopped_command_goes_on_behind_its_last_line(tmp_path):
    engine = LocalEngine()
    job = _job(tmp_path, FAKE_LINES="8", FAKE_PAUSE_S="0.05")
    records = job.results / "records.jsonl"
    engine.start(job)
    wait_for(lambda: records.exists() and records.read_bytes().count(b"\n") >= 2)
    engine.stop(job.attempt)
    assert _end_of(engine).code == 143
    before = len(lines(records))
    assert 2 <= before < 8
    pid = int(engine.start(job).split()[0])
    wait_for(lambda: len(lines(records)) > before)
    os.kill(pid, signal.SIGKILL)  # the shell: its command is asked to end
    assert _end_of(engine).code == 137
    engine.start(job)
    assert _end_of(engine).code == 0
    assert lines(records) == list(range(8))


def test_a_later_driver_takes_up_what_runs_and_what_ended_meanwhile(tmp_path):
    first, later = LocalEngine(), LocalEngine()
    job = _job(tmp_path, FAKE_LINES="3", FAKE_PAUSE_S="0.1")
    place = first.start(job)
    taken = Job(**{name: getattr(job, name) for name in job.__slots__} | {"place": place})
    assert later.adopt(taken)
    assert _end_of(later).code == 0
    assert _end_of(first).code == 0
    assert code_of(job.log) == 0
    assert LocalEngine().adopt(taken)  # by its exit code, which stands there
    Path(f"{job.log}.code").unlink()
    assert not LocalEngine().adopt(taken)
    assert not LocalEngine().adopt(job)  # never begun


@pytest.mark.fault("SIGKILL of the shell of a run that a later driver took up, whose exit code nobody takes", "fleets")
def test_a_run_that_was_taken_up_and_died_is_heard_of(tmp_path):
    first, later = LocalEngine(), LocalEngine()
    job = _job(tmp_path, FAKE_UNTIL=str(tmp_path / "never"), FAKE_PAUSE_S="0.05")
    place = first.start(job)
    assert later.adopt(Job(**{name: getattr(job, name) for name in job.__slots__} | {"place": place}))
    os.kill(int(place.split()[0]), signal.SIGKILL)  # whose child it is has not asked yet: it stays a zombie
    assert _end_of(later).code == 137
    assert _end_of(first).code == 137


def _driver(tmp_path):
    return subprocess.Popen(
        [sys.executable, "-m", "harness", "fleet", "run", str(tmp_path / "fleet.toml"), "-o", str(tmp_path / "c")],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )


def _read(tmp_path, text):
    return Campaign(tmp_path / "c", *fleet(tmp_path, text)).read()


@pytest.mark.fault("SIGKILL and SIGTERM of a fleet's driver", "fleets")
def test_a_killed_driver_and_a_stopped_one_are_gone_on_with(tmp_path):
    text = _text(tmp_path, FAKE_UNTIL=str(tmp_path / "enough"), FAKE_PAUSE_S="0.1")
    (tmp_path / "fleet.toml").write_text(text)
    records = tmp_path / "c" / "runs" / "a" / "w-a-run1-try1" / "records.jsonl"
    driver = _driver(tmp_path)
    wait_for(lambda: records.exists() and records.read_bytes().count(b"\n") >= 2)
    driver.kill()
    driver.communicate()
    driver = _driver(tmp_path)
    for line in driver.stderr:
        if "still running on a" in line:
            break
    driver.send_signal(signal.SIGTERM)
    _, said = driver.communicate(timeout=PATIENCE_S)
    assert driver.returncode == 143
    assert "everything measured so far is kept" in said
    assert not [p for p in psutil.process_iter(["cmdline"]) if str(records.parent) in (p.info["cmdline"] or [])]
    before = len(lines(records))
    (tmp_path / "enough").touch()
    made = call("fleet", "run", tmp_path / "fleet.toml", "-o", tmp_path / "c")
    assert made.returncode == 0, made.stderr
    assert "w-a-run1-try1: goes on on a" in made.stderr
    assert lines(records) == list(range(before))
    assert len(_read(tmp_path, text).ledger.attempts) == 1

"""A run that goes on: with its own options, under its own conditions, and as the run that it would have been."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from _command import ROOT

from harness.cli import listing
from harness.cli.main import run_cli
from harness.gate import plan_rules
from harness.gate.known import Known
from harness.gate.validate import validate
from harness.planning.reasons import LATE
from harness.records.store import INFO, LOCK, RECORDS, info_of, load
from tools import kills

STEADY = ["run", "--preset", "smoke", "--backend", "numpy", "--workload", "steady", "--rounds", "2"]
# A test runner started in the background ignores signals, and so would what it starts.
HEARING = (
    "import os, signal, sys\n"
    "for s in ('INT', 'TERM', 'HUP', 'QUIT'): signal.signal(getattr(signal, 'SIG' + s), signal.SIG_DFL)\n"
    "os.execv(sys.argv[1], sys.argv[1:])"
)


@pytest.fixture(scope="module")
def steady():
    """The workload whose times are known."""
    before = os.environ.get("HWLOTTERY_WORKLOADS")
    os.environ["HWLOTTERY_WORKLOADS"] = str(ROOT / "tests" / "helpers" / "steady")
    yield
    os.environ.pop("HWLOTTERY_WORKLOADS")
    if before is not None:
        os.environ["HWLOTTERY_WORKLOADS"] = before


@pytest.fixture(scope="module")
def complete(steady, tmp_path_factory):
    """A small complete run."""
    out = tmp_path_factory.mktemp("complete") / "out"
    assert run_cli([*STEADY, "--threads", "1", "--out", str(out)]) == 0
    return out


@pytest.fixture
def half(complete, tmp_path):
    """The same, killed after its first four lines."""
    out = tmp_path / "half"
    out.mkdir()
    run = load(complete)
    lines = [line for record in run.records for line in kills_apart(record)]
    lines.sort(key=lambda record: record.time.trials[0].heat if record.time else 99)
    (out / RECORDS).write_bytes(b"".join(msgspec.json.encode(record) + b"\n" for record in lines[:4]))
    info = msgspec.structs.replace(run.info, ended_at=None, notes=[])
    (out / INFO).write_bytes(msgspec.json.encode(info))
    return out


def kills_apart(record):
    from harness.running.recall import _processes

    return list(_processes(record))


def test_resume_alone_takes_everything_from_the_run(half, complete, capsys):
    assert run_cli(["run", "--resume", "--out", str(half), "--seed", "0"]) == 0, (
        "what is said again is no contradiction"
    )
    assert kills.held(half) == kills.held(complete)
    assert not kills.repeated(half)
    was, now = info_of(complete), info_of(half)
    assert (now.command, now.settings, now.run) == (was.command, was.settings, was.run)
    assert now.ended_at is not None
    assert now.settings["threads"] == 1
    assert {path.name for path in half.iterdir()} == {INFO, RECORDS}


@pytest.mark.fault("--resume with another workload, preset, seed, backend or number of threads", "resume")
@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--threads", "2"], "--threads 2 is not what the run in "),
        (["--workload", "capsule_conv"], "--workload capsule_conv is not what the run in "),
        (["--preset", "quick"], "(smoke)"),
        (["--seed", "4"], "--seed 4 is not"),
        (["--backend", "torch"], "(numpy)"),
        (["--rounds", "9"], "--rounds 9 is not"),
        (["--set", "n=9"], "--set n=9 is not"),
    ],
)
def test_another_plan_is_refused_by_the_option_that_differs(half, capsys, more, said):
    before = (half / RECORDS).read_bytes(), (half / INFO).read_bytes()
    assert run_cli(["run", "--resume", "--out", str(half), *more]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert said in error
    assert ((half / RECORDS).read_bytes(), (half / INFO).read_bytes()) == before
    assert not (half / LOCK).exists()


@pytest.mark.fault("--resume after the code, a version or the machine changed", "resume")
@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("sources", {"backends": "0" * 64}, "sources of backends (00000000 in the run"),
        ("versions", {"numpy": "0"}, "numpy (0 in"),
    ],
)
def test_other_conditions_are_refused_by_name(half, capsys, field, value, said):
    info = info_of(half)
    changed = msgspec.structs.replace(info, **{field: {**getattr(info, field), **value}})
    (half / INFO).write_bytes(msgspec.json.encode(changed))
    assert run_cli(["run", "--resume", "--out", str(half)]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--resume"], "--resume goes on with the run in a folder: name it by --out DIR"),
        (["--retry", "error"], "add --resume"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(steady, capsys, words, said):
    assert run_cli([*STEADY, *words]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.fault("--resume of a folder that holds no run", "resume")
def test_a_folder_without_a_run_starts_no_other_run(tmp_path, capsys):
    """A process that was killed before it wrote anything leaves an empty folder; the default run is not its run."""
    assert run_cli(["run", "--resume", "--out", str(tmp_path)]) == 2
    assert f"there is no run in {tmp_path} to go on with; say what to run" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.fault("--resume of a folder that another command wrote", "resume")
def test_a_folder_of_another_command_is_refused(half, capsys):
    info = json.loads((half / INFO).read_text())
    for command, said in (
        (["hwlottery", "other"], "is not of `run`"),
        (["hwlottery", "run", "--gone"], "cannot be read"),
    ):
        (half / INFO).write_text(json.dumps(info | {"command": command}))
        assert run_cli(["run", "--resume", "--out", str(half)]) == 2
        assert said in capsys.readouterr().err


def started(out, environ, terminal=None):
    return subprocess.Popen(
        [sys.executable, "-c", HEARING, sys.executable, "-m", "harness", *STEADY, "--rounds", "9", "--out", str(out)],
        cwd=ROOT,
        env={**os.environ, **environ},
        stdin=terminal,
        stdout=terminal or subprocess.PIPE,
        stderr=terminal or subprocess.PIPE,
        start_new_session=True,
    )


def until_measuring(process, out):
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        if (out / RECORDS).exists() and (out / RECORDS).stat().st_size:
            return
        time.sleep(0.02)


@pytest.mark.fault("a run that is asked to end by a signal, twice", "signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_every_signal_that_asks_a_run_to_end_cleans_up(steady, tmp_path, number):
    (tmp_path / "tmp").mkdir()
    process = started(tmp_path / "out", {"TMPDIR": str(tmp_path / "tmp")})
    until_measuring(process, tmp_path / "out")
    process.send_signal(number)
    time.sleep(0.05)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 128 + number, stderr
    assert b"Traceback" not in stderr
    assert list((tmp_path / "tmp").iterdir()) == []
    assert not {".scratch", LOCK} & {path.name for path in (tmp_path / "out").iterdir()}
    found = load(tmp_path / "out")
    assert found.records
    assert found.info.ended_at is not None
    assert any(note.startswith("interrupted in ") for note in found.info.notes)
    _accounts_for_its_plan(found, tmp_path / "out")


def _accounts_for_its_plan(found, out):
    """Whatever of its plan has no record stands among what was left out, so that nothing is missing."""
    planned = {str(p.case) for p in plan_rules.expected(found.info, Known())}
    late = set(found.info.left_out.get(LATE, ()))
    assert planned == late | {str(record.case) for record in found.records}
    assert not late & {str(record.case) for record in found.records}
    assert "missing-case" not in {refusal.code for refusal in validate(out).refusals}


def test_a_run_whose_budget_ends_in_the_survey_accounts_for_its_plan_and_goes_on(steady, tmp_path):
    out = tmp_path / "out"
    assert run_cli([*STEADY, "--threads", "1", "--budget", "1s", "--out", str(out)]) == 0
    _accounts_for_its_plan(load(out), out)
    assert run_cli(["run", "--resume", "--budget", "5m", "--out", str(out)]) == 0
    found = load(out)
    assert LATE not in found.info.left_out
    assert {str(p.case) for p in plan_rules.expected(found.info, Known())} == {str(r.case) for r in found.records}


@pytest.mark.fault("a terminal that is closed while a run goes on", "signals")
def test_a_closed_terminal_ends_a_run_as_ctrl_c_does(steady, tmp_path):
    (tmp_path / "tmp").mkdir()
    ours, theirs = pty.openpty()
    process = started(tmp_path / "out", {"TMPDIR": str(tmp_path / "tmp"), "TERM": "xterm"}, theirs)
    os.close(theirs)
    until_measuring(process, tmp_path / "out")
    os.close(ours)  # what is written there from now on fails
    time.sleep(0.3)  # so that the run has tried to say something
    process.send_signal(signal.SIGHUP)
    assert process.wait(60) == 128 + signal.SIGHUP
    assert list((tmp_path / "tmp").iterdir()) == []
    assert load(tmp_path / "out").info.ended_at is not None


HELD_BACK = """
import sys
from harness.cli import main

def listed(arguments):
    print("a line that the terminal does not take", end="")
    return 129

main._code_of = listed
sys.exit(main.run_cli())
"""


def test_what_a_closed_terminal_did_not_take_does_not_change_the_exit_code():
    ours, theirs = pty.openpty()
    os.close(ours)
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    process = subprocess.Popen([sys.executable, "-c", HELD_BACK], cwd=ROOT, env=environ, stdout=theirs, stderr=theirs)
    os.close(theirs)
    assert process.wait(60) == 129


@pytest.mark.slow
@pytest.mark.fault("SIGKILL of the parent, a fork server or a case's process at random moments", "resume", times=4)
def test_a_run_that_was_killed_is_the_run_that_it_would_have_been(tmp_path):
    toll = kills.killed(tmp_path, 4, seed=7, asked=(*STEADY[1:], "--set", "n=8,16"))
    assert sum(toll.kills.values()) == 4
    assert (toll.lost, toll.twice, toll.left) == (0, 0, 0)


def test_the_judge_of_killed_runs_sees_what_is_lost_and_what_is_twice(complete, tmp_path):
    killer = kills.Killer(tmp_path, 0)
    records = load(complete).records
    timed = next(r for r in records if r.time and r.case.workload == "steady" and len(r.time.trials) > 1)
    apart = kills_apart(timed)
    for name, lines in (
        ("lost", [r for r in records if r is not timed]),
        ("round", [*(r for r in records if r is not timed), *apart[:-1]]),
    ):
        damaged(tmp_path / name, complete, lines)
        with pytest.raises(kills.LostError, match="other than undisturbed"):
            killer.judge(tmp_path / name, complete)
    again = msgspec.structs.replace(apart[-1].time.trials[0], heat=99, started_at="later")
    again = msgspec.structs.replace(apart[-1], time=msgspec.structs.replace(apart[-1].time, trials=[again]))
    damaged(tmp_path / "twice", complete, [*records, again])
    with pytest.raises(kills.LostError, match=r"measured twice: \['steady/"):
        killer.judge(tmp_path / "twice", complete)
    killer.judge(complete, complete)


def damaged(folder: Path, like: Path, records):
    folder.mkdir()
    (folder / INFO).write_bytes((like / INFO).read_bytes())
    (folder / RECORDS).write_bytes(b"".join(msgspec.json.encode(record) + b"\n" for record in records))


@pytest.mark.fault("a signal that asks a command to end before it measures", "signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_takes_down_what_any_command_has_begun(monkeypatch, number):
    down = []

    def begun(*_):
        try:
            os.kill(os.getpid(), number)
        finally:
            down.append("taken down")

    monkeypatch.setattr(listing, "listing", begun)
    assert run_cli(["list", "workloads"]) == 128 + number
    assert down == ["taken down"]
    assert signal.getsignal(number) is signal.SIG_DFL

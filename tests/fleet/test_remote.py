"""What runs on a node of Ray, without Ray: whole lines by their place, files, ends, and nothing left behind."""

from __future__ import annotations

import subprocess
import sys
import zlib

import psutil
import pytest
from _command import ROOT
from _fleet import python, wait_for

from harness.fleet.engines import remote
from harness.fleet.engines.remote import Remote

PATIENCE_S = 60
ARGV = ("-m", "harness", "run", "--resume", "--out", remote.OUT)


def _begun(tmp_path, patience_s=3600.0, **told):
    return Remote([str(python(tmp_path)), *ARGV], str(tmp_path), told, "records.jsonl", "run.json", patience_s)


def test_lines_are_handed_out_by_their_place_as_often_as_they_are_asked_for(tmp_path):
    node = _begun(tmp_path, FAKE_LINES="3")
    wait_for(lambda: node._process.poll() is not None)
    whole = node.read(0, 0)
    assert whole["piece"].count(b"\n") == 3
    assert whole["code"] is None  # first all that it wrote
    assert node.read(0, 0)["piece"] == whole["piece"]
    first = whole["piece"].index(b"\n") + 1
    assert node.read(first, 0)["piece"] == whole["piece"][first:]
    info = whole["files"]["run.json"]
    assert node.read(0, zlib.crc32(info))["files"] == {}
    last = node.read(len(whole["piece"]), 0)
    assert (last["code"], last["files"]["logs/case.txt"]) == (0, b"what failed\n")
    assert last["files"]["run.json"] == info
    folder = tmp_path / node._out
    assert folder.is_dir()
    node.discard()
    assert not folder.parent.exists()


def test_a_line_that_is_being_written_is_not_handed_out_and_a_long_one_is_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "MOST_BYTES", 16)
    node = _begun(tmp_path, FAKE_LINES="0")
    wait_for(lambda: node._process.poll() is not None)
    with open(node._lines_path, "ab") as file:
        file.write(b"x" * 50)
    assert node.read(0, 0)["piece"] == b""
    with open(node._lines_path, "ab") as file:
        file.write(b"\nsecond")
    assert node.read(0, 0)["piece"] == b"x" * 50 + b"\n"
    node.discard()


def test_the_lines_are_those_of_the_file_that_was_first_made(tmp_path):
    """A run puts another in its place when it ends, with the records of each case joined."""
    node = _begun(tmp_path, FAKE_LINES="2")
    wait_for(lambda: node._process.poll() is not None)
    before = node.read(0, 0)["piece"]
    (tmp_path / "other").write_bytes(b"joined\n")
    (tmp_path / "other").replace(node._lines_path)
    assert node.read(0, 0)["piece"] == before
    node.discard()


def test_signals_are_told_as_shells_do_and_what_cannot_be_started_says_so(tmp_path):
    node = _begun(tmp_path, FAKE_UNTIL=str(tmp_path / "never"), FAKE_PAUSE_S="0.05")
    wait_for(lambda: node.read(0, 0)["piece"])
    node._process.kill()
    node._process.wait()
    size = len(node.read(0, 0)["piece"])
    assert node.read(size, 0)["code"] == 137
    node.discard()
    nowhere = Remote(["/nowhere/python", *ARGV], "/nowhere", {}, "records.jsonl", "run.json", 3600.0)
    wait_for(lambda: nowhere._process.poll() is not None)
    ended = nowhere.read(0, 0)
    assert ended["code"] == 1
    assert b"/nowhere/python" in ended["printed"] or b"No such file" in ended["printed"]
    nowhere.discard()


HOLDING = (
    "import sys, time; from harness.fleet.engines.remote import Remote\n"
    "patience_s = float(sys.argv.pop(1))\n"
    "node = Remote(sys.argv[1:], '.', {}, 'records.jsonl', 'run.json', patience_s)\n"
    "print(node._process.pid, flush=True); time.sleep(600)\n"
)


@pytest.mark.parametrize("patience_s", [3600.0, 0.2])
@pytest.mark.fault("SIGKILL of what runs a command on a node, and no driver that asks for it", "fleets")
def test_the_command_ends_with_what_started_it_or_when_nobody_asks(tmp_path, patience_s):
    command = [str(patience_s), sys.executable, "-c", "import time; time.sleep(600)"]
    holder = subprocess.Popen([sys.executable, "-c", HOLDING, *command], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    pid = int(holder.stdout.readline())
    if patience_s > 60:
        wait_for(lambda: psutil.Process(pid).cmdline()[1:2] == ["-c"])  # bound to its parent by then
        holder.kill()
    holder.wait(PATIENCE_S)
    holder.communicate()
    wait_for(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


@pytest.mark.fault("a node's folder whose Ray worker was killed", "fleets")
def test_what_a_killed_one_left_behind_goes_with_the_next_and_what_lives_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(remote.tempfile, "tempdir", str(tmp_path))
    others = tmp_path / f"{remote.PREFIX}others"  # of one that has not locked it yet, or cannot
    others.mkdir()
    living = _begun(tmp_path, FAKE_LINES="1")
    command = ["3600", sys.executable, "-c", "import time; time.sleep(600)"]
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDING, *command], cwd=ROOT, stdout=subprocess.PIPE, env={"TMPDIR": str(tmp_path)}
    )
    holder.stdout.readline()
    before = set(tmp_path.glob(f"{remote.PREFIX}*"))
    assert len(before) == 3
    holder.kill()
    holder.wait(PATIENCE_S)
    holder.communicate()
    again = _begun(tmp_path, FAKE_LINES="1")
    after = set(tmp_path.glob(f"{remote.PREFIX}*"))
    assert others in after
    assert len(after) == 3
    assert len(before & after) == 2
    for node in (living, again):
        wait_for(lambda node=node: node._process.poll() is not None)
        assert node.read(0, 0)["piece"]
        node.discard()
    assert set(tmp_path.glob(f"{remote.PREFIX}*")) == {others}


def test_the_environment_is_that_of_the_node_without_what_ray_sets(monkeypatch):
    from harness.fleet.engines.remote import _environment

    assert "PATH" in _environment()  # of our own parent, which stands for the raylet
    monkeypatch.setattr(remote, "_content", lambda path, most=0: b"")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("RAY_JOB_ID", "1")
    monkeypatch.setenv("KEPT", "yes")
    found = _environment()
    assert found["KEPT"] == "yes"
    assert not {"OMP_NUM_THREADS", "RAY_JOB_ID"} & found.keys()

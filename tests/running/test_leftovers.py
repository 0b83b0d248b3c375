"""What SIGKILL leaves of a run is found by its lock and removed by the next; what lives is left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from backends.discovery import backends
from backends.ops import Device
from harness.records.locks import FileLock
from harness.running import leftovers
from harness.worker.client import Server
from harness.worker.folder import LOCK

ROOT = Path(__file__).resolve().parents[2]
LIVING = (
    "import sys, time; from pathlib import Path\n"
    "from backends.discovery import backends; from backends.ops import Device\n"
    "from harness.running import leftovers; from harness.worker.client import Server\n"
    "out = Path(sys.argv[1])\n"
    "with leftovers.marked(out), Server(backends()[0]['numpy'], Device('cpu'), 1, out / 'cache') as server:\n"
    "    (out / '.scratch').mkdir(); (out / '.scratch' / 'large.npy').write_text('x')\n"
    "    (Path(server.environ['TMPDIR']) / 'ccXYZ.s').write_text('of a compiler')\n"
    "    print('living', flush=True); time.sleep(60)\n"
)


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """A folder for temporary files of the test's own, here and in what it starts."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.fault("SIGKILL of a run with a fork server and inputs on the disk", "signals")
def test_the_next_run_removes_what_a_killed_one_left_and_nothing_of_a_living_one(tmp_path, temporary):
    out = tmp_path / "out"
    out.mkdir()
    (temporary / "hwlottery-of-a-user").mkdir()
    process = subprocess.Popen([sys.executable, "-c", LIVING, str(out)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "living\n"
    assert leftovers.sweep() == []
    assert len(list(temporary.glob(f"hwlottery-*/{LOCK}"))) == 2
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert (out / ".scratch" / "large.npy").exists()
    assert len(leftovers.sweep()) == 3
    assert not (out / ".scratch").exists()
    assert [path.name for path in temporary.iterdir()] == ["hwlottery-of-a-user"], "what has no lock is not ours"


@pytest.mark.fault("temporary files of a framework or compiler that was killed", "signals")
def test_what_runs_in_a_server_has_temporary_files_of_its_own_which_go_with_it(tmp_path, temporary):
    with Server(backends()[0]["numpy"], Device("cpu"), 1, tmp_path / "cache") as server:
        theirs = Path(server.environ["TMPDIR"])
        assert theirs.is_dir()
        assert theirs.is_relative_to(temporary)
        (theirs / "torchinductor").mkdir()
        (theirs / "torchinductor" / "ccXYZ.s").write_text("of a compiler that was killed")
    assert list(temporary.iterdir()) == []


def test_a_scratch_folder_is_not_removed_while_another_run_writes_there(tmp_path, temporary):
    out = tmp_path / "out"
    (out / ".scratch").mkdir(parents=True)
    dead = temporary / "hwlottery-dead"
    dead.mkdir()
    (dead / LOCK).write_text(str(out / ".scratch"))
    lock = FileLock(out / ".lock")
    assert lock.take()
    assert leftovers.sweep() == [dead]
    assert (out / ".scratch").exists()


@pytest.mark.parametrize("named", ["", "relative/.scratch", "/", "no\x00path/.scratch"])
def test_only_a_scratch_folder_is_removed(tmp_path, temporary, named):
    dead = temporary / "hwlottery-dead"
    dead.mkdir()
    (dead / LOCK).write_text(named or str(tmp_path / "precious"))
    (tmp_path / "precious").mkdir()
    leftovers.sweep()
    assert (tmp_path / "precious").exists()


def test_a_run_leaves_nothing(tmp_path, temporary):
    with leftovers.marked(tmp_path), Server(backends()[0]["numpy"], Device("cpu"), 1, tmp_path / "cache"):
        (tmp_path / leftovers.SCRATCH).mkdir()
        assert len(list(temporary.iterdir())) == 2
    assert not list(temporary.iterdir())
    assert not (tmp_path / leftovers.SCRATCH).exists()

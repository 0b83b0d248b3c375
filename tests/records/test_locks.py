"""Locks die with their process, name their holder, and a file system without them is told."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from _stored import RUN, record

from harness.records.locks import FileLock, NoLocksError, common_folder
from harness.records.store import LOCK, Store, StoreError, load

ROOT = Path(__file__).resolve().parents[2]
HOLDING = (
    "import sys, time; from pathlib import Path; from harness.records.locks import FileLock\n"
    "lock = FileLock(Path(sys.argv[1]), 'process \\x1b[31m of \\u00e4nna', mode=0o666)\n"
    "assert lock.take(); print('held', flush=True); time.sleep(60)\n"
)


@pytest.fixture
def holder(tmp_path):
    """Another process that holds a lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(tmp_path / "lock")], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


@pytest.mark.fault("SIGKILL of the process that holds a lock", "locks")
def test_a_lock_names_its_holder_and_dies_with_it(tmp_path, holder):
    lock = FileLock(tmp_path / "lock", "me")
    assert not lock.take()
    assert lock.holder() == "process \N{REPLACEMENT CHARACTER}[31m of änna"
    os.kill(holder.pid, signal.SIGKILL)
    began = time.monotonic()
    assert lock.take(wait=True)
    assert time.monotonic() - began < 30
    assert lock.holder() == "me"
    lock.release()
    assert FileLock(tmp_path / "lock").take()


def test_a_lock_that_was_taken_away_meanwhile_is_made_anew(tmp_path):
    """Who waits for a file that its holder removes must not hold a file that nobody else sees."""
    first, second, third = (FileLock(tmp_path / "lock", name) for name in ("first", "second", "third"))
    assert first.take()
    waiting = threading.Thread(target=second.take, kwargs={"wait": True})
    waiting.start()
    time.sleep(0.1)
    first.release(remove=True)
    waiting.join(10)
    assert (tmp_path / "lock").read_text() == "second"
    assert not third.take()


def test_a_link_in_a_common_folder_is_not_followed(tmp_path):
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "lock").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match="symbolic link"):
        FileLock(tmp_path / "lock", "words").take()
    assert (tmp_path / "precious").read_text() == "precious"


@pytest.mark.fault("a file system without locks", "locks")
def test_a_file_system_without_locks_is_told_and_used(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(NoLocksError):
        FileLock(tmp_path / "lock").take()
    with Store(tmp_path / "out", RUN) as store:
        store.append(record("a"))
    found = load(tmp_path / "out")
    assert len(found.records) == 1
    assert "file system without locks (No locks available): let no second run write there" in found.info.notes[0]


@pytest.mark.fault("two runs into one folder at once", "locks")
@pytest.mark.parametrize("resume", [False, True])
def test_a_second_run_into_a_folder_is_refused_while_the_first_lives(tmp_path, resume):
    with Store(tmp_path, RUN) as first:
        first.append(record("a"))
        with pytest.raises(
            StoreError, match=rf"a run is writing to .* \(process {os.getpid()}, since .*\); wait for it"
        ):
            Store(tmp_path, RUN, resume=resume)
        first.append(record("b"))
    assert len(load(tmp_path).records) == 2
    assert not (tmp_path / LOCK).exists()


def test_what_all_users_of_a_machine_lock_does_not_hang_on_where_each_has_temporary_files(tmp_path, monkeypatch):
    before = common_folder()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert common_folder() == before == Path("/tmp")

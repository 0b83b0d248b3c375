"""Workers that die, hang, flood and leave processes behind: told, bounded, ended, and no others are harmed by it."""

from __future__ import annotations

import dataclasses
import errno
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import psutil
import pytest

from backends.discovery import backends
from backends.ops import Device
from harness.errors import UserError
from harness.measuring.settings import Sampling
from harness.records.locks import FileLock
from harness.worker import client, folder, printed, strays
from harness.worker.client import Server, ServerError
from harness.worker.environment import ROOT
from harness.worker.messages import DevicesJob, Exit, GroupJobs, MemberJob, Request

SHORT = Sampling(window_s=0.02, sample_s=0.0)


def fault(tried, times=1):
    return pytest.mark.fault(tried, "workers", times=times)


def gone(pid):
    """Whether a process is no more, soon."""
    until = time.monotonic() + 5
    while time.monotonic() < until:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.01)
    return False


@pytest.fixture
def daemon(place):
    """The PID of the process that the misbehaving workload left; there is none before."""
    note = place / "daemon"
    note.unlink(missing_ok=True)
    yield lambda: int(note.read_text())
    note.unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("formulation", "said"),
    [
        pytest.param("aborter", "killed by SIGABRT while making the first call", marks=fault("abort in a call")),
        pytest.param("quiet_leaver", "exited with code 0 while making", marks=fault("exit 0 without an answer")),
        pytest.param(
            "killed",
            "SIGKILL while making the first call, from outside",
            marks=fault("SIGKILL of a case's process"),
        ),
    ],
)
def test_a_process_that_ends_without_an_answer_is_a_crash_that_says_how(server, bad_job, formulation, said):
    measured = server.run(bad_job(formulation, SHORT), 30).measured
    assert (measured.status, measured.failure_class) == ("crash", "other")
    assert said in measured.reason


@fault("a folder of temporary files that is full")
def test_a_process_that_found_no_room_for_its_answer_is_no_crash_of_its_framework(server, bad_job, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(folder, "ROOM_BYTES", 1 << 60)
        assert server.run(bad_job("good", SHORT), 30).measured.status == "ok"
        assert server.run(bad_job("raiser", SHORT), 30).measured.status == "error", "it had room to say why"
        with pytest.raises(
            UserError, match=r"no room for temporary files in .* \(No space left on device\); make room"
        ):
            server.run(bad_job("killed", SHORT), 30)
    assert server.run(bad_job("killed", SHORT), 30).measured.status == "crash"


@pytest.mark.parametrize(
    ("formulation", "said"),
    [
        pytest.param("no_room", "No space left on device", marks=fault("a disk that is full while a case is made")),
        pytest.param("no_room_and_dies", "Disk quota exceeded", marks=fault("a quota that ends a compiler")),
    ],
)
def test_a_process_that_failed_for_want_of_room_is_no_failure_of_its_framework(
    server, bad_job, place, formulation, said
):
    """By its words: what filled the disk may be gone with the process."""
    (place / "full").touch()
    try:
        with pytest.raises(UserError, match=rf"no room for temporary files in .*for programs in .* \({said}\); make"):
            server.run(bad_job(formulation, SHORT), 30)
    finally:
        (place / "full").unlink()
    assert server.run(bad_job("no_room", SHORT), 30).measured.status == "ok"


FULL_DISK = """
import errno, os, sys
from multiprocessing import Pipe
from pathlib import Path
import msgspec
from harness.worker import server
from harness.worker.messages import Request

def full(*_):
    raise OSError(int(sys.argv[1]), os.strerror(int(sys.argv[1])))

Path.write_bytes = full
request = msgspec.json.decode(sys.argv[2], type=Request)
server._child(request.groups[0].members[0], request, Pipe()[0])
"""


@fault("a disk that is full when a case has its answer")
def test_a_process_that_cannot_write_its_answer_ends_by_the_code_for_it(tmp_path):
    member = MemberJob(job=DevicesJob(), result=str(tmp_path / "case0.json"), log=str(tmp_path / "case0.log"))
    request = Request(groups=[GroupJobs(members=[member], seed=0)], abreast=1, timeout_s=30.0, memory_bytes=None)

    def ended(number):
        given = [str(number), msgspec.json.encode(request).decode()]
        return subprocess.run([sys.executable, "-c", FULL_DISK, *given], cwd=ROOT, check=False).returncode

    assert ended(errno.ENOSPC) == ended(errno.EDQUOT) == folder.NO_ROOM
    assert ended(errno.EROFS) == 1
    with pytest.raises(UserError, match=r"\(No space left on device\)"):
        client._answer(member, Exit(code=folder.NO_ROOM, timed_out=False, wall_s=1.0), 30.0, tmp_path, False)
    assert client._answer(member, Exit(code=1, timed_out=False, wall_s=1.0), 30.0, tmp_path, False)


def test_a_server_takes_another_folder_where_a_run_that_begins_has_its_first(place, monkeypatch):
    """Between its making and its locking another run may have found it, and removes it."""
    made, folders, theirs = tempfile.mkdtemp, [], []

    def taken_at_first(*arguments, **more):
        folders.append(made(*arguments, **more))
        if not theirs:
            theirs.append(FileLock(Path(folders[0]) / folder.LOCK))
            assert theirs[0].take()
        return folders[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", taken_at_first)
    with Server(backends()[0]["numpy"], Device("cpu"), 1, place / "cache") as server:
        assert server._folder.name == folders[1]
        assert server.start().error is None
    theirs[0].release()


@fault("SIGKILL by the kernel for want of memory, by its counter")
def test_sigkill_is_oom_where_the_kernel_says_that_it_killed_for_memory(server, bad_job, monkeypatch):
    counts = iter(range(100))
    monkeypatch.setattr(client, "_oom_kills", lambda: next(counts))
    measured = server.run(bad_job("killed", SHORT), 30).measured
    assert (measured.status, measured.failure_class) == ("oom", "memory")


@fault("a call that hangs and holds the interpreter's lock, beside others in one batch")
def test_a_hang_that_holds_the_gil_is_a_timeout_and_the_others_of_its_batch_are_measured(server, bad_job):
    server.begin([([bad_job(name, SHORT) for name in ("gil_holder", "good", "good")], 0)], 3.0, 2)
    server.prepared()
    server.measure(0)
    server.finish()
    ((hung, *others),) = server.answers()
    assert hung.measured.status == "timeout"
    assert [other.measured.status for other in others] == ["ok", "ok"]


@fault("a gigabyte of output")
def test_a_gigabyte_of_output_is_cut_on_the_disk_and_in_memory(server, bad_job, monkeypatch):
    monkeypatch.setattr(printed, "LOOK_S", 0.05)
    job = msgspec.structs.replace(bad_job("flood", Sampling(window_s=0.0, min_samples=1)), watch=False)
    answer = server.run(job, 60)
    assert answer.measured.status in ("ok", "oom")
    assert answer.log is None or len(answer.log) < 3 * printed.HEAD_BYTES


def test_a_log_that_grows_is_cut_and_its_writer_goes_on_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(printed, "MOST_BYTES", 1 << 20)
    path = tmp_path / "case.log"
    with path.open("ab", buffering=0) as log:
        log.write(b"first\n" + b"x" * (2 << 20))
        printed.bound(path)
        assert path.stat().st_size < 2 * printed.HEAD_BYTES
        log.write(b"\nlast\n")
    assert printed.words(path).startswith("first\n")
    assert "more than is kept" in printed.words(path)
    assert printed.last_lines(path)[-1] == "last"


@fault("a process left behind that has left group, session and parent")
def test_a_process_that_left_its_session_is_found_named_and_ended(server, bad_job, daemon):
    measured = server.run(bad_job("daemons", SHORT), 30).measured
    assert measured.status == "ok"
    assert measured.settings[strays.LEFT] == f"sleep 601 (process {daemon()})"
    assert gone(daemon())


@fault("the same of a case that dies")
def test_what_a_case_that_died_has_left_is_ended_too(server, bad_job, daemon):
    measured = server.run(bad_job("daemons_and_dies", SHORT), 30).measured
    assert measured.status == "crash"
    assert "sleep 601" in measured.settings[strays.LEFT]
    assert gone(daemon())


def test_a_case_that_leaves_nothing_says_nothing(server, bad_job):
    assert strays.LEFT not in server.run(bad_job("good", SHORT), 30).measured.settings


@fault("SIGKILL of the fork server while a case runs that has left a process")
def test_a_server_that_is_killed_is_told_and_nothing_of_it_is_left(place, daemon, bad_job):
    with Server(backends()[0]["numpy"], Device("cpu"), 1, place / "cache") as server:
        server.start()
        left = subprocess.Popen(["sleep", "602"], env=server.environ, start_new_session=True)
        os.kill(server._process.pid, 9)
        with pytest.raises(ServerError, match="the server of NumPy was killed by SIGKILL"):
            server.run(DevicesJob(), 5)
    assert left.wait(5) == -9


@fault("a run that was killed and left processes behind")
def test_what_a_killed_run_has_left_is_found_by_the_next_and_no_living_runs_processes(monkeypatch):
    owner = "from harness.worker import strays; print(strays.mark('x'))"
    ended = subprocess.run([sys.executable, "-c", owner], capture_output=True, text=True, check=True, cwd=ROOT)
    dead = ended.stdout.strip()
    sleeping = [
        subprocess.Popen(["sleep", "603"], env={**os.environ, strays.OWNER: mark}, start_new_session=True)
        for mark in (dead, strays.mark("x"))
    ]
    try:
        (named,) = [name for name in strays.end_leftovers() if "603" in name]
        assert named == f"sleep 603 (process {sleeping[0].pid})"
        assert sleeping[0].wait(5) == -9
        assert sleeping[1].poll() is None
    finally:
        for process in sleeping:
            process.kill()
            process.wait()


# -- frameworks that do not import -------------------------------------------------------------------------------------


def framework(tmp_path, monkeypatch, body):
    """A backend whose framework is one file that does what `body` says while it is imported."""
    (tmp_path / "no_framework.py").write_text(body)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("HWLOTTERY_BACKENDS", str(tmp_path))
    text = "import dataclasses\nfrom backends.numpy_backend import BACKEND as numpy\n"
    text += "BACKEND = dataclasses.replace(numpy, name='broken', title='Broken', preload=('no_framework',))\n"
    (tmp_path / "broken_backend.py").write_text(text)
    return dataclasses.replace(backends()[0]["numpy"], name="broken", title="Broken")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        pytest.param(
            "import os, signal\nprint('bad instruction', flush=True)\nos.kill(os.getpid(), signal.SIGILL)",
            "Broken does not import: its process was killed by SIGILL; its last words: bad instruction; try: ",
            marks=fault("a framework that dies of a signal while imported"),
        ),
        pytest.param(
            "import os\nos._exit(3)",
            "Broken does not import: its process exited with code 3, and left no words; try: ",
            marks=fault("a framework that exits while imported"),
        ),
        pytest.param(
            "import sys\nsys.exit('no licence')",
            "Broken does not import: SystemExit: no licence; try: ",
            marks=fault("a framework that raises SystemExit while imported"),
        ),
    ],
)
def test_a_framework_that_ends_while_imported_is_told_by_signal_code_and_words(tmp_path, monkeypatch, body, said):
    broken = framework(tmp_path, monkeypatch, body)
    with Server(broken, Device("cpu"), 1, tmp_path) as server, pytest.raises(ServerError) as error:
        server.start()
    assert str(error.value).startswith(said)


@fault("a framework that hangs while imported")
def test_a_framework_that_hangs_while_imported_is_ended_in_time(tmp_path, monkeypatch):
    body = "import ctypes\nprint('looking for a device', flush=True)\nctypes.PyDLL(None).sleep(600)"
    broken = framework(tmp_path, monkeypatch, body)
    began = time.monotonic()
    with Server(broken, Device("cpu"), 1, tmp_path, start_s=4.0) as server:
        with pytest.raises(ServerError, match=r"Broken was not imported after 4 s, and was ended; its last words: loo"):
            server.start()
        assert gone(server._process.pid)
    assert time.monotonic() - began < 30

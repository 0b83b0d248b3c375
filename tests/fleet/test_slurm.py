"""The engine of SLURM: a command is queued, stops and goes on, by submitit's own processes and in a queue of SLURM.

The latter where HWLOTTERY_SLURM_PARTITION names a partition in which these tests may queue jobs of a few seconds.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from types import SimpleNamespace

import psutil
import pytest
from _fleet import fleet, lines, of_command, wait_for

from harness.errors import UserError
from harness.fleet import description
from harness.fleet.engines import slurm
from harness.fleet.engines.base import STOPPED, Finished, Gone, Job
from harness.fleet.engines.slurm import SlurmEngine

submitit = pytest.importorskip("submitit", reason="the extra `slurm` is not installed")
# submitit leaves the processes that it started to themselves.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
PARTITION = os.environ.get("HWLOTTERY_SLURM_PARTITION")


@pytest.fixture(params=["local", "slurm"])
def queue(request):
    """The options of a queue that is there."""
    if request.param == "local":
        return {"cluster": "local"}
    if not PARTITION:
        pytest.skip("HWLOTTERY_SLURM_PARTITION names no partition of SLURM")
    return {"cluster": "slurm", "partition": PARTITION}


def _send(engine, job, name, *more):
    """A signal as SLURM sends it: to every process that the job's file has started."""
    queued = engine._jobs[job.attempt][1]
    if engine._options["cluster"] == "slurm":
        subprocess.run(["scancel", f"--signal={name}", *more, str(queued.job_id)], check=True)
        return
    processes = psutil.Process(int(queued.job_id)).children(recursive=True)
    for process in processes if name == "TERM" else (*reversed(processes), queued._process):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(getattr(signal, f"SIG{name}"))


def _engine(tmp_path, told, *, grace_s=30.0, **options):
    text = f'engine = "slurm"\n[machine.a]\n{of_command(tmp_path, **told)}\n[[want]]\nname = "w"\npreset = "smoke"\n'
    described, _ = fleet(tmp_path, text)
    engine = SlurmEngine(tmp_path / "slurm", {"cluster": "local", **options}, poll_s=0.1, grace_s=grace_s)
    engine.connect(described.kinds)
    name = "w-a-run1-try1"
    job = Job(
        attempt=name,
        machine="a",
        kind=described.kinds["a"],
        options=["--preset", "smoke"],
        results=tmp_path / "runs" / name,
        log=tmp_path / f"{name}.log",
    )
    return engine, job


def _end_of(engine):
    found = []
    wait_for(lambda: found.extend(engine.heard(0.1)) or found)
    return found[0]


def test_a_command_is_queued_and_its_end_is_read(tmp_path, queue):
    engine, job = _engine(tmp_path, {}, **queue)
    assert engine.there() == ["a"]
    engine.start(job)
    assert _end_of(engine) == Finished(attempt=job.attempt, code=0)
    assert lines(job.results / "records.jsonl") == [0, 1, 2, 3, 4]


def test_what_is_refused_says_why(tmp_path, queue):
    engine, job = _engine(tmp_path, {"FAKE_CODE": "2"}, **queue)
    engine.start(job)
    heard = _end_of(engine)
    assert (heard.code, heard.said) == (2, "error: nothing can be run here; install something")


@pytest.mark.fault("preemption of a SLURM job, by its signals", "fleets")
def test_a_preempted_job_goes_on_behind_its_last_line(tmp_path, queue):
    engine, job = _engine(tmp_path, {"FAKE_UNTIL": str(tmp_path / "enough"), "FAKE_PAUSE_S": "0.05"}, **queue)
    engine.start(job)
    records = job.results / "records.jsonl"
    wait_for(lambda: records.exists() and records.read_bytes().count(b"\n") >= 2)
    _send(engine, job, "TERM")
    assert _end_of(engine).code == 143
    before = len(lines(records))
    (tmp_path / "enough").touch()
    engine.start(job)
    assert _end_of(engine).code == 0
    assert lines(records) == list(range(before))


def test_a_later_driver_takes_up_what_is_queued(tmp_path, queue):
    engine, job = _engine(tmp_path, {"FAKE_LINES": "4", "FAKE_PAUSE_S": "0.2"}, **queue)
    place = engine.start(job)
    taken = Job(**{name: getattr(job, name) for name in job.__slots__} | {"place": place})
    later, _ = _engine(tmp_path, {}, **queue)
    _end_of(engine)
    assert later.adopt(taken)  # by its exit code
    assert _end_of(later).code == 0
    assert not later.adopt(job)  # never queued


def test_a_job_that_is_gone_without_a_code_is_lost(tmp_path, queue):
    engine, job = _engine(tmp_path, {"FAKE_UNTIL": str(tmp_path / "never")}, grace_s=0.5, **queue)
    engine.start(job)
    wait_for(lambda: (job.results / "records.jsonl").exists())
    _send(engine, job, "KILL", "--full")  # the job's own file, too
    heard = _end_of(engine)
    if queue["cluster"] == "slurm" and isinstance(heard, Finished):  # SLURM let our shell write its code down before
        assert heard.code in STOPPED
        return
    assert isinstance(heard, Gone)
    assert "SLURM says of job" in heard.why


def test_a_job_that_is_taken_out_of_the_queue_ends(tmp_path, queue):
    engine, job = _engine(tmp_path, {"FAKE_UNTIL": str(tmp_path / "never")}, grace_s=0.5, **queue)
    engine.start(job)
    wait_for(lambda: (job.results / "records.jsonl").exists())
    engine.stop(job.attempt)
    heard = _end_of(engine)
    (tmp_path / "never").touch()  # submitit's own processes leave theirs behind
    assert isinstance(heard, Gone) or heard.code in (130, 137, 143)


def test_the_batch_file_asks_for_a_node_alone_and_for_the_same_again(tmp_path, monkeypatch):
    """What sbatch would be given; nothing is queued."""
    monkeypatch.setattr(submitit.SlurmExecutor, "affinity", classmethod(lambda cls: 2))
    engine, _ = _engine(tmp_path, {}, cluster="slurm", partition="batch", setup=("module load python",))
    executor = engine._executor({"constraint": "avx512", "nodelist": "n7", "minutes": 90})
    text = executor._executor._make_submission_file_text("command", "id")
    for line in (
        "exclusive",
        "no-requeue",
        "nodes=1",
        "partition=batch",
        "constraint=avx512",
        "nodelist=n7",
        "time=90",
    ):
        assert f"#SBATCH --{line}\n" in text
    assert "module load python\n" in text


@pytest.mark.parametrize("key", sorted(description._ENGINES["slurm"].keys() - {"minutes", "setup", "cluster"}))
def test_every_option_of_a_fleet_gets_to_sbatch(tmp_path, monkeypatch, key):
    monkeypatch.setattr(submitit.SlurmExecutor, "affinity", classmethod(lambda cls: 2))
    engine, _ = _engine(tmp_path, {}, cluster="slurm", **{key: "word"})
    assert f"#SBATCH --{key}=word\n" in engine._executor({})._executor._make_submission_file_text("command", "id")


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        ("echo 7 RUNNING; echo 8 COMPLETED", "RUNNING"),
        ("echo 8 COMPLETED", slurm.GONE),
        ("echo slurm_load_jobs error: Invalid job id specified >&2; exit 1", slurm.GONE),
        ("echo slurm_load_jobs error: Unable to contact slurm controller >&2; exit 1", None),
    ],
)
def test_the_queue_says_how_a_job_stands_or_nothing(tmp_path, monkeypatch, answer, state):
    (tmp_path / "squeue").write_text(f"#!/bin/sh\n{answer}\n")
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    engine = SlurmEngine(tmp_path, {})
    assert engine._states([SimpleNamespace(job_id="7")]).get("7") == state


def test_without_slurm_it_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(submitit.SlurmExecutor, "affinity", classmethod(lambda cls: -1))
    with pytest.raises(UserError, match=r"SLURM cannot be used from here: .*; run this where sbatch is"):
        _engine(tmp_path, {}, cluster="slurm")

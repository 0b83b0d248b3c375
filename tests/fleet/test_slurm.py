"""The engine of SLURM by submitit's own processes: a command travels, stops and goes on as it would in a queue."""

from __future__ import annotations

import time

import psutil
import pytest
from _fleet import fleet, lines, of_command

from harness.errors import UserError
from harness.fleet.engines.base import Finished, Gone, Job
from harness.fleet.engines.slurm import SlurmEngine

submitit = pytest.importorskip("submitit", reason="the extra `slurm` is not installed")
# submitit leaves the processes that it started to themselves.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
PATIENCE_S = 60


def _engine(tmp_path, told, **options):
    text = f'engine = "slurm"\n[machine.a]\n{of_command(tmp_path, **told)}\n[[want]]\nname = "w"\npreset = "smoke"\n'
    described, _ = fleet(tmp_path, text)
    engine = SlurmEngine(tmp_path / "slurm", {"cluster": "local", **options}, poll_s=0.1)
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


def _wait_for(condition):
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def _end_of(engine):
    found = []
    _wait_for(lambda: found.extend(engine.heard(0.1)) or found)
    return found[0]


def test_a_command_is_queued_and_its_end_is_read(tmp_path):
    engine, job = _engine(tmp_path, {})
    assert engine.there() == ["a"]
    engine.start(job)
    assert _end_of(engine) == Finished(attempt=job.attempt, code=0)
    assert lines(job.results / "records.jsonl") == [0, 1, 2, 3, 4]


def test_what_is_refused_says_why(tmp_path):
    engine, job = _engine(tmp_path, {"FAKE_CODE": "2"})
    engine.start(job)
    heard = _end_of(engine)
    assert (heard.code, heard.said) == (2, "error: nothing can be run here; install something")


@pytest.mark.fault("preemption of a SLURM job, by its signals", "fleets")
def test_a_preempted_job_goes_on_behind_its_last_line(tmp_path):
    engine, job = _engine(tmp_path, {"FAKE_UNTIL": str(tmp_path / "enough"), "FAKE_PAUSE_S": "0.05"})
    engine.start(job)
    records = job.results / "records.jsonl"
    _wait_for(lambda: records.exists() and records.read_bytes().count(b"\n") >= 2)
    for process in psutil.Process(int(engine._jobs[job.attempt][1].job_id)).children(recursive=True):
        process.terminate()  # SLURM asks every process of a job
    assert _end_of(engine).code == 143
    before = len(lines(records))
    (tmp_path / "enough").touch()
    engine.start(job)
    assert _end_of(engine).code == 0
    assert lines(records) == list(range(before))


def test_a_later_driver_takes_up_what_is_queued(tmp_path):
    engine, job = _engine(tmp_path, {"FAKE_LINES": "4", "FAKE_PAUSE_S": "0.2"})
    place = engine.start(job)
    taken = Job(**{name: getattr(job, name) for name in job.__slots__} | {"place": place})
    later, _ = _engine(tmp_path, {})
    _end_of(engine)
    assert later.adopt(taken)  # by its exit code
    assert _end_of(later).code == 0
    assert not later.adopt(job)  # never queued


def test_a_job_that_is_gone_without_a_code_is_lost(tmp_path):
    engine, job = _engine(tmp_path, {"FAKE_UNTIL": str(tmp_path / "never")})
    engine.start(job)
    _wait_for(lambda: (job.results / "records.jsonl").exists())
    queued = engine._jobs[job.attempt][1]
    for process in [*psutil.Process(queued._process.pid).children(recursive=True)][::-1]:
        process.kill()
    queued._process.kill()
    queued._process.wait()
    heard = _end_of(engine)
    assert isinstance(heard, Gone)
    assert "SLURM says of job" in heard.why


def test_a_job_that_is_taken_out_of_the_queue_ends(tmp_path):
    engine, job = _engine(tmp_path, {"FAKE_UNTIL": str(tmp_path / "never")})
    engine.start(job)
    _wait_for(lambda: (job.results / "records.jsonl").exists())
    engine.stop(job.attempt)
    heard = _end_of(engine)
    assert isinstance(heard, Gone) or heard.code in (130, 137, 143)


def test_the_batch_file_asks_for_a_node_alone_and_for_the_same_again(tmp_path, monkeypatch):
    """What sbatch would be given; nothing is queued."""
    monkeypatch.setattr(submitit.SlurmExecutor, "affinity", classmethod(lambda cls: 2))
    engine, _ = _engine(tmp_path, {}, cluster="slurm", partition="batch", setup=("module load python",))
    executor = engine._executor({"constraint": "avx512", "nodelist": "n7", "minutes": 90})
    text = executor._executor._make_submission_file_text("command", "id")
    for line in ("--exclusive", "--nodes=1", "--partition=batch", "--constraint=avx512", "--nodelist=n7", "--time=90"):
        assert f"#SBATCH {line}\n" in text
    assert "module load python\n" in text


def test_without_slurm_it_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(submitit.SlurmExecutor, "affinity", classmethod(lambda cls: -1))
    with pytest.raises(UserError, match=r"SLURM cannot be used from here: .*; run this where sbatch is"):
        _engine(tmp_path, {}, cluster="slurm")

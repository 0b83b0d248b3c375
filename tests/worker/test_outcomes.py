"""Every outcome of the spec, brought about for real: through a fork server, in a fresh process, by a bad workload."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from pathlib import Path

import msgspec
import psutil
import pytest

from backends.discovery import backends
from backends.ops import Device
from harness.cli.cache import cache_folder
from harness.measuring.settings import Sampling
from harness.worker import outcome
from harness.worker.client import Server, ServerError
from harness.worker.environment import environment, memory_limit
from harness.worker.messages import DevicesJob
from workloads.authoring.functions import WorkloadError


def line_of(words):
    """The numbers of the lines of the misbehaving workload that have these words."""
    lines = (Path(__file__).parents[1] / "helpers" / "misbehaving.py").read_text().splitlines()
    return [number for number, line in enumerate(lines, 1) if words in line]


@pytest.fixture
def measure(server, bad_job):
    def measure(formulation, timeout_s=30.0, **changes):
        return server.run(bad_job(formulation, Sampling(window_s=0.02), **changes), timeout_s).measured

    return measure


def test_a_good_case_is_ok_with_time_memory_and_energy(measure):
    measured = measure("good")
    assert (measured.status, measured.reason) == ("ok", None)
    assert measured.verdict.agrees
    assert len(measured.samples_s) >= 4
    assert all(0 < s < 1 for s in measured.samples_s)
    assert measured.trial.first_call_s > 0
    assert measured.memory.host_peak_bytes >= 0
    assert measured.energy.source == "modelled"
    assert 0 < measured.energy.low_j < measured.energy.gross_j < measured.energy.high_j
    assert measured.energy.net_j is None
    assert measured.energy.idle_w is None


@pytest.mark.fault("a segmentation fault in a call", "workers")
def test_a_segfault_is_a_crash_that_names_signal_and_phase(measure):
    measured = measure("segfault")
    assert (measured.status, measured.failure_class) == ("crash", "other")
    assert "SIGSEGV" in measured.reason
    assert "first call" in measured.reason


@pytest.mark.fault("memory beyond --memory-limit", "workers")
def test_allocating_without_end_is_oom(measure):
    measured = measure("greedy")
    assert (measured.status, measured.failure_class) == ("oom", "memory")


@pytest.mark.fault("a call that never ends", "workers")
def test_sleeping_is_a_timeout_and_leaves_no_process(measure, place):
    """Processes of this server are known by the folder in their environment: other tests may run beside this one."""

    def ours():
        found = set()
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                own = process.environ().get("HWLOTTERY_WORKLOADS") == str(place) and process.pid != os.getpid()
                if own and process.status() != psutil.STATUS_ZOMBIE:
                    found.add(process.pid)
        return found

    before = ours()
    assert before, "the server is one"
    measured = measure("sleeper", timeout_s=1.0)
    assert (measured.status, measured.failure_class) == ("timeout", "timeout")
    assert "1 s" in measured.reason
    time.sleep(0.2)
    assert ours() <= before


def test_lying_is_wrong_and_has_no_time(measure):
    measured = measure("liar")
    assert (measured.status, measured.failure_class) == ("wrong", "precision")
    assert not measured.verdict.agrees
    assert measured.trial is None
    assert measured.samples_s == []
    assert "y is off by" in measured.reason


def test_an_exception_is_an_error_with_one_line_and_its_place(measure):
    measured = measure("raiser")
    (line,) = line_of("ill-posed")
    assert measured.status == "error"
    assert measured.reason == f"ValueError: this computation is ill-posed (misbehaving.py:{line})"


def test_a_step_that_computes_in_another_dtype_is_wrong(measure):
    measured = measure("widener")
    assert (measured.status, measured.failure_class) == ("wrong", "type")
    assert measured.reason.startswith("output y is float64 in a case of float32; ")


def test_a_sentence_of_an_author_s_function_tells_no_folder():
    error = WorkloadError("/home/someone/ideas/mine.py:12: work of mine raises KeyError: 'n' at n=8")
    assert outcome.of_exception(error)[2] == "mine.py:12: work of mine raises KeyError: 'n' at n=8"


@pytest.mark.fault("exit in the middle of a call", "workers")
def test_leaving_is_a_crash_with_code_and_last_words(measure):
    measured = measure("leaver")
    assert measured.status == "crash"
    assert "code 7" in measured.reason
    assert "leaving now" in measured.reason


def test_a_mebibyte_of_output_blocks_nothing(measure):
    assert measure("talker").status == "ok"


def test_a_refusal_is_unsupported_in_its_own_words(measure):
    measured = measure("refuser")
    assert (measured.status, measured.failure_class) == ("unsupported", "not_implemented")
    assert "frobnicate" in measured.reason


def test_an_execution_that_does_not_exist_is_unsupported(measure):
    assert measure("good", execution="compiled").status == "unsupported"


def test_the_server_lives_on_after_all_of_this(measure):
    """A failure is a result and never stops the run."""
    for formulation in ("segfault", "good", "leaver", "good"):
        status = measure(formulation).status
        assert status == ("ok" if formulation == "good" else "crash")


def test_memory_of_a_known_allocation_is_within_two_percent(measure):
    """64 MiB held inside the call stand in the peak of the window; the same case without them is near 0."""
    held = measure("hoarder").memory.host_peak_bytes
    base = measure("good").memory.host_peak_bytes
    assert abs(held - base - (64 << 20)) <= max(0.02 * (64 << 20), 1 << 20)


def test_modelled_energy_is_busy_cores_times_watts(measure):
    """A case that keeps one core busy for 50 ms of CPU time costs about 12 W × 50 ms, however loaded the machine."""
    energy = measure("busy").energy
    assert energy.gross_j == pytest.approx(12 * 0.05, rel=0.25)


def test_a_missing_framework_is_one_sentence_with_the_command_that_mends_it(tmp_path):
    missing = dataclasses.replace(backends()[0]["numpy"], name="no_such_backend", title="Nothing")
    with (
        Server(missing, Device("cpu"), 1, tmp_path) as server,
        pytest.raises(ServerError, match=r"Nothing does not import: .*; try: python -m pip install numpy"),
    ):
        server.run(DevicesJob(), 5)


def test_the_environment_is_an_allow_list_with_the_same_settings_for_all(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "x")
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    seen = {n: environment(b, Device("cpu"), 2, tmp_path) for n, b in backends()[0].items()}
    assert Path(seen["tensorflow"]["KERAS_HOME"]).is_relative_to(tmp_path), "nothing is written into the home"
    for environ in seen.values():
        assert "SECRET_TOKEN" not in environ
        assert environ["OMP_NUM_THREADS"] == environ["MKL_NUM_THREADS"] == "2"
        assert "MALLOC_MMAP_THRESHOLD_" in environ


def test_where_cuda_is_is_told_to_servers_of_a_gpu_only(tmp_path, monkeypatch):
    """An image may keep its toolkit at a place of its own: XLA without libdevice has no exp."""
    told = ("XLA_FLAGS", "JAX_SKIP_CUDA_CONSTRAINTS_CHECK", "CPATH", "TRITON_PTXAS_PATH")
    for name in told:
        monkeypatch.setenv(name, "here")
    numpy = backends()[0]["numpy"]
    assert not set(told) & set(environment(numpy, Device("cpu"), 2, tmp_path))
    assert set(told) <= set(environment(numpy, Device("cuda"), 2, tmp_path))
    assert Path(environment(numpy, Device("cuda"), 2, tmp_path)["CUDA_CACHE_PATH"]).is_relative_to(tmp_path)


def test_memory_is_limited_where_it_is_the_hosts():
    assert memory_limit(Device("cpu"), 1 << 30) == 1 << 30
    assert memory_limit(Device.parse("tpu-aot:v5e"), 1 << 30) == 1 << 30
    assert memory_limit(Device("cuda"), 1 << 30) is None
    assert memory_limit(Device("tpu"), 1 << 30) is None


def test_a_process_that_is_not_metered_says_so(server, bad_job):
    job = msgspec.structs.replace(bad_job("good", Sampling(window_s=0.02)), metered=False)
    energy = server.run(job, 30).measured.energy
    assert (energy.source, energy.gross_j) == ("none", None)
    assert energy.note == "not metered: later processes of the case are"


@pytest.mark.parametrize("name", sorted(backends()[0]))
def test_a_server_has_imported_its_framework_and_started_nothing(name):
    """One thread after the import: no pool, no device client. A fork of it can start its own."""
    import importlib.util

    backend = backends()[0][name]
    if importlib.util.find_spec(backend.module) is None:
        pytest.skip(f"{backend.module} is not installed: {backend.install}")
    with Server(backend, Device("cpu"), 2, cache_folder()) as server:
        assert server.start().threads == 1
        for _ in range(2):
            measured = server.run(DevicesJob(), 60).measured
            assert (measured.status, measured.answer[0]) == ("ok", "cpu")

"""What the harness itself costs: isolation of a case, the command line, the clock, the report.

`tox run -e perf`, or `pytest tests/benchmarks/bench_overhead.py --benchmark-only`. The figures to hold: isolation at
most 0.1 s for PyTorch, 0.3 s for TensorFlow and 0.4 s for JAX after the first; `list` and `--help` within 0.5 s; the
clock's own cost below 1 µs a sample; parent and server below 2 % of a core while a case is measured; 10 000 records to
Markdown within 3 s.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from _records import dense, idea, twin_ref

from backends.discovery import backends
from backends.ops import Device
from harness.cli.cache import cache_folder
from harness.cli.formats import render
from harness.measuring.clock import Timed, sample
from harness.measuring.settings import PowerModel, Sampling
from harness.records.record import Case
from harness.worker.client import Server
from harness.worker.messages import CaseJob, DataJob
from tools import perf_tables

ROOT = Path(__file__).resolve().parents[2]
TINY = {"m": 48, "k": 32, "n": 8, "grads": "both"}


@pytest.mark.parametrize("name", ["numpy", "torch", "jax", "tensorflow"])
def test_isolation_of_a_case(name, tmp_path, benchmark):
    """A whole eager case of next to no work, in a fresh process; `extra_info` has it less the framework's work."""
    backend = backends()[0][name]
    if importlib.util.find_spec(backend.module) is None:
        pytest.skip(f"{backend.module} is not installed: {backend.install}")
    threads = len(os.sched_getaffinity(0))
    data = DataJob(
        workload="dense_matmul",
        points=[(TINY, "forward")],
        dtype="float32",
        seed=0,
        folders=[str(tmp_path / "data")],
        threads=threads,
    )
    job = CaseJob(
        case=Case(
            workload="dense_matmul",
            formulation="nn",
            params=TINY,
            dtype="float32",
            mode="forward",
            backend=name,
            execution="eager",
            device="cpu",
        ),
        data=str(tmp_path / "data"),
        threads=threads,
        cache=str(cache_folder()),
        sampling=Sampling(window_s=0.0, min_samples=4, sample_s=0.0),
        power=PowerModel(),
    )
    isolation = []
    with Server(backends()[0]["numpy"], Device("cpu"), threads, cache_folder()) as numpy:
        assert numpy.run(data, 60).measured.status == "ok"
    with Server(backend, Device("cpu"), threads, cache_folder()) as server:

        def case():
            answer = server.run(job, 60)
            assert answer.measured.status == "ok", answer.measured.reason
            trial = answer.measured.trial
            isolation.append(answer.wall_s - (trial.wall_s - trial.open_s))

        case()  # the first pays for what the server has not touched yet
        isolation.clear()
        benchmark.pedantic(case, rounds=10)
    isolation.sort()
    benchmark.extra_info["isolation_median_s"] = isolation[len(isolation) // 2]
    print(f"\n{name}: isolation {isolation[len(isolation) // 2]:.3f} s (median of {len(isolation)})")
    columns = [
        perf_tables.Column(key="backend", head="backend"),
        perf_tables.Column(key="isolation_s", head="isolation, s", format=".3f"),
    ]
    row = {"backend": name, "isolation_s": isolation[len(isolation) // 2]}
    about = f"median of {len(isolation)}"
    table = perf_tables.Table(title="Isolation of a case", about=about, columns=columns, rows=[row])
    perf_tables.store("overhead", table, identity=["backend"])


@pytest.mark.parametrize(
    "arguments", [["--help"], ["run", "--help"], ["list", "workloads"], ["list", "devices"]], ids=" ".join
)
def test_the_command_line_answers(arguments, benchmark):
    def call():
        subprocess.run([sys.executable, "-m", "harness", *arguments], cwd=ROOT, check=True, capture_output=True)

    benchmark.pedantic(call, rounds=5, warmup_rounds=1)


def test_the_clock_of_ten_thousand_samples(benchmark):
    """What a sample costs beside the call and the wait in it: the same calls are made without a clock, interleaved."""
    sampling = Sampling(window_s=0.0, sample_s=0.0, min_samples=10_000, max_samples=10_000)
    call, wait, operands = tuple, _wait, ()
    timed, bare = Timed(call, operands, wait), []

    def without_a_clock():
        began = time.perf_counter()
        for _ in range(10_000):
            outputs = ()  # as the clock does, before each sample and before each call
            outputs = call(*operands)
            wait(outputs)
        bare.append(time.perf_counter() - began)

    window = benchmark.pedantic(lambda: sample(timed, sampling), setup=without_a_clock, rounds=50)
    assert len(window.samples_s) == 10_000
    own_s = (benchmark.stats.stats.min - min(bare)) / 10_000
    benchmark.extra_info["own_cost_s"] = own_s
    facts = {"clock, own cost of a sample, s": own_s, "clock, the empty call and wait, s": min(bare) / 10_000}
    perf_tables.store("overhead", facts=facts)
    print(f"\nclock: {own_s * 1e6:.2f} µs a sample of its own, {min(bare) * 100:.2f} µs the empty call and wait")


def _wait(outputs):
    """Nothing to wait for."""


@pytest.mark.parametrize("members", [1, 4])
def test_parent_and_server_while_a_case_is_measured(members, tmp_path, benchmark):
    """Shares of a core that the main process and the server use in a group whose windows last two seconds each."""
    params = {**TINY, "m": 1024, "k": 1024, "n": 512}  # a call of some 20 ms
    data = DataJob(
        workload="dense_matmul",
        points=[(params, "forward")],
        dtype="float32",
        seed=0,
        folders=[str(tmp_path / "data")],
        threads=1,
    )
    case = Case(
        workload="dense_matmul",
        formulation="nn",
        params=params,
        dtype="float32",
        mode="forward",
        backend="numpy",
        execution="eager",
        device="cpu",
    )
    job = CaseJob(
        case=case,
        data=str(tmp_path / "data"),
        threads=1,
        cache=str(cache_folder()),
        sampling=Sampling(window_s=2.0, slices=20),
        power=PowerModel(),
    )
    with Server(backends()[0]["numpy"], Device("cpu"), 1, cache_folder()) as server:
        assert server.run(data, 60).measured.status == "ok"
        processes = {"parent": psutil.Process(), "server": psutil.Process(server._process.pid)}
        before = {name: process.cpu_times() for name, process in processes.items()}
        began = time.perf_counter()
        answers = benchmark.pedantic(lambda: server.interleave([job] * members, 60), rounds=1)
        wall_s = time.perf_counter() - began
        for answer in answers:
            assert answer.measured.trial.window_s >= 1.9, answer.measured.reason
        for name, process in processes.items():
            now = process.cpu_times()  # without the children that the server has waited for
            share = (now.user + now.system - before[name].user - before[name].system) / wall_s
            benchmark.extra_info[f"{name}_share_of_a_core"] = share
            print(f"\n{name}, {members} members: {share:.2%} of a core")
            columns = [
                perf_tables.Column(key="process", head="process"),
                perf_tables.Column(key="members", head="members of the group", format="d"),
                perf_tables.Column(key="share_of_a_core", head="share of a core", format=".2%"),
            ]
            row = {"process": name, "members": members, "share_of_a_core": share}
            title = "Parent and server while a case is measured"
            table = perf_tables.Table(title=title, columns=columns, rows=[row])
            perf_tables.store("overhead", table, identity=["process", "members"])


def test_ten_thousand_records_to_markdown(benchmark):
    shapes = [{"m": 8, "k": 8, "n": n} for n in range(1, 501)]
    records = [
        make(
            [1e-3 * (1 + i), 1.1e-3],
            params=shape,
            formulation=f"f{i}",
            twins=[twin_ref(params=shape)] if make is idea else [],
        )
        for shape in shapes
        for make in (idea, dense)
        for i in range(10)
    ]
    assert len(records) == 10_000
    assert benchmark.pedantic(lambda: render(records, "markdown"), rounds=3)

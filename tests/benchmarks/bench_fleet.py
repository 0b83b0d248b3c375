"""What fleets cost: plans of 1 000 machines, a Ray of two nodes, an idle raylet, and 10 000 schedules of faults.

`pytest tests/benchmarks/bench_fleet.py -s`. The figures to hold: `fleet plan` and `fleet status` of 1 000 machines and
10 000 shards within 2 s of a core each, their process started and ended, and memory that grows by less than 10 KiB a
shard; two runs on two nodes of Ray at most 15 s beyond the runs themselves; no schedule that loses a line. What an idle
raylet does to an A/A control is measured and has no bound. Parts that need Ray are skipped without it.
HWLOTTERY_RAYLET_SECONDS sets how long the last takes.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from functools import partial

import numpy as np
import psutil
import pytest
from _command import ROOT
from _interleaved import block

from harness.cli.fleet import described
from harness.fleet.attempts import Assigned, Began, Ended, Opened
from harness.fleet.campaign import Campaign
from harness.stats.intervals import median_interval
from tools import perf_tables
from tools.perf_tables import Column, Table

MOST_S = 2.0  # of a plan or a status
MOST_BYTES = 10 << 10  # of memory, for each shard more
BEYOND_S = 15.0  # of two runs on two nodes, once Ray is up
SCHEDULES = 10_000
RAYLET_S = float(os.environ.get("HWLOTTERY_RAYLET_SECONDS", "160"))
pytestmark = pytest.mark.filterwarnings("default")  # Ray leaves pipes open
needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="the extra `ray` is not installed")


def _described(machines, kinds):
    """Ten shards a machine, of machines that are all unlike, or as many equal ones of each kind."""
    each = machines // kinds
    described = "".join(
        f'[machine.m{n}]\nlabels = {{ number = "{n}", kind = "cpu" }}\ncount = {each}\n' for n in range(kinds)
    )
    wants = "".join(
        f'[[want]]\nname = "w{n}"\non = {{ kind = "cpu" }}\npreset = "smoke"\nbackends = ["numpy"]\nseed = {n}\n'
        f'workloads = ["capsule_conv"]\nruns = {each}\n'
        for n in range(10)
    )
    return described + wants


def _filled(folder, machines, kinds):
    """A campaign of which all is done but a tenth, which waits or was lost."""
    path = folder / "fleet.toml"
    path.write_text(_described(machines, kinds))
    campaign = Campaign(folder / "c", *described(path))
    with campaign:
        journal = campaign._journal
        events = [Opened(at="2026-11-01T00:00:00Z")]
        for number, shard in enumerate(campaign.plan.shards):
            equal = campaign.plan.machines[shard.kind]
            machine = equal[number % len(equal)]
            name, at = f"{shard.name}-try1", "2026-11-01T00:00:00Z"
            events += [
                Assigned(attempt=name, shard=shard.name, machine=machine, at=at),
                Began(attempt=name, place="process 1", at=at),
                Ended(attempt=name, state="done" if number % 10 else "lost", at=at, records=300, reason="words"),
            ]
        journal.append(*events)
    return path


TOLD = (
    "import sys, time; from harness.cli.main import run_cli\n"
    "assert run_cli(['fleet', *sys.argv[1:]]) == 0\n"
    "peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
    "print(time.process_time(), 1024 * int(peak.split()[1]))\n"
)


def _taken(*arguments):
    """Seconds of a core, seconds, and peak bytes of a command."""
    began = time.perf_counter()
    made = subprocess.run(
        [sys.executable, "-c", TOLD, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    cpu_s, peak = map(float, made.stdout.splitlines()[-1].split())
    return cpu_s, time.perf_counter() - began, peak


LARGE = [
    Column(key="verb", head="command"),
    Column(key="machines", head="machines", format="d"),
    Column(key="kinds", head="of kinds", format="d"),
    Column(key="shards", head="shards", format="d"),
    Column(key="wall_s", head="time, s", format=".2f"),
    Column(key="cpu_s", head="of a core, s", format=".2f"),
    Column(key="peak_mib", head="peak, MiB", format=".0f"),
]


@pytest.mark.parametrize("alike", [False, True], ids=["unlike", "alike"])
@pytest.mark.parametrize("verb", ["plan", "status"])
def test_large_fleets_answer_at_once(tmp_path, verb, alike, capsys):
    rows = []
    for machines in (100, 1000):
        folder = tmp_path / str(machines)
        folder.mkdir()
        kinds = 1 if alike else machines
        file = _filled(folder, machines, kinds)
        cpu_s, wall_s, peak = min(_taken(verb, str(file), "-o", str(folder / "c")) for _ in range(3))
        rows.append(
            {"verb": f"fleet {verb}", "machines": machines, "kinds": kinds, "shards": 10 * machines}
            | {"wall_s": wall_s, "cpu_s": cpu_s, "peak_mib": peak / 2**20}
        )
    table = Table(title="Large fleets", columns=LARGE, rows=rows, about="the quickest of three, its process and all")
    perf_tables.store("fleet", table, identity=["verb", "machines", "kinds"])
    with capsys.disabled():
        print(f"\n{perf_tables.grid(LARGE, rows)}")
    assert rows[1]["cpu_s"] <= MOST_S
    assert (rows[1]["peak_mib"] - rows[0]["peak_mib"]) * 2**20 / (rows[1]["shards"] - rows[0]["shards"]) <= MOST_BYTES


def test_ten_thousand_schedules_of_faults_lose_no_line(capsys):
    test = ROOT / "tests" / "fleet" / "test_schedules.py"
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", str(test), "-k", "no_schedule"],
        env=os.environ | {"HWLOTTERY_FLEET_SCHEDULES": str(SCHEDULES)},
        cwd=ROOT,
        check=True,
    )
    found = {"schedules of faults": SCHEDULES, "of them with a line lost or twice": 0}
    perf_tables.store("fleet", facts=found)
    with capsys.disabled():
        print(f"\n{SCHEDULES} schedules in {time.perf_counter() - began:.0f} s")


TWO = """engine = "ray"
[ray]
address = "{address}"
[machine.node]
labels = {{ kind = "spare" }}
count = 2
python = "{python}"
[[want]]
name = "two"
preset = "smoke"
backends = ["numpy"]
workloads = ["capsule_conv", "unstructured_sparse"]
runs = 2
"""


@needs_ray
def test_two_nodes_take_little_more_than_the_runs_themselves(tmp_path, capsys, monkeypatch):
    from tools.ray_nodes import Nodes

    monkeypatch.setenv("HWLOTTERY_CACHE", str(tmp_path / "cache"))
    python = tmp_path / "python"  # two runs on one computer would wait for each other, as they do not on two
    python.write_text(f'#!/bin/sh\nexport HWLOTTERY_HOST_LOCK={tmp_path}/$$.lock\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    nodes = Nodes()
    try:
        (tmp_path / "fleet.toml").write_text(TWO.format(address=nodes.address, python=python))
        command = [sys.executable, "-m", "harness", "fleet", "run", str(tmp_path / "fleet.toml")]
        driver = subprocess.Popen(
            [*command, "-o", str(tmp_path / "c")], cwd=ROOT, stderr=subprocess.PIPE, text=True, bufsize=1
        )
        said, up = [], None
        for line in driver.stderr:
            said.append(line)
            if up is None and " begins on " in line:
                up = time.perf_counter()
        driver.communicate()
        whole_s = time.perf_counter() - up
    finally:
        nodes.shutdown()
    assert driver.returncode in (0, 1), "".join(said)
    runs = [json.loads(path.read_text()) for path in tmp_path.glob("c/runs/*/*/run.json")]
    assert len(runs) == 2
    longest_s = max(run["wall_s"] for run in runs)
    found = {
        "two nodes of Ray: from the first run's beginning to the driver's end, s": round(whole_s, 1),
        "the longer of the two runs, s": round(longest_s, 1),
        "beyond it, s": round(whole_s - longest_s, 1),
    }
    perf_tables.store("fleet", facts=found)
    with capsys.disabled():
        print("\n" + "\n".join(f"{name}: {value}" for name, value in found.items()))
    assert whole_s - longest_s <= BEYOND_S


IDLE = """
import ray, time
ray.init(address="local", include_dashboard=False, log_to_driver=False, configure_logging=False)
print("up", flush=True)
time.sleep(3600)
"""
RAYLET = [
    Column(key="what", head="beside"),
    Column(key="pairs", head="pairs", format="d"),
    Column(key="median_off", head="median", format=".2%"),
    Column(key="p95_off", head="95th percentile", format=".2%"),
    Column(key="call_s", head="time of a call, s", format=".4g"),
]
SETTLE_S, PAIRS, HALVES = 1.0, 6, 10  # of a spell: of two sides in turns, so many blocks each


def _pair(product):
    """Medians of two sides that are the same, by blocks in turns."""
    times = np.array([[block(product, 1), block(product, 1)][:: 1 - 2 * (n % 2)] for n in range(HALVES)])
    return np.median(times, axis=0)


def _cpu_s(processes):
    return sum(sum(process.cpu_times()[:2]) for process in processes if process.is_running())


def _send(processes, number):
    for process in processes:
        if process.is_running():
            process.send_signal(number)


@needs_ray
def test_what_an_idle_raylet_does_to_a_control(capsys):
    """All of Ray is stopped and let go on in turns: while it is stopped, none of it gets a core."""
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((1024, 1024), np.float32) for _ in range(2))
    product = partial(np.matmul, a, b, out=np.empty_like(a))
    environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0"}
    ray = subprocess.Popen([sys.executable, "-c", IDLE], stdout=subprocess.PIPE, text=True, env=environment)
    pairs, taken_s, idle_s = {"nothing": [], "an idle Ray": []}, 0.0, 0.0
    try:
        assert ray.stdout.readline() == "up\n"
        time.sleep(10)  # what it does when it begins is over
        head = psutil.Process(ray.pid)
        ours = [head, *head.children(recursive=True)]
        until, turn = time.perf_counter() + RAYLET_S, 0
        while time.perf_counter() < until or turn % 4:
            what = ("nothing", "an idle Ray", "an idle Ray", "nothing")[turn % 4]
            _send(ours, signal.SIGSTOP if what == "nothing" else signal.SIGCONT)
            time.sleep(SETTLE_S)
            before, began = _cpu_s(ours), time.perf_counter()
            pairs[what].append([_pair(product) for _ in range(PAIRS)])
            if what != "nothing":
                taken_s, idle_s = taken_s + _cpu_s(ours) - before, idle_s + time.perf_counter() - began
            turn += 1
    finally:
        _send([psutil.Process(ray.pid), *psutil.Process(ray.pid).children(recursive=True)], signal.SIGCONT)
        ray.terminate()
        ray.communicate()
    spells = {what: np.array(found) for what, found in pairs.items()}  # spell, pair, side
    rows = []
    for what, times in spells.items():
        ratios = times[..., 0] / times[..., 1]
        far = np.maximum(ratios, 1 / ratios) - 1
        middle, most = map(float, np.quantile(far, (0.5, 0.95)))
        rows.append({"what": what, "pairs": far.size, "median_off": middle, "p95_off": most})
        rows[-1]["call_s"] = float(np.median(times))
    slower = np.median(spells["an idle Ray"], axis=(1, 2)) / np.median(spells["nothing"], axis=(1, 2))
    low, high = median_interval(slower[None, :])
    about = f"a product of 1024³ in NumPy on all cores, {len(slower)} spells of each in turns"
    table = Table(title="A/A beside an idle Ray: distance of a ratio from 1", about=about, columns=RAYLET, rows=rows)
    found = {
        "time beside an idle Ray over time without": round(float(np.median(slower)), 4),
        "95 % from": round(float(low[0]), 4),
        "to": round(float(high[0]), 4),
        "share of a core that an idle Ray takes": round(taken_s / idle_s, 4),
    }
    perf_tables.store("fleet", table, found)
    with capsys.disabled():
        print(f"\n{perf_tables.grid(RAYLET, rows)}\n" + "\n".join(f"{k}: {v}" for k, v in found.items()))
    assert len(slower) >= 2

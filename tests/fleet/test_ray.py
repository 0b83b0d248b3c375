"""Ray, with nodes of its own on this computer: who is lost, killed or begun again loses no line and brings none twice.

Skipped where Ray is not installed. HWLOTTERY_FLEET_KILLS says how many drivers, workers and raylets are killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time

import psutil
import pytest
from _command import ROOT, call
from _fleet import fleet, of_command

from harness.fleet.campaign import Campaign

pytest.importorskip("ray", reason="the extra `ray` is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]
KILLS = int(os.environ.get("HWLOTTERY_FLEET_KILLS", "3"))
PATIENCE_S = 900  # on a busy computer Ray takes its time


@pytest.fixture(scope="module")
def cluster():
    """A head without CPUs, and two nodes of one kind."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    made.ours = [_node(made) for _ in range(2)]
    made.wait_for_nodes()
    yield made
    made.shutdown()


def _node(cluster):
    return cluster.add_node(num_cpus=1, resources={"hwlottery": 1}, labels={"kind": "spare"})


def _text(cluster, folder, *, tries=3, runs=2, labels='kind = "spare"', **told):
    return (
        f'engine = "ray"\ntries = {tries}\n[ray]\naddress = "{cluster.address}"\npoll = "0.3s"\n'
        f"[machine.a]\nlabels = {{ {labels} }}\ncount = 2\n{of_command(folder, **told)}\n"
        f'[[want]]\nname = "w"\npreset = "smoke"\nbackends = ["numpy"]\nruns = {runs}\n'
    )


def _begun(tmp_path):
    command = [sys.executable, "-m", "harness", "fleet", "run", str(tmp_path / "fleet.toml"), "-o", str(tmp_path / "c")]
    with (tmp_path / "driver.log").open("a") as log:
        return subprocess.Popen(command, cwd=ROOT, stderr=log)


def _campaign(tmp_path, text):
    return Campaign(tmp_path / "c", *fleet(tmp_path, text)).read()


def _wait_for(condition):
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_removed_node_leaves_a_partial_run_and_its_shard_goes_to_another(cluster, tmp_path):
    text = _text(cluster, tmp_path, FAKE_LINES="100", FAKE_PAUSE_S="0.05")
    (tmp_path / "fleet.toml").write_text(text)
    driver = _begun(tmp_path)
    _wait_for(lambda: len(list(tmp_path.glob("c/runs/*/*/records.jsonl"))) == 2)
    _wait_for(lambda: all(p.read_bytes().count(b"\n") > 5 for p in tmp_path.glob("c/runs/*/*/records.jsonl")))
    cluster.remove_node(cluster.ours.pop(), allow_graceful=False)
    assert driver.wait(PATIENCE_S) == 0, (tmp_path / "driver.log").read_text()
    cluster.ours.append(_node(cluster))
    ledger = _campaign(tmp_path, text).ledger
    assert sorted(attempt.state for attempt in ledger.attempts.values()) == ["done", "done", "lost"]
    (lost,) = (attempt for attempt in ledger.attempts.values() if attempt.state == "lost")
    (again,) = (a for a in ledger.attempts.values() if a.shard == lost.shard and a.state == "done")
    assert again.machine != lost.machine
    assert 0 < lost.records < 100
    assert "Ray lost node" in lost.reason
    said = json.loads((tmp_path / "c" / "campaign.json").read_text())["attempts"]
    assert [a["partial"] for a in said] == [a.state == "lost" for a in ledger.attempts.values()]


def test_a_stopped_driver_ends_what_runs_and_nodes_that_lack_something_are_named(cluster, tmp_path):
    text = _text(cluster, tmp_path, FAKE_LINES="1000", FAKE_PAUSE_S="0.05", runs=1)
    (tmp_path / "fleet.toml").write_text(text)
    driver = _begun(tmp_path)
    _wait_for(lambda: any(path.stat().st_size for path in tmp_path.glob("c/runs/*/*/records.jsonl")))
    driver.send_signal(signal.SIGTERM)
    assert driver.wait(PATIENCE_S) == 143
    (attempt,) = _campaign(tmp_path, text).ledger.attempts.values()
    assert (attempt.state, attempt.code) == ("lost", 143)
    (tmp_path / "fleet.toml").write_text(_text(cluster, tmp_path, labels='kind = "spire"'))
    made = call("fleet", "run", tmp_path / "fleet.toml", "-o", tmp_path / "d", "--wait", "1s")
    assert made.returncode == 1
    assert "nobody is there for a: no machine has the label kind=spire; the nearest is kind=spare" in made.stderr
    (tmp_path / "fleet.toml").write_text(text.replace("[ray]", '[ray]\nresource = "other"'))
    made = call("fleet", "run", tmp_path / "fleet.toml", "-o", tmp_path / "e", "--wait", "1s")
    assert "has no free resource other; start it with --resources=" in made.stderr


def test_without_an_address_this_computer_is_the_cluster(tmp_path):
    text = (
        f'engine = "ray"\n[ray]\npoll = "0.3s"\n[machine.a]\n{of_command(tmp_path)}\n'
        '[[want]]\nname = "w"\npreset = "smoke"\nbackends = ["numpy"]\n'
    )
    (tmp_path / "fleet.toml").write_text(text)
    made = call("fleet", "run", tmp_path / "fleet.toml", "-o", tmp_path / "c")
    assert made.returncode == 0, made.stderr
    assert "w-a-run1-try1: done, 5 records" in made.stderr
    results = tmp_path / "c" / "runs" / "a" / "w-a-run1-try1"
    assert {path.name for path in results.rglob("*")} == {"records.jsonl", "run.json", "logs", "case.txt"}
    (tmp_path / "fleet.toml").write_text(text.replace("env = {", "env = { FAKE_CODE = '2',"))
    made = call("fleet", "run", tmp_path / "fleet.toml", "-o", tmp_path / "refused")
    assert made.returncode == 1
    assert "refused, 0 records (nothing can be run here; install something)" in made.stderr
    assert "install something" in (tmp_path / "refused" / "logs" / "w-a-run1-try1.log").read_text()
    (tmp_path / "fleet.toml").write_text(text.replace("[[want]]", "[machine.b]\n[[want]]"))
    made = call("fleet", "run", tmp_path / "fleet.toml", "-o", tmp_path / "d")
    assert made.returncode == 2
    assert "the file names 2 machines and this computer is one" in made.stderr


# -- kills -------------------------------------------------------------------------------------------------------------


def _kill_worker(cluster, draw):
    """SIGKILL of the process of an actor, if one runs."""
    raylets = [node.all_processes["raylet"][0].process.pid for node in cluster.ours]
    found = [
        child
        for pid in raylets
        for child in psutil.Process(pid).children()
        if child.name().startswith("ray::Remote") or "ray::Remote" in " ".join(child.cmdline())
    ]
    if found:
        draw.choice(found).kill()
    return bool(found)


def _kill_raylet(cluster, draw):
    """SIGKILL of a raylet; another node takes its place."""
    node = cluster.ours.pop(draw.randrange(len(cluster.ours)))
    os.kill(node.all_processes["raylet"][0].process.pid, signal.SIGKILL)
    with contextlib.suppress(Exception):
        cluster.remove_node(node, allow_graceful=False)
    cluster.ours.append(_node(cluster))
    return True


@pytest.mark.fault("SIGKILL of a fleet's driver, of its workers and of raylets", "fleets", times=KILLS)
def test_kills_lose_no_line_and_bring_none_twice(cluster, tmp_path):
    evidence = tmp_path / "evidence"
    evidence.mkdir()
    text = _text(
        cluster, tmp_path, tries=1000, runs=4 + KILLS, FAKE_LINES="40", FAKE_PAUSE_S="0.05",
        FAKE_EVIDENCE=str(evidence),
    )  # fmt: skip
    (tmp_path / "fleet.toml").write_text(text)
    draw, killed = random.Random(0), {"driver": 0, "worker": 0, "raylet": 0}
    driver = _begun(tmp_path)
    while sum(killed.values()) < KILLS and driver.poll() is None:
        time.sleep(draw.uniform(0.5, 3.0))
        which = min(killed, key=lambda name: (killed[name], draw.random()))
        if not list(tmp_path.glob("c/runs/*/*/records.jsonl")):
            continue
        if which == "driver":
            driver.kill()
            driver.wait()
            killed[which] += 1
            driver = _begun(tmp_path)
        elif {"worker": _kill_worker, "raylet": _kill_raylet}[which](cluster, draw):
            killed[which] += 1
    assert driver.wait(PATIENCE_S) == 0, (tmp_path / "driver.log").read_text()[-2000:]
    campaign = _campaign(tmp_path, text)
    ledger = campaign.ledger
    assert len(ledger.done) == 4 + KILLS
    for attempt in ledger.attempts.values():
        path = campaign.results(attempt) / "records.jsonl"
        stored = path.read_bytes() if path.exists() else b""
        assert attempt.records == stored.count(b"\n")
        assert [json.loads(line)["line"] for line in stored.splitlines()] == list(range(attempt.records))
        if stored:
            written = (evidence / str(json.loads(stored.splitlines()[0])["pid"])).read_bytes()
            assert written.startswith(stored)
            assert attempt.state != "done" or stored == written
    states = [attempt.state for attempt in ledger.attempts.values()]
    print(
        f"\nkilled {killed}; {states.count('done')} attempts done, {states.count('lost')} lost; none lost, none twice"
    )

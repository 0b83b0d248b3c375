"""Ray, with nodes of its own on this computer: who is lost, killed or begun again loses no line and brings none twice.

Skipped where Ray is not installed. HWLOTTERY_FLEET_KILLS says how many drivers, workers and raylets are killed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from _command import ROOT, call
from _fleet import fleet, of_command, wait_for

from harness.fleet.campaign import Campaign
from tools.fleet_kills import killed
from tools.ray_nodes import Nodes

pytest.importorskip("ray", reason="the extra `ray` is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]
KILLS = int(os.environ.get("HWLOTTERY_FLEET_KILLS", "3"))
PATIENCE_S = 900  # on a busy computer Ray takes its time


@pytest.fixture(scope="module")
def nodes():
    """A head without CPUs, and two nodes of one kind."""
    made = Nodes()
    yield made
    made.shutdown()


def _text(nodes, folder, *, tries=3, runs=2, labels='kind = "spare"', **told):
    return (
        f'engine = "ray"\ntries = {tries}\n[ray]\naddress = "{nodes.address}"\npoll = "0.3s"\n'
        f"[machine.a]\nlabels = {{ {labels} }}\ncount = 2\n{of_command(folder, **told)}\n"
        f'[[want]]\nname = "w"\npreset = "smoke"\nbackends = ["numpy"]\nruns = {runs}\n'
    )


def _begun(tmp_path):
    command = [sys.executable, "-m", "harness", "fleet", "run", str(tmp_path / "fleet.toml"), "-o", str(tmp_path / "c")]
    with (tmp_path / "driver.log").open("a") as log:
        return subprocess.Popen(command, cwd=ROOT, stderr=log)


def _campaign(tmp_path, text):
    return Campaign(tmp_path / "c", *fleet(tmp_path, text)).read()


def test_a_removed_node_leaves_a_partial_run_and_its_shard_goes_to_another(nodes, tmp_path):
    text = _text(nodes, tmp_path, FAKE_UNTIL=str(tmp_path / "enough"), FAKE_PAUSE_S="0.05")
    (tmp_path / "fleet.toml").write_text(text)
    driver = _begun(tmp_path)
    wait_for(lambda: len(list(tmp_path.glob("c/runs/*/*/records.jsonl"))) == 2, PATIENCE_S)
    wait_for(
        lambda: all(p.read_bytes().count(b"\n") > 5 for p in tmp_path.glob("c/runs/*/*/records.jsonl")), PATIENCE_S
    )
    nodes.lose(1)
    wait_for(lambda: any(a.state == "lost" for a in _campaign(tmp_path, text).ledger.attempts.values()), PATIENCE_S)
    (tmp_path / "enough").touch()
    assert driver.wait(PATIENCE_S) == 0, (tmp_path / "driver.log").read_text()
    nodes.mend()
    ledger = _campaign(tmp_path, text).ledger
    assert sorted(attempt.state for attempt in ledger.attempts.values()) == ["done", "done", "lost"]
    (lost,) = (attempt for attempt in ledger.attempts.values() if attempt.state == "lost")
    (again,) = (a for a in ledger.attempts.values() if a.shard == lost.shard and a.state == "done")
    assert again.machine != lost.machine
    assert lost.records > 5
    assert "Ray lost node" in lost.reason
    said = json.loads((tmp_path / "c" / "campaign.json").read_text())["attempts"]
    assert [a["partial"] for a in said] == [a.state == "lost" for a in ledger.attempts.values()]


def test_a_stopped_driver_ends_what_runs_and_nodes_that_lack_something_are_named(nodes, tmp_path):
    text = _text(nodes, tmp_path, FAKE_LINES="1000", FAKE_PAUSE_S="0.05", runs=1)
    (tmp_path / "fleet.toml").write_text(text)
    driver = _begun(tmp_path)
    wait_for(lambda: any(path.stat().st_size for path in tmp_path.glob("c/runs/*/*/records.jsonl")), PATIENCE_S)
    driver.send_signal(signal.SIGTERM)
    assert driver.wait(PATIENCE_S) == 143
    (attempt,) = _campaign(tmp_path, text).ledger.attempts.values()
    assert (attempt.state, attempt.code) == ("lost", 143)
    (tmp_path / "fleet.toml").write_text(_text(nodes, tmp_path, labels='kind = "spire"'))
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


def test_a_cluster_that_cannot_be_had_is_one_sentence(tmp_path):
    text = f'engine = "ray"\n[machine.a]\n{of_command(tmp_path)}\n[[want]]\npreset = "smoke"\nbackends = ["numpy"]\n'
    (tmp_path / "fleet.toml").write_text(text)
    deep = tmp_path / ("a" * 100)
    deep.mkdir()
    made = call("fleet", "run", tmp_path / "fleet.toml", "-o", tmp_path / "c", TMPDIR=str(deep))
    assert made.returncode == 2
    assert "error: Ray cannot be started here: " in made.stderr
    assert made.stderr.endswith("; set TMPDIR to a folder of a shorter name\n")
    (tmp_path / "fleet.toml").write_text(f'{text}[ray]\naddress = "nowhere"\n')
    made = call("fleet", "run", tmp_path / "fleet.toml", "-o", tmp_path / "c")
    assert made.returncode == 2
    assert "error: the cluster at nowhere cannot be joined: " in made.stderr


@pytest.mark.fault("SIGKILL of a fleet's driver, of its workers and of raylets", "fleets", times=KILLS)
def test_kills_lose_no_line_and_bring_none_twice(nodes, tmp_path):
    toll = killed(tmp_path, nodes, KILLS, seed=0)
    assert sum(toll.kills.values()) == KILLS
    assert (toll.torn, toll.lost, toll.twice) == (0, 0, 0)

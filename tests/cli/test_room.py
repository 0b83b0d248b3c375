"""A disk with little room is told before a run begins, and one that fills up ends it without a loss."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

from _command import call

from backends.discovery import backends
from harness.cli import run
from harness.cli.main import run_cli
from harness.errors import UserError
from harness.planning import plan
from harness.running import inputs
from workloads.discovery import workloads


def test_a_run_that_has_little_room_for_its_inputs_says_so_and_goes_on(tmp_path, monkeypatch, capsys):
    planned = plan.cases(plan.Ask(preset="standard", backends=("numpy",)), workloads()[0], backends()[0])
    free = {tmp_path: 1 << 40}
    monkeypatch.setattr(inputs.shutil, "disk_usage", lambda where: SimpleNamespace(free=free[where]))
    run._warn_of_room(planned, tmp_path / "not" / "yet")
    assert capsys.readouterr().err == ""
    free[tmp_path] = 1 << 30
    run._warn_of_room(planned, tmp_path / "not" / "yet")
    said = capsys.readouterr().err
    words = r"warning: inputs take up to \d+\.\d GiB beside .*yet while .*1\.0 GiB are free there.*\n"
    assert re.fullmatch(words, said)
    run._warn_of_room([p for p in planned if p.case.workload == "capsule_conv"], tmp_path / "not" / "yet")
    assert capsys.readouterr().err == ""


def test_little_room_is_said_before_anything_is_written(tmp_path, monkeypatch, capsys):
    def stop(*_, **__):
        raise UserError("nothing is measured here")

    monkeypatch.setattr(run, "room_bytes", lambda plan: 1 << 60 if plan else 0)
    monkeypatch.setattr(run, "Store", stop)
    asked = ["run", "--backend", "numpy", "--preset", "smoke", "--workload", "capsule_conv"]
    assert run_cli([*asked, "--out", str(tmp_path / "out")]) == 2
    assert "warning: inputs take up to" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_ends_the_run_which_goes_on_when_there_is_room(bad, tmp_path):
    """None of it stands in the records as a failure of a framework."""
    (bad / "full").touch()
    asked = ("run", "--preset", "smoke", "--backend", "numpy", "--workload", "misbehaving", "--out", tmp_path / "out")
    asked += ("--formulation", "good,no_room")
    out = call(*asked)
    assert out.returncode == 2, out.stderr
    assert "no room for temporary files in" in out.stderr
    assert "Traceback" not in out.stderr
    (bad / "full").unlink()
    out = call(*asked, "--resume")
    assert out.returncode == 0, out.stderr
    records = [json.loads(line) for line in (tmp_path / "out" / "records.jsonl").read_text().splitlines()]
    status = {r["case"]["formulation"]: r["status"] for r in records if r["case"]["workload"] == "misbehaving"}
    assert status == {"good": "ok", "no_room": "ok"}

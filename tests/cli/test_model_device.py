"""`run --device model:FILE`: what is reckoned is a record of its own kind, and costs no process."""

from __future__ import annotations

import json
import re

import pytest
from click.testing import CliRunner

from harness.cli import modelled_devices
from harness.cli.main import cli, run_cli
from harness.gate.validate import validate
from harness.modelling.class_errors import class_error
from harness.modelling.device_file import FOLDER
from harness.modelling.kernels import CLASSES
from harness.records.store import load

KNOWN = {f"{kind} {b}": class_error(f"{kind} {b}", [0.9, 1.1, 1.0]) for kind in CLASSES for b in ("numpy", "torch")}
WORDS = ("run", "--preset", "smoke", "--workload", "unstructured_sparse", "--backend", "numpy")


@pytest.fixture(autouse=True)
def validated(monkeypatch):
    monkeypatch.setattr(modelled_devices, "known_errors", lambda _: KNOWN)


@pytest.fixture
def no_server(monkeypatch):
    """A process that is started for a case fails the test."""

    def refuse(*_, **__):
        raise AssertionError("a server was started")

    monkeypatch.setattr("harness.worker.client.Server.__enter__", refuse)


def asked(*words):
    return CliRunner().invoke(cli, list(map(str, words)), catch_exceptions=False)


def test_a_run_on_two_modelled_devices_starts_no_process_and_may_be_published(tmp_path, no_server):
    done = asked(*WORDS, "--device", "model:today,model:gather-x16", "--out", tmp_path / "r")
    assert done.exit_code == 0
    assert "Modelled, not measured" in done.stdout
    assert "speed-up = the dense twin's time" not in done.stdout  # which would be of something measured
    run = load(tmp_path / "r")
    assert {r.case.device for r in run.records} == {"model:today", "model:gather-x16"} == set(run.info.models)
    assert {r.status for r in run.records} <= {"modelled", "unsupported"}
    assert all(r.time is r.energy is r.memory is r.verdict is r.estimate is None for r in run.records)
    assert any(r.modelled and r.modelled.cases == 3 and r.executed for r in run.records)
    report = validate(tmp_path / "r")
    assert report.refusals == []
    assert [m.what.partition(",")[0] for m in report.marks if m.code == "modelled"] == [
        "modelled: gather×16 is described in a file",
        "modelled: today is described in a file",
    ]


def test_gathers_that_are_faster_help_what_gathers_and_nothing_else(tmp_path, no_server):
    asked(
        *WORDS, "--device", "model:today,model:gather-x16", "--formulation", "gather_segment", "--out", tmp_path / "r"
    )
    times = {
        (r.case.workload, r.case.point, r.case.formulation, r.case.execution, r.case.mode, r.case.device): r.modelled
        for r in load(tmp_path / "r").records
    }
    pairs = [(m, times[(*key[:-1], "model:gather-x16")]) for key, m in times.items() if key[-1] == "model:today"]
    sparse = [(a.time_s, b.time_s) for a, b in pairs if a and b and a.kind in ("gather", "scatter")]
    dense = [(a.time_s, b.time_s) for a, b in pairs if a and b and a.kind == "dense"]
    assert sparse
    assert dense
    assert all(b <= a for a, b in sparse)
    assert any(b < a for a, b in sparse)
    assert all(b == a for a, b in dense)


def test_what_runs_and_what_is_reckoned_stand_in_one_run_and_apart(tmp_path):
    words = ("--formulation", "masked_dense", "--device", "cpu,model:today", "--out", tmp_path / "r")
    done = asked(*WORDS, *words)
    assert done.exit_code == 0
    found = json.loads(asked("report", tmp_path / "r", "--format", "json").stdout)
    assert {row["device"] for row in found["rows"]} == {"cpu"}
    assert {row["device"] for row in found["modelled"]} == {"model:today"}
    assert {p["device"] for p in found["portability"]} == {"cpu"}
    statuses = {(r.case.device, r.status) for r in load(tmp_path / "r").records}
    assert ("cpu", "ok") in statuses
    assert ("cpu", "modelled") not in statuses
    assert ("model:today", "ok") not in statuses


def test_a_file_is_named_without_its_folder_and_kept_in_the_run(tmp_path, no_server, capsys):
    file = tmp_path / "mine.toml"
    file.write_text((FOLDER / "today.toml").read_text().replace('name = "today"', 'name = "mine"'))
    assert run_cli([*WORDS, "--device", f"model:{file}", "--out", str(tmp_path / "r")]) == 0
    run = load(tmp_path / "r")
    assert {r.case.device for r in run.records} == {"model:mine.toml"} == set(run.info.models)
    assert str(tmp_path) not in (tmp_path / "r" / "records.jsonl").read_text()
    file.write_text(re.sub("^op_s = .*$", "op_s = 1e-06", file.read_text(), flags=re.MULTILINE))
    assert run_cli(["run", "--resume", "--out", str(tmp_path / "r")]) == 2
    assert "model_digest_of_mine.toml" in capsys.readouterr().err


def test_a_run_that_goes_on_reckons_nothing_twice(tmp_path, no_server):
    assert run_cli([*WORDS, "--device", "model:today", "--out", str(tmp_path / "r")]) == 0
    lines = (tmp_path / "r" / "records.jsonl").read_text().splitlines()
    (tmp_path / "r" / "records.jsonl").write_text("".join(f"{line}\n" for line in lines[:-3]))
    assert run_cli(["run", "--resume", "--out", str(tmp_path / "r")]) == 0
    keys = [r.case.key for r in load(tmp_path / "r").records]
    assert len(keys) == len(set(keys)) == len(lines)


def test_the_plan_says_what_is_reckoned(no_server):
    done = asked(*WORDS, "--device", "model:today", "--dry-run")
    assert done.exit_code == 0
    assert "cases are reckoned and not run" in done.stderr
    assert all(line.startswith("model ") for line in done.stdout.splitlines())


@pytest.mark.parametrize(
    ("device", "said"),
    [
        ("model:", "device 'model:' names no device file"),
        ("model:todya", "did you mean today"),
        ("model:gone.toml", "there is no such device file"),
        ("model:slow.toml", "matmul.rate.float32 is 10: expected float >= 1000000.0"),
        ("model:less.toml", "memory.levels is missing"),
        ("model:a/one.toml,model:b/one.toml", "rename one of the two"),
        ("modle:today", "device 'modle:today' is not one of cpu"),
    ],
)
def test_a_bad_device_is_one_sentence_and_leaves_nothing(device, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    head = 'name = "x"\nkind = "cpu"\nsource = "x"\n[matmul.rate]\nfloat32 = '
    (tmp_path / "slow.toml").write_text(head + "10\n")
    (tmp_path / "less.toml").write_text(head + "1e9\n")
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "one.toml").write_text((FOLDER / "today.toml").read_text())
    before = sorted(tmp_path.iterdir())
    assert run_cli([*WORDS, "--device", device, "--out", "r"]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before

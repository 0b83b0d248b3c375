"""The command line as a user meets it: help for all, one sentence for what is wrong, exit codes, real small runs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from harness.cli.main import cli
from workloads.discovery import workloads

ROOT = Path(__file__).resolve().parents[2]
SMALL = ("run", "--backend", "numpy", "--preset", "smoke", "--workload", "capsule_conv")


def call(*arguments, timeout=120, **environ):
    return subprocess.run(
        [sys.executable, "-m", "harness", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=timeout,
        env={**os.environ, "NO_COLOR": "1", **environ},
    )


def commands():
    for name, command in cli.commands.items():
        for parameter in command.params:
            yield pytest.param(name, parameter, id=f"{name} {parameter.name}")


@pytest.mark.parametrize(("command", "parameter"), list(commands()))
def test_every_option_has_help_and_stands_in_the_readme(command, parameter):
    readme = (ROOT / "README.md").read_text()
    assert f"hwlottery {command}" in readme or f"harness {command}" in readme
    if isinstance(parameter, click.Option):
        assert parameter.help
        assert f"`{max(parameter.opts, key=len)}" in readme


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_command_has_help(name):
    out = call(name, "--help")
    assert out.returncode == 0
    assert cli.commands[name].help.splitlines()[0] in " ".join(out.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "--preset", "quik", "--backend", "numpy"), "no preset 'quik'; did you mean quick?"),
        (("run", "--workload", "capsul_conv", "--backend", "numpy"), "did you mean capsule_conv"),
        (("run", "--backend", "numpi"), "no backend 'numpi'; did you mean numpy?"),
        (("run", "--execution", "compild", "--backend", "numpy"), "did you mean compiled?"),
        (("run", "--rounds", "-1"), "-1 is not in the range"),
        (("run", "--threads", "0"), "0 is not in the range"),
        (("run", "--threads", "100000", "--backend", "numpy"), "--threads 100000 is more than the"),
        (("run", "--budget", "soon"), "'soon' is not a time"),
        (("run", "--budget", "-5m"), "'-5m' is not a time"),
        (("run", "--timeout", "nan"), "'nan' is not a time"),
        (("run", "--set", "density", "--backend", "numpy"), "is not AXIS=VALUE"),
        (("run", "--set", "densty=0.1", "--backend", "numpy"), "no axis 'densty'; did you mean density?"),
        (("run", "--set", "batch=-4", "--backend", "numpy"), "axis batch of capsule_conv must be in 1…1e+06, found -4"),
        (("run", "--device", "gpu", "--backend", "numpy"), "device 'gpu' is not one of"),
        (("run", "--device", "cuda:7", "--backend", "numpy"), "device cuda:7 is not there: numpy sees cpu"),
        (("run", "--core-watts", "900", "--backend", "numpy"), "must lie between their bounds"),
        (("run", "--smtx", "/nowhere.smtx", "--backend", "numpy"), "/nowhere.smtx"),
        (("run", "stray"), "unexpected argument 'stray'"),
        (("list", "workload"), "did you mean workloads"),
        (("report", "/nowhere"), "/nowhere is not a results folder"),
        (("report", ".", "--format", "markdwon"), "no format 'markdwon'; did you mean markdown?"),
        (("fly",), "fly"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(arguments, words):
    out = call(*arguments)
    assert out.returncode == 2, out.stderr
    assert words in out.stderr
    assert len([line for line in out.stderr.splitlines() if line.startswith("error: ")]) == 1
    assert "Traceback" not in out.stderr
    assert out.stdout == ""


def test_debug_shows_the_traceback():
    out = call("--debug", "report", "/nowhere")
    assert "Traceback" in out.stderr


def test_a_small_run_stores_prints_and_exits_0(tmp_path):
    out = call(*SMALL, "--out", tmp_path / "out")
    assert out.returncode == 0, out.stderr
    assert "capsule_conv" in out.stdout
    assert f"results: {tmp_path / 'out'}" in out.stderr
    assert "next: hwlottery report" in out.stderr
    lines = (tmp_path / "out" / "records.jsonl").read_text().splitlines()
    keys = [json.dumps(json.loads(line)["case"], sort_keys=True) for line in lines]
    assert len(keys) == len(set(keys)) > 5
    info = json.loads((tmp_path / "out" / "run.json").read_text())
    assert info["machine"]["cores_usable"] >= 1
    assert info["phases_s"]["measuring_compiling_checking_s"] > 0
    for format_ in ("table", "markdown", "csv", "json"):
        again = call("report", tmp_path / "out", "--format", format_)
        assert again.returncode == 0, again.stderr
        assert "capsule_conv" in again.stdout


def test_json_prints_records_only_on_stdout(tmp_path):
    out = call(*SMALL, "--out", tmp_path / "out", "--json")
    records = [json.loads(line) for line in out.stdout.splitlines()]
    assert {r["schema"] for r in records} == {1}
    assert {r["status"] for r in records} <= {"ok", "unsupported"}
    for r in records:
        if r["status"] == "ok":
            assert r["time"]["samples_s"][0]
            assert r["verdict"]["agrees"]
            assert r["energy"]["source"] == "modelled"
            assert r["memory"]["host_peak_bytes"] is not None


def test_dry_run_shows_the_plan_and_runs_nothing(tmp_path):
    out = call(*SMALL, "--out", tmp_path / "out", "--dry-run")
    assert out.returncode == 0
    assert "capsule_conv/" in out.stdout
    assert "about" in out.stderr
    assert not (tmp_path / "out").exists()


def test_a_non_empty_out_is_refused_and_resume_goes_on(tmp_path):
    assert call(*SMALL, "--out", tmp_path / "out").returncode == 0
    before = (tmp_path / "out" / "records.jsonl").read_bytes()
    refused = call(*SMALL, "--out", tmp_path / "out")
    assert refused.returncode == 2
    assert "is not empty" in refused.stderr
    assert (tmp_path / "out" / "records.jsonl").read_bytes() == before
    resumed = call(*SMALL, "--out", tmp_path / "out", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert (tmp_path / "out" / "records.jsonl").read_bytes() == before


@pytest.fixture
def bad(tmp_path, monkeypatch):
    folder = tmp_path / "bad"
    folder.mkdir()
    shutil.copy(ROOT / "tests" / "helpers" / "misbehaving.py", folder)
    monkeypatch.setenv("HWLOTTERY_WORKLOADS", str(folder))
    return folder


def test_failures_are_shown_never_stop_the_run_and_exit_1(bad, tmp_path):
    out = call(
        "run", "--preset", "smoke", "--backend", "numpy", "--workload", "misbehaving", "--timeout", "1s",
        "--memory-limit", "1", "--out", tmp_path / "out",
    )  # fmt: skip
    assert out.returncode == 1, out.stderr
    records = [json.loads(line) for line in (tmp_path / "out" / "records.jsonl").read_text().splitlines()]
    status = {r["case"]["formulation"]: r["status"] for r in records if r["case"]["workload"] == "misbehaving"}
    assert status == {
        "good": "ok",
        "busy": "ok",
        "hoarder": "ok",
        "talker": "ok",
        "segfault": "crash",
        "leaver": "crash",
        "greedy": "oom",
        "sleeper": "timeout",
        "liar": "wrong",
        "raiser": "error",
        "widener": "error",
        "late_leaver": "crash",
        "late_sleeper": "timeout",
        "refuser": "unsupported",
    }
    assert "misbehaving" in out.stdout


def test_a_broken_workload_file_is_named_and_the_others_run(bad, tmp_path):
    (bad / "broken.py").write_text("import nonexistent_module\n")
    (bad / "empty.py").write_text("")
    out = call(*SMALL, "--out", tmp_path / "out")
    assert out.returncode == 1
    assert "broken.py does not load: ModuleNotFoundError" in out.stderr
    assert "empty.py defines none: it must define one workload" in out.stderr
    assert "capsule_conv" in out.stdout


# A test runner started in the background ignores SIGINT, and so would what it starts.
HEARING = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"


def test_ctrl_c_keeps_and_reports_what_was_measured(bad, tmp_path):
    process = subprocess.Popen(
        [
            sys.executable, "-c", HEARING, sys.executable,
            "-m", "harness", "run", "--preset", "smoke", "--backend", "numpy", "--workload",
            "misbehaving", "--formulation", "good,sleeper,busy", "--timeout", "60s", "--out", str(tmp_path / "out"),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )  # fmt: skip
    records = tmp_path / "out" / "records.jsonl"
    until = time.monotonic() + 60
    while time.monotonic() < until and not (records.exists() and records.stat().st_size):
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    try:
        _, stderr = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    stored = [json.loads(line) for line in records.read_text().splitlines()]
    assert stored
    assert f"results: {tmp_path / 'out'}" in stderr
    assert not (tmp_path / "out" / ".scratch").exists()


def test_smoke_runs_every_workload_through_every_framework(tmp_path):
    """The preset of tests and CI, whole: nothing failed, every idea has its row."""
    out = call("run", "--preset", "smoke", "--out", tmp_path / "out", timeout=600)
    assert out.returncode == 0, out.stderr
    records = [json.loads(line) for line in (tmp_path / "out" / "records.jsonl").read_text().splitlines()]
    required = [n for n in os.environ.get("HWLOTTERY_REQUIRE", "").split(",") if n and n != "numpy"]
    rows = {(r["case"]["workload"], r["case"]["backend"]) for r in records if r["headline"] and r["status"] == "ok"}
    ideas = {name for name, w in workloads()[0].items() if w.role == "idea"}
    assert len(ideas) >= 7
    assert rows >= {(idea, backend) for idea in ideas for backend in required}
    for idea in ideas:
        assert idea in out.stdout


def test_a_later_process_keeps_the_setting_that_won_in_the_first_and_does_not_measure_memory_again(tmp_path):
    pytest.importorskip("jax", reason="only JAX tries settings on a CPU")
    out = call(
        "run", "--preset", "smoke", "--workload", "unstructured_sparse", "--backend", "jax", "--execution", "compiled",
        "--formulation", "masked_dense", "--set", "m=256", "--set", "k=256", "--set", "n=128", "--set", "density=0.1",
        "--rounds", "1", "--out", tmp_path / "out",
    )  # fmt: skip
    assert out.returncode == 0, out.stderr
    processes = {}
    for line in (tmp_path / "out" / "records.jsonl").read_text().splitlines():
        record = json.loads(line)
        if "kept" in record["settings"] and record["case"]["workload"] == "unstructured_sparse":
            at = json.dumps(record["case"])
            processes.setdefault(at, {})[record["time"]["trials"][0]["round"], record["control"]] = record
    again = [(p[0, False], p[1, control]) for p in processes.values() for control in (False, True) if (1, control) in p]
    assert again
    for first, later in again:
        assert "tried" in first["settings"]
        assert "tried" not in later["settings"], "it was told"
        assert later["settings"]["kept"] == first["settings"]["kept"]
        assert later["memory"] == first["memory"]


def test_doctor_says_what_is_there():
    out = call("doctor", "--json")
    findings = {f["what"]: f for f in json.loads(out.stdout)}
    assert findings["NumPy"]["well"]
    assert "devices cpu" in findings["NumPy"]["found"]
    for name, title in (("torch", "PyTorch"), ("jax", "JAX"), ("tensorflow", "TensorFlow")):
        if name in os.environ.get("HWLOTTERY_REQUIRE", "").split(","):
            assert findings[title]["well"], findings[title]
            assert out.returncode == 0
    assert "never run" in findings["TPU"]["found"]

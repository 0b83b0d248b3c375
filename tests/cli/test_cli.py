"""The command line as a user meets it: help for all, one sentence for what is wrong, exit codes, real small runs."""

from __future__ import annotations

import ast
import json
import os
import shlex
import signal
import subprocess
import sys
import time

import click
import pytest
from _command import ROOT, call
from click.testing import CliRunner

from backends.discovery import backends
from harness.cli.main import cli, run_cli
from harness.records.record import SCHEMA
from workloads.discovery import workloads

SMALL = ("run", "--backend", "numpy", "--preset", "smoke", "--workload", "capsule_conv")


def commands(command=cli, words=()):
    """Every command, and those below it, with the words by which it is asked for."""
    for name, below in command.commands.items():
        yield (*words, name), below
        if isinstance(below, click.Group):
            yield from commands(below, (*words, name))


def subscripted(source):
    """The bases of classes that are a class of click's with brackets behind it."""
    bases = [base for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef) for base in node.bases]
    return [text for base in bases if isinstance(base, ast.Subscript) and (text := ast.unparse(base))[:6] == "click."]


def test_classes_of_click_are_not_subscripted_since_they_are_generic_from_8_4_on_only():
    """An earlier click, which pyproject allows, would fail when the command line is imported."""
    assert subscripted("class Names(click.ParamType[str]): pass") == ["click.ParamType[str]"]
    assert [found for path in (ROOT / "harness/cli").rglob("*.py") for found in subscripted(path.read_text())] == []


EVERY = [pytest.param(words, command, id=" ".join(words)) for words, command in commands()]


@pytest.mark.parametrize(("words", "command"), EVERY)
def test_every_command_and_every_option_has_help(words, command):
    said = CliRunner().invoke(cli, [*words, "--help"], terminal_width=200).output
    assert len(command.help.splitlines()[0]) > 20
    assert command.help.splitlines()[0] in " ".join(said.split())
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name
            assert max(parameter.opts, key=len) in said
        else:
            assert parameter.make_metavar(click.Context(command)) in said


def test_an_option_without_help_is_seen():
    bare = click.Option(["--bare"])
    assert not bare.help


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
        (("run", "--device", "neuron", "--backend", "numpy"), "device neuron is not there: numpy sees cpu"),
        (("run", "--device", "neuron", "--backend", "numpy", "--dry-run"), "device neuron is not there"),
        (("run", "--tf32", "--backend", "numpy"), "--tf32 is for GPUs of NVIDIA's from Ampere on, and cpu has no TF32"),
        (("run", "--core-watts", "900", "--backend", "numpy"), "must lie between their bounds"),
        (("run", "--workload-file", "/nowhere.py", "--backend", "numpy"), "/nowhere.py is not there or no file"),
        (
            ("run", "--workload", "capsule_conv", "--dtype", "int8", "--backend", "numpy"),
            "capsule_conv has no dtype int8 in mode forward; it has",
        ),
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


@pytest.mark.parametrize(
    "arguments",
    [("--debug", "report", "/nowhere"), ("report", "/nowhere", "--debug"), ("new", "workload", "1st", "--debug")],
)
def test_debug_shows_the_traceback_before_the_verb_and_behind_it(arguments):
    out = call(*arguments)
    assert "Traceback" in out.stderr
    assert "Traceback" not in call(*(word for word in arguments if word != "--debug")).stderr


def test_an_error_of_the_harness_has_an_exit_code_that_no_result_has(monkeypatch, capsys):
    from harness.cli import listing

    monkeypatch.setattr(listing, "listing", lambda *_: 1 / 0)
    assert run_cli(["list", "presets"]) == 70
    assert "error: ZeroDivisionError: division by zero (an error of the harness; --debug shows where)" in (
        capsys.readouterr().err
    )


def test_a_small_run_stores_prints_and_exits_0(tmp_path):
    out = call(*SMALL, "--out", tmp_path / "out")
    assert out.returncode == 0, out.stderr
    assert "capsule_conv" in out.stdout
    assert f"results: {tmp_path / 'out'}" in out.stderr
    assert f"next: python -m harness report {tmp_path / 'out'} --all" in out.stderr
    lines = (tmp_path / "out" / "records.jsonl").read_text().splitlines()
    keys = [json.dumps(json.loads(line)["case"], sort_keys=True) for line in lines]
    assert len(keys) == len(set(keys)) > 5
    info = json.loads((tmp_path / "out" / "run.json").read_text())
    assert info["machine"]["cores_usable"] >= 1
    assert info["phases_s"]["measuring_s"] > 0
    for format_ in ("table", "markdown", "csv", "json"):
        again = call("report", tmp_path / "out", "--format", format_)
        assert again.returncode == 0, again.stderr
        assert "capsule_conv" in again.stdout


def test_json_prints_records_only_on_stdout(tmp_path):
    out = call(*SMALL, "--out", tmp_path / "out", "--json")
    records = [json.loads(line) for line in out.stdout.splitlines()]
    assert {r["schema"] for r in records} == {SCHEMA}
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


OUTCOMES = {
    "good": "ok",
    "busy": "ok",
    "hoarder": "ok",
    "talker": "ok",
    "segfault": "crash",
    "leaver": "crash",
    "exiter": "error",
    "greedy": "oom",
    "sleeper": "timeout",
    "liar": "wrong",
    "raiser": "error",
    "widener": "wrong",
    "late_leaver": "crash",
    "late_sleeper": "timeout",
    "refuser": "unsupported",
    "slow_starter": "ok",
    "trier": "ok",
}


def test_failures_are_shown_never_stop_the_run_and_exit_1(bad, tmp_path):
    out = call(
        "run", "--preset", "smoke", "--backend", "numpy", "--workload", "misbehaving", "--timeout", "3s",
        "--memory-limit", "1", "--out", tmp_path / "out", "--formulation", ",".join(OUTCOMES),
    )  # fmt: skip
    assert out.returncode == 1, out.stderr
    records = [json.loads(line) for line in (tmp_path / "out" / "records.jsonl").read_text().splitlines()]
    status = {r["case"]["formulation"]: r["status"] for r in records if r["case"]["workload"] == "misbehaving"}
    assert status == OUTCOMES
    assert "misbehaving" in out.stdout
    executed = {r["case"]["formulation"]: r["executed"] for r in records}
    assert executed["good"] == executed["talker"]
    assert executed["good"]["other_flop"] == 16
    notes = json.loads((tmp_path / "out" / "run.json").read_text())["notes"]
    for formulation, why in (("segfault", "SIGSEGV"), ("sleeper", "not done after 3 s"), ("leaver", "code 7")):
        assert executed[formulation] is None
        begin = f"the executed work of misbehaving/{formulation} forward is not known: "
        assert [note for note in notes if note.startswith(begin) and why in note]


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
            "misbehaving", "--formulation", "good,sleeper,busy", "--rounds", "4", "--timeout", "60s",
            "--out", str(tmp_path / "out"),
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
    (again,) = [line for line in stderr.splitlines() if line.startswith("to go on: ")]
    words = shlex.split(again.removeprefix("to go on: python -m harness "))
    assert words == ["run", "--resume", "--out", str(tmp_path / "out")]


@pytest.mark.slow
@pytest.mark.parametrize("turn", range(3))
def test_smoke_runs_every_idea(tmp_path, turn):
    """The preset of tests and CI: nothing failed, every idea has its row.

    The ideas go round the frameworks, each by its first formulation and uncompiled: test_conformance.py tries every
    formulation of every workload on every framework, compiled ones too, and this would take five times as long.
    """
    required = os.environ.get("HWLOTTERY_REQUIRE", "").split(",")
    frameworks = [n for n in required if n and backends()[0][n].default] or ["numpy"]
    every = sorted((name, w) for name, w in workloads()[0].items() if w.role == "idea")
    assert len(every) >= 18
    ideas, framework = dict(every[turn::3]), frameworks[turn % len(frameworks)]
    first = {next(iter(f)) for w in ideas.values() for f in w.formulations.values()}
    words = ("--execution", "eager", "--formulation", ",".join(sorted(first)), "--workload", ",".join(ideas))
    out = call("run", "--preset", "smoke", "--backend", framework, *words, "--out", tmp_path / "out", timeout=1800)
    assert out.returncode == 0, out.stderr
    records = [json.loads(line) for line in (tmp_path / "out" / "records.jsonl").read_text().splitlines()]
    rows = {r["case"]["workload"] for r in records if r["headline"] and r["status"] == "ok"}
    assert rows >= set(ideas)
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
        if "kept" in record["settings"]:  # of the idea or of its twin, as the control is drawn
            at = json.dumps(record["case"])
            processes.setdefault(at, {})[record["time"]["trials"][0]["round"], record["control"]] = record
    again = [(p[0, False], p[1, control]) for p in processes.values() for control in (False, True) if (1, control) in p]
    assert again
    for first, later in again:
        assert "tried" in first["settings"]
        assert "tried" not in later["settings"], "it was told"
        assert later["settings"]["kept"] == first["settings"]["kept"]
        assert later["memory"] == first["memory"]

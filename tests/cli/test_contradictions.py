"""Options that contradict each other, and names that nothing uses, are one sentence; none is quietly ignored."""

from __future__ import annotations

import json
import os

import pytest
from _command import call
from _records import dense, idea
from _sound import STORED

from harness.cli.main import run_cli
from harness.cli.run_command import request as from_values
from harness.records.store import RunInfo, Store

SMALL = ("run", "--backend", "numpy", "--preset", "smoke", "--dry-run", "--json")


@pytest.fixture
def smtx(tmp_path):
    file = tmp_path / "a.smtx"
    file.write_text("2, 3, 2\n0 1 2\n0 2\n")
    return str(file)


@pytest.fixture(autouse=True)
def cached(tmp_path, monkeypatch):
    monkeypatch.setenv("HWLOTTERY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HWLOTTERY_MATRICES", "")


@pytest.mark.fault("options of run that contradict each other", "options")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--smtx", "FILE", "--workload", "block_sparse"), "nothing in --workload runs that"),
        (
            ("--matrix", "FILE", "--workload", "dense_cnn"),
            "--matrix runs block_sparse, nm_sparse, unstructured_sparse, which",
        ),
        (("--smtx", "FILE", "--preset", "quik"), "there is no preset 'quik'; did you mean quick?"),
        (("--smtx", "FILE", "--set", "m=8"), "--set m and --matrix cannot go together"),
        (("--matrix", "FILE", "--set", "block=2"), "--set block and --matrix cannot go together"),
        (("--set", "pattern=smtx:/home/x/a.smtx"), "give the file itself by --matrix FILE"),
        (("--set", "pattern=matrix:0123456789abcdef:a.mtx"), "give the file itself by --matrix FILE"),
        (("--smtx", "FILE", "--set", "batch=3"), "--set batch sets an axis that no chosen workload has"),
        (("--workload", "block_sparse", "--set", "kernel=3"), "--set kernel sets an axis that no chosen workload has"),
        (("--resume",), "--resume goes on with the run in a folder: name it by --out DIR"),
        (("--precision", "0.1"), "there is no --budget; leave --precision out"),
        (("--precision", "0.1", "--budget", "1m", "--rounds", "3"), "--rounds says how many there are"),
        (("--workload", "capsule_conv", "--formulation", "csr,folded_conv"), "nothing that fits|--formulation csr has"),
        (("--execution", "eager,compiled"), "--execution compiled has no case beside the other options"),
        (("--device", "cpu,tpu-aot:v5e", "--execution", "eager"), "--device tpu-aot:v5e has no case"),
        (("--device", "cuda,cpu", "--tf32"), "--tf32 is for GPUs of NVIDIA's from Ampere on, and cpu has no TF32"),
        (("--device", "gpu-aot:V100", "--tf32"), "from Ampere on, and gpu-aot:V100 has no TF32"),
        (("--device", "tpu-aot:v5e", "--tf32"), "from Ampere on, and tpu-aot:v5e has no TF32"),
        (("--device", "cuda", "--tf32", "--dtype", "float64"), "--tf32 is of float32, and --dtype has float64"),
        (("--memory-limit", "nan"), "finite number|not in the range"),
        (("--core-watts", "nan"), "finite number|not in the range"),
        (("--memory-limit", "inf"), "finite number|not in the range"),
        (("--set", "n=nan"), "n"),
        (("--set", "n=1e999"), "n"),
    ],
)
def test_what_contradicts_is_one_sentence_and_exit_2(words, said, smtx, capsys):
    words = [smtx if word == "FILE" else word for word in words]
    assert run_cli([*SMALL, *words]) == 2
    err = capsys.readouterr().err
    assert any(part in err for part in said.split("|")), err
    assert err.count("\n") == 1
    assert "Traceback" not in err


@pytest.mark.fault("--smtx FILE --set n=64", "options")
def test_the_width_of_a_pattern_can_be_set(smtx, capsys):
    assert run_cli([*SMALL, "--smtx", smtx, "--set", "n=64", "--set", "n=3"]) == 0
    cases = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    found = [case["params"] for case in cases if case["workload"] == "unstructured_sparse"]
    assert {params["n"] for params in found} == {64, 3}
    assert all(params["pattern"].startswith("pattern:") and os.sep not in params["pattern"] for params in found)


def _stored(folder, records):
    info = RunInfo(
        schema=1,
        run="r1",
        started_at="2026-11-01T10:00:00Z",
        ended_at=None,
        command=["hwlottery", "run"],
        machine={},
        versions={},
        settings={},
    )
    with Store(folder, info) as store:
        store.append(*records) if records else None
    return str(folder)


@pytest.mark.fault("compare --fail-on where B lost cases that were ok, or is empty", "gate")
def test_a_gate_that_compared_less_than_was_asked_is_not_green(tmp_path, capsys):
    whole = [idea([1.0, 1.0, 1.0]), dense([1.0, 1.0, 1.0]), idea([2.0, 2.0, 2.0], formulation="coo")]
    a = _stored(tmp_path / "a", whole)
    b, empty = _stored(tmp_path / "b", whole[:2]), _stored(tmp_path / "empty", [])
    assert run_cli(["compare", a, a, "--fail-on", "slower:5%"]) == 0
    capsys.readouterr()
    assert run_cli(["compare", a, b, "--fail-on", "slower:5%"]) == 1
    assert "1 case was ok in" in capsys.readouterr().err
    for pair in ((a, empty), (empty, a), (empty, empty)):
        assert run_cli(["compare", *pair, "--fail-on", "slower:5%"]) == 1
        assert "failed on slower:5%" in capsys.readouterr().err
    assert run_cli(["compare", b, a, "--fail-on", "slower:5%"]) == 0, "more is not less"


@pytest.mark.fault("a report written over the results that it is made of", "options")
def test_a_report_never_takes_the_place_of_its_results(tmp_path, capsys):
    folder = _stored(tmp_path / "r", [idea([1.0])])
    before = (tmp_path / "r" / "records.jsonl").read_bytes()
    for name in ("records.jsonl", "run.json"):
        assert run_cli(["report", folder, "-o", f"{folder}/{name}"]) == 2
    assert (tmp_path / "r" / "records.jsonl").read_bytes() == before
    capsys.readouterr()
    assert run_cli(["report", folder, f"{folder}/", "--format", "json"]) == 0
    out = capsys.readouterr()
    assert "given twice and counts once" in out.err
    assert json.loads(out.out)["records"] == 1


@pytest.mark.fault("terminals and pipes that cannot hold a character", "text")
@pytest.mark.parametrize(("encoding", "codec"), [("ascii", "utf-8"), ("latin-1", "latin-1"), ("utf-8", "utf-8")])
@pytest.mark.parametrize("words", [("report", str(STORED)), ("list", "workloads", "--json"), ("validate", "caf\udce9")])
def test_no_encoding_ends_a_command(encoding, codec, words):
    done = call(*words, PYTHONIOENCODING=encoding, LC_ALL="C", bytes_=True)
    assert done.returncode == (2 if words[0] == "validate" else 0), done.stderr
    text = (done.stdout + done.stderr).decode(codec)
    assert "Error" not in text
    if words[0] == "list":
        json.loads(done.stdout.decode(codec))


@pytest.mark.fault("names of files with a line end, or longer than a system bears", "text")
@pytest.mark.parametrize("name", ["two\nlines", "a" * 5000, "bell\a \r\u202eback"])
@pytest.mark.parametrize(
    "words", ["report", "compare A", "whatif", "check", "run --dry-run --workload-file", "fleet plan"]
)
def test_the_name_of_a_file_does_not_break_the_sentence_about_it(words, name, tmp_path, capsys):
    assert run_cli([*words.replace("A", str(tmp_path)).split(), str(tmp_path / name)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "of the harness" not in line
    assert not {*line} & {"\a", "\r", "\u202e"}, "nothing moves the cursor, and nothing hides"


def test_repeated_axes_are_all_values():
    from harness.cli.main import cli

    words = ["--set", "n=1,2", "--set", "n=2,3"]
    made = from_values(cli.commands["run"].make_context("run", words).params)
    assert made.axes == {"n": (1, 2, 3)}

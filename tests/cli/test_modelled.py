"""`whatif`, `recommend` and `calibrate` as commands: their JSON word for word, and a sentence for bad input."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib

import pytest
from _records import dense, record
from _stored import RUN
from click.testing import CliRunner

from backends.discovery import backends
from harness.cli import calibrating, modelled
from harness.cli.main import cli, run_cli
from harness.figures.ceilings import CEILINGS_ALONE
from harness.modelling.class_errors import class_error
from harness.modelling.kernels import CLASSES
from harness.planning.plan import Ask, cases
from harness.records.store import Store
from workloads.discovery import workloads

ROW = ["workload", "point", "mode", "dtype", "backend", "device", "best", "time_s", "speed_up", "tax", "bound_by"]
KNOWN = {f"{kind} any": class_error(f"{kind} any", [0.9, 1.1, 1.0]) for kind in CLASSES}


@pytest.fixture(autouse=True)
def validated(monkeypatch):
    monkeypatch.setattr(modelled, "known_errors", lambda _: KNOWN)


def asked(*words):
    return CliRunner().invoke(cli, list(map(str, words)), catch_exceptions=False)


def whatif(*words):
    return asked("whatif", *words, "--preset", "smoke", "--workload", "unstructured_sparse", "--backend", "numpy")


def test_json_is_as_it_is_specified():
    found = json.loads(whatif("today", "gather-x16", "--json").stdout)
    assert list(found) == ["rows", "validation", "regret"]
    assert {device for row in found["rows"] for device in [row["device"]]} == {"today", "gather×16"}
    for row in found["rows"]:
        assert list(row) == [*ROW, "break_even"]
        assert row["break_even"] is None or list(row["break_even"]) == ["parameter", "factor"]
    assert any(row["time_s"] for row in found["rows"])
    assert {tuple(error) for error in found["validation"]} == {("class", "cases", "median_error", "p95_error")}
    assert found["regret"] == {"points": 0, "within": 0}


def test_the_table_says_that_it_is_modelled_and_what_is_off():
    said = whatif("today").stdout
    assert "today (modelled)" in said
    assert "Modelled, not measured" in said
    assert "10%" in said
    assert "ticket on today" in said


def test_axes_may_be_set():
    found = json.loads(whatif("today", "--set", "density=0.07", "--json").stdout)
    assert {"density=0.07" in row["point"] for row in found["rows"]} == {True}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["whatif", "todya"], "did you mean today"),
        (["whatif", "gone.toml"], "there is no such device file"),
        (["whatif", "today", "--set", "densty=1"], "there is no axis 'densty'; did you mean density?"),
        (["whatif", "today", "--workload", "nothing"], "there is no workload 'nothing'"),
        (["whatif", "today", "--preset", "huge"], "there is no preset 'huge'"),
        (["whatif", "today", "--against", "nowhere"], "nowhere"),
        (["whatif", "today", "--picture", "x.gif"], "--picture x.gif must end in .svg or .png or .pdf"),
        (["whatif"], "Missing argument"),
        (["recommend", "capsule_rooting"], "did you mean capsule_routing"),
        (["recommend", "capsule_routing", "--set", "density=1"], "there is no axis of capsule_routing 'density'"),
        (["recommend", "capsule_routing", "nowhere"], "nowhere"),
        (["calibrate", "-o", "today.txt"], "-o today.txt must end in .toml"),
        (["calibrate", "-o", "gone/today.toml"], "name a file in a folder that is there"),
        (["calibrate", "-o", "today.toml", "--budget", "never"], "'never' is not a time"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_cli(words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def folder(tmp_path):
    """A results folder with ceilings and a few products."""
    square = {"m": 256, "k": 256, "n": 256, "grads": "both"}
    sizes = ((65_536, 1e-5), (4_194_304, 1e-3))
    records = [
        dense([2e-3], params=square, flop=2 * 256**3),
        *(
            record("stream", [s], formulation="flat", params={"elements": n, "kernel": "dot"}, least_bytes=4 * n)
            for n, s in sizes
        ),
        *(dense([m * 1e-5], params={"m": m, "k": 256, "n": 64, "grads": "both"}) for m in (64, 128, 512)),
    ]
    with Store(tmp_path / "run", RUN) as store:
        for made in records:
            store.append(made)
    return tmp_path / "run"


def test_a_results_folder_is_a_device_and_what_it_is_held_to(folder):
    found = json.loads(whatif(folder, "--against", folder, "--json").stdout)
    assert {error["class"]: error["cases"] for error in found["validation"]} == {"dense numpy": 3, "dense any": 3}
    assert "held to what was measured" in whatif(folder, "--against", folder).stdout


def test_calibrate_measures_the_ceilings_of_a_run_and_launches_in_every_execution():
    found, (torch, jax) = workloads()[0], (backends()[0][name] for name in ("torch", "jax"))
    ask = Ask(workloads=("stored_product",), backends=("torch", "jax"))
    plan = cases(ask, found, {"torch": torch, "jax": jax})
    chosen = calibrating.chosen(plan)
    assert {p.case.workload for p in chosen} == {"dense_matmul", *CEILINGS_ALONE}
    assert all(p.survey for p in chosen)
    launches = sorted(
        (p.case.backend, p.case.execution, p.case.params["steps"], p.work.useful_flop)
        for p in chosen
        if p.case.workload == "small_steps"
    )
    assert launches == [
        (name, execution, steps, 1024 * steps)
        for name in ("jax", "torch")
        for execution in ("compiled", "eager")
        for steps in (1, 64)
    ]
    assert {p.case.execution for p in plan if p.case.workload == "small_steps"} == {"compiled", "eager"}
    assert len([p for p in plan if p.case.workload == "small_steps"]) == 2, "of a run, one in each framework"


def test_what_calibrate_writes_is_a_device_file(folder, tmp_path, capsys):
    assert calibrating._write(folder, tmp_path / "here.toml", "here") == 0
    document = tomllib.loads((tmp_path / "here.toml").read_text())
    assert document["name"] == "here"
    assert document["intervals"].keys() <= document["sources"].keys()
    said = capsys.readouterr().err
    assert "not measured here, and so without a figure: matmul.small, matmul.thin, matmul.vector, vector.rate" in said
    assert json.loads(whatif(tmp_path / "here.toml", "--json").stdout)["rows"]


def test_the_picture_has_a_line_for_each_idea(tmp_path):
    assert whatif("today", "--picture", tmp_path / "x.png").exit_code == 0
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    done = whatif("today", "--picture", tmp_path / "x.svg")
    assert done.exit_code == 0
    drawn = (tmp_path / "x.svg").read_text()
    assert "unstructured_sparse forward" in drawn
    assert "modelled" in drawn


def test_recommend_answers_and_keeps_its_lists_apart():
    words = ("recommend", "unstructured_sparse", "--set", "density=0.05", "--device", "today", "--json")
    found = json.loads(asked(*words).stdout)
    assert list(found) == ["idea", "measured", "estimated", "modelled", "answer"]
    assert found["measured"] == found["estimated"] == []
    assert {row["kind"] for row in found["modelled"]} == {"modelled"}
    assert found["answer"]


def test_what_a_device_file_needs_loads_no_table_of_pandas_and_no_framework():
    """The answer for ten devices is to be there within seconds, of which imports were a third."""
    code = (
        "import sys, harness.cli.modelled, harness.report.modelled_text\n"
        "print(sorted({'pandas', 'scipy', 'sklearn', 'torch', 'jax'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"

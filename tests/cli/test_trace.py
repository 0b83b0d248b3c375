"""`trace`: the table of a case by a profiler, through the process of every case; nothing of a run is touched."""

from __future__ import annotations

import json

import msgspec
import pytest
from _records import dense
from _stored import RUN

from harness.cli.main import run_cli
from harness.records.store import INFO, RECORDS, load
from harness.records.traces import traces_of
from harness.report import trace_text

BACKEND = """
from dataclasses import replace
from backends.numpy_backend import BACKEND as NUMPY
BACKEND = replace(NUMPY, name="planted", title="Planted", profiler="planted_profiler")
"""
PROFILER = """
from backends.profiling import CALL, ProfiledOperation, Profile

def prepare():
    pass

def profile(ops, call, operands, count, file):
    for _ in range(count):
        ops.wait(call(*operands))
    file.write_bytes(b"chrome")
    spans = [("MatMul", 0, 60, "a"), ("AddV2", 20, 30, "b"), ("Mystery", 70, 80, "a")]
    operations = [ProfiledOperation(*span) for span in spans]
    return Profile(profiler="planted.profiler", calls=[(0, 100)], operations=operations)
"""


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """A backend of NumPy's with a profiler that shows what is planted here."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "planted_backend.py").write_text(BACKEND)
    (tmp_path / "own" / "planted_profiler.py").write_text(PROFILER)
    monkeypatch.setenv("HWLOTTERY_BACKENDS", str(tmp_path / "own"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


CASE = ("dense_matmul/nn", "planted")
SMALL = ("--preset", "smoke", "--threads", "1")


def test_a_trace_is_a_table_and_a_file_whose_shares_add_up(planted, capsys):
    assert run_cli(["trace", *CASE, *SMALL, "--mode", "forward", "--json"]) == 0
    printed = capsys.readouterr()
    (line,) = printed.out.splitlines()
    found = json.loads(line)
    rows = {row["op"]: row for row in found["rows"]}
    assert {tuple(row) for row in found["rows"]} == {("op", "class", "time_s", "share", "calls")}
    assert {op: (row["class"], row["calls"]) for op, row in rows.items()} == {
        "MatMul": ("matmul", 1),
        "AddV2": ("elementwise", 1),
        "Mystery": ("other", 1),
        "launch/idle": ("launch/idle", 1),
    }
    assert rows["MatMul"]["share"] == 0.55  # ten of its sixty nanoseconds were half another's
    assert sum(row["share"] for row in found["rows"]) == pytest.approx(1, abs=1e-12)
    assert sum(row["time_s"] for row in found["rows"]) == pytest.approx(found["window_s"])
    assert found["case"]["backend"] == "planted"
    assert (planted / "traces" / found["file"]).read_bytes() == b"chrome"
    assert "nothing is known of the others" in printed.err
    assert "ui.perfetto.dev" in printed.err
    (stored,) = traces_of(planted)
    assert trace_text.by_class(stored.rows) == "matmul 55.0%, launch/idle 30.0%, other 10.0%, elementwise 5.0%"


def a_run(folder, times):
    """A run of the planted backend in which each formulation of a small product took so long."""
    folder.mkdir()
    params = {"m": 8, "k": 8, "n": 4, "grads": "both"}
    records = [dense([[s] * 9], formulation=name, params=params, backend="planted") for name, s in times.items()]
    (folder / RECORDS).write_bytes(b"".join(msgspec.json.encode(record) + b"\n" for record in records))
    (folder / INFO).write_bytes(msgspec.json.encode(RUN))
    return folder


def test_of_a_run_the_best_path_is_traced_and_its_folder_gains_the_table_alone(planted, capsys):
    run = a_run(planted / "run", {"nn": 2e-3, "nt": 1e-3, "tn": 3e-3})
    before = {name: (run / name).read_bytes() for name in (INFO, RECORDS)}
    assert run_cli(["trace", str(run), "dense_matmul"]) == 0
    printed = capsys.readouterr()
    assert "tracing dense_matmul/nt " in printed.err
    assert f"the best path of {run}" in printed.err
    assert "By class: matmul 55.0%" in printed.out
    assert {name: (run / name).read_bytes() for name in (INFO, RECORDS)} == before
    (trace,) = traces_of(run)
    assert trace.case in [r.case for r in load(run).records]
    (run / "traces" / "torn.json").write_text("{")
    assert run_cli(["report", str(run), "--format", "html", "-o", str(planted / "page.html")]) == 0
    page = (planted / "page.html").read_text()
    assert f"{trace_text.TITLE}: {trace.case}" in page.replace("&#34;", '"')
    assert "planted.profiler" in page
    assert "Mystery" in page
    assert "torn.json is left out: it is no table of a trace" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no workload is named; say which case"),
        (["planted"], "no workload is named; say which case"),
        (["dense_matmul", "numpy"], "NumPy has no profiler of its own, so that nothing can be traced; it can of"),
        (["dense_matmul", "numpi"], "there is no word of a case 'numpi'; did you mean numpy?"),
        (["--workload", "dense_matmu"], "there is no workload 'dense_matmu'; did you mean dense_matmul?"),
        (["dense_matmul", "--backend", "torhc"], "there is no backend 'torhc'; did you mean torch?"),
        (["dense_matmul/nn", "planted", "m=3", "q=3"], "there is no axis 'q'"),
        (["dense_matmul/csr", "planted"], "is named by dense_matmul csr planted"),
        (["dense_matmul", "planted", "--device", "tpu-aot:v5e"], "compiled for and not run"),
        (["dense_matmul", "planted", "--device", "model:today"], "reckoned and not run"),
        (["own", "dense_matmul"], "own is no results folder: it has no run.json"),
        (["dense_matmul", "planted", "--threads", "4096"], "--threads 4096 is more than the"),
        (["dense_matmul", "planted", *SMALL, "-o", "own/planted_backend.py"], "cannot be made"),
    ],
)
def test_bad_input_is_one_sentence(planted, capsys, words, said):
    assert run_cli(["trace", *words]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert said in printed.err
    assert printed.err.strip().splitlines()[-1].startswith("error: ")
    assert not (planted / "traces").exists()


def test_a_case_that_fails_says_so_and_exits_with_1(planted, capsys):
    (planted / "own" / "planted_profiler.py").write_text(PROFILER.replace("file.write_bytes", "raise OSError"))
    assert run_cli(["trace", *CASE, *SMALL]) == 1
    assert "dense_matmul/nn planted eager: error: OSError" in capsys.readouterr().err
    assert not list(traces_of(planted))

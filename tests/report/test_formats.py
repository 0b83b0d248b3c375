"""The formats for other programs: the same figures in each, read back by the programs that they are made for."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from _records import SHAPE, dense, host_memory, idea, joules, twin_ref

from harness.cli.formats import FORMATS, render
from harness.cli.publish import report, write
from harness.figures.summary import summarise
from harness.records.store import RunInfo, Store
from harness.report.flat_table import flat
from workloads.base import Axis

RECORDS = [
    idea(
        [2.0e-3, 2.1e-3, 2.2e-3],
        rounds=[1, 2, 3],
        memory=host_memory(12 * 2**20),
        energy=joules(0.012, 0.005, 0.030, "modelled"),
    ),
    dense([1.0e-3, 1.05e-3, 1.1e-3], rounds=[1, 2, 3]),
    idea([1.02e-3, 0.95e-3, 1.04e-3], rounds=[1, 2, 3], backend="torch"),
    dense([1.0e-3] * 3, rounds=[1, 2, 3], backend="torch"),
    idea(status="unsupported", reason="no & never: 100 % of a_b ~ {x} \\ ^ # $ | <b>", backend="jax"),
]
INFO = RunInfo(
    schema=1,
    run="r1",
    started_at="2026-11-01T10:00:00Z",
    ended_at=None,
    command=["hwlottery", "run"],
    machine={"cpu": "A CPU", "architecture": "x86_64", "os": "Linux 6.1", "python": "3.11.7", "cores_logical": 2},
    versions={"numpy": "2.4.6"},
    settings={},
    sources={"harness": "0" * 64},
)


def stored(folder, records=RECORDS):
    with Store(folder, INFO) as store:
        for record in records:
            store.append(record)
    return folder


def _columns(data):
    return pq.read_table(io.BytesIO(data)).to_pylist()


# -- the same figures in every format ---------------------------------------------------------------------------------


def _as_text(format):
    return render(RECORDS, format, runs=[INFO], all_points=format == "table")  # only then has it more than the matrix


@pytest.mark.parametrize("format", ["table", "markdown", "latex"])
@pytest.mark.usefixtures("one_run")
def test_formats_for_reading_have_the_figures_the_interval_the_tie_the_outcome_and_the_source(format, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    row = next(r for r in summarise(RECORDS).rows if r.backend == "numpy")
    text = _as_text(format).replace("{\\texttimes}", "×")
    assert f"{1e3 * row.time_s:.2f} ms [1.86, 2.36]" in text
    assert f"{row.principal.speed_up:.3f}× [0.500, 0.500]" in text
    assert f"{row.principal.tax:.1f}× [20.0, 20.0]" in text
    assert "12.0 mJ [5.0, 30.0] modelled" in text
    tied = next(r.principal for r in summarise(RECORDS).rows if r.principal and r.principal.verdict == "tie")
    cell = f"{tied.speed_up:.3f}× [{tied.speed_up_low:.3f}, {tied.speed_up_high:.3f}]"
    assert re.search(re.escape(cell) + (r"\s+tie" if format != "table" else ""), text)
    assert len(re.findall(r"\btie\b", text)) >= 2, "in the cell and in the notes"
    assert "unsupported 1" in text


@pytest.mark.parametrize("axis", ["density", "k", "value"])
def test_break_even_in_json_names_the_axis_and_the_value_on_it(axis, monkeypatch):
    """Whatever the axis is called, the keys are the same."""
    known = SimpleNamespace(axes={axis: Axis(break_even=True)}, formulations={})
    monkeypatch.setattr("harness.figures.break_even.workloads", lambda: ({idea([1.0]).case.workload: known}, ()))
    sweep = [idea([t] * 3, params={**SHAPE, axis: x}) for x, t in ((0.01, 0.25), (0.16, 4.0))]
    (found,) = json.loads(render([*sweep, dense([1.0] * 3)], "json"))["break_even"]
    assert found["axis"] == axis
    assert found["value"] == pytest.approx(0.04)
    assert [point["value"] for point in found["curve"]] == [0.01, 0.16]
    assert found.keys() & {"density", "k"} == set()


def test_formats_for_programs_have_the_same_figures_in_full():
    row = next(r for r in summarise(RECORDS).rows if r.backend == "numpy")
    expected = flat(row)
    names = ["time_s", "time_low_s", "time_high_s", "speed_up", "speed_up_low", "tax", "tax_low", "tax_high"]
    of_json = next(r for r in json.loads(_as_text("json"))["rows"] if r["backend"] == "numpy")
    found = {
        "csv": next(r for r in csv.DictReader(io.StringIO(_as_text("csv"))) if r["backend"] == "numpy"),
        "json": of_json | of_json["against"][0],
        "parquet": next(r for r in _columns(_as_text("parquet")) if r["backend"] == "numpy"),
        "pytest-benchmark": _row_of_benchmark(),
    }
    for format, fields in found.items():
        assert [float(fields[n]) for n in names] == pytest.approx([expected[n] for n in names]), format
        assert (fields["verdict"], fields["outcome"], fields["energy_source"]) == ("slower", "ok", "modelled"), format


def _row_of_benchmark():
    found = [b["extra_info"]["row"] for b in json.loads(_as_text("pytest-benchmark"))["benchmarks"]]
    return next(r for r in found if r["backend"] == "numpy" and "tax" in r)


def test_unknown_is_empty_in_every_format_and_never_zero():
    records = [idea([2.0]), idea(status="timeout", reason="too slow", backend="jax")]
    for row in _columns(render(records, "parquet")):
        for name in ("time_low_s", "tax", "speed_up", "memory_bytes", "energy_j", "roofline_share", "twin_path"):
            assert row[name] is None
    (benchmark,) = json.loads(render(records, "pytest-benchmark"))["benchmarks"]
    assert benchmark["extra_info"]["energy"] is None
    assert benchmark["extra_info"]["row"]["tax"] is None
    lines = [line for line in render(records, "latex").splitlines() if line.startswith("unstructured")]
    cells = [[cell.strip() for cell in line.removesuffix("\\\\").split(" & ")] for line in lines]
    assert [row[5:10] for row in cells] == [["{\\textendash}"] * 5] * 2


@pytest.mark.parametrize("format", ["latex", "parquet", "pytest-benchmark"])
def test_no_records_is_an_empty_table_or_a_sentence(format):
    content = render([], format)
    if format == "latex":
        assert content.startswith("There are no records here")
    elif format == "parquet":
        assert _columns(content) == []
    else:
        assert json.loads(content)["benchmarks"] == []


# -- LaTeX ------------------------------------------------------------------------------------------------------------


def test_latex_is_booktabs_and_escapes_the_words_of_others():
    text = _as_text("latex")
    assert all(rule in text for rule in ("\\toprule", "\\midrule", "\\bottomrule"))
    assert (
        "no \\& never: 100 \\% of a\\_b {\\textasciitilde} \\{x\\} {\\textbackslash} "
        "{\\textasciicircum} \\# \\$ {\\textbar}" in text
    )
    assert "<b>" not in text


def test_a_cell_that_begins_with_a_bracket_is_not_an_argument_of_the_line_break():
    assert "\n{}[x] &" in render([idea([1.0], workload="[x]")], "latex")


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles(tmp_path):
    hostile = "\\input{/etc/passwd} $\\write18{x}$ % & \x07 漢 € ≤ µ “quoted” \\end{table*}"
    text = render([*RECORDS, idea(status="error", reason=hostile, backend="tensorflow")], "latex")
    packages = "".join(re.findall(r"^% (\\usepackage.*)$", text, re.MULTILINE))
    (tmp_path / "paper.tex").write_text(
        f"\\documentclass{{article}}{packages}\\begin{{document}}\n{text}\\end{{document}}\n"
    )
    out = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"],
        cwd=tmp_path,
        capture_output=True,
        timeout=120,
    )
    assert out.returncode == 0, out.stdout[-2000:]
    assert (tmp_path / "paper.pdf").stat().st_size > 1000


# -- Parquet ----------------------------------------------------------------------------------------------------------


def test_parquet_columns_have_types_and_the_names_of_flat():
    refs = [twin_ref(), twin_ref("equal_work", params={"m": 8, "k": 1, "n": 4})]
    table = pq.read_table(io.BytesIO(render([*RECORDS, idea([1.0], backend="z", twins=refs)], "parquet", noise=0.1)))
    kinds = {field.name: field.type for field in table.schema}
    assert kinds["time_s"] == kinds["tax_equal_work"] == pa.float64()
    assert kinds["memory_bytes"] == kinds["rounds"] == pa.int64()
    assert kinds["steady"] == pa.bool_()
    assert kinds["run"] == kinds["verdict"] == pa.string()
    assert table.schema.metadata[b"noise"] == b"0.1"
    assert set(flat(summarise(RECORDS).rows[0])) <= set(table.column_names)


# -- pytest-benchmark -------------------------------------------------------------------------------------------------


def _pytest_benchmark(*arguments, cwd):
    environ = {k: v for k, v in os.environ.items() if k != "COLUMNS"}
    command = Path(sys.executable).with_name("pytest-benchmark")
    out = subprocess.run([command, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, env=environ)
    assert out.returncode == 0, out.stderr
    return out


def test_pytest_benchmark_compares_and_lists_the_file(tmp_path):
    file = tmp_path / "storage" / "0001_run.json"
    file.parent.mkdir()
    file.write_text(_as_text("pytest-benchmark"))
    out = _pytest_benchmark("compare", file, "--csv", tmp_path / "x.csv", "--sort=min", cwd=tmp_path)
    assert "Failed to load" not in out.stdout + out.stderr
    assert "unstructured_sparse/csr forward numpy eager cpu float32 [m=8,k=8,n=4]" in out.stdout
    rows = list(csv.DictReader((tmp_path / "x.csv").read_text().splitlines()))
    assert len(rows) == 4
    item = next(r for r in rows if "sparse/csr forward numpy" in r["name"])
    assert [float(item[n]) for n in ("min", "median", "max", "rounds")] == pytest.approx([2.0e-3, 2.1e-3, 2.2e-3, 3])
    listed = _pytest_benchmark("--storage", f"file://{file.parent}", "list", cwd=tmp_path)
    assert "0001_run.json" in listed.stdout


def test_pytest_benchmark_has_the_raw_samples_and_what_the_record_says():
    content = json.loads(_as_text("pytest-benchmark"))
    assert content["hwlottery"]["left_out"] == {"unsupported": 1}
    assert content["machine_info"]["processor"] == "A CPU"
    assert content["commit_info"]["dirty"] is None
    item = content["benchmarks"][0]
    assert item["stats"]["data"] == [2.0e-3, 2.1e-3, 2.2e-3]
    assert item["group"] == "unstructured_sparse/k=8,m=8,n=4"
    extra = item["extra_info"]
    assert (extra["status"], extra["energy"]["source"]) == ("ok", "modelled")
    assert extra["case"]["params"] == SHAPE
    assert extra["memory"]["host_peak_bytes"] == 12 * 2**20


def test_the_statistics_are_those_that_pytest_benchmark_makes_itself():
    from pytest_benchmark.stats import Stats

    theirs = Stats()
    samples = [1.0, 1.1, 1.2, 1.05, 9.0]
    for sample in samples:
        theirs.update(sample)
    (load,) = json.loads(render([dense([samples])], "pytest-benchmark"))["benchmarks"]
    assert set(Stats.fields) <= set(load["stats"])
    for name in ("min", "max", "mean", "stddev", "median", "rounds", "total", "ops", "outliers"):
        assert load["stats"][name] == pytest.approx(getattr(theirs, name)), name


def test_a_control_is_no_benchmark():
    control = msgspec.structs.replace(RECORDS[1], control=True)
    assert len(json.loads(render([*RECORDS, control], "pytest-benchmark"))["benchmarks"]) == 4


# -- files ------------------------------------------------------------------------------------------------------------


def test_binary_formats_are_written_as_they_are_and_need_a_file_on_a_terminal(tmp_path, monkeypatch, capsys):
    folder = stored(tmp_path / "run")
    assert report([folder], "parquet", tmp_path / "x.parquet", False) == 0
    assert len(_columns((tmp_path / "x.parquet").read_bytes())) == 3
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    with pytest.raises(Exception, match=r"--format parquet is not for a terminal; name a file with -o FILE\.parquet"):
        report([folder], "parquet", None, False)


def test_the_other_outcomes_are_named_where_a_format_has_times_only(tmp_path, capsys):
    report([stored(tmp_path / "run")], "pytest-benchmark", tmp_path / "x.json", False)
    assert "note: without a benchmark, because not ok: unsupported 1" in capsys.readouterr().err


def test_a_missing_library_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "harness.report.latex", None)
    monkeypatch.setitem(sys.modules, "pylatexenc", None)
    with pytest.raises(Exception, match=r"needs .*, which is not installed; try: .*\[report\]"):
        report([stored(tmp_path / "run")], "latex", None, False)


def test_several_files_go_into_a_folder(tmp_path):
    write({"a.svg": b"<svg/>", "b.svg": b"<svg/>"}, tmp_path / "pictures")
    assert sorted(p.name for p in (tmp_path / "pictures").iterdir()) == ["a.svg", "b.svg"]


def test_every_format_has_a_suffix():
    assert all(re.fullmatch(r"\.[a-z]+", item.suffix) or item.suffix == "" for item in FORMATS.values())


@pytest.mark.fault("cells that a spreadsheet would run as a formula", "text")
def test_no_cell_of_a_csv_is_a_formula():
    evil = ["=1+1", "+1", "-1+1", "@SUM(A1)", " =1", "\t=1", "＝1", "|calc"]
    records = [idea([1.0], formulation=word, backend=word, rounds=[1]) for word in evil]
    text = render([*records, dense([1.0])], "csv")
    cells = [cell for row in csv.reader(io.StringIO(text)) for cell in row]
    assert any(cell.startswith("'=1+1") for cell in cells)
    numbers = re.compile(r"-?[\d.]+(e[-+]?\d+)?")
    assert not [c for c in cells if c.strip()[:1] in tuple("=+-@|＝") and c and not numbers.fullmatch(c)]

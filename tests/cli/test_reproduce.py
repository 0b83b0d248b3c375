"""`reproduce`: published rows measured again into a folder of their own, and a false one seen to be false."""

from __future__ import annotations

import json
import os

import msgspec
import pytest
from _command import ROOT

from harness.cli.main import run_cli
from harness.gate.validate import validate
from harness.records.store import INFO, RECORDS, REPRODUCES, load

# Waits of one and three milliseconds are unlike on a busy machine, and never ten times as long.
WIDE = ("--margin", "9", "--rounds", "3", "--threads", "1")
RUN = ("run", "--preset", "smoke", "--backend", "numpy", "--workload", "steady", "--rounds", "2", "--threads", "1")
TIMES = {"short": 0.001, "plain": 0.003}


def retimed(folder, into, times):
    """The run of `folder` with times that a calm machine would have found, whatever this one did."""
    into.mkdir()
    lines = []
    for record in load(folder).records:
        seconds = times.get(record.case.formulation)
        if record.time is not None and seconds is not None:
            samples = [[seconds * (1 + 1e-3 * k)] * len(one) for k, one in enumerate(record.time.samples_s)]
            record = msgspec.structs.replace(record, time=msgspec.structs.replace(record.time, samples_s=samples))
        lines.append(msgspec.json.encode(record) + b"\n")
    (into / RECORDS).write_bytes(b"".join(lines))
    (into / INFO).write_bytes((folder / INFO).read_bytes())
    return into


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A run of the workload whose times are known."""
    before = os.environ.get("HWLOTTERY_WORKLOADS")
    os.environ["HWLOTTERY_WORKLOADS"] = str(ROOT / "tests" / "helpers" / "steady")
    place = tmp_path_factory.mktemp("stored")
    assert run_cli([*RUN, "--out", str(place / "run")]) == 0
    yield retimed(place / "run", place / "out", TIMES)
    os.environ.pop("HWLOTTERY_WORKLOADS")
    if before is not None:
        os.environ["HWLOTTERY_WORKLOADS"] = before


def _bytes(folder):
    return {name: (folder / name).read_bytes() for name in (INFO, RECORDS)}


def test_rows_are_measured_again_beside_the_run_that_published_them(stored, tmp_path, capsys):
    before, out = _bytes(stored), tmp_path / "again"
    words = ["reproduce", str(stored), "--row", "steady n=8", *WIDE, "--out", str(out), "--json"]
    assert run_cli(words) == 0
    found = json.loads(capsys.readouterr().out)
    (row,) = found["rows"]
    assert row["verdict"] == "reproduced"
    assert row["low"] < row["ratio"] < row["high"]
    assert (row["path"], row["twin_path"]) == ("short/eager", "plain/eager")
    assert (found["margin"], found["same_kind"], found["differences"]) == (9.0, True, [])
    assert _bytes(stored) == before
    run = load(out)
    assert run.info.settings[REPRODUCES] == load(stored).info.run == found["of"]
    assert (run.info.run, run.info.command[:2]) == (found["run"], ["hwlottery", "reproduce"])
    assert run.info.distributions["numpy"] == run.info.versions["numpy"]
    assert {record.case.formulation for record in run.records} == {"short", "plain"}, "the published paths alone"
    assert any(record.control for record in run.records), "its noise is its own"
    report = validate(out)
    assert report.refusals == []
    assert "reproduction" in {mark.code for mark in report.marks}


def test_a_speed_up_that_was_made_up_is_not_reproduced(stored, tmp_path, capsys):
    """Its calls a thousandth as long as they are: the row claims what nobody can measure."""
    false = retimed(stored, tmp_path / "false", {"short": 1e-6, "plain": 0.003})
    words = ["reproduce", str(false), "--row", "n=8", *WIDE, "--out", str(tmp_path / "out")]
    assert run_cli(words) == 1
    said = capsys.readouterr().out
    assert "0 reproduced, 1 not reproduced, 0 cannot tell" in " ".join(said.split())


def test_a_plan_is_shown_and_nothing_is_run(stored, tmp_path, capsys):
    out = tmp_path / "out"
    assert run_cli(["reproduce", str(stored), "--row", "n=8", "--dry-run", "--out", str(out)]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["steady/short", "steady_dense/plain"]
    assert not out.exists()


@pytest.mark.fault("reproduce with words, a place or a run that cannot be", "reproduce")
@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--row", "steedy"], "there is no row with 'steedy'; did you mean steady?"),
        (["--out", "{stored}/again"], "which is kept as it is; name a folder of its own"),
        (["--out", "{stored}"], "which is kept as it is; name a folder of its own"),
        (["--margin", "0"], "--margin"),
    ],
)
def test_what_cannot_be_is_one_sentence_and_exit_2(stored, capsys, more, said):
    before = _bytes(stored)
    assert run_cli(["reproduce", str(stored), *(word.format(stored=stored) for word in more)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert said in error
    assert _bytes(stored) == before


def test_a_run_whose_workload_is_not_here_says_which_file_is_missing(stored, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HWLOTTERY_WORKLOADS", str(tmp_path))
    assert run_cli(["reproduce", str(stored)]) == 2
    error = capsys.readouterr().err
    assert "there is no workload steady here" in error
    assert "none of the rows" in error


def test_a_run_that_publishes_nothing_is_refused(tmp_path, capsys):
    (tmp_path / INFO).write_bytes((ROOT / "results" / "quick-tpu-aot-v5e" / INFO).read_bytes())
    (tmp_path / RECORDS).write_bytes((ROOT / "results" / "quick-tpu-aot-v5e" / RECORDS).read_bytes())
    assert run_cli(["reproduce", str(tmp_path)]) == 2
    assert "publishes no speed-up" in capsys.readouterr().err

"""Figures of devices that files describe: in columns of their own everywhere, and ranked with nothing."""

from __future__ import annotations

import io
import json

import pandas as pd
import pytest
from _published import published
from _records import dense, idea, record

from harness.cli.formats import render
from harness.figures.ceilings import CEILINGS_ALONE
from harness.figures.modelled import modelled_rows
from harness.figures.summary import summarise
from harness.records.record import Modelled
from harness.web import pictures
from harness.web.charts import charts

DEVICE = "model:today.toml"


def figures(time_s, energy_j=None):
    parts = {"gather": time_s * 0.75, "launch": time_s * 0.25}
    return Modelled(
        device="today",
        digest="0" * 16,
        kind="gather",
        time_s=time_s,
        energy_j=energy_j,
        bound_by="gather",
        parts_s=parts,
        cases=9,
        median_error=0.12,
        p95_error=0.4,
    )


def ours(time_s, **facts):
    return idea(None, device=DEVICE, status="modelled", modelled=figures(time_s), **facts)


def theirs(time_s, **facts):
    return dense(None, device=DEVICE, status="modelled", modelled=figures(time_s), **facts)


BOTH = [ours(0.25), ours(0.125, formulation="bag"), theirs(0.5)]


def test_speed_up_and_tax_are_by_the_fastest_path_of_each_side():
    """W = 0.1: a quarter of the twin's time for a tenth of the work is a tax of 2.5."""
    (row,) = modelled_rows(BOTH)
    assert (row.path, row.twin_path) == ("bag/eager", "nn/eager")
    assert (row.speed_up, row.tax) == (pytest.approx(4.0), pytest.approx(2.5))
    assert (row.bound_by, row.bound_share) == ("gather", pytest.approx(0.75))
    assert (row.median_error, row.p95_error, row.outcome) == (0.12, 0.4, "modelled 2")


def test_a_modelled_run_is_drawn_with_its_taxes_and_words_where_there_is_none():
    made = published([*BOTH, idea(None, device="model:x.toml", status="unsupported", reason="no figure: x")])
    (chart,) = [c for c in charts(made) if c.name == "modelled"]
    assert "modelled" in chart.title
    marks = {mark["where"]: mark["text"] for mark in chart.spec["data"]["values"]}
    assert marks == {"today numpy": "2.50", "model:x.toml numpy": "unsupported"}
    assert b"2.50" in pictures.svg(made)["modelled.svg"]


def test_where_there_is_no_figure_the_reason_stands_instead():
    (row,) = modelled_rows([idea(None, device=DEVICE, status="unsupported", reason="no figure: x"), theirs(0.5)])
    assert (row.path, row.time_s, row.speed_up, row.reason) == (None, None, None, "no figure: x")


def test_energy_is_a_ratio_where_both_sides_have_one():
    held = [idea(None, device=DEVICE, status="modelled", modelled=figures(1.0, 2.0))]
    (row,) = modelled_rows([*held, dense(None, device=DEVICE, status="modelled", modelled=figures(1.0, 4.0))])
    assert row.energy_ratio == pytest.approx(0.5)
    assert modelled_rows([*held, theirs(1.0)])[0].energy_ratio is None


def test_nothing_modelled_changes_a_measured_figure():
    """The model says that the idea is a thousand times faster than anything that was measured."""
    measured = [idea([2.0, 2.0, 2.0]), dense([1.0, 1.0, 1.0])]
    alone, beside = summarise(measured), summarise([*measured, ours(1e-6), theirs(1e-3)])
    for name in ("rows", "dense", "portability", "matrix", "lottery", "ceilings", "estimates", "answer", "noise"):
        assert getattr(alone, name) == getattr(beside, name), name
    assert [row.device for row in beside.modelled] == [DEVICE]


def test_a_modelled_twin_is_no_twin_of_what_was_measured():
    row = summarise([idea([2.0, 2.0]), theirs(1e-3)]).rows[0]
    assert row.against[0].speed_up is None


@pytest.mark.parametrize("format_", ["table", "markdown", "latex", "html"])
def test_every_format_to_be_read_has_a_section_of_them(format_):
    text = render([idea([2.0, 2.0]), dense([1.0, 1.0]), *BOTH], format_, all_points=True)
    assert "Modelled, not measured" in text


def test_tables_for_programs_keep_measured_columns_empty():
    records = [idea([2.0, 2.0]), dense([1.0, 1.0]), *BOTH]
    csv = pd.read_csv(io.StringIO(render(records, "csv")))
    parquet = pd.read_parquet(io.BytesIO(render(records, "parquet")))
    for table in (csv, parquet):
        assert table["device"].tolist() == ["cpu", DEVICE]
        modelled = table[table["device"] == DEVICE].iloc[0]
        assert modelled[["path", "time_s", "speed_up", "tax"]].isna().all()
        assert modelled["modelled_speed_up"] == pytest.approx(4.0)
        assert table[table["device"] == "cpu"].iloc[0][["modelled_time_s", "modelled_speed_up"]].isna().all()
    found = json.loads(render(records, "pytest-benchmark"))
    assert all(DEVICE not in json.dumps(benchmark) for benchmark in found["benchmarks"])
    assert [row["device"] for row in found["hwlottery"]["modelled"]] == [DEVICE]


def test_a_table_of_measured_rows_alone_has_no_modelled_column():
    assert "modelled" not in render([idea([2.0, 2.0]), dense([1.0, 1.0])], "csv").partition("\n")[0]


@pytest.mark.parametrize("ceiling", sorted(CEILINGS_ALONE))
def test_what_is_a_ceiling_alone_has_no_row(ceiling):
    """Of the modelled and of the estimated: the same rule holds for both."""
    beside = record(ceiling, device=DEVICE, status="modelled", modelled=figures(0.5))
    assert [row.workload for row in modelled_rows([*BOTH, beside], all_points=True)] == [
        row.workload for row in modelled_rows(BOTH, all_points=True)
    ]
    assert modelled_rows([beside], all_points=True) == []

"""What figures leave out for speed changes none of them: held on a stored run against the long way."""

from __future__ import annotations

from pathlib import Path

import pytest
from _records import idea

from harness.figures.best_paths import best_rows
from harness.figures.break_even import break_even
from harness.figures.frame import COLUMNS, case_rows, whole
from harness.figures.summary import summarise
from harness.figures.twins import compared_rows
from harness.records.store import load

STORED = Path(__file__).resolve().parents[2] / "results" / "quick-cpu"


@pytest.fixture(scope="module")
def table():
    return case_rows([record for record in load(STORED).records if not record.control])


def test_a_row_has_every_column_once_it_is_asked_for_and_no_other():
    (row,) = case_rows([idea([1.0, 2.0, 3.0])])
    assert "rounds" not in row
    assert row["rounds"] == [1, 2, 3]
    assert set(whole(row)) == {*COLUMNS, "place"}
    with pytest.raises(KeyError, match="colour"):
        row["colour"]


def test_headlines_are_compared_as_if_all_were(table):
    best = best_rows(table)
    every = {(row["idea"], row["kind"]): repr(row) for row in compared_rows(best)}
    some = {(row["idea"], row["kind"]): repr(row) for row in compared_rows(best, headlines=True)}
    assert some.items() < every.items()
    assert {place for place in every if best[place[0]]["headline"]} <= some.keys()


def test_where_sweeps_meet_their_twins_is_the_same_with_the_best_rows_of_the_table(table):
    found = break_even(table, 0.05)
    assert found
    assert break_even(table, 0.05, best_rows(table)) == found


def test_a_summary_without_what_nobody_shows_is_else_the_same():
    records = load(STORED).records
    whole_of_it, short = summarise(records), summarise(records, cells=False, amortised=False)
    assert whole_of_it.matrix
    assert whole_of_it.amortisation
    assert (short.matrix, short.amortisation) == ([], [])
    assert [p.missing for p in short.portability] == [p.missing for p in whole_of_it.portability]
    kept = [n for n in short.__struct_fields__ if n not in ("matrix", "amortisation", "portability")]
    assert {n: repr(getattr(short, n)) for n in kept} == {n: repr(getattr(whole_of_it, n)) for n in kept}

"""How long a run let its user wait is read from its records, and a pair counts once both of it were measured."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import msgspec
import pytest

from harness.records.store import load
from tools import waits

STORED = Path(__file__).resolve().parents[2] / "results" / "quick-epyc"


@pytest.fixture(scope="module")
def stored():
    return load(STORED)


def test_the_waits_of_a_stored_run_are_in_order(stored):
    row = waits.row(stored)
    assert 0 < row["first_s"] < row["every_s"] < row["whole_s"]
    assert row["without"] < row["rows"]


def _without_groups(record, keep):
    """The record as if only `keep` of its groups had been."""
    if record.time is None:
        return record
    trials = [msgspec.structs.replace(t, heat=t.heat if t.heat in keep else None) for t in record.time.trials]
    return msgspec.structs.replace(record, time=msgspec.structs.replace(record.time, trials=trials))


def test_without_enough_pairs_nothing_has_an_interval(stored):
    first = {trial.heat for r in stored.records if r.time for trial in r.time.trials if trial.round == 1}
    few = [_without_groups(record, first) for record in stored.records]
    row = waits.row(dataclasses.replace(stored, records=few))
    assert row["without"] == row["rows"] > 0
    assert row["every_s"] is None
    assert row["first_s"] is not None


def test_what_an_idea_adds_is_the_difference_and_nothing_where_a_run_has_no_interval(stored):
    first = {trial.heat for r in stored.records if r.time for trial in r.time.trials if trial.round == 1}
    few = dataclasses.replace(stored, records=[_without_groups(record, first) for record in stored.records])
    info = msgspec.structs.replace(stored.info, wall_s=stored.info.wall_s + 7.0)
    every, whole = waits.adds(stored, dataclasses.replace(stored, info=info)).rows
    assert every["adds_s"] == 0.0
    assert whole["adds_s"] == pytest.approx(7.0)
    assert waits.adds(stored, few).rows[0]["adds_s"] is None

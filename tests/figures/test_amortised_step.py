"""The average step between updates, by hand."""

from __future__ import annotations

import pytest
from _records import dense, idea

from harness.figures.amortised_step import amortised_steps
from harness.figures.frame import frame
from harness.figures.summary import main_table, summarise
from harness.report.sections import sections


def _phases(**update):
    step = {"m": 8, "k": 8, "n": 4, "phase": "step"}
    return [
        idea([1e-3], params=step, mode="forward"),
        idea([5.1e-2], params={**step, "phase": "update"} | update, mode="forward"),
        dense([4e-3]),
    ]


def test_a_hundred_steps_and_an_update_are_averaged():
    """(100 × 1 ms + 51 ms) / 101 is 1.495 ms; the twin's step takes 4 ms."""
    (found,) = amortised_steps(main_table(frame(_phases())))
    assert found.time_s == pytest.approx(151e-3 / 101)
    assert found.speed_up == pytest.approx(4e-3 / (151e-3 / 101))


def test_an_update_of_another_point_is_none():
    assert amortised_steps(main_table(frame(_phases(n=5)))) == []
    assert amortised_steps(main_table(frame(_phases()[:1]))) == []


def test_it_has_a_table_where_there_is_one():
    titles = {section.title: section for section in sections(summarise(_phases()))}
    (cells,) = titles["A step with its share of the updates"].cells
    assert cells[-3:] == ["51.0 ms", "1.50 ms", "2.68×"]
    assert "A step with its share of the updates" not in {s.title for s in sections(summarise(_phases(n=5)))}

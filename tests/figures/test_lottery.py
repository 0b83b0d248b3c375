"""How ideas change places between frameworks, against rank intervals worked by hand."""

from __future__ import annotations

import pytest
from _records import dense, idea

from harness.figures.best_paths import best_paths
from harness.figures.frame import frame
from harness.figures.lottery import lottery_shift
from harness.figures.summary import summarise
from harness.figures.twins import comparisons
from harness.report.notes import footer
from harness.report.sections import sections


def _ideas(backend, **times):
    """Ideas by their times beside a twin of 1 s: one time thrice, or three."""
    out = [dense([1.0] * 3, backend=backend)]
    return out + [
        idea(t if isinstance(t, list) else [t] * 3, workload=name, backend=backend) for name, t in times.items()
    ]


def _shifts(records, noise=None):
    best = best_paths(frame(records))
    return {s.workload: s for s in lottery_shift(best, comparisons(best), noise)}


def _ends(shift):
    return {place: rank and (rank.low, rank.high) for place, rank in shift.ranks.items()}


def test_the_lottery_shift_is_how_far_an_idea_moves():
    shifts = _shifts([*_ideas("torch", a=0.5, b=1.0, c=2.0), *_ideas("jax", a=2.0, b=1.0, c=0.5, d=0.1)])
    assert _ends(shifts["a"]) == {"jax cpu": (3, 3), "torch cpu": (1, 1)}
    assert (shifts["a"].shift, shifts["b"].shift, shifts["c"].shift) == (2, 0, 2)
    assert shifts["d"].shift is None, "an idea that lacks a place has no rank"
    assert not shifts["d"].ranked
    assert list(shifts) == ["a", "c", "b", "d"]


def test_a_shift_is_published_only_where_the_ranks_of_two_places_have_none_in_common():
    """The speed-ups of a and b change places, but in jax nothing tells them apart; c is surely the last in both."""
    unsure = {"a": [0.5, 0.7, 0.9], "b": [0.5, 0.6, 0.8], "c": 4.0}
    shifts = _shifts([*_ideas("torch", a=0.5, b=1.0, c=4.0), *_ideas("jax", **unsure)])
    assert _ends(shifts["a"]) == {"jax cpu": (1, 2), "torch cpu": (1, 1)}
    assert _ends(shifts["b"]) == {"jax cpu": (1, 2), "torch cpu": (2, 2)}
    assert (shifts["a"].shift, shifts["b"].shift, shifts["c"].shift) == (None, None, 0)


@pytest.mark.usefixtures("one_run")
def test_a_difference_inside_the_noise_moves_nobody():
    records = [*_ideas("torch", a=0.95, b=1.0), *_ideas("jax", a=1.0, b=0.95)]
    assert {s.shift for s in _shifts(records).values()} == {1}
    assert {s.shift for s in _shifts(records, noise=0.1).values()} == {None}


def test_one_place_has_no_lottery():
    assert _shifts(_ideas("torch", a=0.5, b=1.0)) == {}


def _said(jax):
    """The report's first line on the lottery and its cells of ranks, beside a = 0.5 s and b = 1 s in PyTorch."""
    summary = summarise([*_ideas("torch", a=0.5, b=1.0), *_ideas("jax", **jax)], noise=0.01)
    (table,) = [section for section in sections(summary) if section.title == "Rank by speed-up"]
    return next(x for x in footer(summary) if x.startswith("lottery")), [cells[2:] for cells in table.cells]


def test_the_report_says_ranks_as_intervals_and_what_cannot_be_told():
    line, cells = _said({"a": 2.0, "b": 0.5})
    assert line == "lottery: a [k=8,m=8,n=4] forward moves by 1 rank at least: 2 on jax cpu, 1 on torch cpu."
    assert cells == [["2", "1", "1"], ["1", "2", "1"]]
    line, cells = _said({"a": [0.4, 0.8, 1.6], "b": 1.0})
    assert line == "lottery: no idea's rank by speed-up moves between places by more than the intervals allow."
    assert cells == [["1–2", "1", "cannot tell"], ["1–2", "2", "cannot tell"]]

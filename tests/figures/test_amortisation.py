"""After how many calls what is paid once is paid back, against values worked by hand."""

from __future__ import annotations

from _records import dense, idea, record

from harness.figures.amortisation import amortisation
from harness.figures.best_paths import best_paths
from harness.figures.frame import frame
from harness.figures.twins import comparisons


def _paid(*records):
    table = frame(records)
    best = best_paths(table)
    return amortisation(table, best, comparisons(best))


def test_compilation_is_paid_back_after_the_calls_worked_by_hand():
    """Eager 2 s a call; compiled 11 s, then 1 s: after 10 calls both have taken 20 s."""
    (item,) = _paid(
        record(processes=[2.0], first_call_s=2.0),
        record(processes=[1.0], first_call_s=11.0, execution="compiled", cache="cold"),
    )
    assert (item.kind, item.calls, item.extra_s, item.cache) == ("compile", 10, 9.0, "cold")


def test_compilation_that_gains_nothing_is_never_paid_back():
    (item,) = _paid(
        record(processes=[1.0], first_call_s=1.0), record(processes=[1.5], first_call_s=9.0, execution="graph")
    )
    assert item.calls is None


def test_conversion_is_paid_back_against_the_dense_twin():
    """3 s more of conversion, 1 s gained a call: three calls."""
    (item,) = _paid(idea([1.0], convert_s=4.0), dense([2.0], convert_s=1.0))
    assert (item.kind, item.calls, item.against) == ("convert", 3, "nn/eager")

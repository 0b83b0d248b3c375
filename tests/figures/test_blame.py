"""Where the tax comes from, against values worked by hand: a bound of 1000 FLOP/s and 1000 B/s."""

from __future__ import annotations

import pytest
from _records import dense, idea, record

from harness.figures.frame import frame
from harness.figures.summary import main_table
from harness.records.record import Executed


def stream(samples, size=1000):
    params = {"elements": size // 4, "kernel": "triad"}
    return record("stream", [samples], params=params, least_bytes=size)


def executed(flop, bytes_):
    return Executed(matmul_flop=0, other_flop=flop, bytes=bytes_, gathered_rows=0, scattered_rows=0, launches=1)


def principal(*records):
    (row,) = main_table(frame(records))
    return row.principal


TWIN = dense([1.0, 1.0, 1.0], flop=1000, least_bytes=100)  # bound by FLOP: 1 s, and it takes 1 s


def test_the_parts_of_a_tax_by_hand():
    """100 FLOP and 400 B: bound 0.4 s by bandwidth, a tenth of the twin's FLOP at four tenths of its bound."""
    work = executed(200, 600)  # bound 0.6 s, half as much again as what is needed
    found = principal(idea([0.8] * 3, flop=100, least_bytes=400, executed=work), TWIN, stream([1.0]))
    assert found.tax == pytest.approx(8)
    assert found.hardware_tax == pytest.approx(4)
    assert found.software_tax == pytest.approx(2)
    assert found.bound_by == "bandwidth"
    assert (found.overwork_flop, found.overwork_bytes) == (2, 1.5)
    assert found.wasted == pytest.approx(1.5)
    assert found.slow == pytest.approx(2 / 1.5)


def test_software_is_the_share_of_the_twin_over_that_of_the_idea():
    records = idea([0.8] * 3, flop=100, least_bytes=400), TWIN, stream([1.0])
    (row,) = main_table(frame(records))
    assert row.principal.software_tax == pytest.approx(1.0 / row.roofline_share)  # the twin reaches all of its bound


def test_where_one_ceiling_binds_both_it_cancels_and_the_interval_is_a_point():
    found = principal(idea([0.8] * 3, flop=100, least_bytes=10), TWIN, stream([0.5, 1.0, 1.0]))
    assert (found.hardware_tax, found.hardware_tax_low, found.hardware_tax_high) == (1, 1, 1)
    assert found.bound_by == "matmul"
    assert found.software_tax == found.tax
    assert (found.software_tax_low, found.software_tax_high) == (found.tax_low, found.tax_high)


def test_an_uncertain_ceiling_widens_both_taxes():
    """A bandwidth of 1000 B/s at most, typically 500: the idea's bound is 0.4 s or 0.8 s."""
    found = principal(idea([0.8] * 3, flop=100, least_bytes=400), TWIN, stream([1.0, 2.0, 2.0]))
    assert (found.hardware_tax, found.hardware_tax_low, found.hardware_tax_high) == pytest.approx((4, 4, 8))
    assert found.software_tax == pytest.approx(2)
    assert found.software_tax_low == pytest.approx(found.tax_low / 8)
    assert found.software_tax_high == pytest.approx(found.tax_high / 4)


def test_older_records_have_taxes_and_no_overwork():
    found = principal(idea([0.8] * 3, flop=100, least_bytes=400), TWIN, stream([1.0]))
    assert found.hardware_tax is not None
    assert (found.overwork_flop, found.overwork_bytes, found.wasted, found.slow) == (None, None, None, None)


def test_a_share_above_one_says_nothing():
    """The idea is faster than the ceilings allow: one of the two is wrong."""
    fast = idea([0.1] * 3, flop=100, least_bytes=400, executed=executed(200, 600))
    found = principal(fast, TWIN, stream([1.0]))
    assert (found.hardware_tax, found.software_tax, found.wasted) == (None, None, None)
    assert found.overwork_flop == 2


@pytest.mark.parametrize("missing", ["stream", "twin"])
def test_without_a_ceiling_or_a_twin_nothing_is_said(missing):
    records = [idea([0.8] * 3, flop=100, least_bytes=400), TWIN, stream([1.0])]
    records.pop(2 if missing == "stream" else 1)
    assert principal(*records).hardware_tax is None

"""Ceilings and roofline shares against values worked by hand."""

from __future__ import annotations

import pytest
from _records import dense, idea, record

from harness.figures.best_paths import best_paths
from harness.figures.ceilings import ceilings
from harness.figures.frame import frame
from harness.figures.summary import main_table
from harness.figures.twins import comparisons


def _compared(*records):
    return comparisons(best_paths(frame(records)))


def _only(records, **options):
    (row,) = main_table(frame(records), **options)
    return row


def _stream(size, seconds, **facts):
    """`size` nominal bytes moved in `seconds`; float16 so that small sizes are whole numbers of values."""
    params = {"elements": size // 2, "kernel": "triad"}
    return record("stream", [seconds], params=params, dtype="float16", least_bytes=size, **facts)


def test_roofline_share_by_hand():
    """Ceiling 1000 FLOP/s, bandwidth 100 B/s, intensity 2: bound 200 FLOP/s; 100 FLOP in 1 s is half of it."""
    records = [idea([1.0], flop=100, least_bytes=50), dense([1.0]), _stream(50, 0.5)]
    assert _only(records).roofline_share == 0.5


def test_the_matmul_ceiling_binds_where_intensity_is_high():
    records = [idea([1.0], flop=100, least_bytes=1), dense([[1.0, 0.5]], backend="jax", flop=200), _stream(2, 0.001)]
    row = _only(records)
    assert row.roofline_share == 0.25, "200 FLOP in the fastest sample, 0.5 s, of any backend"


def test_the_bandwidth_that_bounds_a_case_is_the_fastest_level_that_may_hold_it():
    """L1 100 B/s at 10 B, L2 50 B/s at 100 B, memory 80 B/s at 1000 B (a prefetcher): a case of 150 B may see 80."""
    records = [_stream(10, 0.1), _stream(100, 2.0), _stream(1000, 12.5), _stream(1000, 20.0, backend="jax")]
    limits = ceilings(frame(records))
    assert limits.bandwidth("r1", "cpu", 5) == 100
    assert limits.bandwidth("r1", "cpu", 50) == 100
    assert limits.bandwidth("r1", "cpu", 150) == 80
    assert limits.bandwidth("r1", "cpu", 10_000) == 80
    assert limits.bandwidth("r1", "cuda", 50) is None


@pytest.mark.parametrize("missing", [0, 1])
def test_without_a_ceiling_there_is_no_share(missing):
    there = [dense([1.0]), _stream(50, 0.5)]
    del there[missing]
    assert _only([idea([1.0]), *there]).roofline_share is None


def test_a_train_step_and_another_dtype_are_no_ceiling():
    records = [idea([1.0]), dense([1.0], mode="train_step"), dense([1.0], dtype="bfloat16"), _stream(50, 0.5)]
    assert _only(records).roofline_share is None


def test_a_share_above_one_is_kept_and_marked():
    row = _only([idea([0.1], flop=1000, least_bytes=1), dense([1.0]), _stream(2, 1e-6)])
    assert row.roofline_share == pytest.approx(10)
    assert row.share_suspect

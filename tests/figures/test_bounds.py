"""Bounds by the ceilings beyond the dense rate and the bandwidth, against values worked by hand."""

from __future__ import annotations

import pytest
from _records import dense, idea, record, twin_ref

from harness.figures.answer import answer
from harness.figures.basis import basis_of
from harness.figures.ceilings import ceilings, product_dtype
from harness.figures.frame import frame
from harness.figures.summary import main_table
from harness.gate.known import Known
from harness.gate.run_rules import shares
from harness.records.record import Executed

TWIN = dense([1.0, 1.0, 1.0], flop=1000, least_bytes=100)  # 1000 FLOP/s, and all of it
BANDWIDTH = record("stream", [[1.0]], params={"elements": 250, "kernel": "triad"}, least_bytes=1000)  # 1000 B/s


def vector(per_s, **facts):
    return record("polynomial", [[1.0]], params={"elements": 1, "degree": 1}, flop=per_s, **facts)


def gather(rows_per_s, width=1, rows=8):
    params = {"rows": rows, "width": width, "count": rows_per_s}
    return record("row_gather", [[1.0]], formulation="take", params=params)


def scatter(rows_per_s):
    params = {"segments": 8, "width": 1, "count": rows_per_s}
    return record("row_scatter", [[1.0]], formulation="segment_sum", params=params)


def stored(rows, n):
    """`rows` values a second, each of which gathers a row of `n`: 2·n FLOP."""
    params = {"rows": 1, "columns": 8, "stored": rows, "n": n}
    return record("stored_product", [[1.0]], params=params, flop=2 * rows * n)


def launch(seconds, execution="eager", steps=1):
    return record("small_steps", [[seconds]], formulation="products", execution=execution, params={"steps": steps})


def way(formulation, *, products=0, other=0, bytes_=100, gathered=(0, 0), scattered=(0, 0), seconds=None):
    """A path of the idea, which needs 100 FLOP and 100 B; of the seconds given the time of one that ran."""
    work = Executed(
        matmul_flop=products,
        other_flop=other,
        bytes=bytes_,
        gathered_rows=gathered[0],
        gathered_bytes=gathered[1],
        scattered_rows=scattered[0],
        scattered_bytes=scattered[1],
        launches=1,
    )
    times = [seconds] * 3 if seconds else None
    facts = {} if seconds else {"status": "unsupported", "reason": "no"}
    return idea(times, formulation=formulation, flop=100, least_bytes=100, executed=work, **facts)


def principal(*records):
    (row,) = main_table(frame([*records, TWIN, BANDWIDTH]))
    return row.principal


def hardware_of(*records):
    """W is 0.1 and the twin's bound 1 s, so that the hardware tax is ten times the idea's bound; and what binds."""
    found = principal(*records)
    return round(found.hardware_tax, 9), found.bound_by


def test_flop_outside_of_products_are_bound_by_the_vector_rate():
    path = way("csr", other=100, seconds=8.0)
    assert hardware_of(path) == (1, "matmul")
    assert hardware_of(path, vector(200)) == (5, "vector")
    assert hardware_of(way("bsr", products=100, seconds=8.0), vector(200)) == (1, "matmul")


def test_gathered_rows_are_bound_by_rows_and_by_bytes():
    narrow = way("csr", other=100, gathered=(60, 240), seconds=8.0)
    wide = way("csr", other=100, gathered=(6, 600), seconds=8.0)
    assert hardware_of(narrow, gather(100)) == (6, "gather")
    assert hardware_of(wide, gather(100, width=5)) == (3, "gather"), "600 B at 100 rows of 20 B a second"
    both = gather(100, width=1), gather(50, width=50)
    assert hardware_of(wide, *both) == (1, "matmul"), "no measured rate is too slow for it: 6 rows, 600 of 10 kB"


def test_scattered_rows_and_a_launch_bind_too():
    assert hardware_of(way("csc", other=100, scattered=(60, 240), seconds=8.0), scatter(100)) == (6, "scatter")
    path = way("csr", other=100, seconds=8.0)
    assert hardware_of(path, launch(0.5), launch(0.8, "compiled"), launch(0.1, steps=64)) == (5, "launch")


def test_a_product_with_a_stored_matrix_is_a_ceiling_of_gathers_and_of_arithmetic():
    path = way("csr", other=100, gathered=(60, 240), seconds=8.0)
    assert hardware_of(path, gather(100), stored(120, n=1)) == (5, "gather")
    assert hardware_of(path, vector(20), stored(25, n=1)) == (pytest.approx(24), "gather")


def test_what_another_way_does_without_is_in_no_bound_unless_that_way_costs_more():
    gathers = way("csr", other=100, gathered=(60, 240), seconds=8.0)
    assert hardware_of(gathers, way("masked", products=1000), gather(100)) == (6, "gather")
    assert hardware_of(gathers, way("masked", products=300), gather(100)) == (3, "matmul")
    assert hardware_of(gathers, way("masked", products=100, bytes_=400), gather(100)) == (4, "bandwidth")


def test_what_all_ways_have_too_much_is_no_useful_work():
    """Twice the FLOP and three times the bytes: bound as if they had done what is needed."""
    assert hardware_of(way("only", other=200, bytes_=300, seconds=8.0), vector(200)) == (5, "vector")
    several = way("lean", products=200, seconds=8.0), way("masked", products=600)
    assert hardware_of(*several, vector(200)) == (1, "matmul")


def test_a_way_that_was_not_counted_leaves_what_ways_ask_for_unknown():
    unknown = idea(None, formulation="compacted", flop=100, least_bytes=100, status="unsupported", reason="no")
    path = way("csr", other=100, gathered=(60, 240), seconds=8.0)
    assert hardware_of(path, unknown, gather(100), launch(0.5)) == (5, "launch")


def test_the_parts_are_factors_of_the_tax():
    found = principal(way("csr", other=150, gathered=(60, 240), seconds=0.9), way("ell", other=100), gather(100))
    assert found.tax == pytest.approx(9)
    assert found.hardware_tax * found.software_tax == found.tax
    assert found.wasted * found.slow == pytest.approx(found.software_tax)
    assert found.wasted == pytest.approx(0.6 / 0.1), "its gathers, of which the other way has none"


def test_the_interval_is_over_the_new_ceilings_as_well():
    """50 rows a second typically, 100 at most."""
    slow = record("row_gather", [[1.0, 2.0, 2.0]], formulation="take", params={"rows": 8, "width": 1, "count": 100})
    found = principal(way("csr", other=100, gathered=(60, 240), seconds=8.0), slow)
    assert (found.hardware_tax, found.hardware_tax_low, found.hardware_tax_high) == pytest.approx((6, 6, 12))


def test_faster_than_a_bound_says_nothing_and_is_marked():
    """60 rows at 100 a second are 0.6 s; a time of 0.5 s, which the dense rate and the bandwidth allow, cannot be."""
    fast = way("csr", other=100, gathered=(60, 240), seconds=0.5)
    (row,) = main_table(frame([fast, TWIN, BANDWIDTH]))
    assert (row.share_suspect, row.principal.hardware_tax) == (False, 1)
    (row,) = main_table(frame([fast, gather(100), TWIN, BANDWIDTH]))
    assert row.roofline_share == pytest.approx(0.2), "by the dense rate and the bandwidth, as ever"
    assert (row.share_suspect, row.principal.hardware_tax, row.principal.software_tax) == (True, None, None)


def test_each_ceiling_has_its_unit_its_row_and_its_table():
    found = ceilings(frame([vector(7), gather(5, width=4, rows=16), scatter(3), stored(9, n=2), launch(0.25)])).all
    told = {(c.kind, c.per_s, c.row_bytes, c.working_set_bytes) for c in found}
    assert told == {
        ("vector", 36, None, None),
        ("gather", 5, 16, 256),
        ("gather", 9, 8, 64),
        ("scatter", 3, 4, 32),
        ("launch", 4, None, None),
    }


def test_what_is_mostly_a_launch_is_a_ceiling_of_nothing_else():
    """A second of gathering is five launches of 0.2 s, and not four of 0.3 s."""
    path = way("csr", other=100, gathered=(60, 240), seconds=8.0)
    assert hardware_of(path, gather(100), vector(50), launch(0.2)) == (20, "vector")
    assert hardware_of(path, gather(100), vector(50), launch(0.3)) == (3, "launch")


def test_the_answer_blames_gathers_where_these_bind_and_claims_none_where_they_have_a_ceiling():
    def said(seconds, *more):
        times = [seconds * x for x in (0.99, 1.0, 1.0, 1.01, 1.0, 1.0)]
        work = Executed(matmul_flop=0, other_flop=100, bytes=100, gathered_rows=60, scattered_rows=0, launches=1)
        twin = dense([0.99, 1.0, 1.0, 1.01, 1.0, 1.0], flop=1000, least_bytes=100)
        table = frame([idea(times, flop=100, least_bytes=100, executed=work), twin, BANDWIDTH, *more])
        return [line for line in answer(main_table(table), [], ceilings(table)) if "of that tax" in line]

    assert said(2.0, gather(35)) == [
        "More than half of that tax is the machine's rate of gathers: no software takes it away."
    ]
    assert said(8.0, launch(1e-3)) == [
        "By the rates measured on this machine, such a FLOP need cost no more than a dense one: "
        "more than half of that tax is software's."
    ]
    (old,) = said(8.0)
    assert "of gathers and launches, whose rates were not measured here" in old


@pytest.mark.parametrize(("scheme", "share"), [("w8a8", None), ("w8", 4.0)])
def test_a_product_of_quantised_operands_is_not_held_to_the_rate_of_the_cases_dtype(scheme, share):
    """1000 FLOP in a quarter of the twin's second: beyond the machine in floats, and not in int8."""
    params = {"n": 4, "k": 8, "m": 8, "scheme": scheme, "group_size": 0}
    quantised = record(
        "quantized_matmul", [[0.25] * 2] * 3, formulation="int8", params=params, least_bytes=100, twins=[twin_ref()]
    )
    records = [quantised, TWIN, BANDWIDTH, vector(500)]
    (row,) = [row for row in main_table(frame(records)) if row.workload == "quantized_matmul"]
    assert row.roofline_share == (None if share is None else pytest.approx(share))
    assert row.share_suspect == (share is not None)
    assert [refusal.code for refusal in shares(records[:3], Known(), basis_of(records))] == ["share"] * (
        share is not None
    )


def test_axes_that_the_workload_has_not_leave_a_record_its_own_dtype():
    assert product_dtype("quantized_matmul", {"n": 4}, "float32") == "float32"
    assert product_dtype("no_such_idea", {"scheme": "w8a8"}, "bfloat16") == "bfloat16"

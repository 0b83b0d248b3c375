"""Figures of programs that were compiled and not run."""

from __future__ import annotations

import msgspec
import pytest
from _records import SHAPE, dense, idea

from harness.cli.formats import render
from harness.figures.estimates import estimate_rows
from harness.figures.summary import summarise
from harness.records.record import Estimate

V5E = "tpu-aot:v5e"


def estimated(record, optimal_s=1.0, cycles=100, covered=1.0):
    made = Estimate(
        route="r",
        chip="v5e",
        trace_s=0.1,
        compile_s=1.0,
        flop=1.0,
        bytes_accessed=1.0,
        optimal_s=optimal_s,
        argument_bytes=1,
        output_bytes=1,
        temp_bytes=1,
        code_bytes=1,
        fits=True,
        cycles=cycles,
        covered_share=covered,
        uncovered={},
        compiler="c",
    )
    return msgspec.structs.replace(record, estimate=made)


def ours(optimal_s, **facts):
    return estimated(idea(device=V5E, status="estimated", execution="compiled"), optimal_s, **facts)


def theirs(optimal_s, **facts):
    return estimated(dense(device=V5E, status="estimated", execution="compiled"), optimal_s, **facts)


def test_the_estimated_tax_is_the_ratio_of_the_compilers_figures_over_that_of_the_work():
    """W = 0.1: half the ideal time for a tenth of the work is a tax of 5; 30 cycles for 100 one of 3."""
    (row,) = estimate_rows([ours(0.5, cycles=30), theirs(1.0)])
    assert (row.tax, row.cycles_tax, row.cycles_tax_is_bound) == (pytest.approx(5), pytest.approx(3), False)
    assert (row.path, row.twin_path, row.work_ratio) == ("csr", "nn", pytest.approx(0.1))


def test_a_tax_by_cycles_is_a_lower_bound_where_only_the_twin_is_whole_and_unknown_where_it_is_not():
    """Cycles that nobody counted can only raise the idea's; a twin with holes says nothing."""
    (row,) = estimate_rows([ours(0.5, cycles=30, covered=0.6), theirs(1.0)])
    assert (row.cycles_tax, row.cycles_tax_is_bound) == (pytest.approx(3), True)
    (row,) = estimate_rows([ours(0.5), theirs(1.0, covered=0.9)])
    assert (row.cycles_tax, row.cycles_tax_is_bound) == (None, False)


def test_the_best_path_is_the_one_with_the_least_ideal_time():
    """Formulations compete, as measured ones do; one without the figure comes last."""
    other = msgspec.structs.replace(ours(0.2), case=msgspec.structs.replace(ours(0.2).case, formulation="ell"))
    (row,) = estimate_rows([ours(None), other, theirs(1.0)])
    assert (row.path, row.cases) == ("ell", 2)


def test_a_point_that_nothing_compiled_at_has_its_refusal():
    """The compiler's words stand where the figures would."""
    refused = idea(device=V5E, status="unsupported", reason="no such kernel", execution="compiled")
    (row,) = estimate_rows([refused, theirs(1.0)])
    assert (row.path, row.tax, row.reason) == (None, None, "no such kernel")
    assert "no such kernel" in " ".join(render([refused, theirs(1.0)]).split())


def test_estimates_stand_in_a_section_of_their_own_and_never_among_measured_rows():
    """The same idea measured on the host and compiled for a chip gives one row in each table, no rank, no best path."""
    records = [idea([0.5, 0.5]), dense([1.0, 1.0]), ours(0.5), theirs(1.0)]
    summary = summarise(records, all_points=True)
    assert {row.device for row in (*summary.rows, *summary.dense)} == {"cpu"}
    assert {row.device for row in summary.estimates} == {V5E}
    assert summary.lottery == summarise(records[:2]).lottery
    for format in ("table", "markdown"):
        text = render(records, format)
        assert "Compiled for, not run" in text
        assert "nothing of it was run" in text
        assert "Compiled for, not run" not in render(records[:2], format)


def test_what_compiles_counts_as_portable_where_nothing_is_run():
    """The share of a chip is of what its compiler takes."""
    coo = dict(SHAPE)
    refused = idea(device=V5E, status="unsupported", reason="no", formulation="coo", execution="compiled", params=coo)
    (place,) = summarise([ours(0.5), refused, theirs(1.0)]).portability
    assert (place.ok, place.total) == (2, 2)
    assert (place.cells_share, place.verdicts) == (pytest.approx(2 / 3), {"compiled for": 2, "failed": 1})

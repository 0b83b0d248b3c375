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


def of_card(record, optimal_s, covered=1.0, **facts):
    """The same compiled for a GPU, by whose kernels it is estimated."""
    case = msgspec.structs.replace(record.case, device="gpu-aot:H100")
    made = estimated(msgspec.structs.replace(record, case=case), optimal_s, None, covered)
    known = {"launch_s": 1e-6, "kernels": 7, "libraries": {"__cudnn$convForward": 2, "__triton": 1, "__gpu$TopK": 1}}
    return msgspec.structs.replace(made, estimate=msgspec.structs.replace(made.estimate, **known | facts))


def test_a_gpus_tax_is_a_lower_bound_where_a_kernel_is_unknown_and_unknown_where_the_twin_has_one():
    """The work of a kernel that nobody counted can only raise the time."""
    (row,) = estimate_rows([of_card(ours(0.5), 0.5), of_card(theirs(1.0), 1.0)])
    assert (row.tax, row.tax_is_bound, row.cycles_tax) == (pytest.approx(5), False, None)
    assert row.speed_up == pytest.approx(2)
    (row,) = estimate_rows([of_card(ours(0.5), 0.5, 0.5), of_card(theirs(1.0), 1.0)])
    assert (row.tax, row.tax_is_bound) == (pytest.approx(5), True)
    (row,) = estimate_rows([of_card(ours(0.5), 0.5), of_card(theirs(1.0), 1.0, 0.9)])
    assert (row.tax, row.tax_is_bound, row.speed_up) == (None, False, None)


def test_a_path_whose_every_kernel_is_known_goes_before_one_whose_time_is_a_lower_bound():
    hidden = of_card(ours(0.1), 0.1, 0.5)
    other = msgspec.structs.replace(hidden, case=msgspec.structs.replace(hidden.case, formulation="ell"))
    (row,) = estimate_rows([other, of_card(ours(0.5), 0.5), of_card(theirs(1.0), 1.0)])
    assert (row.path, row.refused) == ("csr", 0)


def test_kernels_and_libraries_of_a_gpu_stand_where_a_tpu_has_cycles():
    """Each kind of device in a matrix of its own, read in its own words."""
    records = [of_card(ours(0.5), 0.5), of_card(theirs(1.0), 1.0)]
    text = " ".join(render(records).split())
    assert "estimated tax, and kernels" in text
    assert "kernels = how many are launched" in text
    assert "cycles" not in text
    both = render([*records, ours(0.5, cycles=30), theirs(1.0)])
    assert both.index("tax by cycles") < both.index("estimated tax, and kernels")
    assert "7 (cuDNN 2, Triton 1, __gpu$TopK 1)" in render(records, "markdown")


def test_what_takes_the_compiler_over_a_minute_is_told_by_name():
    slow = of_card(ours(0.5), 0.5)
    slow = msgspec.structs.replace(slow, estimate=msgspec.structs.replace(slow.estimate, compile_s=75.4))
    said = "over a minute in the compiler: unstructured_sparse/csr forward on numpy gpu-aot:H100 75 s."
    for form in ("markdown", "table"):  # the second is what a run prints
        assert said in " ".join(render([slow, of_card(theirs(1.0), 1.0)], form).split())
    assert "over a minute" not in render([of_card(ours(0.5), 0.5), of_card(theirs(1.0), 1.0)], "markdown")


def test_what_a_framework_put_in_place_is_told_of_the_best_path():
    fell = msgspec.structs.replace(of_card(ours(0.5), 0.5), fallback="densified: bcoo_todense")
    (row,) = estimate_rows([fell, of_card(theirs(1.0), 1.0)])
    assert row.fallback == "densified: bcoo_todense"
    assert "csr (instead: densified: bcoo_todense)" in render([fell, of_card(theirs(1.0), 1.0)], "markdown")
    cells = summarise([fell, of_card(theirs(1.0), 1.0)]).matrix
    assert {cell.verdict for cell in cells} == {"something else", "compiled for"}


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

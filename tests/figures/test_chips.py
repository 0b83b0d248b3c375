"""The lottery across chips: estimates only, ranks by estimated speed-up, refusals, and where all that is shown."""

from __future__ import annotations

import msgspec
import pytest
from _records import SHAPE, dense, idea

from harness.cli.formats import render
from harness.figures.chips import across_chips, chip_name, chips_of
from harness.figures.estimates import estimate_rows
from harness.figures.summary import summarise
from harness.records.record import Estimate
from harness.report import chips_text
from harness.stats.ranks import RankInterval

V5E, H100 = "tpu-aot:v5e", "gpu-aot:H100"
HALF = {**SHAPE, "density": 0.5}


def compiled(seconds, device, of=idea, covered=1.0, temp=8, **facts):
    """A record of what was compiled for a chip; of a card by its kernels."""
    record = of(None, device=device, status="estimated", execution="compiled", **facts)
    made = Estimate(
        route="r",
        chip=chip_name(device),
        trace_s=0.1,
        compile_s=1.0,
        flop=1.0,
        bytes_accessed=1.0,
        optimal_s=seconds,
        argument_bytes=1,
        output_bytes=1,
        temp_bytes=temp,
        code_bytes=1,
        fits=True,
        cycles=None,
        covered_share=covered,
        uncovered={},
        compiler="c",
        kernels=3,
        launch_s=1e-6 if device == H100 else None,
    )
    return msgspec.structs.replace(record, estimate=made)


def two_ideas(covered=1.0):
    """The first pays on the TPU and not on the GPU, the second is as fast as its twin on both."""
    found = []
    for device, seconds in ((V5E, 0.5), (H100, 2.0)):
        found += [compiled(seconds, device, covered=covered), compiled(1.0, device, params=HALF)]
        found += [compiled(1.0, device, dense)]
    return found


def chips(records):
    return across_chips(estimate_rows(records))


def test_an_idea_has_a_cell_on_every_chip_and_a_rank_among_the_ideas_there():
    """W = 0.1: half the twin's time is a tax of 5 and the first rank, twice its time a tax of 20 and the second."""
    first, second = chips(two_ideas())
    assert chips_of([first, second]) == [V5E, H100]
    assert [first.cells[chip].tax for chip in (V5E, H100)] == [pytest.approx(5), pytest.approx(20)]
    assert [first.cells[chip].rank for chip in (V5E, H100)] == [RankInterval(1, 1), RankInterval(2, 2)]
    assert [second.cells[chip].rank for chip in (V5E, H100)] == [RankInterval(2, 2), RankInterval(1, 1)]
    assert (first.shift, second.shift) == (1, 1)
    assert (first.cells[H100].kernels, first.cells[H100].temp_bytes) == (3, 8)


def test_a_tax_that_is_a_lower_bound_may_have_any_rank_below():
    """Kernels of unknown work can only take longer, so nothing is sure of the speed-up but its upper bound."""
    first, second = chips(two_ideas(covered=0.5))
    assert first.cells[H100].rank == RankInterval(2, 2)
    faster = [compiled(0.5, H100, covered=0.5), compiled(1.0, H100, params=HALF), compiled(1.0, H100, dense)]
    first, second = chips([*two_ideas()[:3], *faster])
    assert first.cells[H100].rank == RankInterval(1, 2)
    assert (first.shift, second.shift) == (None, None)


def test_the_framework_with_the_least_tax_stands_for_an_idea_and_refusals_are_counted_over_all():
    refused = idea(None, device=H100, status="unsupported", reason="no", backend="torch", execution="compiled")
    others = [
        compiled(1.0, H100, backend="jax"),
        compiled(1.0, H100, dense, backend="jax"),
        compiled(0.1, H100, backend="tensorflow", covered=0.5),
        compiled(1.0, H100, dense, backend="tensorflow"),
        refused,
    ]
    first, _ = chips([*two_ideas(), *others])
    cell = first.cells[H100]
    assert (cell.backend, cell.tax, cell.refused, cell.cases) == ("jax", pytest.approx(10), 1, 4)


def test_where_nothing_compiled_there_is_no_figure_and_no_rank():
    refused = idea(None, device=H100, status="unsupported", reason="no such kernel", execution="compiled")
    first, second = chips([*(r for r in two_ideas() if r.case.device == V5E), refused, *two_ideas()[4:]])
    assert (first.cells[H100].path, first.cells[H100].tax, first.cells[H100].refused) == (None, None, 1)
    assert first.cells[V5E].rank is None
    assert second.cells[V5E].rank == RankInterval(1, 1)
    assert chips_text.tax(first.cells[H100]) == "refused"
    assert chips_text.moves(first) == "–"


def test_a_chip_that_refuses_everything_takes_no_rank_away_on_the_others():
    words = {"device": "gpu-aot:V100", "status": "unsupported", "reason": "ptxas too old", "execution": "compiled"}
    first, second = chips([*two_ideas(), idea(None, **words), idea(None, params=HALF, **words)])
    assert [first.cells[chip].rank for chip in (V5E, H100)] == [RankInterval(1, 1), RankInterval(2, 2)]
    assert (first.shift, second.shift) == (1, 1)
    assert (chips_text.tax(first.cells["gpu-aot:V100"]), first.cells["gpu-aot:V100"].rank) == ("refused", None)


def test_the_newest_run_of_a_chip_counts_and_one_chip_is_no_lottery():
    again = [compiled(4.0, H100, run="r2"), compiled(1.0, H100, dense, run="r2")]
    first, _ = chips([*two_ideas(), *again])
    assert (first.cells[H100].tax, first.cells[H100].cases) == (pytest.approx(40), 1)
    assert chips([r for r in two_ideas() if r.case.device == H100]) == []
    assert chips([idea([1.0]), dense([1.0])]) == []


@pytest.mark.parametrize("format_", ["table", "markdown"])
def test_reports_have_chips_in_columns_of_their_own(format_):
    """Never beside what was measured."""
    measured = [idea([0.5, 0.5]), dense([1.0, 1.0])]
    text = render([*two_ideas(), *measured], format_)
    assert "Across chips: estimated tax" in text
    assert "compare ranks, not taxes" in " ".join(text.split())
    assert "Across chips" not in render(measured, format_)
    heading = next(line for line in text.splitlines() if "v5e" in line and "H100" in line and "aot" not in line)
    assert "cpu" not in heading


def test_the_picture_has_a_field_for_every_idea_on_every_chip():
    from harness.report.published import Published
    from harness.web.charts import charts

    pytest.importorskip("vl_convert")
    records = two_ideas()
    published = Published(records=records, runs=[], summary=summarise(records))
    (chart,) = [chart for chart in charts(published) if chart.name == "chips"]
    values = chart.spec["data"]["values"]
    assert {(value["where"], value["tax"]) for value in values} == {
        ("v5e", "5.00× (1)"),
        ("v5e", "10.0× (2)"),
        ("H100", "20.0× (2)"),
        ("H100", "10.0× (1)"),
    }

"""What the formats print: specific cells, unknown never as 0, sources and intervals in every format."""

from __future__ import annotations

import csv
import io
import json
import math
import statistics
import subprocess
import sys
import time

import msgspec
import pytest
from _records import SHAPE, dense, host_memory, idea, joules, record, twin_ref
from _submissions import run_info

from harness.cli.formats import render
from harness.figures.summary import summarise
from harness.measuring.host_memory import IN_ALLOCATOR, SOURCE
from harness.records.record import Memory
from harness.report.flat_table import flat
from harness.report.terminal import terminal
from harness.report.wording import quantity, significant, time_cell

MODELLED = joules(0.012, 0.005, 0.030, "modelled")


def _plain():
    """T = 2, W = 0.1 in three rounds, 12 MiB, modelled energy."""
    return [
        idea([2.0e-3, 2.1e-3, 2.2e-3], rounds=[1, 2, 3], memory=host_memory(12 * 2**20), energy=MODELLED),
        dense([1.0e-3, 1.05e-3, 1.1e-3], rounds=[1, 2, 3]),
    ]


def _markdown_rows(text, title):
    """Cells of the table below `## title`, as dicts by heading."""
    block = text.split(f"## {title}\n\n")[1].split("\n\n")[0].splitlines()
    names, _, *lines = ([cell.strip() for cell in line.strip("|").split(" | ")] for line in block)
    return [dict(zip(names, line, strict=True)) for line in lines]


IDEAS = "Ideas against their dense twin"


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (1.234e-3, 1.2e-3, 1.31e-3, "1.23 ms [1.20, 1.31]"),
        (999.96e-6, None, None, "1.00 ms"),
        (0.5, 0.4, 12.0, "500 ms [400, 12000]"),
        (12.0, None, None, "12.0 s"),
        (2.5e-8, None, None, "25.0 ns"),
        (0.0, None, None, "0 s"),
        (None, None, None, "–"),
    ],
)
def test_quantities_have_a_sensible_unit_and_their_interval_has_the_same(value, low, high, text):
    assert quantity(value, "s", low, high) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.5, "0.500"), (20, "20.0"), (1234, "1234"), (9.996, "10.0"), (0.00123, "0.00123"), (0, "0")]
)
def test_numbers_have_three_digits_and_no_exponent(value, text):
    assert significant(value) == text


# -- Markdown ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["table", "markdown", "latex", "html"])
def test_a_run_that_its_own_notes_call_disturbed_is_said_to_be_above_its_tables(format):
    notes = ["the machine disturbed the run: other processes kept 1.69 cores busy"]
    runs = [[run_info(notes=notes)], [run_info()]]
    said, quiet = (render(_plain(), format, runs=info) for info in runs)
    said, quiet = (text.decode() if isinstance(text, bytes) else text for text in (said, quiet))
    words = "DISTURBED: other processes kept 1.69 cores busy."
    assert 0 <= said.index(words) < said.index("2.10 ms" if format != "table" else "unstructured")
    assert "DISTURBED" not in quiet


@pytest.mark.parametrize(
    ("memory", "shown"),
    [
        (host_memory(3 << 20, SOURCE), "3.00 MiB"),
        (host_memory(3 << 20, SOURCE + IN_ALLOCATOR), "3.00 MiB"),
        (host_memory(3 << 20, "peak of the framework's own allocator on the host"), "3.00 MiB allocator"),
        (
            Memory(
                device_peak_bytes=3 << 20, host_peak_bytes=1, compiled_temp_bytes=None, source="allocator of cuda:0"
            ),
            "3.00 MiB allocator",
        ),
    ],
)
def test_memory_by_an_allocator_is_said_to_be(memory, shown):
    """It leaves out what lies beside the allocator, so that it stands in no order with resident peaks."""
    rows = _markdown_rows(render([idea([1.0], memory=memory), dense([1.0])], "markdown"), IDEAS)
    assert [row["memory"] for row in rows] == [shown]


@pytest.mark.usefixtures("one_run")
def test_a_row_in_markdown():
    (row,) = _markdown_rows(render(_plain(), "markdown"), IDEAS)
    assert row == {
        "workload": "unstructured_sparse",
        "point": "forward",
        "backend": "numpy",
        "best path": "csr/eager",
        "time": "2.10 ms [1.86, 2.36]",
        "speed-up": "0.500× [0.500, 0.500]",
        "tax": "20.0× [20.0, 20.0]",
        "memory": "12.0 MiB",
        "energy": "12.0 mJ [5.0, 30.0] modelled",
        "share": "–",
        "outcome": "ok",
    }


def test_the_terminal_has_the_same_figures_and_fits_in_80_columns():
    text = terminal(summarise(_plain(), all_points=True), 80)
    assert max(map(len, text.splitlines())) <= 80
    assert "unstructured_sparse: forward" in text
    for part in ("2.10 ms", "[1.86, 2.36]", "0.500×", "20.0×", "12.0 MiB", "12.0 mJ", "modelled", "[5.0, 30.0]"):
        assert part in text
    wide = terminal(summarise(_plain(), all_points=True), 200)
    assert "12.0 mJ [5.0, 30.0] modelled" in wide
    assert "2.10 ms [1.86, 2.36]" in wide


def test_the_terminal_takes_its_width_from_the_environment(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert render(_plain()) == terminal(summarise(_plain()), 200)


def test_long_names_still_fit_in_80_columns():
    long = [
        idea(
            [1.0, 2.0],
            workload="a_workload_with_a_name_that_does_not_end",
            formulation="a_formulation_with_a_long_name_too",
            params={f"a_long_axis_{k}": 1000 * k + m for k in range(6)},
            backend=backend,
            energy=joules(123.0, 100.0, 200.0, "modelled"),
        )
        for m in (1, 2)
        for backend in ("tensorflow", "torch")
    ]
    for all_points in (False, True):
        text = terminal(summarise(long, all_points=all_points), 80)
        assert max(map(len, text.splitlines())) <= 80


# -- every format -----------------------------------------------------------------------------------------------------


def _csv(records, **options):
    return list(csv.DictReader(io.StringIO(render(records, "csv", **options))))


def test_csv_has_every_figure_in_full():
    (row,) = _csv(_plain())
    assert float(row["time_s"]) == 2.1e-3
    assert float(row["tax"]) == pytest.approx(20)
    assert (float(row["energy_low_j"]), float(row["energy_high_j"])) == (0.005, 0.030)
    assert row["energy_source"] == "modelled"
    assert row["memory_bytes"] == str(12 * 2**20)
    assert row["twin"] == "same_shape"


def test_json_has_every_figure_in_full():
    data = json.loads(render(_plain(), "json"))
    (row,) = data["rows"]
    assert row["against"][0]["tax"] == pytest.approx(20)
    assert (row["energy_low_j"], row["energy_high_j"], row["energy_source"]) == (0.005, 0.030, "modelled")
    assert row["params"] == SHAPE
    assert data["outcomes"] == {"ok": 2}
    assert data["dense"][0]["path"] == "nn/eager"


def test_unknown_is_empty_and_never_zero():
    """No twin, no memory, no energy, no ceiling, one process."""
    records = [idea([2.0])]
    (row,) = _markdown_rows(render(records, "markdown"), IDEAS)
    assert {row[name] for name in ("speed-up", "tax", "memory", "energy", "share")} == {"–"}
    assert row["time"] == "2.00 s"
    assert row["outcome"] == "ok; no twin: dense_matmul not measured"
    (row,) = _csv(records)
    for name in ("time_low_s", "tax", "speed_up", "memory_bytes", "energy_j", "roofline_share", "work_ratio"):
        assert row[name] == ""
    (row,) = json.loads(render(records, "json"))["rows"]
    for name in ("time_low_s", "memory_bytes", "energy_j", "roofline_share"):
        assert row[name] is None
    assert row["against"][0]["tax"] is None


FAILED = [
    idea(status="unsupported", reason="XLA says no\nat line 3", failure_class="not_implemented"),
    idea(status="timeout", reason="took longer than 60 s", failure_class="timeout", execution="compiled"),
]


def test_where_all_failed_the_row_stays_and_has_the_outcome_and_the_worst_reason():
    (row,) = _markdown_rows(render(FAILED, "markdown"), IDEAS)
    assert row["best path"] == "–"
    assert row["time"] == "–"
    assert row["outcome"] == "timeout 1 · unsupported 1; took longer than 60 s"
    (row,) = _csv(FAILED)
    assert (row["outcome"], row["path"]) == ("timeout 1 · unsupported 1", "")
    assert row["reason"] == "took longer than 60 s"
    said = "numpy: timeout 1 · unsupported 1; took longer than 60 s"
    assert said in " ".join(terminal(summarise(FAILED), 80).split()), "why the row has no figure"
    assert said in terminal(summarise(FAILED, all_points=True), 80)


def test_the_first_line_of_a_reason_is_shown_and_the_rest_is_not():
    text = render(FAILED, "markdown")
    assert "- unsupported ×1 (numpy): XLA says no" in text
    assert "at line 3" not in text


@pytest.mark.parametrize("format", ["table", "markdown", "csv", "json"])
def test_no_records_is_a_sentence_or_an_empty_table(format):
    text = render([], format)
    if format == "csv":
        assert text.splitlines()[0].startswith("run,workload,point")
        assert len(text.splitlines()) == 1
    elif format == "json":
        assert json.loads(text)["rows"] == []
    else:
        assert text == "There are no records here, so nothing was measured; run `hwlottery run` first.\n"


@pytest.mark.parametrize("format", ["table", "markdown"])
def test_twins_alone_show_no_tax_but_their_times(format):
    text = render([dense([1.0])], format)
    assert "None of the records is of an idea" in text
    assert "nn/eager" in text


def test_an_unknown_format_names_those_that_exist():
    with pytest.raises(ValueError, match="no format 'xml'; the formats are table, markdown"):
        render([], "xml")


def test_what_a_framework_ran_instead_and_what_did_not_settle_is_marked():
    drifting = [1.0 + 0.1 * k for k in range(10)]
    records = [idea([drifting], fallback="densified the operand", sliced=True), dense([1.0])]
    text = render(records, "markdown")
    (row,) = _markdown_rows(text, IDEAS)
    assert row["outcome"] == "ok; ran instead: densified the operand"
    assert row["time"] == r"1.45 s \*"
    assert "had not settled" in text
    (row,) = _markdown_rows(render([idea([[1.0] * 10], sliced=True, steady=False), dense([1.0])], "markdown"), IDEAS)
    assert row["time"] == "1.00 s", "what a process said of its samples marks nothing"


def test_a_speed_up_is_marked_where_the_ratio_drifts_and_not_where_both_do_alike():
    drifting = [1.0 + 0.1 * k for k in range(10)]
    both = [idea([[2 * t for t in drifting]], sliced=True), dense([drifting], sliced=True)]
    (row,) = _markdown_rows(render(both, "markdown"), IDEAS)
    assert row["speed-up"] == "0.500×"
    one = [idea([drifting], sliced=True), dense([[1.0] * 10], sliced=True)]
    (row,) = _markdown_rows(render(one, "markdown"), IDEAS)
    assert row["speed-up"] == r"0.690× \*"


@pytest.mark.usefixtures("one_run")
def test_a_tie_is_printed_as_a_tie():
    records = [idea([0.9, 1.1, 1.0], rounds=[1, 2, 3]), dense([1.0, 1.0, 1.0], rounds=[1, 2, 3])]
    (row,) = _markdown_rows(render(records, "markdown"), IDEAS)
    assert row["speed-up"] == "1.00× [0.78, 1.29] tie"
    text = render([idea([1.1] * 3), dense([1.0] * 3)], "markdown", noise=0.2)
    assert "0.909× [0.909, 0.909] tie" in text
    assert "A/A noise of 20 %" in text


# Of three groups 80 % of runs find 5.66 standard errors: the noncentrality at which Student's t of 2 degrees passes its
# own quantile, 4.30, with 80 %.
LEAST = 5.656 * statistics.stdev([math.log(0.9), math.log(1.1), 0.0]) / math.sqrt(3)


@pytest.mark.usefixtures("one_run")
def test_what_a_table_can_find_and_how_often_it_finds_what_is_not_there_is_said():
    times = [0.9, 1.1, 1.0]
    control = msgspec.structs.replace(dense([1.0, 1.02, 1.01]), control=True)
    text = render([idea(times), dense([1.0] * 3), control], "markdown")
    assert "power: a difference of 39 % would be found in 4 of 5 runs like this" in text
    assert "Did none of the 1 rows differ, one or more would still be called faster or slower in 3.8 % of runs" in text
    assert "power:" not in render([idea([1.0]), dense([1.0])], "markdown"), "one group finds nothing"
    row = flat(summarise([idea(times), dense([1.0] * 3)]).rows[0])
    assert row["detectable"] == pytest.approx(math.expm1(LEAST), rel=1e-3)
    assert row["ratio_steady"] is None
    (row,) = _csv([idea(times), dense([1.0] * 3)])
    assert float(row["detectable"]) == pytest.approx(math.expm1(LEAST), rel=1e-3)


def test_a_share_above_the_ceiling_is_printed_as_it_is_and_marked():
    stream = record("stream", [1e-6], params={"elements": 1, "kernel": "dot"}, least_bytes=4)
    text = render([idea([0.1], flop=141, least_bytes=1), dense([1.0]), stream], "markdown")
    assert _markdown_rows(text, IDEAS)[0]["share"] == "141 % ?"
    assert "the ceiling or the time is suspect" in text


def test_device_dtype_and_run_are_named_only_where_they_differ():
    item, two = _plain(), [*_plain(), *(idea([1.0], device="cuda", dtype="bfloat16", run="r2") for _ in range(1))]
    assert _markdown_rows(render(item, "markdown"), IDEAS)[0]["backend"] == "numpy"
    text = render(two, "markdown")
    assert {r["backend"] for r in _markdown_rows(text, IDEAS)} == {
        "numpy cpu float32 run 1",
        "numpy cuda bfloat16 run 2",
    }
    assert "run 1 = r1, run 2 = r2" in text


def test_other_twins_have_their_own_table_and_columns():
    small = {"m": 8, "k": 1, "n": 4}
    refs = [twin_ref(), twin_ref("equal_work", params=small)]
    records = [idea([2.0], twins=refs), dense([1.0]), dense([0.5], params=small, flop=100)]
    (row,) = _markdown_rows(render(records, "markdown"), "Against their other twins")
    assert (row["twin"], row["speed-up"], row["tax"]) == ("equal_work", "0.250×", "4.00×")
    (row,) = _csv(records)
    assert (row["speed_up"], row["speed_up_equal_work"]) == ("0.5", "0.25")
    assert flat(summarise(records).rows[0])["tax_equal_work"] == pytest.approx(4)


def test_the_footer_counts_outcomes_and_says_how_sure_three_processes_are():
    text = render([*_plain(), *FAILED], "markdown")
    assert "cases: ok 2 · timeout 1 · unsupported 1." in text
    assert "95 % interval over 3 fresh processes: Student's t on their logarithms below 20." in text
    assert "tax = time ratio / useful-FLOP ratio" in text


@pytest.mark.usefixtures("one_run")
def test_the_footer_has_break_even_and_the_ceilings():
    sweep = [idea([t] * 3, params={**SHAPE, "density": d}) for d, t in ((0.01, 0.25), (0.16, 4.0))]
    stream = record("stream", [1.0], params={"elements": 2**18, "kernel": "dot"}, least_bytes=2**20)
    text = render([*sweep, dense([1.0] * 3), stream], "markdown")
    assert "numpy cpu float32: faster than dense below density 0.04 [0.04, 0.04]." in text
    assert "ceiling: cpu float32 dense product 1.00 kFLOP/s (numpy nn/eager k=8,m=8,n=4)." in text
    assert "ceiling: cpu memory 1.05 MB/s at 1.00 MiB (numpy csr/eager elements=262144,kernel=dot)." in text


def test_a_pipe_in_a_reason_does_not_break_a_markdown_table():
    text = render([idea(status="error", reason="a | b <c>")], "markdown")
    assert r"error 1; a \| b &lt;c>" in text


def test_the_time_of_a_report_grows_as_its_records_do():
    """Ten times the records take some ten times as long, and not a hundred times; how long is for a benchmark."""

    def took(points):
        records = [
            idea([1.0, 1.1, 1.2], params={**SHAPE, "m": k // 4}, formulation=f"f{k % 4}") for k in range(4 * points)
        ]
        records += [dense([1.0, 1.1, 1.2], params={**SHAPE, "m": k}) for k in range(points)]
        start = time.process_time()
        assert render(records, "markdown").count("\n") > points
        return time.process_time() - start

    took(20)  # what is imported and made once
    assert took(2000) < 40 * took(200)


def test_reading_the_contract_imports_no_pandas():
    """pandas takes 0.4 s to import: only a report pays for it."""
    code = "import sys, harness, harness.records.record, harness.records.store; sys.exit('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_long_list_of_gaps_is_cut_and_counted():
    records = [idea(workload=f"w{k}", status="unsupported", reason="no") for k in range(9)]
    assert "runs 0 of 9 workloads and modes" in render(records, "markdown")
    assert "and 3 more." in render(records, "markdown")


def test_two_processes_have_no_interval_in_any_text_and_it_says_so():
    """Student's t of two is true and of no use: `45.4 ms [0.0, 74594.4]`."""
    records = [idea([0.9, 1.1]), dense([2.0, 2.4])]
    for text in (terminal(summarise(records, all_points=True), 200), render(records, "markdown")):
        assert "[" not in str(text).partition("break-even")[0].replace("[k=8", "").replace("[…]", ""), text
        assert "2 of 2 times are of two processes and have no interval." in str(text)
    three = [idea([0.9, 1.1, 1.0]), dense([2.0, 2.4, 2.2])]
    assert "[" in time_cell(summarise(three).rows[0])

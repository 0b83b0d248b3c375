"""Tables of the harness's own benchmarks: kept as JSON, shown as text."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace

import pytest

from tools import docs_blocks
from tools.docs_pages import Block, PageError
from tools.docs_sources import RESULTS
from tools.perf_tables import ABOUT, OUT, Column, Perf, Table, grid, markdown, read, report, store, write

COLUMNS = [Column(key="what", head="what"), Column(key="ratio", head="ratio", format=".3f")]
TABLE = Table(title="ours / theirs", columns=COLUMNS, rows=[{"what": "a|b", "ratio": 0.5}], ratio="ratio")


def test_a_table_is_written_and_read_back(tmp_path):
    perf = Perf(name="trial", command="pytest", machine="2 cores", tables=[TABLE], facts={"runs": 3}, notes=["A note."])
    path = write(tmp_path, perf)
    assert read(path) == perf
    assert '{ "what": "a|b", "ratio": 0.5 }' in path.read_text()  # a line a row


def test_a_file_that_is_none_is_refused_by_name(tmp_path):
    path = tmp_path / "trial.json"
    path.write_text('{"name": "trial"}')
    with pytest.raises(ValueError, match=r"trial\.json is not a benchmark's file: .*command"):
        read(path)


def test_numbers_are_shown_by_their_format_and_the_largest_ratio_is_named():
    rows = [{"what": "a|b", "ratio": 0.5}, {"what": "c", "ratio": 2.0}]
    text = markdown(
        Perf(name="x", command="c", machine="m", tables=[Table(title="t", columns=COLUMNS, rows=rows, ratio="ratio")])
    )
    assert "| a\\|b | 0.500 |" in text
    assert "Geometric mean 1.000; the largest is 2.000 (c)." in text


def test_an_unknown_number_is_an_empty_cell():
    assert grid(COLUMNS, [{"what": "c", "ratio": None}]).splitlines()[-1] == "| c |  |"


def test_rows_that_are_measured_again_replace_their_like(tmp_path, monkeypatch):
    monkeypatch.setenv(OUT, str(tmp_path))
    for what, ratio in (("a", 1.0), ("b", 2.0), ("a", 3.0)):
        table = Table(title="t", columns=COLUMNS, rows=[{"what": what, "ratio": ratio}])
        path = store("trial", table, identity=["what"])
    assert [(row["what"], row["ratio"]) for row in read(path).tables[0].rows] == [("b", 2.0), ("a", 3.0)]


def test_a_table_is_printed_with_its_largest_ratio(capsys, monkeypatch):
    monkeypatch.delenv(OUT, raising=False)
    report("trial", TABLE)
    printed = capsys.readouterr().out
    assert "ours / theirs" in printed
    assert "a|b" in printed
    assert "the largest is 0.500 (a|b)" in printed


def test_what_the_study_of_trust_writes_can_be_read_aloud(tmp_path, monkeypatch):
    """The benchmark's own tables, of made-up times, in the place of the stored ones."""
    trust = importlib.import_module("bench_trust")
    quick = [(backend, [1.0, 1.01, 0.99]) for backend in trust.FRAMEWORKS]
    others = {"torch.utils.benchmark": [1.0, 1.5], "pytest-benchmark": [1.0, 0.5]}
    verdicts = [(backend, "slower", 1.05) for backend in trust.FRAMEWORKS]
    facts = {"pairs whose 95 % interval holds 1": 3, "pairs": 3}
    tables = [trust.distances(quick, others), trust.power(verdicts)]
    write(tmp_path / "perf-cpu", Perf(name="trust", command="c", machine="m", tables=tables, facts=facts))
    monkeypatch.setattr(docs_blocks.sources, "RESULTS", tmp_path)
    said = docs_blocks.trust(Block("trust", (), "", tmp_path))
    assert f"slower by ten groups in {len(verdicts)} of {len(verdicts)} trials and faster in 0" in said


def test_a_benchmark_that_nobody_has_run_is_a_fault_of_the_page_with_what_makes_it():
    with pytest.raises(PageError, match=r"page\.md: .*nothing\.json is not there; HWLOTTERY_BENCH_OUT="):
        docs_blocks.perf(Block("perf", ("nothing",), "", Path("page.md")))


def test_a_benchmark_writes_only_where_it_is_told(tmp_path, monkeypatch):
    monkeypatch.delenv(OUT, raising=False)
    assert store("trial", TABLE) is None
    monkeypatch.setenv(OUT, str(tmp_path))
    store("trial", TABLE)
    store("trial", Table(title="another", columns=COLUMNS, rows=[]), {"runs": 3})
    path = store("trial", Table(title="another", columns=COLUMNS, rows=[{"what": "d", "ratio": 1.0}]))
    found = read(path)
    assert [(t.title, len(t.rows)) for t in found.tables] == [("ours / theirs", 1), ("another", 1)]
    assert found.facts == {"runs": 3}


def test_a_table_of_another_occasion_replaces_none(tmp_path, monkeypatch):
    """Nor do those that were measured twice become one when another is added."""
    twice = [Table(title="t", about="twice", columns=COLUMNS, rows=[{"what": w, "ratio": 1.0}]) for w in "ab"]
    write(tmp_path, Perf(name="trial", command="c", machine="m", tables=twice))
    monkeypatch.setenv(OUT, str(tmp_path))
    monkeypatch.setenv(ABOUT, "later")
    for ratio in (2.0, 3.0):
        report("trial", Table(title="t", columns=COLUMNS, rows=[{"what": "c", "ratio": ratio}]))
    assert [(t.about, t.rows[0]["ratio"]) for t in read(tmp_path / "trial.json").tables] == [
        ("twice", 1.0),
        ("twice", 1.0),
        ("later", 3.0),
    ]


@pytest.mark.parametrize("path", sorted((RESULTS / "perf-cpu").glob("*")), ids=lambda path: path.name)
def test_every_stored_file_is_one_and_has_what_its_columns_name(path):
    perf = read(path)
    assert perf.name == path.stem
    for table in perf.tables:
        assert table.rows
        for row in table.rows:
            assert set(row) == {column.key for column in table.columns}


def test_what_is_read_aloud_must_be_in_the_file():
    distance = read(RESULTS / "perf-cpu" / "trust.json").tables[0]
    with pytest.raises(PageError, match=r"trust\.json has no row 'nobody'"):
        docs_blocks._found(distance, "what", "nobody")


def test_a_row_that_is_not_in_the_run_is_refused(monkeypatch):
    monkeypatch.setattr(docs_blocks, "EIGHT", (("unstructured_sparse", "n=2", "torch"),))
    with pytest.raises(PageError, match="has 0 rows of unstructured_sparse n=2 torch, 1 is wanted"):
        docs_blocks.eight(Block("eight", (), "\n", RESULTS))


def test_a_run_of_which_nothing_can_be_said_is_refused(monkeypatch):
    block = Block("answer", (), "\n", RESULTS)
    assert "dense twin" in docs_blocks.answer(block)
    monkeypatch.setattr(docs_blocks.sources, "summary", lambda name: SimpleNamespace(answer=[]))
    with pytest.raises(PageError, match="has nothing to say"):
        docs_blocks.answer(block)


@pytest.mark.parametrize("make", [docs_blocks.rows, docs_blocks.sections, docs_blocks.notes])
def test_a_report_without_the_section_is_refused(make, monkeypatch):
    monkeypatch.setattr(docs_blocks.sources, "report", lambda name: "## Birds\n\nnone\n")
    with pytest.raises(PageError, match=r"the report of quick-cpu has no .*; its sections: Birds"):
        make(Block(make.__name__, ("quick-cpu",), "\n", RESULTS / "page.md"))

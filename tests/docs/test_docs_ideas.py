"""What pages of ideas say was found here: rows of a run in words and figures, its picture, and what is refused."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from harness.figures.table_rows import Against
from tools import docs_ideas, docs_picture
from tools import docs_sources as sources
from tools.docs_pages import Block, PageError

PAGE = Path("docs/ideas/page.md")
RUN, IDEA = "quick-cpu", "block_sparse"


def _block(*words):
    return Block("found", words, "\n", PAGE)


def _rows():
    return [row for row in sources.summary(RUN).rows if row.workload == IDEA]


def test_every_row_of_the_idea_stands_there_with_both_figures_against_its_twins():
    made = docs_ideas.found(_block(RUN, IDEA))
    for row in _rows():
        cells = sources.cells(row)
        assert f"| {cells['best path']} | {cells['time']} | {cells['speed-up']} | {cells['tax']} |" in made
    assert "unstructured_sparse" not in made
    assert made.startswith("By `hwlottery run")
    assert made.endswith("(../_static/idea-block-sparse.svg)")


def test_without_the_run_the_page_says_so_and_has_no_picture(tmp_path, monkeypatch):
    (tmp_path / "ideas").mkdir()
    (tmp_path / "ideas" / "page.md").write_text("<!-- begin: found nowhere kaleidoscope -->\n<!-- end -->\n")
    monkeypatch.setattr(sources, "DOCS", tmp_path)
    made = docs_ideas.found(_block("nowhere", "kaleidoscope"))
    assert made == "No run is stored yet. `hwlottery run --preset ideas --out results/nowhere` measures it."
    assert docs_ideas.pictures() == {}


def test_where_the_run_swept_an_axis_the_break_even_is_told():
    evens = [even for even in sources.summary(RUN).break_even if even.workload == IDEA]
    assert evens
    made = docs_ideas.found(_block(RUN, IDEA))
    assert all(even.sentence in made for even in evens)


def _said(**verdicts):
    """The sentence of a row a framework with these verdicts; None is no path at all."""
    row = next(row for row in _rows() if row.against)
    rows = []
    for backend, verdict in verdicts.items():
        against = [msgspec.structs.replace(a, verdict=verdict) for a in row.against if isinstance(a, Against)]
        path = None if verdict is None else row.path
        rows.append(msgspec.structs.replace(row, backend=backend, label="", against=against, path=path))
    return docs_ideas.said(rows)


def test_the_sentence_says_of_every_framework_how_it_went():
    assert _said(torch="faster", jax="slower", tensorflow="slower") == (
        "It is faster than its dense twin in PyTorch and is slower than its dense twin in JAX and TensorFlow."
    )
    assert _said(torch="tie") == "It ties with its dense twin in PyTorch."
    assert _said(torch="faster", jax=None) == "It is faster than its dense twin in PyTorch and runs in no way in JAX."


@pytest.mark.parametrize(
    ("words", "said"),
    [((), "takes the names"), ((RUN,), "takes the names"), ((RUN, "kaleidoscope"), "has no row of kaleidoscope")],
)
def test_a_block_that_names_no_idea_of_the_run_is_refused(words, said):
    with pytest.raises(PageError, match=said):
        docs_ideas.found(_block(*words))


def test_the_picture_has_every_formulation_that_ran_in_some_framework(monkeypatch):
    made = docs_picture.ways(RUN, IDEA)
    ran = {c["formulation"] for c in sources.cases(RUN) if c["workload"] == IDEA and c["status"] == "ok"}
    assert len(ran) > 3
    assert all(f">{formulation}</text>" in made for formulation in ran)
    monkeypatch.setattr(docs_picture, "WIDTH", 700)
    assert docs_picture.ways(RUN, IDEA) != made


def test_pictures_are_those_that_pages_ask_for(tmp_path, monkeypatch):
    (tmp_path / "ideas").mkdir()
    page = tmp_path / "ideas" / "blocks.md"
    page.write_text(f"<!-- begin: took x -->\n<!-- end -->\n\n<!-- begin: found {RUN} {IDEA} -->\n<!-- end -->\n")
    monkeypatch.setattr(sources, "DOCS", tmp_path)
    assert docs_ideas.pictures() == {tmp_path / "_static" / "idea-block-sparse.svg": docs_picture.ways(RUN, IDEA)}


def test_the_gradient_flow_is_told_of_every_layer_at_first_and_later(monkeypatch):
    """Where everything is stored it is that of the dense network."""
    small = {"batch": 4, "features": 16, "hidden": 16, "layers": 1, "density": 1.0, "phase": "step"}
    monkeypatch.setattr(docs_ideas, "_FLOW", small)
    made = docs_ideas.flow(_block())
    assert made.startswith("16-1×16-10 at density 1.0, batches of 4 digits, seeds 0 to 2.")
    assert (
        "| layer | weights, in the first step | weights, after 100 steps | blocks of 16×16, in the first step |" in made
    )
    assert [line for line in made.splitlines() if "…" in line] == [f"| {i} |" + " 1.00…1.00 |" * 4 for i in (1, 2)]

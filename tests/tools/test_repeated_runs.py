"""The study of the whole chain on runs of which it is known what they say differently: it must be seen saying no."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from harness.records.store import load
from tools import chain, docs_blocks
from tools import repeated_runs as of
from tools.docs_pages import Block
from tools.perf_tables import read, write

STORED = Path(__file__).resolve().parents[2] / "results" / "quick-cpu"


@pytest.fixture(scope="module")
def stored():
    return of.Told(load(STORED))


@pytest.fixture(scope="module")
def copied(tmp_path_factory, stored):
    """A copy of the stored run in which the samples of some records take longer by a factor."""

    def make(factor, which):
        folder = of.scaled_copy(stored.run, tmp_path_factory.mktemp("copy") / "run", factor, which, "copy")
        return of.Told(load(folder))

    return make


def _some(*workloads, formulation=None):
    def which(record):
        case = record.case
        return case.workload in workloads and formulation in (None, case.formulation)

    return which


def test_a_run_says_what_it_says_itself(stored):
    measures = (of.excluded, of.verdicts, of.break_evens, of.ranks)
    counts = [measure(stored, stored) for measure in measures]
    assert [count.found for count in counts] == [0, 0, 0, 0]
    assert [count.of for count in counts] == [27, 27, 9, 27]
    assert of.path_losses([stored, stored]) == [[], []]
    different, failed = of.compared(STORED, STORED)
    assert (different.found, failed) == (0, False)
    assert different.of > 20


def test_a_run_in_which_some_ideas_take_twice_as_long_is_seen_in_every_respect(stored, copied):
    """Of 27 rows 3 are of capsule convolution, 6 of unstructured products, which have six of nine sweeps, too."""
    other = copied(2.0, _some("capsule_conv", "unstructured_sparse"))
    assert of.excluded(stored, other).found >= 8
    assert of.excluded(stored, other).of == 27
    assert of.verdicts(stored, other).found >= 4
    assert of.break_evens(stored, other).found >= 5
    assert of.ranks(stored, other).found >= 3
    different, failed = of.compared(stored.run.path, other.run.path)
    assert failed
    assert different.found >= 5


def test_a_path_that_is_slower_than_another_run_s_counts_by_what_it_loses(stored, copied):
    """In the copy the stored run's best path takes four times as long, so that it chooses another."""
    (where, path) = next((where, path) for where, path in stored.best.items() if where[0] == "capsule_routing")
    formulation = path.partition("/")[0]
    other = copied(4.0, _some("capsule_routing", formulation=formulation))
    assert other.best[where] != path
    losses = {
        (number, loss.where): loss
        for number, several in enumerate(of.path_losses([stored, other, other]))
        for loss in several
    }
    assert losses[0, where].path == path
    assert losses[0, where].loss > of.LOSS
    assert (1, where) not in losses, "two of three runs have the other path faster"
    alike = of.path_losses([stored, stored, other])
    assert not alike[0]
    assert {loss.where for loss in alike[2]} >= {where}


def test_runs_that_cannot_be_compared_are_an_error_and_no_count(tmp_path):
    with pytest.raises(ValueError, match=r"compare .* ended with 2: .*nowhere"):
        of.compared(STORED, tmp_path / "nowhere")


def test_a_copy_is_scaled_where_it_is_asked_and_nowhere_else(stored, copied):
    other = copied(1.05, of.is_idea)
    assert len(other.run.records) == len(stored.run.records)
    for was, now in zip(stored.run.records, other.run.records, strict=True):
        factor = 1.05 if of.is_idea(was) else 1.0
        if was.time is not None:
            assert now.time.samples_s[0][0] == pytest.approx(factor * was.time.samples_s[0][0])
        assert msgspec.structs.replace(now, time=None, run=was.run) == msgspec.structs.replace(was, time=None)
    assert not of.is_idea(next(r for r in stored.run.records if r.case.workload in ("dense_cnn", "dense_matmul")))


def test_the_study_of_one_run_is_refused():
    with pytest.raises(ValueError, match="two results folders at least, found 1"):
        chain.evaluate([STORED])


def test_the_study_counts_every_pair_both_ways_and_is_shown_by_the_documentation(tmp_path, stored, copied, monkeypatch):
    other = copied(2.0, of.is_idea)
    made = chain.evaluate([STORED, other.run.path], [other.run.path], "c")
    every, pairs, paths, copies, real = made.tables
    found = {row["what"]: (row["found"], row["of"]) for row in every.rows}
    assert found["estimates outside the other run's interval"][1] == 54
    assert found["estimates outside the other run's interval"][0] > 27
    assert found["comparisons that fail on slower:5%"] == (1, 2), "in one direction everything is slower"
    assert [(row["a"], row["b"]) for row in pairs.rows] == [("run 1", "run 2"), ("run 2", "run 1")]
    assert [row["wrong"] for row in paths.rows] == [0, 0], "every path of an idea takes twice as long"
    assert copies.rows[0]["of"] > 0
    assert all(row["of"] == 0 and row["share"] is None for row in real.rows), "neither run has the chain"
    assert "AMD EPYC, 2 cores" in made.machine
    write(tmp_path / "perf-cpu", made)
    assert read(tmp_path / "perf-cpu" / "chain.json") == made
    monkeypatch.setattr(docs_blocks.sources, "RESULTS", tmp_path)
    assert "| verdicts that differ |" in docs_blocks.perf(Block("perf chain", ("chain",), "", tmp_path))


def test_of_four_runs_one_half_is_held_against_the_other(tmp_path, stored):
    """Where ideas take twice as long in copies they are found; in copies of the same times nothing is."""
    runs = [of.scaled_copy(stored.run, tmp_path / n, 1.0, of.is_idea, n) for n in ("a", "b", "c", "d")]
    slow = [of.scaled_copy(stored.run, tmp_path / f"{n.name}-slow", 2.0, of.is_idea, f"{n.name}-slow") for n in runs]
    counts = chain._halves([of.Told(load(folder)) for folder in runs], slow, 2)
    found = {what: of.total(several) for what, several in counts.items()}
    assert found[chain.CALLED_SLOWER].share > 0.8
    assert found[chain.FALSE_ROWS].found == 0 < found[chain.FALSE_ROWS].of
    assert found[chain.FALSE_FAILURES] == of.Count(0, 6)


def test_more_work_is_looked_for_by_one_run_a_side_and_by_several(stored, copied, monkeypatch):
    monkeypatch.setattr(chain, "LENGTHENED", frozenset({"capsule_routing"}))
    monkeypatch.setattr(chain, "UNCHANGED", frozenset({"dense_cnn"}))
    more = copied(4.0, _some("capsule_routing"))
    made = chain._real([stored], [more])
    found = {row["what"].removeprefix("compare, "): (row["found"], row["of"]) for row in made.rows}
    slower, several = "5 % more work called slower", "1 runs against 1"
    assert found[f"one run a side: {slower}"] == found[f"{several}: {slower}"]
    assert found[f"{several}: {slower}"][0] > 0
    different, rows = found[f"{several}: its twin, equal work, called different"]
    assert different == 0 < rows
    assert "3 to 3 rounds" in made.about

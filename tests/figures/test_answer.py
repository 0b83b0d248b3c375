"""The answer in words: each rule on records made for it, silent inside a tie and without an interval."""

from __future__ import annotations

import json

import pytest
from _records import dense, idea, record, twin_ref

from harness.figures.answer import MOST
from harness.figures.summary import summarise

TWIN = [1.0, 1.01, 0.99, 1.0, 1.0]


def times(centre):
    return [centre * t for t in (1.0, 1.01, 0.99, 1.0, 1.0)]


def said(*records, begins=""):
    return [sentence for sentence in summarise(records).answer if sentence.startswith(begins)]


def routing(centre, **facts):
    return idea(times(centre), workload="capsule_routing", formulation="folded", **facts)


def stream():
    params = {"elements": 1000, "kernel": "triad"}
    return record("stream", [[1.0, 1.0]], params=params, least_bytes=4000, formulation="flat")


def test_the_largest_gain_and_what_its_flop_promise():
    (sentence,) = said(idea(times(0.25)), dense(TWIN), begins="The largest gain")
    assert sentence.startswith("The largest gain is unstructured_sparse in NumPy: 4 times the dense twin's speed (")
    assert sentence.endswith("), of the 10 that its FLOP promise.")


def test_a_gain_as_large_as_the_flop_promise_promises_no_more():
    (sentence,) = said(idea(times(0.1)), dense(TWIN), begins="The largest gain")
    assert "promise" not in sentence


def test_nothing_is_said_of_a_tie_nor_of_what_has_no_interval():
    assert said(idea(times(1.0)), dense(TWIN)) == []
    assert said(idea([0.2]), dense([1.0])) == []
    assert said(idea([0.2, 5.0, 0.3, 4.0, 1.0]), dense(TWIN)) == []
    assert said(idea(times(0.5))) == []  # no twin
    assert said() == []


def test_how_many_ideas_pay():
    records = [idea(times(0.25)), routing(2.0), dense(TWIN)]
    (sentence,) = said(*records, begins="Of 2 ideas")
    assert sentence == (
        "Of 2 ideas, 1 is faster (unstructured_sparse) and 1 is slower (capsule_routing) than the dense twin wherever "
        "they were tried."
    )


def test_an_idea_that_ties_somewhere_depends():
    tied = [idea(times(1.0), backend="torch"), dense(TWIN, backend="torch")]
    (sentence,) = said(idea(times(0.25)), routing(2.0), dense(TWIN), *tied, begins="Of 2 ideas")
    assert "1 is slower (capsule_routing) than" in sentence
    assert sentence.endswith("1 depend on the point or the place, or cannot be told from a tie.")


def test_one_idea_is_no_count():
    assert said(idea(times(0.25)), dense(TWIN), begins="Of ") == []


def test_where_a_useful_flop_costs_most():
    """T = 2 and W = 0.1: 20 times, more than 5 of the other."""
    (sentence,) = said(routing(2.0), idea(times(0.5)), dense(TWIN), begins="A useful FLOP")
    assert sentence.startswith(
        "A useful FLOP costs most in capsule_routing in NumPy: 20 times what it costs in the dense"
    )


def test_software_is_to_blame_where_the_ceilings_ask_for_little():
    (sentence,) = said(
        routing(2.0, least_bytes=10), dense(TWIN, least_bytes=100), stream(), begins="By this machine's dense rate"
    )
    assert "need cost no more than a dense one: more than half of that tax is software's" in sentence


def test_the_machine_is_to_blame_where_its_bandwidth_asks_for_more_than_half():
    """1000 FLOP/s and 4000 B/s: the idea's 7000 B take 1.75 s at least, of the 2 s that it takes; W = 0.1."""
    (sentence,) = said(routing(2.0, least_bytes=7000), dense(TWIN, least_bytes=100), stream(), begins="More than half")
    assert sentence == "More than half of that tax is the machine's bandwidth: no software takes it away."


def test_nobody_is_to_blame_without_ceilings():
    found = said(routing(2.0), dense(TWIN))
    assert not any("software" in sentence for sentence in found)


def test_what_does_not_run_anywhere_is_said():
    refused = record(status="unsupported", reason="no", twins=[twin_ref()], backend="jax")
    (sentence,) = said(idea(times(0.25)), dense(TWIN), refused, begins="No formulation")
    assert sentence == "No formulation ran of unstructured_sparse in JAX."


def test_who_wins_depends_on_the_place_only_where_both_are_sure():
    here = [idea(times(0.5)), dense(TWIN)]
    slower = [idea(times(2.0), backend="torch"), dense(TWIN, backend="torch")]
    tied = [idea(times(1.0), backend="torch"), dense(TWIN, backend="torch")]
    (sentence,) = said(*here, *slower, begins="Who wins")
    assert sentence == (
        "Who wins depends on the place: unstructured_sparse runs at 2 times the dense twin's speed in NumPy and at 0.5 "
        "times in PyTorch."
    )
    assert said(*here, *tied, begins="Who wins") == []


def swept(density, centre, **facts):
    params = {"m": 8, "k": 8, "n": 4, "density": density}
    return idea(times(centre), params=params, headline=density == 0.1, **facts)


def test_below_which_density_sparsity_pays():
    records = [swept(0.01, 0.2), swept(0.1, 0.5), swept(0.5, 4.0), dense(TWIN)]
    (sentence,) = said(*records, begins="unstructured_sparse beats")
    assert sentence.startswith("unstructured_sparse beats its dense twin below density 0.")
    assert " in NumPy (" in sentence
    assert said(swept(0.01, 0.1), swept(0.1, 0.2), dense(TWIN), begins="unstructured_sparse beats") == []


def test_devices_and_runs_are_named_where_they_differ():
    other = [idea(times(2.0), device="cuda", backend="torch"), dense(TWIN, device="cuda", backend="torch")]
    (sentence,) = said(idea(times(0.5)), dense(TWIN), *other, begins="Who wins")
    assert "in NumPy on cpu and at 0.5 times in PyTorch on cuda." in sentence
    later = [idea(times(2.0), run="r2"), dense(TWIN, run="r2")]
    (sentence,) = said(idea(times(0.5)), dense(TWIN), *later, begins="Who wins")
    assert "in NumPy in run 1 and at 0.5 times in NumPy in run 2." in sentence


@pytest.mark.parametrize("width", [80, 160])
def test_six_at_most_and_they_stand_before_the_tables(width):
    from harness.report.terminal import terminal

    refused = record(status="unsupported", reason="no", twins=[twin_ref()], backend="jax")
    records = [
        *(swept(0.01, 0.2), swept(0.1, 0.5), swept(0.5, 4.0), dense(TWIN, least_bytes=100), refused, stream()),
        *(routing(2.0, least_bytes=10), swept(0.1, 2.0, backend="torch"), dense(TWIN, backend="torch")),
    ]
    summary = summarise(records)
    assert len(summary.answer) == MOST
    text = " ".join(terminal(summary, width).split())
    for sentence in summary.answer:
        assert text.index(sentence) < text.index("What each idea gains")


def test_it_stands_in_markdown_and_json():
    from harness.cli.formats import render

    records = [idea(times(0.25)), dense(TWIN)]
    (sentence, *_) = summarise(records).answer
    assert str(render(records, "markdown")).startswith(f"- {sentence}\n")
    assert json.loads(str(render(records, "json")))["answer"] == summarise(records).answer

"""What a comparison prints: counts of what stands on one side, and no interval of two processes."""

from __future__ import annotations

from _records import dense, idea

from harness.figures.compare import compare
from harness.report.compare_text import as_markdown, notes


def test_what_is_on_one_side_only_is_counted_and_named_on_demand():
    """A screen of case names hides what was asked; JSON and --all have them."""
    gone = [idea([1.0], workload=f"w{k}", params={"n": n}, twins=[]) for k in range(10) for n in range(10 - k)]
    found = compare([*gone, idea([1.0])], [idea([1.0]), idea([1.0], formulation="new")], names=("a", "b"))
    brief, full = ("\n".join(notes(found, everything)) for everything in (False, True))
    assert "only in A: 55 cases (w0 10, w1 9, w2 8, w3 7, w4 6, w5 5, w6 4, w7 3, 2 workloads more); --all" in brief
    assert "only in B: 1 case (unstructured_sparse 1); --all names them." in brief
    assert "w3/csr" not in brief
    assert full.count("w3/csr") == 7


def test_a_ratio_of_two_rounds_is_printed_without_an_interval():
    twin = dense([0.5, 0.5, 0.5])
    sides = [[idea([1.0, 1.1, 1.2]), twin], [idea([2.0, 2.2]), twin]]
    found = compare(*sides, names=("a", "b"))
    text = as_markdown(found, everything=True)
    assert "1.91× |" in text
    assert "fewer than 3 rounds on a side is printed without an interval" in text
    three = compare(sides[0], [idea([2.0, 2.2, 2.4]), twin], names=("a", "b"))
    assert "2.00× [" in as_markdown(three, everything=True)


def test_what_has_no_verdict_is_counted_with_its_reason():
    twin = dense([0.5, 0.5, 0.5])
    text = as_markdown(compare([idea([1.0]), twin], [idea([1.2]), twin], names=("a", "b")))
    assert "best paths: 1 tie, 1 no verdict." in text
    assert "without a verdict, rows of all kinds: fewer than two rounds in A and B: 3." in text
    assert "| no verdict |" in text

"""When every path is wrong, the reference or the input is suspect: said where it holds, and only there."""

from __future__ import annotations

import msgspec
from _records import dense, idea

from harness.figures.summary import summarise
from harness.figures.suspects import suspects
from harness.records.record import Verdict
from harness.report.markdown import markdown
from harness.report.terminal import terminal


def wrong(error=0.31, **facts):
    verdict = Verdict(agrees=False, max_abs_error=error, max_rel_error=error, rtol=1e-5, atol=0.0)
    return msgspec.structs.replace(idea(status="wrong", reason="it disagrees", **facts), verdict=verdict)


def test_all_wrong_by_the_same_on_every_backend_is_the_references_fault():
    (found,) = suspects([wrong(backend=b, formulation=f) for b in ("torch", "jax") for f in ("csr", "coo")])
    assert found.alike
    assert (found.cases, found.backends, found.formulations) == (4, ["jax", "torch"], ["coo", "csr"])
    assert found.sentence == (
        "all 4 paths are wrong on jax and torch, by 0.31 of the largest value: the reference is suspect, "
        "not the frameworks"
    )


def test_errors_of_different_size_may_be_an_ill_conditioned_input():
    (found,) = suspects([wrong(0.01, backend="torch"), wrong(0.5, backend="jax", formulation="coo")])
    assert not found.alike
    assert "by 0.01 to 0.5 of the largest value: the reference, or an input that is ill-conditioned" in found.sentence


def test_outputs_that_are_not_finite_have_no_size():
    (found,) = suspects([wrong(None, backend="torch"), wrong(0.5, backend="jax")])
    assert (found.error_low, found.error_high) == (None, None)
    assert "the largest value" not in found.sentence
    assert "or its only formulation" in found.sentence


def test_one_path_that_agrees_clears_the_reference():
    assert suspects([wrong(backend="torch"), wrong(backend="jax"), idea([1.0], backend="numpy")]) == []


def test_one_formulation_in_several_executions_of_one_backend_is_no_proof():
    assert suspects([wrong(execution="eager"), wrong(execution="compiled")]) == []


def test_what_gave_no_output_says_nothing():
    others = [idea(status=s, reason="x", backend="jax") for s in ("unsupported", "crash", "timeout")]
    assert suspects([wrong(), *others]) == []
    assert len(suspects([wrong(), wrong(backend="torch"), *others])) == 1


def test_points_and_dtypes_are_told_apart():
    other = {"m": 9, "k": 8, "n": 4}
    assert suspects([wrong(), wrong(backend="jax", params=other), wrong(backend="torch", dtype="float64")]) == []


def test_the_finding_stands_below_the_table_and_in_markdown():
    summary = summarise([wrong(backend="torch"), wrong(backend="jax"), dense([1.0] * 3, backend="jax")])
    said = "suspect: unstructured_sparse [k=8,m=8,n=4] forward float32: all 2 paths are wrong on jax and torch"
    assert said in " ".join(terminal(summary, 80).split())
    assert said in markdown(summary)
    assert "suspect:" not in terminal(summarise([idea([1.0] * 3), dense([1.0] * 3)]), 80)

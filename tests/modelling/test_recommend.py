"""Three lists that are never merged, and an answer that may be no."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from _records import dense, idea, twin_ref

from harness.figures.answer import brief
from harness.modelling import recommend as recommend_module
from harness.modelling.class_errors import class_error
from harness.modelling.recommend import distance, recommendation, transfers
from harness.modelling.rows import DeviceNeeded, WhatIfRow
from harness.records.record import Modelled
from harness.records.store import Run, RunInfo

TWIN = {"m": 8, "k": 8, "n": 4}


def run(cpu, seconds, *, dense_s=1.0, backends=("torch",), density=0.1):
    """A run of one idea in some frameworks, beside its twin."""
    params = {"m": 8, "k": 8, "n": 4, "density": density}
    times = dict(zip(backends, seconds, strict=True))
    records = [
        made
        for backend, time in times.items()
        for made in (
            idea([time] * 4, backend=backend, run=cpu, params=params, twins=[twin_ref(params=TWIN)]),
            dense([dense_s] * 4, backend=backend, run=cpu, params=TWIN),
        )
    ]
    info = RunInfo(
        schema=1,
        run=cpu,
        started_at="2026-11-01T10:00:00Z",
        ended_at=None,
        command=[],
        machine={"cpu": cpu},
        versions={},
        settings={},
    )
    return Run(path=Path(cpu), info=info, records=records, warnings=[])


def modelled(device, speed_up, density=0.1, needs=None, backend="any"):
    return WhatIfRow(
        workload="unstructured_sparse",
        point=f"density={density}",
        params={"density": density},
        mode="forward",
        dtype="float32",
        backend=backend,
        device=device,
        headline=True,
        best="csr/eager",
        time_s=1.0,
        speed_up=speed_up,
        bound_by="gather",
        break_even=needs,
        error=class_error("gather any", [1.1]),
    )


def recommend(runs=(), rows=(), **wanted):
    return recommendation("unstructured_sparse", runs, rows, {k: (v,) for k, v in wanted.items()})


def test_what_was_measured_modelled_and_estimated_stays_apart():
    found = recommend([run("fast", [0.5]), run("slow", [2.0])], [modelled("dream", 30.0)])
    assert [(row.kind, row.where) for row in found.measured] == [("measured", "fast cpu"), ("measured", "slow cpu")]
    assert [row.kind for row in found.modelled] == ["modelled"]
    assert found.estimated == []
    assert found.measured[0].speed_up == pytest.approx(2.0)
    assert "pays on fast cpu through torch, 2× its twin" in found.answer[0]
    assert found.answer[0].startswith("Measured")
    assert found.answer[1].startswith("Modelled")


def test_none_of_these_is_an_answer_with_what_it_needs():
    need = DeviceNeeded(parameter="gather.rows_per_s", factor=6.0)
    found = recommend([run("slow", [2.0])], [modelled("today", 0.2, needs=need), modelled("other", 0.1)])
    assert "not surely faster than its twin on any device" in found.answer[0]
    assert found.answer[-1].startswith(
        "None of these: by the model unstructured_sparse needs gather.rows_per_s ×6 on today"
    )


def test_nothing_known_is_said():
    assert recommend().answer == [
        "Nothing is known of unstructured_sparse: no record of it was given, and the model has no figure for it."
    ]


def test_the_nearest_point_counts_and_says_how_near_it_is():
    found = recommend([run("a", [0.5], density=0.1), run("b", [0.5], density=0.05)], density=0.05)
    assert [(row.where, row.distance) for row in found.measured] == [("b cpu", 0.0), ("a cpu", pytest.approx(1.0))]
    rows = [modelled("m", 2.0, 0.1), modelled("m", 3.0, 0.05)]
    assert [row.speed_up for row in recommend(rows=rows, density=0.05).modelled] == [3.0]


def test_rows_of_a_framework_are_no_recommendation_of_hardware():
    assert recommend(rows=[modelled("m", 2.0, backend="torch")]).modelled == []


@pytest.mark.parametrize(("within", "said"), [(9, "pays on gather-x16 through torch, 4× its twin"), (8, "too far off")])
def test_what_a_run_reckoned_and_stored_is_modelled_and_says_through_which_framework(within, said, monkeypatch):
    """It has its errors with it; how well the model chooses in its class is what the package knows."""
    known = msgspec.structs.replace(class_error("sparse torch", [1.1]), points=10, within=within)
    monkeypatch.setattr(recommend_module, "held", lambda: SimpleNamespace(errors=[known]))
    figures = Modelled(
        device="gather-x16",
        digest="0" * 64,
        kind="sparse",
        time_s=1.0,
        energy_j=None,
        bound_by="gather",
        parts_s={"gather": 1.0},
        cases=3,
        median_error=0.1,
        p95_error=0.4,
    )
    twin = msgspec.structs.replace(figures, time_s=4.0)
    facts = {"device": "model:gather-x16", "status": "modelled", "backend": "torch"}
    records = [
        idea(None, modelled=figures, twins=[twin_ref(params=TWIN)], **facts),
        dense(None, modelled=twin, params=TWIN, **facts),
    ]
    whole = run("a", [2.0])
    found = recommendation("unstructured_sparse", [replace(whole, records=[*whole.records, *records])], [], {})
    assert [f.where for f in found.measured] == ["a cpu"]
    (stored,) = found.modelled
    assert (stored.where, stored.backend, stored.speed_up, stored.error) == ("gather-x16", "torch", 4.0, 0.1)
    assert any(answer.startswith("Modelled: ") and said in answer for answer in found.answer)


def test_where_the_model_is_too_far_off_it_is_not_said_to_pay_and_nothing_is_needed():
    far = msgspec.structs.replace(modelled("dream", 30.0), error=class_error("gather any", [1.2]))
    badly = msgspec.structs.replace(far, error=class_error("gather any", [1.1]), twin_error=far.error)
    for row in (far, badly):
        found = recommend(rows=[row])
        assert [f.speed_up for f in found.modelled] == [30.0], "the figure stays, with its error"
        assert found.answer == ["Modelled: the model is too far off to say whether unstructured_sparse pays anywhere."]
    found = recommend(rows=[far, modelled("today", 2.0)])
    assert "pays on today, 2× its twin" in found.answer[0]


def test_distances():
    assert distance({"n": 8, "pattern": "a"}, {"n": (1, 4), "pattern": ("b",), "other": (3,)}) == 2.0
    assert distance({"n": 0}, {"n": (0,)}) == 0.0


def test_leaving_one_machine_out_tells_what_the_others_recommend_costs_there():
    """The choice of two machines that agree is within 10 % of the best of a third like them, and not of one unlike."""
    names = ("torch", "jax")
    alike = [run(cpu, seconds, backends=names) for cpu, seconds in (("a", [1.0, 2.0]), ("b", [1.1, 2.0]))]
    assert [(t.points, t.within) for t in transfers(alike, ("unstructured_sparse",))] == [(1, 1), (1, 1)]
    unlike = [*alike, run("c", [2.0, 1.0], backends=names)]
    assert transfers(unlike, ("unstructured_sparse",))[2].within == 0


@pytest.mark.parametrize(("value", "said"), [(189.4, "190"), (1334.0, "1300"), (0.0412, "0.041"), (2.04, "2")])
def test_a_number_in_a_sentence_has_no_exponent(value, said):
    assert brief(value) == said

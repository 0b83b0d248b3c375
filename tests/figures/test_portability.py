"""What ran where: verdicts of a formulation in a place, shares, classes, and how the formats say them."""

from __future__ import annotations

import json

import msgspec
import pytest
from _records import dense, idea, record

from harness.cli.formats import render
from harness.figures.portability import matrix
from harness.figures.summary import summarise

REFUSED = {"status": "unsupported", "failure_class": "not_implemented", "reason": "no kernel for 8 bits\nand more"}
CROWDED = {"status": "oom", "failure_class": "memory", "reason": "needs 12 GiB"}


def test_a_formulation_is_ok_in_part_something_else_or_failed_over_all_of_its_points():
    shapes = [{"m": 8}, {"m": 16}, {"m": 32}]
    cells = matrix(
        [
            *(idea([1.0], params=p) for p in shapes),
            idea([1.0], formulation="coo", params=shapes[0]),
            idea(formulation="coo", params=shapes[1], **CROWDED),
            idea([1.0], formulation="bsr", fallback="densified: aten::_to_dense of [8, 8]"),
            idea(formulation="bsr", params=shapes[1], **CROWDED),
            idea(formulation="csc", **REFUSED),
            idea(formulation="bag", status="estimated", device="tpu-aot:v5e"),
        ]
    )
    assert {c.formulation: (c.verdict, c.cases_ok, c.cases) for c in cells} == {
        "csr": ("ok", 3, 3),
        "coo": ("in part", 1, 2),
        "bsr": ("something else", 1, 2),
        "csc": ("failed", 0, 1),
        "bag": ("compiled for", 0, 1),
    }
    by = {c.formulation: c for c in cells}
    assert by["csr"].reason is None
    assert by["csr"].fallback is None
    assert by["bsr"].fallback == "densified: aten::_to_dense of [8, 8]"
    assert (by["csc"].status, by["csc"].failure_class, by["csc"].reason) == (
        "unsupported",
        "not_implemented",
        "no kernel for 8 bits",
    )


def test_the_most_frequent_failure_speaks_and_numbers_in_it_do_not_tell_failures_apart():
    cells = matrix(
        [
            idea(params={"m": 1}, **REFUSED),
            idea(params={"m": 2}, **CROWDED),
            idea(params={"m": 3}, **CROWDED | {"reason": "needs 99 GiB"}),
        ]
    )
    assert [(c.status, c.reason) for c in cells] == [("oom", "needs 12 GiB")]


def test_places_formulations_and_executions_are_cells_of_their_own_and_ceilings_and_controls_are_none():
    item = idea([1.0])
    cells = matrix(
        [
            item,
            idea([1.0], execution="compiled"),
            idea([1.0], backend="torch"),
            idea([1.0], device="cuda"),
            record("stream", [1.0], formulation="copy"),
            msgspec.structs.replace(item, control=True),
        ]
    )
    assert len(cells) == 4


@pytest.fixture
def records():
    return [
        idea([2.0]),
        dense([1.0]),
        idea([1.0], formulation="bsr", fallback="host: aten.mm.default ran on cpu"),
        idea(formulation="coo", **REFUSED),
        idea(formulation="csc", **CROWDED),
    ]


def test_a_place_has_its_share_and_its_classes_of_failure(records):
    (place,) = summarise(records).portability
    assert (place.ok, place.total, place.share) == (2, 2, 1.0)
    assert (place.cells, place.cells_share) == (5, 0.4)
    assert place.verdicts == {"ok": 2, "failed": 2, "something else": 1}
    assert place.classes == {"not_implemented": 1, "memory": 1}


def test_json_always_has_the_matrix_and_the_formats_to_read_print_it_when_all_is_asked_for(records):
    found = json.loads(render(records, "json"))
    assert {c["formulation"]: c["verdict"] for c in found["matrix"]} == {
        "nn": "ok",
        "csr": "ok",
        "bsr": "something else",
        "coo": "failed",
        "csc": "failed",
    }
    assert found["portability"][0]["cells_share"] == 0.4
    for format in ("table", "markdown"):
        assert "What ran where" not in str(render(records, format))
        said = " ".join(str(render(records, format, all_points=True)).partition("What ran where")[2].split())
        assert "host: aten.mm.default ran on cpu" in said
        assert "unsupported, not_implemented: no kernel for 8 bits" in said
        assert "40%" in str(render(records, format, all_points=True))


def test_what_was_not_tried_in_a_place_is_unknown_there_and_not_a_failure(records):
    text = str(render([*records, dense([1.0], backend="torch")], "markdown", all_points=True))
    table = text.partition("## What ran where")[2]
    (row,) = [line for line in table.splitlines() if "| coo |" in line]
    assert row.rstrip(" |").endswith("–")


def test_one_refusal_of_several_executions_is_one_line_in_a_terminal():
    refused = [idea(execution=e, **REFUSED) for e in ("eager", "compiled")]
    said = str(render([dense([1.0]), *refused], "table", all_points=True)).partition("What ran where")[2]
    assert "unstructured_sparse/csr forward compiled, eager: unsupported" in " ".join(said.split())

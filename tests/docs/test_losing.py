"""Tables of losing formulations are what the stored run of `standard` measured."""

from __future__ import annotations

import msgspec
import pytest

from tools.docs_losing import tables
from tools.docs_sources import STANDARD, run
from workloads.discovery import workloads

WORKLOAD = workloads()[0]["capsule_conv"]


@pytest.fixture(scope="module")
def stored():
    return [r for r in run(STANDARD).records if r.case.workload == WORKLOAD.name]


def _cells(records):
    text = "\n".join(tables(WORKLOAD, records)).splitlines()
    lines = [line.strip("| ").split(" | ") for line in text if line.startswith("| `")]
    return {name.strip("`"): cells for name, *cells in lines}


def test_the_best_of_each_framework_is_named_and_the_others_are_ratios(stored):
    found = _cells(stored)
    for framework in range(3):
        column = [cells[framework] for cells in found.values()]
        assert column.count("best") == 1
        assert all(cell in ("best", "–") or float(cell) >= 1 for cell in column)


def test_what_failed_shows_its_status(stored):
    failed = [
        msgspec.structs.replace(r, status="oom", time=None) if r.case.formulation == "patches" else r for r in stored
    ]
    assert _cells(failed)["patches"] == ["oom"] * 3


def test_what_the_run_did_not_have_has_no_row_and_a_point_without_a_framework_no_table(stored):
    assert "einsum" not in _cells([r for r in stored if r.case.formulation != "einsum"])
    assert tables(WORKLOAD, [r for r in stored if r.case.backend != "jax"]) == []
    assert tables(WORKLOAD, []) == []

"""What the page of losing formulations says is what the stored run of `standard` measured."""

from __future__ import annotations

import msgspec
import pytest
from docs_losing import PAGE, STORED, page, section

from harness.figures.ceilings import CEILINGS_ALONE
from harness.records.store import load
from workloads.discovery import workloads

WORKLOADS = workloads()[0]


@pytest.fixture(scope="module")
def stored():
    return load(STORED).records


def _rows(text):
    """The cells of each formulation's row."""
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| `")
    ]
    return {first.strip("`"): rest for first, *rest in cells}


def test_the_page_says_what_the_stored_run_measured(stored):
    assert page(WORKLOADS, stored) == PAGE.read_text(), "run: python tools/docs.py --write"


def test_a_number_that_is_not_the_measured_one_is_noticed(stored):
    text = PAGE.read_text()
    assert "| `patches` | 226 |" in text
    assert page(WORKLOADS, stored) != text.replace("| `patches` | 226 |", "| `patches` | 22 |")


def test_every_workload_with_formulations_to_choose_from_has_a_section(stored):
    """Of the workloads that the stored run knows."""
    measured = {record.case.workload for record in stored}
    several = {n for n in measured if any(len(by) > 1 for by in WORKLOADS[n].formulations.values())}
    text = page(WORKLOADS, stored)
    assert {line[3:] for line in text.splitlines() if line.startswith("## ")} == several - CEILINGS_ALONE


def test_a_formulation_that_the_run_does_not_know_is_left_out_and_named(stored):
    older = [r for r in stored if r.case.workload == "capsule_conv" and r.case.formulation not in ("einsum", "loop")]
    text = section(WORKLOADS["capsule_conv"], older)
    assert not {"einsum", "loop"} & set(_rows(text))
    assert "2 formulations are left out, since the stored run is older: `loop` (forward), `einsum` (forward)." in text
    assert "new" not in text.split()
    assert "left out" not in section(WORKLOADS["capsule_conv"], stored)


def test_what_failed_shows_its_status(stored):
    failed = [
        msgspec.structs.replace(r, status="oom", time=None) if r.case.formulation == "patches" else r
        for r in stored
        if r.case.workload == "capsule_conv"
    ]
    rows = _rows(section(WORKLOADS["capsule_conv"], failed))
    assert rows["patches"] == ["oom"] * 3
    assert rows["folded_packed"][1:] == ["-", "-"]
    assert "best" in rows["folded_layout"]


def test_what_was_not_run_in_every_framework_has_no_table(stored):
    assert section(WORKLOADS["capsule_conv"], [r for r in stored if r.case.backend != "jax"]) == ""

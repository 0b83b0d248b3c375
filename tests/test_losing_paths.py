"""What a workload's file says of losing formulations is what the stored run of `standard` measured."""

from __future__ import annotations

import msgspec
import pytest
from losing_paths import STORED, files, regenerated, tables

from harness.records.store import load
from workloads.discovery import workloads

WORKLOADS = workloads()[0]


@pytest.fixture(scope="module")
def stored():
    return load(STORED).records


@pytest.mark.parametrize("name", files())
def test_the_file_says_what_the_stored_run_measured(name, stored):
    text = files()[name].read_text()
    assert regenerated(text, WORKLOADS[name], stored) == text, "run: python tests/losing_paths.py"


def test_a_number_that_is_not_the_measured_one_is_noticed(stored):
    text = files()["capsule_conv"].read_text()
    assert regenerated(text.replace("patches  ", "patches 9"), WORKLOADS["capsule_conv"], stored) == text


def test_a_file_without_a_table_is_refused(stored):
    with pytest.raises(ValueError, match=r"capsule_conv: .* one table .* found 0"):
        regenerated("no table", WORKLOADS["capsule_conv"], stored)


def test_what_failed_shows_its_status_and_what_the_run_did_not_know_is_new(stored):
    ours = [r for r in stored if r.case.workload == "capsule_conv" and r.case.formulation != "einsum"]
    failed = [
        msgspec.structs.replace(r, status="oom", time=None) if r.case.formulation == "patches" else r for r in ours
    ]
    rows = {
        line.split()[0]: line.split()[1:] for line in tables(WORKLOADS["capsule_conv"], failed).splitlines() if line
    }
    assert rows["patches"] == ["oom"] * 3
    assert rows["einsum"] == ["new"] * 3
    assert rows["folded_packed"][1:] == ["-", "-"]
    assert "best" in rows["folded_layout"]

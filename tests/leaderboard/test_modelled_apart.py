"""What is modelled comes on no board, whatever stands beside it in a submission."""

from __future__ import annotations

import pytest
from _records import dense, idea
from _stored import RUN

from harness.figures.summary import summarise
from harness.leaderboard.submission import accelerators, submission
from harness.records.record import Modelled

DEVICE = "model:today"


@pytest.fixture
def records():
    """An idea and its twin, measured on the host and, a million times faster, modelled."""
    fast = Modelled(
        device="today",
        digest="0" * 16,
        kind="dense",
        time_s=1e-6,
        energy_j=None,
        bound_by="matmul",
        parts_s={"matmul": 1e-6},
        cases=9,
        median_error=0.1,
        p95_error=0.3,
    )
    modelled = {"device": DEVICE, "status": "modelled", "modelled": fast}
    return [idea([2.0] * 3), dense([1.0] * 3), idea(None, **modelled), dense(None, **modelled)]


def test_entries_and_estimates_are_of_what_was_measured_and_compiled(records):
    found = submission(RUN, records, summarise(records), "0" * 64, [])
    assert [(entry.device, entry.time_s) for entry in found.entries] == [("cpu", 2.0)]
    assert found.estimates == []
    assert all(DEVICE not in line for line in found.portability)


def test_a_modelled_device_is_no_accelerator_of_the_machine(records):
    assert accelerators(records) == {}
    assert accelerators([idea(None, device="cuda")])  # which one that is there would be

"""A run that goes on is handed what it measured where it would measure it, each process once."""

from __future__ import annotations

from types import SimpleNamespace

import msgspec
import pytest
from _records import record

from harness.planning.groups import InterleavedGroup
from harness.records.merging import merge
from harness.running.recall import Recall

A, B, C, TWIN = (record(processes=[1.0], formulation=name).case for name in ("a", "b", "c", "twin"))


def process(case, round_, heat, *, control=False, seconds=1.0):
    found = record(processes=[seconds], rounds=[round_], groups=[heat], first_call_s=seconds)
    trial = msgspec.structs.replace(found.time.trials[0], started_at=f"{round_} {heat}", first_call_s=seconds)
    time = msgspec.structs.replace(found.time, trials=[trial])
    return msgspec.structs.replace(found, case=case, control=control, time=time)


def failed(case, status="crash"):
    return msgspec.structs.replace(record(status=status), case=case)


def group(*cases, controls=()):
    members = [SimpleNamespace(key=(case.key, False)) for case in cases]
    return InterleavedGroup(1, (*members, *(SimpleNamespace(key=(case.key, True)) for case in controls)))


def seconds(found):
    return {key: record.time and record.time.samples_s for key, record in found.items()}


@pytest.mark.parametrize("merged", [False, True])
def test_each_process_comes_back_once_in_its_round(merged):
    stored = [process(A, 1, 1, seconds=1.5), process(B, 1, 1), process(A, 2, 2, seconds=2.5), process(B, 2, 2)]
    recall = Recall(merge(stored) if merged else stored)
    assert seconds(recall.of(group(A, B), 2))[A.key, False] == [[2.5]]
    first = recall.of(group(A, B), 1)[A.key, False]
    assert (first.time.samples_s, len(first.time.trials), first.time.first_call_s) == ([[1.5]], 1, 1.5)
    assert recall.of(group(A, B), 1) == {}
    assert recall.of(group(A, B), 3) == {}
    assert recall.last_group == 2


def test_a_twin_of_several_groups_is_given_to_the_group_that_it_was_in():
    stored = [process(A, 1, 1), process(TWIN, 1, 1, seconds=1.1), process(B, 1, 2), process(TWIN, 1, 2, seconds=1.2)]
    recall = Recall(stored)
    assert recall.of(group(C, TWIN), 1) == {}, "it was with none of these"
    assert seconds(recall.of(group(B, TWIN), 1))[TWIN.key, False] == [[1.2]]
    assert seconds(recall.of(group(A, TWIN), 1))[TWIN.key, False] == [[1.1]]


def test_what_is_missing_of_a_group_is_all_that_is_measured():
    """A line that was torn, a case that is tried again: the others of its group stay."""
    recall = Recall([process(A, 1, 1), process(B, 1, 1), process(C, 1, 5)])
    assert recall.of(group(A, B, C), 1).keys() == {(A.key, False), (B.key, False), (C.key, False)}
    recall = Recall([process(A, 1, 1), process(B, 1, 1)])
    assert recall.of(group(A, B, C), 1).keys() == {(A.key, False), (B.key, False)}


def test_a_control_is_not_its_case():
    recall = Recall([process(A, 1, 1), process(A, 1, 1, control=True, seconds=3.0)])
    assert seconds(recall.of(group(A, controls=[A]), 1)) == {(A.key, False): [[1.0]], (A.key, True): [[3.0]]}


def test_a_failure_is_done_in_every_round_and_comes_back_in_its_order():
    recall = Recall([process(A, 1, 1), failed(B), process(A, 2, 2), failed(B, "timeout")])
    assert [recall.of(group(A, B), round_)[B.key, False].status for round_ in (1, 2, 3)] == [
        "crash",
        "timeout",
        "timeout",
    ]


def test_what_ran_alone_has_no_group():
    recall = Recall([process(A, 0, None)])
    assert recall.of(group(A), 0).keys() == {(A.key, False)}
    assert recall.last_group == 0

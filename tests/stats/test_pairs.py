"""Which processes are a pair, and their ratio."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import msgspec
from _records import idea

from harness.records.store import load
from harness.stats.process_times import Process, paired_ratios, pairs, processes

STANDARD = Path(__file__).resolve().parents[2] / "results" / "standard-cpu"


def test_only_common_rounds_are_paired_whatever_their_order():
    def made(**times):
        return [Process(int(key[1:]), time) for key, time in times.items()]

    assert paired_ratios(made(g0=1.0, g2=6.0, g5=9.0), made(g2=3.0, g1=9.0, g0=4.0)) == [0.25, 2.0]
    assert paired_ratios([], []) == []
    assert paired_ratios([Process(None, 1.0)], [Process(None, 2.0)]) == [], "what ran alone has no pair"


def _at(group, minute, seconds, round_=1):
    return Process(group, seconds, round=round_, started_at=f"2026-11-01T10:{minute:02d}:00.000Z")


def test_a_number_that_came_back_pairs_what_ran_together_and_refuses_what_did_not():
    """A resumed run began again at group 1: the machine was half as fast then."""
    over, under = [_at(1, 0, 3.0), _at(1, 50, 6.0)], [_at(1, 51, 2.0), _at(1, 1, 1.0)]
    assert paired_ratios(over, under) == [3.0, 3.0]
    assert paired_ratios(over[:1], under[:1]) == [], "50 minutes apart they never met"
    assert paired_ratios(over, under[:1]) == [3.0], "no process is paired twice"
    assert paired_ratios([Process(1, 1.0, started_at="yesterday")], under) == [], "of what has no time nobody knows"


def test_pairs_of_full_rounds_go_before_those_of_the_first_look():
    over = [_at(1, 0, 9.0, 0), _at(2, 1, 3.0)]
    assert paired_ratios(over, [_at(1, 0, 1.0, 0), _at(2, 1, 1.0)]) == [3.0]
    assert paired_ratios(over[:1], [_at(1, 0, 1.0, 0), _at(2, 1, 1.0)]) == [9.0], "a point of a sweep has no others"


def test_processes_that_are_pairs_by_number_in_a_stored_run_began_together():
    """63 numbers came back in it after --resume, 50 to 70 minutes later."""
    cases = {(r.case.key, r.control): processes(r) for r in load(STANDARD).records}
    groups = {}
    for found in cases.values():
        for process in found:
            groups.setdefault(process.group, []).append(process)
    twice = 0
    for group, members in groups.items():
        if group is not None:
            begun = sorted(process.started_s for process in members)
            twice += begun[-1] - begun[0] > 3000
            assert all(b - a < 20 or b - a > 2500 for a, b in pairwise(begun))
            assert all(abs(a.started_s - b.started_s) < 20 for a, b in pairs(members, members))
    assert twice == 63


def _turns(slices, warmup=()):
    """A record of one group whose window had these slices, the samples of `warmup` before them in the first."""
    flat = [s for item in slices for s in item]
    counts = [len(element) + (len(warmup) if not k else 0) for k, element in enumerate(slices)]
    made = idea([flat])
    (trial,) = made.time.trials
    trial = msgspec.structs.replace(trial, heat=7, slices=counts, warmup_s=list(warmup))
    return processes(msgspec.structs.replace(made, time=msgspec.structs.replace(made.time, trials=[trial])))


def test_in_a_group_turns_are_paired_so_a_machine_that_changes_its_speed_between_them_cancels():
    """Half of the window slow: the medians of the two windows are 1 and 4, and the cases the same."""
    a, b = [[1.0, 1.0, 1.0], [4.0, 4.0], [1.0], [4.0, 4.0]], [[1.0], [4.0, 4.0, 4.0], [1.0], [4.0, 4.0]]
    (first,), (second,) = _turns(a), _turns(b)
    assert (first.centre_s, second.centre_s) == (2.5, 4.0)
    assert paired_ratios([first], [second]) == [1.0]


def test_only_turns_that_both_took_are_paired_and_of_too_few_the_medians_are():
    assert paired_ratios(_turns([[2.0], [8.0], [6.0]]), _turns([[1.0], [4.0]])) == [2.0]
    assert paired_ratios(_turns([[2.0, 3.0, 4.0]]), _turns([[1.0], [4.0]])) == [3.0 / 2.5]


def test_a_slice_that_the_warm_up_took_is_no_turn():
    (process,) = _turns([[1.0], [2.0], [3.0]], warmup=[9.0, 9.0])
    first, *rest = process.slices_s
    assert math.isnan(first)
    assert rest == [2.0, 3.0]


def test_a_record_whose_slices_do_not_add_up_is_paired_by_its_medians():
    assert Process(1, 5.0, [5.0, 6.0], [1]).slices_s == []
    assert paired_ratios([Process(1, 5.0, [5.0, 6.0], [1])], [Process(1, 2.5)]) == [2.0]

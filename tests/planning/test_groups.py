"""Groups: who is measured together, what turns are taken, and that one member's end is not the others'."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from _records import record, timing, twin_ref

from harness.measuring import waiting
from harness.measuring.settings import Sampling
from harness.planning import groups as planning_groups
from harness.planning.groups import InterleavedGroup, Member, interleaved_groups, raced, width
from harness.planning.plan import Planned
from harness.records.record import WorkFacts
from harness.worker.interleave import IDLE_WAIT_S, wait_until_idle

# -- who is measured together -----------------------------------------------------------------------------------------


def planned(made, live_bytes=1000):
    return Planned(
        case=made.case,
        work=WorkFacts(useful_flop=1, least_bytes=1, live_bytes=live_bytes),
        twins=tuple(made.twins),
        headline=True,
        repeated=True,
        survey=True,
        group="",
    )


def idea(n, backend="numpy", formulation="csr", processes=(2.0,), **facts):
    twins = [twin_ref("same_shape", "dense_matmul", {"m": 8})]
    return record(params={"n": n}, processes=list(processes), backend=backend, formulation=formulation, twins=twins)


def dense(backend="numpy", processes=(1.0,)):
    return record("dense_matmul", list(processes), params={"m": 8}, formulation="nn", backend=backend)


def made(*records, **options):
    known = {(r.case.key, r.control): r for r in records}
    return interleaved_groups([planned(r) for r in records], known, 0, **options)


def names(group, control=False):
    return [f"{x.planned.case.workload} {x.planned.case.params}" for x in group.members if x.control == control]


def test_ideas_of_one_twin_share_a_group_with_it_and_a_case_without_one_has_its_own():
    found = made(idea(1), idea(2), dense(), record("dense_cnn", [1.0], params={"n": 5}))
    assert [names(h) for h in found] == [
        ["unstructured_sparse {'n': 1}", "dense_matmul {'m': 8}", "unstructured_sparse {'n': 2}"],
        ["dense_cnn {'n': 5}"],
    ]


def test_backends_never_share_a_group():
    found = made(idea(1), dense(), idea(1, backend="torch"), dense(backend="torch"))
    assert [h.server for h in found] == [("numpy", "cpu"), ("torch", "cpu")]


def test_a_group_holds_no_more_members_than_it_may_and_every_idea_has_its_twin_beside_it():
    found = made(*(idea(n) for n in range(20)), dense())
    assert all(len([x for x in h.members if not x.control]) <= planning_groups.MEMBERS for h in found)
    assert all("dense_matmul {'m': 8}" in names(h) for h in found)
    assert sum(len(names(h)) - 1 for h in found) == 20


def test_what_does_not_fit_into_memory_together_is_measured_apart():
    together = made(idea(1), dense(), memory_bytes=4 * planning_groups.PROCESS_BYTES)
    apart = made(idea(1), dense(), memory_bytes=planning_groups.PROCESS_BYTES + 100)
    assert [len(names(h)) for h in together] == [2]
    assert [len(names(h)) for h in apart] == [1, 1], "a single case always has its group"


def test_controls_run_beside_themselves_drawn_from_every_backend_the_same_for_a_seed():
    records = [r for b in ("numpy", "torch", "jax") for r in [*(idea(n, backend=b) for n in range(9)), dense(b)]]
    first, again = made(*records), made(*records)
    controls = [x.planned.case for h in first for x in h.members if x.control]
    assert len(controls) == planning_groups.CONTROLS
    assert {c.backend for c in controls} == {"numpy", "torch", "jax"}
    assert first == again
    for group in first:
        assert {x.planned.case.key for x in group.members if x.control} <= {
            x.planned.case.key for x in group.members if not x.control
        }, "the control is in the group of its case"


REACH = 4.302652729911275 / math.sqrt(3)  # Student's t of 2 degrees, as in test_metrics

# -- where another group is worth most ---------------------------------------------------------------------------------


def one_group(*records):
    known = {(r.case.key, r.control): r for r in records}
    return width(InterleavedGroup(1, tuple(Member(planned(r), r.control) for r in records)), known)


def test_the_width_of_a_group_is_that_of_the_ratio_so_drift_common_to_both_does_not_widen_it():
    drifting = [1.0, 2.0, 4.0, 8.0, 16.0]
    assert one_group(idea(1, processes=[2 * t for t in drifting]), dense(processes=drifting)) == 0
    wide = one_group(idea(1, processes=[2.0] * 6 + [2.2] * 3), dense(processes=[1.0] * 9))
    middle, half = 1.1 ** (1 / 3), 2.306004135204166 * 0.5 * math.log(1.1) / 3  # Student's t of 8 degrees, sd, √9
    assert wide == pytest.approx(middle * math.sinh(half))


def test_one_process_has_an_infinite_width_and_a_failure_none():
    assert one_group(idea(1, processes=[2.0]), dense(processes=[1.0])) == math.inf
    assert one_group(record("dense_cnn", None, status="timeout")) == 0


def test_a_lone_case_is_as_wide_as_its_time():
    assert one_group(record("dense_cnn", [1.0, 1.1, 1.21], params={"n": 5})) == pytest.approx(
        math.sinh(REACH * math.log(1.1))
    )


def test_survey_times_have_no_part_in_a_width():
    alone = record("dense_cnn", [9.0, 1.0, 1.0], params={"n": 5}, rounds=[0, 1, 2])
    assert one_group(alone) == 0
    assert timing([9.0], rounds=[0]).trials[0].heat is None


# -- a group for real --------------------------------------------------------------------------------------------------


@pytest.fixture
def group(server, bad_job):
    def ask(*formulations, timeout_s=60.0, slices=4, window_s=0.2):
        sampling = Sampling(window_s=window_s, slices=slices, sample_s=0.0)
        jobs = [bad_job(name, sampling) for name in formulations]
        return [answer.measured for answer in server.interleave(jobs, timeout_s)]

    return ask


def test_members_take_the_slices_that_were_asked_and_each_has_its_own_answer(group):
    good, busy = group("good", "busy", window_s=1.0)
    assert (good.status, busy.status) == ("ok", "ok")
    assert (good.trial.turns, busy.trial.turns) == (4, 4)
    assert min(busy.samples_s) > 0.02 > min(good.samples_s)


def test_a_member_has_the_turn_only_when_the_threads_of_the_one_before_sleep():
    """A pool that spins on after its last call would take a core from the next."""
    spin = "print(flush=True)\nwhile True: pass"
    rest = "import time; print(flush=True); time.sleep(60)"
    for program, least in ((spin, IDLE_WAIT_S), (rest, 0.0)):
        with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
            try:
                process.stdout.readline()  # before, it may well sleep: until its files are read
                stats = list(Path(f"/proc/{process.pid}/task").glob("*/stat"))
                while program is rest and waiting.running(stats):
                    time.sleep(0.01)
                began = time.perf_counter()
                wait_until_idle(process.pid)
                assert least <= time.perf_counter() - began < least + 1.0, "it waits for a while, and not for ever"
                assert bool(waiting.running(stats)) == (program is spin)
            finally:
                process.kill()
    assert waiting.running(stats) == [], "a process that has ended is at rest"
    wait_until_idle(process.pid)


def test_long_calls_are_cut_into_fewer_slices(group):
    (busy,) = group("busy", slices=100)
    assert busy.trial.turns < 10


@pytest.mark.parametrize(
    ("bad", "status"), [("late_leaver", "crash"), ("segfault", "crash"), ("refuser", "unsupported")]
)
def test_the_end_of_one_member_is_not_the_end_of_the_others(group, bad, status):
    first, second, third = group("good", bad, "good")
    assert second.status == status
    assert (first.status, third.status) == ("ok", "ok")


def test_a_member_that_hangs_in_its_turn_is_a_timeout_and_leaves_no_process(group, server):
    first, second = group("good", "late_sleeper", timeout_s=3.0)
    assert (first.status, second.status) == ("ok", "timeout")
    assert "measuring" in second.reason
    assert psutil.Process(server._process.pid).children(recursive=True) == []


def test_what_has_a_control_stays_in_every_round():
    """A control counts only if it was in all of them, whatever became of its case."""
    left, fell_behind, twin = idea(1), idea(2), dense()
    plan = [planned(r) for r in (left, fell_behind, twin)]
    known = {(r.case.key, control): r for r in (left, fell_behind, twin) for control in (False, r is fell_behind)}
    options = SimpleNamespace(seed=0, memory_bytes=None)
    keys = [m.key for group in raced([plan[0], plan[2]], plan, known, options) for m in group.members]
    assert {(fell_behind.case.key, False), (fell_behind.case.key, True)} <= set(keys)
    known.pop((fell_behind.case.key, True))
    keys = [m.key for group in raced([plan[0], plan[2]], plan, known, options) for m in group.members]
    assert (fell_behind.case.key, False) not in keys

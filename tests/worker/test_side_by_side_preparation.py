"""Several processes prepare at once while nothing is measured; what must be timed to prepare waits for quiet."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
from itertools import combinations

import psutil
import pytest

from harness.measuring import waiting
from harness.measuring.clock import Hooks, Timed, sample
from harness.measuring.settings import Sampling
from harness.measuring.turn import Alone
from harness.measuring.waiting import clock, waited_s

SHORT = Sampling(window_s=0.02, sample_s=0.0)


@pytest.fixture
def noted(place):
    """What the misbehaving workload noted: (from, to) of each process, in order of their begin."""

    def read(what):
        files = list(place.glob(f"{what}-*"))
        spans = sorted(tuple(map(float, file.read_text().split())) for file in files)
        for file in files:
            file.unlink()
        return spans

    return read


def overlap(spans):
    return sum(a[0] < b[1] and b[0] < a[1] for a, b in combinations(spans, 2))


def run(server, groups, abreast):
    server.begin([(jobs, 0) for jobs in groups], 60, abreast)
    server.prepared()
    for number in range(len(groups)):
        server.measure(number)
    server.finish()
    return [[answer.measured for answer in group] for group in server.answers()]


@pytest.mark.parametrize(("abreast", "together"), [(1, 0), (2, 2)])
def test_as_many_prepare_at_once_as_were_asked(server, bad_job, noted, abreast, together):
    jobs = [bad_job("slow_starter", SHORT) for _ in range(4)]
    answers = run(server, [jobs[:3], jobs[3:]], abreast)
    assert [[m.status for m in group] for group in answers] == [["ok"] * 3, ["ok"]]
    spans = noted("starting")
    assert len(spans) == 4
    assert overlap(spans) >= together
    assert abreast > 1 or not overlap(spans)


def test_what_is_timed_to_prepare_waits_until_nothing_else_prepares_or_tries(server, bad_job, noted):
    jobs = [bad_job(name, SHORT) for name in ("trier", "slow_starter", "trier")]
    ((first, _, third),) = run(server, [jobs], 3)
    assert (first.status, third.status) == ("ok", "ok")
    tried, started = noted("trying"), noted("starting")
    assert (len(tried), len(started)) == (2, 1)
    assert overlap([*tried, *started]) == 0


@pytest.mark.parametrize("bad", ["late_leaver", "segfault", "raiser", "refuser"])
def test_the_end_of_one_of_several_groups_is_not_the_end_of_the_others(server, bad_job, bad):
    sampling = Sampling(window_s=0.2, slices=4, sample_s=0.0)
    groups = [[bad_job("good", sampling)], [bad_job(bad, sampling), bad_job("good", sampling)]]
    ((first,), (second, third)) = run(server, groups, 2)
    assert (first.status, third.status) == ("ok", "ok")
    assert second.status != "ok"


def test_one_that_never_gets_ready_is_a_timeout_and_leaves_no_process(server, bad_job):
    server.begin([([bad_job("sleeper", SHORT), bad_job("good", SHORT)], 0)], 2.0, 2)
    server.prepared()
    server.measure(0)
    server.finish()
    ((slept, good),) = server.answers()
    assert (slept.measured.status, good.measured.status) == ("timeout", "ok")
    assert "first call" in slept.measured.reason
    assert psutil.Process(server._process.pid).children(recursive=True) == []


def test_groups_that_were_not_measured_end_with_the_request(server, bad_job):
    server.begin([([bad_job("good", SHORT)], 0), ([bad_job("good", SHORT)], 0)], 30, 2)
    server.prepared()
    server.finish()
    assert [m.measured.status for (m,) in server.answers()] == ["ok", "ok"]
    assert server.run(bad_job("good", SHORT), 30).measured.status == "ok", "the server goes on"


# -- starved slices ----------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def two_cores(monkeypatch):
    """The clock believes that there are two, whatever machine this is."""
    monkeypatch.setattr("harness.measuring.clock.usable_cores", lambda: 2)


class Kernel:
    """A kernel that says, after each slice, how long threads have waited: `shares` of 0.01 s, then none."""

    def __init__(self, shares):
        self.shares, self.waited, self.asked = list(shares), 0.0, 0

    def __call__(self):
        self.asked += 1
        if self.asked % 2 == 0:  # at the end of a slice
            self.waited += 0.01 * (self.shares.pop(0) if self.shares else 0.0)
        return self.waited


def taken(kernel, slices=4, busy=None):
    """A window of calls that keep a core busy, or as `busy` says: a share for each slice."""
    calls, left = [], list(busy or [])

    def call():
        calls.append(0)
        until = time.perf_counter() + 5e-4
        share = left[0] if left else 1.0
        while time.perf_counter() < until - 5e-4 * (1 - share):
            pass
        time.sleep(max(0.0, until - time.perf_counter()))
        return ()

    timed = Timed(call, (), lambda outputs: None)
    sampling = Sampling(window_s=0.01 * slices, slices=slices, sample_s=1e-3)

    class Turns(Alone):
        def rest(self):
            if left:
                left.pop(0)

    return sample(timed, sampling, Turns(), Hooks(waited_s=kernel)), len(calls)


def test_a_slice_whose_threads_waited_for_a_core_all_the_time_is_taken_again():
    again, calls = taken(Kernel([0.0, 3.0, 0.0]))
    assert again.repeated >= 1
    assert len(again.slices) == 4
    assert sum(again.slices) == len(again.samples_s)
    assert again.metered > again.calls, "the calls of the slice that was thrown away were metered"
    assert calls > again.metered


def test_a_slice_that_kept_fewer_cores_busy_than_another_is_taken_again():
    """Without a kernel that says who waits."""
    window, _ = taken(None, busy=[1.0, 1.0, 0.3, 0.3])
    assert window.repeated == 2
    assert window.starved >= 2, "again as starved"
    assert len(window.slices) == 4


def test_on_a_machine_that_stays_busy_half_of_the_slices_are_taken_again_and_all_are_said_to_be_starved():
    window, _ = taken(Kernel([5.0] * 100))
    assert (window.repeated, window.starved) == (2, 4)
    assert len(window.slices) == 4


def test_a_long_call_is_never_taken_again():
    timed = Timed(lambda: time.sleep(0.02) or (), (), lambda outputs: None)
    window = sample(timed, Sampling(window_s=0.0, slices=2, long_s=0.01), None, Hooks(waited_s=Kernel([9.0] * 9)))
    assert window.repeated == 0
    assert window.starved > 0


@pytest.mark.skipif(clock() is None, reason="the kernel does not say how long threads wait for a core")
def test_two_threads_on_one_core_wait_for_it_and_one_that_sleeps_does_not():
    def spin():
        until = time.thread_time() + 0.1
        while time.thread_time() < until:
            sum(range(1000))

    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        before = waited_s()
        time.sleep(0.1)
        slept = waited_s() - before
        busy = "print(flush=True)\nwhile True: pass"
        with subprocess.Popen([sys.executable, "-c", busy], stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            before = waited_s()
            spin()
            spun = waited_s() - before
            process.kill()
    finally:
        os.sched_setaffinity(0, cores)
    assert spun > 0.04
    assert slept < spun


def test_where_the_kernel_does_not_say_nothing_is_taken_again(monkeypatch, tmp_path):
    monkeypatch.setattr(waiting, "_TASKS", str(tmp_path / "none"))
    assert waiting.clock() is None
    assert dataclasses.asdict(Hooks())["waited_s"] is None


def test_calls_that_wait_for_something_else_than_a_core_are_not_starved():
    """They keep a third of a core busy, or less in some slices, and no thread of theirs waits for one."""
    window, _ = taken(None, busy=[0.3, 0.3, 0.02, 0.02])
    assert (window.repeated, window.starved) == (0, 0)

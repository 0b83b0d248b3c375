"""The machine's state: what is read of it, quiet and disturbed, and the warning for each reading that disturbs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from _readings import lay, machine

from harness.machine import facts, linux, state

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """Each test's machine has its own groups, and its first core is ours."""
    linux.cgroups.cache_clear()
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0}, raising=False)
    yield
    linux.cgroups.cache_clear()


def disturbed(tmp_path, monkeypatch, *, seconds=10.0, threads=2, before=None, **after):
    """The warnings between a quiet reading and one of `after`, `seconds` later."""
    clock = iter([100.0, 100.0 + seconds])
    monkeypatch.setattr(state.time, "perf_counter", lambda: next(clock))
    first = state.read(lay(tmp_path, machine(os.getpid(), **(before or {}))))
    last = state.read(lay(tmp_path, machine(os.getpid(), **after)))
    return state.warnings(first, last, threads)


def test_everything_that_is_told_is_read(tmp_path):
    found = state.read(lay(tmp_path, machine(os.getpid(), steal=50, waited=2_000_000, quota="150000 100000")))
    del found["clock_s"]
    assert found == {
        "busy_s": 11.05,
        "steal_s": 0.5,
        "ours_s": 5.2,
        "load_1min": 0.52,
        "frequency_hz": 2.9e9,
        "frequency_max_hz": 3.4e9,
        "governor": "performance",
        "frequency_driver": "intel_pstate",
        "thermal_throttles": 10,
        "swap_pages": 40,
        "memory_pressure_s": 2.0,
        "quota_cores": 1.5,
        "quota_stopped_s": 0.0,
        "memory_limit_bytes": 4 << 30,
        "memory_used_bytes": 1 << 30,
        "on_battery": False,
    }


def test_a_quiet_machine_has_no_warnings(tmp_path, monkeypatch):
    """Ten seconds of work of ours, a little of others: 2.5 % of two cores."""
    assert disturbed(tmp_path, monkeypatch, user=3050, ours=2500) == []


@pytest.mark.parametrize(
    ("after", "code", "number"),
    [
        ({"user": 3100, "ours": 600}, "load", 2.0),
        ({"steal": 50}, "steal", 0.05),
        ({"stopped": 400_000}, "quota", 0.04),
        ({"waited": 300_000}, "memory-pressure", 0.03),
        ({"throttles": 5}, "thermal", 2),
        ({"swapped": 300}, "swap", 300),
        ({"khz": 1_360_000}, "frequency", 0.4),
        ({"governor": "powersave", "driver": "acpi-cpufreq"}, "governor", 1),
        ({"quota": "100000 100000"}, "quota-cores", 2.0),
        ({"used": int(3.9 * (1 << 30))}, "memory-limit", 0.975),
        ({"battery": "Discharging"}, "battery", 1),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_a_reading_that_disturbs_is_a_warning_with_its_number(tmp_path, monkeypatch, after, code, number):
    (found,) = disturbed(tmp_path, monkeypatch, **after)
    assert found.code == code
    assert found.number == pytest.approx(number, rel=1e-6)
    assert re.search(r"\d", found.sentence)
    assert ";" in found.sentence  # what, then what to do


def test_a_governor_that_follows_the_load_is_no_warning(tmp_path, monkeypatch):
    assert disturbed(tmp_path, monkeypatch, governor="powersave", driver="intel_pstate") == []


def test_load_over_too_short_a_time_is_not_judged(tmp_path, monkeypatch):
    """The kernel counts in hundredths of a second."""
    assert disturbed(tmp_path, monkeypatch, seconds=0.1, user=1010) == []


def test_a_machine_that_tells_nothing_is_unknown_and_no_warning(tmp_path):
    found = state.read(tmp_path)
    assert {v for k, v in found.items() if k != "clock_s"} == {None}
    assert state.warnings(found, found, 2) == []


def test_files_that_hold_something_else_are_unknown(tmp_path):
    garbled = {name: "?\n" for name in machine(os.getpid()) if "loadavg" not in name and not name.endswith("/stat")}
    found = state.read(lay(tmp_path, garbled))
    assert (found["swap_pages"], found["memory_pressure_s"], found["memory_limit_bytes"]) == (None, None, None)


def test_limits_of_the_first_version_of_control_groups(tmp_path):
    files = {
        "proc/self/cgroup": "5:memory:/box\n4:cpu,cpuacct:/box\n1:name=systemd:/\n",
        "sys/fs/cgroup/cpu/box/cpu.cfs_quota_us": "250000\n",
        "sys/fs/cgroup/cpu/box/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/cpu/box/cpu.stat": "nr_periods 9\nnr_throttled 2\nthrottled_time 1500000000\n",
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
        "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/memory/box/memory.limit_in_bytes": f"{2 << 30}\n",
        "sys/fs/cgroup/memory/box/memory.usage_in_bytes": "1000\n",
        "sys/fs/cgroup/memory/box/memory.stat": "cache 1\ntotal_inactive_file 400\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
    }
    found = state.read(lay(tmp_path, files))
    assert (found["quota_cores"], found["quota_stopped_s"]) == (2.5, 1.5)
    assert (found["memory_limit_bytes"], found["memory_used_bytes"]) == (2 << 30, 600)


def test_a_container_that_sees_its_limits_at_the_top(tmp_path):
    """Inside, the name of the group is the host's and has no folder."""
    files = {"proc/self/cgroup": "0::/kubepods/pod7\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}
    assert state.read(lay(tmp_path, files))["quota_cores"] == 0.5


@LINUX
def test_what_a_child_burns_counts_as_ours_and_not_as_load_by_others():
    before = state.read()
    subprocess.run([sys.executable, "-c", "import time\nwhile time.process_time() < 0.6: pass"], check=True)
    after = state.read()
    assert after["ours_s"] - before["ours_s"] >= 0.55
    assert state.read(pids=[2**22 + 1])["ours_s"] is None  # no such process


@LINUX
def test_reading_this_machine_is_cheap():
    """A benchmark has the figure; here only that nobody made it ten times as dear."""
    state.read()
    took = []
    for _ in range(20):
        began = time.thread_time()
        state.read()
        took.append(time.thread_time() - began)
    assert min(took) < 10e-3


def test_a_system_without_affinity_or_proc_is_described_all_the_same(monkeypatch):
    """As on macOS and Windows."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(linux, "text", lambda path: None)
    monkeypatch.setattr(facts.readers, "text", lambda path: None)
    found = facts.facts()
    assert found["cores_usable"] == os.cpu_count()
    assert found["virtual_machine"] is None
    assert facts.state()["busy_s"] is None


def test_the_memory_limit_is_the_containers_where_that_is_lower(monkeypatch):
    free = facts.memory_limit_bytes()
    monkeypatch.setattr(facts.readers, "memory_limit", lambda groups: 1 << 20)
    assert facts.memory_limit_bytes() == int(0.9 * (1 << 20)) < free


def test_the_readers_take_the_roots_of_paths_and_of_strings(tmp_path):
    lay(tmp_path, machine(os.getpid()))
    assert state.read(Path(f"{tmp_path}/"))["load_1min"] == 0.52

"""A GPU is held by one process; throttled samples are thrown away and caches emptied, with a GPU made up."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backends.ops import FLUSH_BYTES, Device
from harness.measuring import gpu_conditions
from harness.measuring.clock import Hooks, Timed, sample
from harness.measuring.energy.meter import Unavailable
from harness.measuring.energy.nvml import Gpu
from harness.measuring.settings import Sampling

CUDA = Device("cuda")
MIB = 1 << 20


HOLD = """
import sys, time
from pathlib import Path
from backends.ops import Device
from harness.measuring import gpu_conditions
with gpu_conditions.alone(Device("cuda"), print, lambda index: "card", Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_gpu_is_held_by_one_process_until_it_ends_however_it_ends(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2], text=True
    )
    try:
        assert holder.stdout.readline() == "held\n"
        with gpu_conditions.alone(CUDA, pytest.fail, lambda index: "another card", tmp_path):
            pass  # another card is free
        waited = []

        def phase(words):
            waited.append(words)
            holder.kill()

        with gpu_conditions.alone(CUDA, phase, lambda index: "card", tmp_path):
            assert waited == ["waiting for cuda, which another run holds"]
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


def test_the_host_and_a_machine_without_a_driver_hold_nothing(tmp_path):
    def no_driver(index):
        raise Unavailable("the CUDA driver is not installed")

    for device in (Device("cpu"), CUDA):
        with gpu_conditions.alone(device, pytest.fail, no_driver, tmp_path):
            pass
    assert list(tmp_path.iterdir()) == []


# -- clocks, throttling and caches ------------------------------------------------------------------------------------


class _Nvml:
    """NVML of one card; `bits` is what holds its clocks down, one reading after the other, the last for ever."""

    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0

    class NVMLError(Exception):
        pass

    def __init__(self, *bits):
        self.bits = list(bits)

    def nvmlDeviceGetName(self, handle):  # noqa: N802
        return b"NVIDIA Test"

    def nvmlDeviceGetUUID(self, handle):  # noqa: N802
        return "GPU-0123"

    def nvmlSystemGetDriverVersion(self):  # noqa: N802
        return "580.1"

    def nvmlDeviceGetClockInfo(self, handle, which):  # noqa: N802
        return {1: 1980, 2: 3201}[which]

    def nvmlDeviceGetMaxClockInfo(self, handle, which):  # noqa: N802
        return 1980

    def nvmlDeviceGetTemperature(self, handle, sensor):  # noqa: N802
        raise self.NVMLError("Not Supported")

    def nvmlDeviceGetEnforcedPowerLimit(self, handle):  # noqa: N802
        return 700000

    def nvmlDeviceGetComputeRunningProcesses(self, handle):  # noqa: N802
        return [object()]

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle):  # noqa: N802
        return self.bits.pop(0) if len(self.bits) > 1 else self.bits[0]


def test_the_state_of_a_card_is_recorded_without_naming_the_card():
    found = gpu_conditions.settings(Gpu(_Nvml(0x04), "handle"))
    assert (found["gpu"], found["gpu_sm_mhz"], found["gpu_power_limit_w"]) == ("NVIDIA Test", 1980, 700.0)
    assert found["gpu_clocks_held_by"] == "power limit"
    assert found["gpu_temperature_c"] is None, "unknown is null"
    assert "0123" not in str(found["gpu_id"])


def test_samples_between_readings_of_which_one_is_bad_are_disturbed_and_the_power_limit_disturbs_none():
    readings = iter([0x0, 0x04, 0x40, 0x0, 0x0])
    now = iter(range(100))
    throttle = gpu_conditions.Throttle(lambda: next(readings), clock=lambda: next(now))
    for taken in (0, 10, 20, 30, 40):
        throttle.now(taken)
    assert throttle.disturbed == set(range(10, 30))
    assert throttle.settings() == {
        "gpu_limited_by": "power limit, hardware thermal slowdown",
        "gpu_samples_thrown_away": 20,
    }


def test_readings_are_not_taken_more_often_than_they_are_worth():
    at = [0.0]
    taken = []
    throttle = gpu_conditions.Throttle(lambda: taken.append(at[0]) or 0, clock=lambda: at[0])
    for number in range(100):
        at[0] = number * 1e-3
        throttle.look(number)
    assert len(taken) == 5


class _Ops:
    device = CUDA

    def __init__(self, device=CUDA):
        self.device, self.flushed = device, 0

    def flush_cache(self):
        self.flushed += 1
        return True


def test_throttled_samples_are_thrown_away_with_a_word_and_a_window_of_nothing_else_is_refused():
    some = gpu_conditions.Conditions(_Ops(), MIB, lambda index: Gpu(_Nvml(0, 0, 0, 0x40), "handle"))
    time.sleep(2 * gpu_conditions.LOOK_S)
    some.between(2)
    assert some.keep([1.0, 2.0, 3.0, 4.0]) == [1.0, 2.0]
    assert some.settings()["gpu_samples_thrown_away"] == 2
    every = gpu_conditions.Conditions(_Ops(), MIB, lambda index: Gpu(_Nvml(0x40), "handle"))
    with pytest.raises(gpu_conditions.Throttled, match="hardware thermal slowdown"):
        every.keep([1.0, 2.0])


def test_caches_are_flushed_where_the_working_set_fits_and_the_record_says_which():
    def without_nvml(index):
        raise Unavailable("nvidia-ml-py is not installed")

    small, large = (
        gpu_conditions.Conditions(_Ops(), MIB, without_nvml),
        gpu_conditions.Conditions(_Ops(), FLUSH_BYTES, without_nvml),
    )
    assert small.flush is not None
    assert small.settings() == {"l2": "flushed"}
    assert large.flush is None
    assert large.settings() == {"l2": "warm: the working set is larger"}
    host = gpu_conditions.Conditions(_Ops(Device("cpu")), MIB, pytest.fail)
    assert (host.flush, host.between, host.settings(), host.keep([1.0])) == (None, None, {}, [1.0])


def test_a_sample_behind_a_flush_is_one_call_and_the_flush_is_not_in_its_time():
    events = []
    timed = Timed(
        lambda: events.append("call") or (),
        (),
        lambda outputs: None,
        flush=lambda: events.append("flush") or time.sleep(0.02),
    )
    window = sample(timed, Sampling(window_s=0.0, min_samples=3), hooks=Hooks(between=events.append))
    assert window.calls_per_sample == 1
    assert events == ["call", *(e for taken in (1, 2, 3) for e in ("flush", "call", taken))]
    assert max(window.samples_s) < 0.02


def test_energy_is_metered_over_calls_that_no_flush_comes_between():
    events = []
    timed = Timed(lambda: events.append("call") or (), (), lambda outputs: None, flush=lambda: events.append("flush"))
    meter = Hooks(begin=lambda: events.append("begin"), end=lambda: events.append("end"))
    window = sample(timed, Sampling(window_s=0.001, min_samples=2, max_samples=2), hooks=meter)
    metered = events[events.index("begin") + 1 : events.index("end")]
    assert metered == ["call"] * window.metered
    assert window.metered >= 1


@pytest.mark.fault("a GPU whose name is no UTF-8 (a stand-in for NVML)", "machines")
def test_a_name_that_is_no_utf8_costs_no_case():
    """Given as bytes it is shown as far as it goes; where NVML's own module cannot decode it, it is unknown."""
    nvml = _Nvml(0)
    nvml.nvmlDeviceGetName = lambda handle: b"NVIDIA \xff A100"
    assert gpu_conditions.settings(Gpu(nvml, "handle"))["gpu"] == "NVIDIA \ufffd A100"
    nvml.nvmlDeviceGetName = lambda handle: b"\xff".decode()
    assert gpu_conditions.settings(Gpu(nvml, "handle"))["gpu"] is None


@pytest.mark.fault("a lock in the temporary folder that another user made a link, a pipe or unreadable", "machines")
@pytest.mark.parametrize("kind", ["link", "pipe", "unreadable"])
def test_a_lock_that_another_user_spoilt_is_neither_followed_nor_waited_for(tmp_path, kind, monkeypatch):
    said = []
    name = hashlib.sha256(b"uuid").hexdigest()[:16]
    path = tmp_path / f"hwlottery-gpu-{name}.lock"
    if kind == "link":
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        monkeypatch.setattr(gpu_conditions.os, "open", lambda *_: (_ for _ in ()).throw(PermissionError(13, "no")))
    with gpu_conditions.alone(Device("cuda"), said.append, uuid_of=lambda index: "uuid", folder=tmp_path):
        pass
    assert said == [f"going on without the lock of cuda: {path} cannot be opened"]
    assert not (tmp_path / "elsewhere").exists()


def test_every_user_may_open_the_lock_whatever_the_mask_of_who_made_it(tmp_path):
    before = os.umask(0o077)
    try:
        with gpu_conditions.alone(Device("cuda"), print, uuid_of=lambda index: "uuid", folder=tmp_path):
            (file,) = tmp_path.iterdir()
            assert file.stat().st_mode & 0o777 == 0o666
    finally:
        os.umask(before)

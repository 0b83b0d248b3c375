"""A GPU's energy on a played NVML: its counter, else its power, and that each says what it does not know."""

from __future__ import annotations

import ctypes
import importlib
import subprocess
import sys
import time
import uuid
from pathlib import Path
from types import SimpleNamespace

import pytest
from _energy import CALL, Clock, window

from backends.ops import Device
from harness.measuring.energy import nvml as energy_nvml
from harness.measuring.energy import sources
from harness.measuring.energy.meter import Baseline, Unavailable, update_period
from harness.measuring.settings import PowerModel

CPU, GPU = Device("cpu"), Device("cuda", 1)
NAME = uuid.UUID(int=7)


class NVMLError(Exception):
    """As pynvml's."""


def refuse(words: str):
    def function(*arguments):
        raise NVMLError(words)

    return function


def nvml(**changes):
    """A module like pynvml with one card, `NAME`, at 200 W by the tests' clock."""
    at = lambda card: int((changes["clock"]() if "clock" in changes else time.perf_counter()) * 200e3)  # noqa: E731

    def handle(name):
        if name != f"GPU-{NAME}":
            raise NVMLError("Not Found")
        return "card"

    field = SimpleNamespace(nvmlReturn=0, value=SimpleNamespace(uiVal=200_000))
    module = {
        "NVMLError": NVMLError,
        "NVML_SUCCESS": 0,
        "NVML_FI_DEV_POWER_INSTANT": 186,
        "nvmlInit": lambda: None,
        "nvmlShutdown": refuse("Uninitialized"),
        "nvmlDeviceGetHandleByUUID": handle,
        "nvmlDeviceGetTotalEnergyConsumption": at,
        "nvmlDeviceGetPowerUsage": lambda card: 190_000,
        "nvmlDeviceGetFieldValues": lambda card, fields: [field],
    }
    return SimpleNamespace(**{**module, **changes})


def opener(module, asked=None):
    def open_gpu(index):
        return energy_nvml.open_gpu(index, module, lambda i: (asked.append(i) if asked is not None else None) or NAME)

    return open_gpu


def test_the_counter_of_the_card_that_cuda_numbers_so_is_used():
    clock, asked = Clock(), []
    meter = sources.choose(GPU, PowerModel(), gpu=opener(nvml(clock=clock), asked))
    meter._clock, meter._sleep = clock, clock.sleep
    assert asked == [1]
    assert (meter.source, meter.least_window_s) == ("counter", pytest.approx(1.0))
    window(meter, clock, 2.0)
    found = meter.energy(**CALL)
    assert found.gross_j == pytest.approx(40.0)
    assert found.domains == ["gpu"]
    assert found.low_j == pytest.approx(38.0)  # 0.1 s of 2 s at either end


def test_a_card_without_the_counter_is_sampled():
    module = nvml(nvmlDeviceGetTotalEnergyConsumption=refuse("Not Supported"))
    known = Baseline(source="sampled", update_s=0.01, idle_w=50.0, idle_s=1.0)
    meter = sources.choose(GPU, PowerModel(), known=known, gpu=opener(module))
    assert meter.source == "sampled"
    began = time.process_time()
    for _ in range(2):
        meter.begin()
        time.sleep(0.15)
        meter.end()
    found = meter.energy(**CALL)
    assert found.gross_j == pytest.approx(200 * found.window_s / 10, rel=0.02)
    assert found.net_j == pytest.approx(150 * found.window_s / 10, rel=0.02)
    assert found.low_j < 0.95 * found.gross_j < 1.05 * found.gross_j < found.high_j
    assert time.process_time() - began < 0.15  # the thread slept


def test_power_averaged_by_the_board_needs_a_longer_window():
    module = nvml(
        nvmlDeviceGetTotalEnergyConsumption=refuse("Not Supported"), nvmlDeviceGetFieldValues=refuse("Not Supported")
    )
    meter = sources.choose(GPU, PowerModel(), gpu=opener(module))
    assert (meter.source, meter.update_s, meter.least_window_s) == ("sampled", 1.0, 10.0)
    meter.begin()
    time.sleep(0.02)
    meter.end()
    found = meter.energy(**CALL)
    assert found.gross_j is None
    assert "shorter than ten updates" in found.note
    assert "averaged" in found.note


def test_power_follows_the_trapezoid_rule():
    assert energy_nvml.trapezoid([(0.0, 100.0), (1.0, 200.0), (3.0, 0.0)]) == 150 + 200
    assert energy_nvml.trapezoid([(0.0, 100.0)]) == 0


def test_a_sensor_that_fails_on_the_way_is_unknown():
    answers = iter([0, 1])

    def usage(card, fields):
        if next(answers, None) is None:
            raise NVMLError("GPU is lost")
        return [SimpleNamespace(nvmlReturn=0, value=SimpleNamespace(uiVal=1))]

    module = nvml(nvmlDeviceGetTotalEnergyConsumption=refuse("Not Supported"), nvmlDeviceGetFieldValues=usage)
    known = Baseline(source="sampled", update_s=0.005)
    meter = sources.choose(GPU, PowerModel(), known=known, gpu=opener(module))
    meter.begin()
    time.sleep(0.06)
    meter.end()
    found = meter.energy(**CALL)
    assert found.gross_j is None
    assert "GPU is lost" in found.note


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"nvmlInit": refuse("NVML Shared Library Not Found")}, "Shared Library Not Found"),
        ({"nvmlDeviceGetHandleByUUID": refuse("Not Found")}, "Not Found"),
        (
            {
                "nvmlDeviceGetTotalEnergyConsumption": refuse("Not Supported"),
                "nvmlDeviceGetFieldValues": refuse("Not Supported"),
                "nvmlDeviceGetPowerUsage": refuse("Insufficient Permissions"),
            },
            "Insufficient Permissions",
        ),
    ],
    ids=["no driver", "another card", "no sensor"],
)
def test_a_gpu_that_tells_nothing_has_unknown_energy(changes, words):
    """And no model of the host's cores stands in for it."""
    meter = sources.choose(GPU, PowerModel(), gpu=opener(nvml(**changes)))
    assert meter.source == "none"
    meter.begin()
    meter.end()
    found = meter.energy(**CALL)
    assert (found.gross_j, found.net_j, found.idle_w, meter.idle()) == (None, None, None, None)
    assert words in found.note


def test_a_counter_that_the_driver_reset_is_unknown():
    values = iter([10_000, 10_000, 3])
    clock = Clock()
    gpu = opener(nvml(nvmlDeviceGetTotalEnergyConsumption=lambda card: next(values)))
    meter = sources.choose(GPU, PowerModel(), gpu=gpu)
    meter._clock = clock
    window(meter, clock, 2.0)
    found = meter.energy(**CALL)
    assert found.gross_j is None
    assert "went back from 10000 to 3 mJ" in found.note


def mig(slices: int):
    def handle(name):
        if name != f"MIG-{NAME}":
            raise NVMLError("Not Found")
        return "slice"

    def place(card, index):
        if index >= slices:
            raise NVMLError("Not Found")
        return f"slice {index}"

    return nvml(
        nvmlDeviceGetHandleByUUID=handle,
        nvmlDeviceGetDeviceHandleFromMigDeviceHandle=lambda piece: "card",
        nvmlDeviceGetMaxMigDeviceCount=lambda card: 7,
        nvmlDeviceGetMigDeviceHandleByIndex=place,
    )


def test_the_only_mig_slice_has_the_energy_of_its_card():
    meter = sources.choose(GPU, PowerModel(), gpu=opener(mig(1)))
    assert meter.source == "counter"
    assert "whole card of its only MIG slice" in meter.energy(**CALL).note


def test_a_mig_slice_among_others_has_unknown_energy():
    meter = sources.choose(GPU, PowerModel(), gpu=opener(mig(3)))
    assert meter.source == "none"
    assert "one of 3 MIG slices" in meter.energy(**CALL).note


def test_the_update_period_is_the_longest_seen():
    clock = Clock()
    ticks = [0.0, 0.02, 0.04, 0.06, 0.10, 0.12, 0.14, 9.9]
    found = update_period(lambda: sum(clock() - 100.0 >= t for t in ticks), clock, clock.sleep)
    assert found == pytest.approx(0.04, abs=0.005)


def test_a_counter_that_never_moves_has_no_update_period():
    clock = Clock()
    assert update_period(lambda: 1, clock, clock.sleep) is None
    assert clock() < 103


def test_the_baseline_finds_the_period_and_the_idle_power():
    clock = Clock()
    module = nvml(nvmlDeviceGetTotalEnergyConsumption=lambda card: int(clock() / 0.05 + 1e-6) * 5000)  # 100 W
    meter = sources.choose(GPU, PowerModel(), gpu=opener(module))
    meter._clock, meter._sleep = clock, clock.sleep
    known = meter.baseline()
    assert known.source == "counter"
    assert known.update_s == pytest.approx(0.05, abs=0.003)
    assert known.idle_w == pytest.approx(100, rel=0.11)
    later = sources.choose(GPU, PowerModel(), known=known, gpu=opener(module))
    assert later.least_window_s == pytest.approx(10 * known.update_s)


class Driver:
    """As libcuda, called through ctypes: two devices whose UUIDs end in their number."""

    def __init__(self, code: int = 0) -> None:
        self.code = code

    def cuInit(self, flags):  # noqa: N802
        return self.code

    def cuDeviceGet(self, device, index):  # noqa: N802
        device._obj.value = index
        return 0 if index < 2 else 101

    def cuDeviceGetUuid_v2(self, raw, device):  # noqa: N802
        assert isinstance(device, ctypes.c_int)
        raw._obj[15] = device.value
        return 0


def test_cuda_names_the_device_by_its_uuid():
    assert energy_nvml.cuda_uuid(1, Driver()) == "00000000-0000-0000-0000-000000000001"


@pytest.mark.parametrize(
    ("driver", "index", "words"),
    [
        (Driver(100), 0, "cuInit returned 100"),
        (Driver(), 2, "cuDeviceGet returned 101"),
        (SimpleNamespace(cuInit=lambda flags: 0, cuDeviceGet=lambda device, index: 0), 0, "too old"),
    ],
    ids=["no device", "no such index", "old driver"],
)
def test_a_device_that_cuda_does_not_name_is_refused(driver, index, words):
    with pytest.raises(Unavailable, match=words):
        energy_nvml.cuda_uuid(index, driver)


def test_the_real_nvml_module_has_what_is_called_and_imports_without_a_driver():
    """What is played above is what the package offers."""
    pynvml = importlib.import_module("pynvml")
    played = nvml()
    for name in vars(played) | vars(mig(1)):
        assert hasattr(pynvml, name), name
    assert issubclass(pynvml.NVMLError_NotSupported, pynvml.NVMLError)


def test_without_the_nvml_package_the_reason_names_the_command():
    code = (
        "import sys; sys.modules['pynvml'] = None\n"
        "from backends.ops import Device\nfrom harness.measuring.energy import sources\n"
        "from harness.measuring.settings import PowerModel\n"
        "print(sources.choose(Device('cuda'), PowerModel()).energy(calls=1, cpu_s=1, memory_bytes=1).note)"
    )
    root = Path(__file__).resolve().parents[2]
    out = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert "pip install nvidia-ml-py" in out.stdout


def test_a_tpu_has_no_source():
    assert sources.choose(Device("tpu"), PowerModel()).source == "none"


def test_nvml_is_started_anew_in_a_fork_of_a_process_that_had_started_it(monkeypatch):
    """PyTorch's import starts it in the fork server, and what a fork inherits of it is not safe to use."""
    calls, started = [], [2]  # twice, by the parent

    def shutdown():
        calls.append("shutdown")
        if not started[0]:
            raise NVMLError("Uninitialized")
        started[0] -= 1

    module = nvml(nvmlInit=lambda: calls.append("init"), nvmlShutdown=shutdown)
    monkeypatch.setattr(energy_nvml, "_started_in", -1)
    opener(module)(0)
    opener(module)(0)
    assert calls == ["shutdown", "shutdown", "shutdown", "init", "init"], "once a process"


def test_an_nvml_that_never_says_that_it_is_down_is_not_asked_for_ever(monkeypatch):
    downs = []
    monkeypatch.setattr(energy_nvml, "_started_in", -1)
    opener(nvml(nvmlShutdown=lambda: downs.append(0)))(0)
    assert len(downs) == energy_nvml.MOST_STARTS

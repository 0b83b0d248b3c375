"""Every source of energy, on recorded counters and a played NVML: what it knows, and that it says what it does not."""

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
from _readings import DESKTOP, EPYC, POWERCAP_RANGE, SERVER, lay

from backends.ops import Device
from harness.measuring.energy import nvml as energy_nvml
from harness.measuring.energy import rapl as energy_rapl
from harness.measuring.energy import sources
from harness.measuring.energy.meter import Baseline, CounterMeter, Unavailable, update_period
from harness.measuring.settings import PowerModel

CPU, GPU = Device("cpu"), Device("cuda", 1)
CALL = {"calls": 10, "cpu_s": 1.0, "memory_bytes": 10**9}
NAME = uuid.UUID(int=7)


class Clock:
    """A clock that the test moves; `sleep` moves it too and lets `power` run."""

    def __init__(self, meanwhile=lambda seconds: None) -> None:
        self.now, self.meanwhile = 100.0, meanwhile

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.meanwhile(seconds)
        self.now += seconds


def spend(root: Path, **joules: float) -> None:
    """Move the counters of zones by so many joules, over the end of their range where they reach it."""
    for zone, amount in joules.items():
        path = root / zone.replace("_", ":").replace("rapl", "intel-rapl", 1)
        limit = int((path / "max_energy_range_uj").read_text())
        now = int((path / "energy_uj").read_text()) + round(amount * 1e6)
        (path / "energy_uj").write_text(f"{now - limit if now > limit else now}\n")


def rapl(root: Path, clock: Clock, **options) -> CounterMeter:
    meter = energy_rapl.meter(root, **options)
    meter._clock, meter._sleep = clock, clock.sleep
    return meter


def window(meter, clock: Clock, seconds: float) -> None:
    meter.begin()
    clock.sleep(seconds)
    meter.end()


# -- RAPL ---------------------------------------------------------------------------------------------------------


def test_only_packages_and_their_dram_are_added_up(tmp_path):
    """Never core, uncore or psys to a package, and no package twice."""
    assert list(energy_rapl.domains(lay(tmp_path / "desktop", DESKTOP))) == ["package-0"]
    assert list(energy_rapl.domains(lay(tmp_path / "epyc", EPYC))) == ["package-0"]
    names = ["package-0", "package-0 dram", "package-1", "package-1 dram"]
    assert list(energy_rapl.domains(lay(tmp_path / "server", SERVER))) == names


def test_a_window_on_a_desktop_is_its_package_alone(tmp_path):
    root = lay(tmp_path, DESKTOP)
    everything = {"rapl_0": 40, "rapl_0_0": 30, "rapl_0_1": 5, "rapl_1": 60, "rapl-mmio_0": 40}
    clock = Clock(lambda seconds: spend(root, **everything))
    meter = rapl(root, clock)
    window(meter, clock, 2.0)
    found = meter.energy(**CALL)
    assert found.source == "counter"
    assert found.gross_j == pytest.approx(4.0)
    assert (found.window_s, found.update_s) == (pytest.approx(2.0), 1e-3)
    assert found.domains == ["package-0"]
    assert found.low_j == pytest.approx(4.0 * (1 - 1e-3 / 2))
    assert found.high_j == pytest.approx(4.0 * (1 + 1e-3 / 2))


def test_sockets_and_their_memory_are_summed_over_a_wrap_around(tmp_path):
    """package-0 stands 0.33 J before the end of its range."""
    root = lay(tmp_path, SERVER)
    clock = Clock(lambda seconds: spend(root, rapl_0=100, rapl_0_0=10, rapl_1=50, rapl_1_0=5))
    meter = rapl(root, clock)
    window(meter, clock, 1.0)
    assert int((root / "intel-rapl:0/energy_uj").read_text()) < 100_000_000  # it did wrap
    found = meter.energy(**CALL)
    assert found.gross_j == pytest.approx(16.5)
    assert found.domains == ["package-0", "package-0 dram", "package-1", "package-1 dram"]


def test_a_counter_that_goes_back_without_a_range_is_unknown(tmp_path):
    root = lay(tmp_path, SERVER)
    (root / "intel-rapl:0/max_energy_range_uj").unlink()
    clock = Clock(lambda seconds: (root / "intel-rapl:0/energy_uj").write_text("5\n"))
    meter = rapl(root, clock)
    window(meter, clock, 1.0)
    found = meter.energy(**CALL)
    assert (found.gross_j, found.low_j, found.net_j) == (None, None, None)
    assert "went back from 262143000000 to 5" in found.note


def test_slices_accumulate_and_what_lies_between_them_is_not_counted(tmp_path):
    root = lay(tmp_path, DESKTOP)
    clock = Clock(lambda seconds: spend(root, rapl_0=20 * seconds))
    meter = rapl(root, clock)
    for _ in range(3):
        window(meter, clock, 0.5)
        clock.sleep(7.0)
    found = meter.energy(**CALL)
    assert found.window_s == pytest.approx(1.5)
    assert found.gross_j == pytest.approx(3.0)
    assert found.high_j / found.gross_j == pytest.approx(1 + 3 * 1e-3 / 1.5)


def test_idle_power_is_measured_first_and_taken_off(tmp_path):
    root, watts = lay(tmp_path, DESKTOP), [8.0]
    clock = Clock(lambda seconds: spend(root, rapl_0=watts[0] * seconds))
    meter = rapl(root, clock)
    assert meter.idle() == pytest.approx(8.0)
    watts[0] = 30.0
    window(meter, clock, 1.0)
    found = meter.energy(**CALL)
    assert (found.gross_j, found.net_j) == (pytest.approx(3.0), pytest.approx(2.2))
    assert (found.idle_w, found.idle_s) == (pytest.approx(8.0), pytest.approx(0.5))


def test_a_window_below_idle_has_no_net_energy(tmp_path):
    root = lay(tmp_path, DESKTOP)
    clock = Clock(lambda seconds: spend(root, rapl_0=5 * seconds))
    meter = rapl(root, clock, baseline=Baseline(source="counter", idle_w=9.0, idle_s=1.0))
    window(meter, clock, 1.0)
    found = meter.energy(**CALL)
    assert found.gross_j == pytest.approx(0.5)
    assert found.net_j is None
    assert "no power above idle" in found.note


def test_idle_power_of_another_source_is_not_used(tmp_path):
    root = lay(tmp_path, DESKTOP)
    clock = Clock(lambda seconds: spend(root, rapl_0=5 * seconds))
    meter = rapl(root, clock, baseline=Baseline(source="sampled", idle_w=1.0, update_s=9.0))
    window(meter, clock, 1.0)
    found = meter.energy(**CALL)
    assert (found.net_j, found.idle_w, found.update_s) == (None, None, 1e-3)


def test_a_counter_that_stands_still_is_unknown_and_not_zero(tmp_path):
    clock = Clock()
    meter = rapl(lay(tmp_path, DESKTOP), clock)
    assert meter.idle() is None
    window(meter, clock, 2.0)
    found = meter.energy(**CALL)
    assert found.gross_j is None
    assert "package-0 stood still for 2 s" in found.note
    assert "idle power unknown" in found.note


def test_dram_that_stands_still_is_left_out_and_said(tmp_path):
    root = lay(tmp_path, SERVER)
    clock = Clock(lambda seconds: spend(root, rapl_0=10, rapl_1=10, rapl_1_0=1))
    meter = rapl(root, clock)
    window(meter, clock, 1.0)
    found = meter.energy(**CALL)
    assert found.gross_j == pytest.approx(2.1)
    assert found.domains == ["package-0", "package-1", "package-1 dram"]
    assert "package-0 dram stood still and is left out" in found.note


def test_one_socket_that_stands_still_makes_the_sum_unknown(tmp_path):
    root = lay(tmp_path, SERVER)
    clock = Clock(lambda seconds: spend(root, rapl_0=10, rapl_0_0=1, rapl_1_0=1))
    meter = rapl(root, clock)
    window(meter, clock, 1.0)
    assert meter.energy(**CALL).gross_j is None


@pytest.mark.parametrize(("seconds", "known"), [(0.0099, False), (0.0101, True)])
def test_a_window_shorter_than_ten_updates_is_unknown(tmp_path, seconds, known):
    root = lay(tmp_path, DESKTOP)
    clock = Clock(lambda seconds: spend(root, rapl_0=1))
    meter = rapl(root, clock)
    window(meter, clock, seconds)
    found = meter.energy(**CALL)
    assert (found.gross_j is not None) == known
    assert known or "shorter than ten updates" in found.note


def test_many_slices_of_less_than_ten_updates_are_unknown_too(tmp_path):
    """Their sum is long, but each of its ends is as stale as the last."""
    root = lay(tmp_path, DESKTOP)
    clock = Clock(lambda seconds: spend(root, rapl_0=1))
    meter = rapl(root, clock)
    for _ in range(100):
        window(meter, clock, 0.005)
    assert meter.energy(**CALL).gross_j is None


def test_no_window_and_no_calls_are_unknown(tmp_path):
    clock = Clock()
    meter = rapl(lay(tmp_path, DESKTOP), clock)
    assert meter.energy(**CALL).note == "no window was measured"
    window(meter, clock, 1.0)
    assert meter.energy(calls=0, cpu_s=1.0, memory_bytes=None).gross_j is None


@pytest.fixture
def forbidden(monkeypatch):
    """Counters that only root may read, as Linux has them since 5.10; also where the tests run as root."""
    read = Path.read_text

    def read_text(self, *arguments, **options):
        if self.name == "energy_uj":
            raise PermissionError(13, "Permission denied")
        return read(self, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", read_text)


@pytest.mark.usefixtures("forbidden")
def test_without_permission_the_model_answers_and_says_why(tmp_path):
    meter = sources.choose(CPU, PowerModel(), powercap=lay(tmp_path, SERVER))
    assert meter.source == "modelled"
    meter.begin()
    time.sleep(0.01)
    meter.end()
    found = meter.energy(**CALL)
    assert found.gross_j > 0
    assert "energy_uj may not be read by this user" in found.note


@pytest.mark.usefixtures("forbidden")
def test_permission_that_is_lost_on_the_way_is_unknown(tmp_path):
    counters = energy_rapl.Rapl(energy_rapl.domains(lay(tmp_path, DESKTOP)))
    meter = CounterMeter(counters, update_s=1e-3)
    assert meter.idle() is None
    meter.begin()
    meter.end()
    assert "may not be read" in meter.energy(**CALL).note


def test_without_rapl_the_model_answers_and_says_so(tmp_path):
    meter = sources.choose(CPU, PowerModel(), powercap=tmp_path)
    assert (meter.source, meter.idle(), meter.least_window_s) == ("modelled", None, 0.0)
    assert "no RAPL package counter" in meter.energy(**CALL).note
    assert sources.baseline(CPU, PowerModel(), powercap=tmp_path) == Baseline(source="modelled")


def test_the_model_counts_only_the_time_of_its_slices(tmp_path):
    meter = sources.choose(CPU, PowerModel(core_w=10.0), powercap=tmp_path)
    for _ in range(2):
        meter.begin()
        time.sleep(0.02)
        meter.end()
        time.sleep(0.05)
    found = meter.energy(calls=4, cpu_s=0.03, memory_bytes=None)
    assert 0.04 <= found.window_s < 0.1
    assert found.gross_j == pytest.approx(0.03 * 10 / 4)
    assert found.low_j < found.gross_j < found.high_j


def test_a_counter_that_holds_no_number_is_not_read(tmp_path):
    root = lay(tmp_path, {**DESKTOP, "intel-rapl:0/energy_uj": "unknown\n"})
    with pytest.raises(Unavailable, match="'unknown' and not a number"):
        energy_rapl.meter(root)


def test_the_range_of_the_recording_is_the_kernels():
    assert pytest.approx(2**32 * 61.035, rel=1e-5) == POWERCAP_RANGE  # 2³² units of 2⁻¹⁴ J


# -- NVML ---------------------------------------------------------------------------------------------------------


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

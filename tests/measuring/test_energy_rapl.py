"""A host's energy on recorded counters: RAPL, else the model, and that each says what it does not know."""

from __future__ import annotations

import time
import uuid
from pathlib import Path

import pytest
from _energy import CALL, Clock, window
from _readings import DESKTOP, EPYC, POWERCAP_RANGE, SERVER, lay

from backends.ops import Device
from harness.measuring.energy import rapl as energy_rapl
from harness.measuring.energy import sources
from harness.measuring.energy.meter import Baseline, CounterMeter, Unavailable
from harness.measuring.settings import PowerModel

CPU, GPU = Device("cpu"), Device("cuda", 1)
NAME = uuid.UUID(int=7)


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


def test_only_packages_and_their_dram_are_added_up(tmp_path):
    """Never core, uncore or psys to a package, and no package twice."""
    assert list(energy_rapl.domains(lay(tmp_path / "desktop", DESKTOP))) == ["package-0"]
    assert list(energy_rapl.domains(lay(tmp_path / "epyc", EPYC))) == ["package-0"]
    names = ["package-0", "package-0 dram", "package-1", "package-1 dram"]
    assert list(energy_rapl.domains(lay(tmp_path / "server", SERVER))) == names


@pytest.mark.fault("RAPL zones that mirror one counter (recorded files stand for the machine)", "machines")
def test_zones_that_show_one_counter_are_counted_once(tmp_path):
    """Of two dies of a package with one register; a socket of its own that moves by itself is kept."""
    root = lay(tmp_path, SERVER)
    for name in ("name", "energy_uj", "max_energy_range_uj"):
        (root / "intel-rapl:1" / name).write_text((root / "intel-rapl:0" / name).read_text())
    (root / "intel-rapl:1/name").write_text("package-0-die-1\n")

    def together():
        for zone in ("intel-rapl:0", "intel-rapl:1"):
            file = root / zone / "energy_uj"
            file.write_text(f"{int(file.read_text()) + 700}\n")

    found = energy_rapl.domains(root)
    assert {"package-0", "package-0-die-1"} <= found.keys()
    assert "package-0-die-1" not in energy_rapl.without_mirrors(found, together)
    assert "package-0" in energy_rapl.without_mirrors(found, together)

    def apart():
        together()
        (root / "intel-rapl:1/energy_uj").write_text(f"{int((root / 'intel-rapl:1/energy_uj').read_text()) + 3}\n")

    assert "package-0-die-1" in energy_rapl.without_mirrors(found, apart)
    (root / "intel-rapl:1/energy_uj").write_text((root / "intel-rapl:0/energy_uj").read_text())
    assert "package-0-die-1" in energy_rapl.without_mirrors(found, lambda: None), "what stands still tells nothing"


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

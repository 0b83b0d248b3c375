"""The clock's contract, the steady state, the machine's facts."""

from __future__ import annotations

import time

import numpy as np
import pytest

from harness.machine import facts
from harness.measuring import host_memory
from harness.measuring.clock import CALIBRATION_CALLS, Hooks, Timed, sample
from harness.measuring.energy import sources
from harness.measuring.settings import PowerModel, Sampling
from harness.measuring.steady_state import settle, trend, warmup

RNG = np.random.default_rng(0)


def at_once(outputs):
    """Everything is ready already."""


def test_the_clock_stops_only_when_every_output_is_ready():
    """A lazy framework returns at once; what it promised is done in the wait, and the wait is inside."""
    waited = []

    def wait(outputs):
        for seconds in outputs:
            time.sleep(seconds)
        waited.append(len(outputs))

    window = sample(Timed(lambda: (0.004, 0.006), (), wait), Sampling(window_s=0.05, min_samples=3))
    assert min(window.samples_s) >= 0.01
    assert set(waited) == {2}


def test_every_call_is_waited_for_and_counted():
    calls, waits = [], []
    timed = Timed(lambda x: calls.append(x) or (x,), (7,), waits.append)
    window = sample(timed, Sampling(window_s=0.0, min_samples=5, sample_s=1e-4))
    assert len(calls) == len(waits) == window.calls + CALIBRATION_CALLS[0]  # some more to learn how long a call takes
    assert set(calls) == {7}
    assert window.calls_per_sample >= 1


def test_short_calls_are_sampled_in_groups_as_long_as_the_clock_needs():
    window = sample(Timed(tuple, (), at_once), Sampling(window_s=0.02, sample_s=1e-3))
    assert window.calls_per_sample > 100
    assert window.cpu_s <= window.window_s * 1.1


def test_a_long_call_gets_the_least_number_of_samples():
    window = sample(Timed(lambda: (time.sleep(0.02),), (), at_once), Sampling(window_s=0.0, min_samples=4))
    assert len(window.samples_s) == 4


def test_a_very_long_call_is_sampled_twice_and_its_second_call_is_the_first_of_them():
    calls = []

    def call():
        calls.append(time.sleep(0.02))
        return calls

    window = sample(Timed(call, (), at_once), Sampling(window_s=0.0, min_samples=9, slices=5, long_s=0.01))
    assert len(calls) == len(window.samples_s) == 2
    assert min(window.samples_s) >= 0.02
    assert window.window_s >= 0.04, "the window holds both"
    assert window.metered == 1, "a meter stood around the second only"


class Turns:
    """Notes what the clock asked for, and what was called between."""

    def __init__(self):
        self.notes = []

    def rest(self):
        self.notes.append("rest")


def test_a_window_is_cut_into_turns_with_a_meter_around_each_slice():
    turn = Turns()
    begin, end = (lambda: turn.notes.append("begin")), (lambda: turn.notes.append("end"))
    sampling = Sampling(window_s=0.04, slices=4, sample_s=1e-3)
    window = sample(Timed(lambda: (time.sleep(0.001),), (), at_once), sampling, turn, Hooks(begin, end))
    assert turn.notes == ["begin", "end", *["rest", "begin", "end"] * 3]
    assert len(window.slices) == 4
    assert sum(window.slices) == len(window.samples_s)
    assert window.window_s >= 0.04
    assert len(window.samples_s) >= 4


def test_a_slow_first_call_does_not_make_the_slices_fewer():
    """It wakes threads and fills caches: how long a call takes is the shortest of a few."""
    naps = iter([0.05])
    sampling = Sampling(window_s=0.1, slices=20, sample_s=1e-3)
    window = sample(Timed(lambda: (time.sleep(next(naps, 0.001)),), (), at_once), sampling)
    assert len(window.slices) > 10


def test_no_slice_is_empty_however_few_samples_may_be_kept():
    """The last slices of a window had none once the first had taken all."""
    sampling = Sampling(window_s=0.05, slices=10, sample_s=0.0, max_samples=30)
    window = sample(Timed(tuple, (), at_once), sampling)
    assert len(window.slices) == 10
    assert min(window.slices) >= 1
    assert sum(window.slices) <= 30


def test_very_long_calls_take_turns_too_and_the_first_call_is_the_first_slice():
    turn = Turns()
    sampling = Sampling(window_s=0.0, min_samples=9, slices=5, long_s=0.01)
    window = sample(Timed(lambda: (time.sleep(0.02),), (), at_once), sampling, turn)
    assert window.slices == [1, 1]
    assert turn.notes == ["rest"]


def test_a_warm_up_is_cut_and_kept_apart():
    settled = settle([5.0, 3.0, 2.0, *(1 + 0.01 * RNG.standard_normal(60))])
    assert settled.warmup_s[:3] == [5.0, 3.0, 2.0]
    assert len(settled.warmup_s) < 20
    assert settled.steady


def test_level_noise_is_steady_and_loses_little():
    x = 1 + 0.05 * RNG.standard_normal(200)
    steady, drift = trend(x[warmup(x) :])
    assert steady
    assert abs(drift) < 0.05


def test_a_drift_is_seen_and_has_its_size():
    steady, drift = trend(1 + 0.2 * np.linspace(0, 1, 100) + 0.01 * RNG.standard_normal(100))
    assert not steady
    assert drift == pytest.approx(0.18, abs=0.03)


def test_three_samples_cannot_be_judged():
    assert trend([1.0, 1.0, 1.0]) == (False, 0.0)


def test_modelled_energy_is_the_formula():
    """2 s of CPU at 12 W and 1 GB at 0.3725 W for 1 s, over 10 calls."""
    found = sources.modelled(PowerModel(), cpu_s=2.0, window_s=1.0, calls=10, memory_bytes=10**9)
    assert found.gross_j == pytest.approx((24 + 0.3725) / 10)
    assert found.low_j == pytest.approx((2 * 2.8 + 0.3725) / 10)
    assert found.high_j == pytest.approx((2 * 20.6 + 0.3725) / 10)
    assert found.net_j is None
    assert found.note == "2.00 busy cores × 12 W"


def test_energy_without_a_memory_reading_says_so():
    found = sources.modelled(PowerModel(), cpu_s=1.0, window_s=1.0, calls=1, memory_bytes=None)
    assert found.gross_j == pytest.approx(12)
    assert "memory left out" in found.note


def test_memory_that_cannot_be_read_is_unknown_and_not_zero(monkeypatch, tmp_path):
    monkeypatch.setattr(host_memory, "_STATUS", tmp_path / "absent")
    peak = host_memory.HostPeak()
    assert peak.measure(tuple, [], lambda outputs: None) is None
    assert peak.source.startswith("none: ")


def test_a_peak_that_cannot_be_reset_is_unknown(monkeypatch, tmp_path):
    monkeypatch.setattr(host_memory, "_CLEAR", tmp_path / "no" / "clear_refs")
    peak = host_memory.HostPeak()
    assert peak.measure(tuple, [], lambda outputs: None) is None
    assert "cannot be reset" in peak.source


def test_the_machine_is_described_without_naming_it():
    found = facts.facts()
    assert found["cores_usable"] >= 1
    assert found["memory_bytes"] > 1 << 28
    assert "hostname" not in found
    assert facts.memory_limit_bytes() <= found["memory_bytes"]


@pytest.mark.parametrize("sampling", [Sampling(window_s=0.0, min_samples=4, slices=2), Sampling(long_s=0.0, slices=2)])
def test_what_is_looked_at_after_the_window_is_what_its_last_call_gave(sampling):
    """Not what a call after the clock would give: that one may be another."""
    calls = []
    window = sample(Timed(lambda: (calls.append(0) or len(calls),), (), lambda _: None), sampling)
    assert window.last == [len(calls)]

"""Energy by a model, where the machine has no counter.

(busy cores × watts per core + memory × watts per GB) × seconds, after Lannelongue, Grealey, Inouye 2021, "Green
Algorithms: Quantifying the Carbon Footprint of Computation" (Advanced Science 8:2100707, eq. 3), with its 0.3725 W per
GB of memory and its 12 W for a core of an unknown CPU. The bounds of a core's watts are the lowest and highest TDP per
core among current server CPUs: AMD EPYC 9754, 360 W / 128 cores = 2.8 W; Intel Xeon Gold 6334, 165 W / 8 cores = 20.6 W
(vendors' data sheets). Busy cores are measured: CPU seconds of the process over wall seconds.

So a modelled energy is CPU time times a constant. In the ratio of two of them on one machine the constant cancels, and
what is left is UNEQUAL_POWER: that two codes which keep a core equally busy do not take equal power, vector code more
and a core that waits for memory less. How much is not known here; the factor is an assumption, and the pages say so.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from harness.measuring.energy.meter import nothing
from harness.measuring.settings import PowerModel
from harness.records.record import Energy, EnergySource

GB = 1e9
UNEQUAL_POWER = 2.0  # between the codes of an idea and of its twin, at most, either way


def modelled(
    model: PowerModel, *, cpu_s: float, window_s: float, calls: int, memory_bytes: int | None, notes: Sequence[str] = ()
) -> Energy:
    """Joules per call by the model. Without a memory reading the memory's share is left out and the note says so.

    Idle power is not part of the model: it counts what the case keeps busy, so gross is what is stated and net unknown.
    """
    if calls < 1 or window_s <= 0:
        return nothing("modelled", "; ".join(["no window was measured", *notes]), window_s=window_s)
    memory_j = 0.0 if memory_bytes is None else memory_bytes / GB * model.memory_w_per_gb * window_s

    def joules(core_w: float) -> float:
        return (cpu_s * core_w + memory_j) / calls

    known = f"{cpu_s / window_s:.2f} busy cores × {model.core_w:g} W"
    if memory_bytes is None:
        known += ", memory left out (unknown)"
    return Energy(
        gross_j=joules(model.core_w),
        net_j=None,
        low_j=joules(model.core_low_w),
        high_j=joules(model.core_high_w),
        idle_w=None,
        source="modelled",
        window_s=window_s,
        update_s=None,
        note="; ".join([known, *notes]),
    )


class ModelMeter:
    """The meter that reads no hardware: it keeps the time, the model does the rest."""

    source: EnergySource = "modelled"
    update_s: float | None = None
    least_window_s = 0.0

    def __init__(self, model: PowerModel, notes: Sequence[str] = ()) -> None:
        self._model, self._notes = model, tuple(notes)
        self._began, self._window_s = 0.0, 0.0

    def idle(self) -> float | None:
        """Unknown: the model has no idle power."""
        return None

    def begin(self) -> None:
        """Start a slice."""
        self._began = time.perf_counter()

    def end(self) -> None:
        """End a slice."""
        self._window_s += time.perf_counter() - self._began

    def energy(self, *, calls: int, cpu_s: float, memory_bytes: int | None) -> Energy:
        """Joules per call by the model, with its bounds."""
        return modelled(
            self._model,
            cpu_s=cpu_s,
            window_s=self._window_s,
            calls=calls,
            memory_bytes=memory_bytes,
            notes=self._notes,
        )

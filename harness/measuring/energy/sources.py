"""Which source of energy a device has, in falling order of trust: counter, sampled, modelled, none; never mixed.

A host's energy is RAPL's, else a model's. A GPU's is NVML's counter, else its power polled; there is no model of a GPU
or TPU here, so that without a driver their energy is unknown. The note says why a better source was not used.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from backends.ops import Device
from harness.measuring.energy import nvml, rapl
from harness.measuring.energy.meter import Baseline, Meter, NoMeter, SensorMeter, Unavailable
from harness.measuring.energy.model import ModelMeter, modelled
from harness.measuring.energy.nvml import Gpu, open_gpu
from harness.measuring.settings import PowerModel

__all__ = ["Baseline", "Meter", "baseline", "choose", "modelled"]


def choose(
    device: Device,
    model: PowerModel,
    *,
    known: Baseline | None = None,
    powercap: Path = rapl.POWERCAP,
    gpu: Callable[[int], Gpu] = open_gpu,
) -> Meter:
    """The best meter that can be read here for `device`; `known` is what `baseline` found for the run.

    A `known` of another source is not used: idle power by one source says nothing about another.
    """
    if device.kind == "cpu":
        try:
            return rapl.meter(powercap, known)
        except Unavailable as why:
            return ModelMeter(model, [str(why)])
    if device.kind == "cuda":
        try:
            card = gpu(device.index)
        except Unavailable as why:
            return NoMeter(str(why))
        try:
            return nvml.counter(card, known)
        except Unavailable as why:
            first = str(why)
        try:
            return nvml.sampled(card, known)
        except Unavailable as why:
            return NoMeter(f"{first}; {why}")
    return NoMeter(f"{device.kind} has no source of energy that can be read here")


def baseline(
    device: Device,
    model: PowerModel,
    *,
    powercap: Path = rapl.POWERCAP,
    gpu: Callable[[int], Gpu] = open_gpu,
) -> Baseline:
    """Measure once for a run, before its first case: idle power, and the sensor's update period where it must be found.

    Sleeps for about half a second with RAPL, up to three with NVML, not at all where nothing is read.
    """
    meter = choose(device, model, powercap=powercap, gpu=gpu)
    return meter.baseline() if isinstance(meter, SensorMeter) else Baseline(source=meter.source)

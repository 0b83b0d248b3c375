"""Trains on through a sequence of batches in one process: each step takes the parameters that the last one left.

The same contract of the timed region as the clock's: operands are on the device, every step is waited for, nothing is
copied to the host inside. What is made between two chunks of steps, operands and copies of parameters, is not timed.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from backends.discovery import backends
from backends.ops import Array, Device, Matrix, Ops, Unsupported
from harness.measuring.correctness import rounded
from harness.worker.case_data import load_arrays
from harness.worker.messages import Measured, TrainingJob
from workloads.base import Definition, Formulation

INPUTS, BATCHES = "inputs", "batches"  # folders of a job's data: the first operands, and those of every step
WARMING = 3  # steps that do not count: outputs as operands may be traced anew, and threads sleep through a rest


def at_rate(ops: Ops, rate: float) -> None:
    """Have every step of plain SGD take this learning rate in place of the workload's own."""
    step, along = ops.sgd_step, ops.sgd_step_along
    set_on: Any = ops
    set_on.sgd_step = lambda w, gradient, _: step(w, gradient, rate)
    set_on.sgd_step_along = lambda w, left, right, _: along(w, left, right, rate)


def carry_on(job: TrainingJob, workload: Definition, phase: Callable[[str], None]) -> Measured:
    """Seconds of each chunk of `every` steps; the parameters after it are left in the job's folder as NUMBER.npz."""
    case, folder = job.case, Path(job.data)
    formulation = workload.formulations[case.mode][case.formulation]
    phase("opening the device")
    ops = backends()[0][case.backend].open(Device.parse(case.device))
    at_rate(ops, job.rate)
    inputs = rounded(load_arrays(folder / INPUTS), case.dtype)
    batches = load_arrays(folder / BATCHES)
    operands = list(formulation.prepare(ops, inputs, case.params))
    count = len(job.parameters)
    phase("compiling")
    compiled = ops.compile(formulation.step(ops, case.params), case.execution, operands, job.keep)
    phase("warming up")
    _warm(ops, compiled.call, operands, count)
    weights: Sequence[Matrix] = operands[-count:]
    chunks: list[float] = []
    for start in range(0, job.steps, job.every):
        phase(f"training, step {start}")
        steps = range(start, min(start + job.every, job.steps))
        given = [_given(ops, formulation, job, inputs, batches, number)[:-count] for number in steps]
        ops.wait([operand for operands in given for operand in operands])
        seconds, outputs = _chunk(ops, compiled.call, given, weights, count)
        weights = outputs[-count:]
        chunks.append(seconds)
        host = [ops.to_numpy(output) for output in outputs]
        named = formulation.restore(host, inputs, case.params)
        np.savez(folder / f"{len(chunks)}.npz", **{name: named[name] for name in job.parameters})  # type: ignore[arg-type]
    return Measured(status="ok", samples_s=chunks)


def _chunk(
    ops: Ops,
    call: Callable[..., Sequence[Array]],
    given: Sequence[Sequence[Matrix]],
    weights: Sequence[Any],
    count: int,
) -> tuple[float, Sequence[Array]]:
    """Seconds of a step for each of `given`, and what the last of them gave back.

    As with a slice of the clock: a few calls after the rest are not timed, nor kept, and the collector is off.
    """
    outputs: Sequence[Array] = ()
    for _ in range(WARMING):
        ops.wait(call(*given[0], *weights))
    collecting = gc.isenabled()
    gc.disable()
    try:
        began = perf_counter()
        for operands in given:
            outputs = call(*operands, *weights)
            ops.wait(outputs)
            weights = outputs[-count:]
        return perf_counter() - began, outputs
    finally:
        if collecting:
            gc.enable()


def _warm(ops: Ops, call: Callable[..., Sequence[Array]], operands: Sequence[Matrix], count: int) -> None:
    """A few steps that do not count; Unsupported where what a step gives back is not what the next one takes."""
    weights: Sequence[Any] = operands[-count:]
    for _ in range(WARMING):
        outputs = call(*operands[:-count], *weights)
        ops.wait(outputs)
        shapes = [tuple(getattr(w, "shape", ())) for w in weights], [tuple(w.shape) for w in outputs[-count:]]
        if shapes[0] != shapes[1]:
            raise Unsupported(f"its step gives back {shapes[1]} where it takes {shapes[0]}, and cannot be carried on")
        weights = outputs[-count:]


def _given(
    ops: Ops, formulation: Formulation, job: TrainingJob, inputs: Any, batches: Any, number: int
) -> list[Array | Matrix]:
    """The operands with those of one step's batch."""
    batch = rounded({name: values[number] for name, values in batches.items()}, job.case.dtype)
    return list(formulation.prepare(ops, {**inputs, **batch}, job.case.params))

"""Trains on through a sequence of batches in one process: each step takes the parameters that the last one left.

The same contract of the timed region as the clock's: operands are on the device, every step is waited for, nothing is
copied to the host inside. All steps follow each other without a rest, as those of a slice of the clock do: what every
batch needs is made before the first of them, and what parameters were on the way is copied after the last.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, TypeAlias

import numpy as np

from backends.discovery import backends
from backends.ops import Array, Device, Matrix, Ops, Unsupported
from harness.measuring.correctness import rounded
from harness.worker.case_data import load_arrays
from harness.worker.messages import Measured, TrainingJob
from workloads.base import Definition, Formulation

INPUTS, BATCHES = "inputs", "batches"  # folders of a job's data: the first operands, and those of every step
WARMING = 3  # steps that do not count at least: outputs as operands may be traced anew


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
    first, weights, rest = operands[: job.batch], operands[job.batch :][:count], operands[job.batch + count :]

    def step(batch: Sequence[Matrix], weights: Sequence[Any]) -> Sequence[Array]:
        return compiled.call(*batch, *weights, *rest)

    _warm(ops, step, first, weights)
    phase("preparing every batch")
    given = [_given(ops, formulation, job, inputs, batches, number) for number in range(job.steps)]
    ops.wait([operand for operands in given for operand in operands])
    phase("training")
    chunks, kept = _train(ops, step, given, weights, job.every)
    phase("copying parameters")
    for number, outputs in enumerate(kept, 1):
        named = formulation.restore([ops.to_numpy(output) for output in outputs], inputs, case.params)
        np.savez(folder / f"{number}.npz", **{name: named[name] for name in job.parameters})  # type: ignore[arg-type]
    return Measured(status="ok", samples_s=chunks)


Step: TypeAlias = Callable[[Sequence[Matrix], Sequence[Any]], Sequence[Array]]  # of a batch and of the parameters


def _train(
    ops: Ops, step: Step, given: Sequence[Sequence[Matrix]], weights: Sequence[Any], every: int
) -> tuple[list[float], list[Sequence[Array]]]:
    """Seconds of every `every` steps, one for each of `given`, and what the last of each of these gave back.

    As many steps before are not timed, nor kept, and the collector is off, as with a slice of the clock.
    """
    chunks: list[float] = []
    kept: list[Sequence[Array]] = []
    outputs: Sequence[Array] = ()
    count, first = len(weights), weights
    for batch in given[: max(every, WARMING)]:
        outputs = step(batch, first)
        ops.wait(outputs)
        first = outputs[-count:]
    collecting = gc.isenabled()
    gc.disable()
    try:
        began = perf_counter()
        for number, batch in enumerate(given, 1):
            outputs = step(batch, weights)
            ops.wait(outputs)
            weights = outputs[-count:]
            if number % every == 0:
                now = perf_counter()
                chunks.append(now - began)
                kept.append(outputs)
                began = now
        return chunks, kept
    finally:
        if collecting:
            gc.enable()


def _warm(ops: Ops, step: Step, batch: Sequence[Matrix], weights: Sequence[Any]) -> None:
    """A few steps that do not count; Unsupported where what a step gives back is not what the next one takes."""
    count = len(weights)
    for _ in range(WARMING):
        outputs = step(batch, weights)
        ops.wait(outputs)
        shapes = [tuple(getattr(w, "shape", ())) for w in weights], [tuple(w.shape) for w in outputs[-count:]]
        if shapes[0] != shapes[1]:
            raise Unsupported(f"its step gives back {shapes[1]} where it takes {shapes[0]}, and cannot be carried on")
        weights = outputs[-count:]


def _given(
    ops: Ops, formulation: Formulation, job: TrainingJob, inputs: Any, batches: Any, number: int
) -> list[Array | Matrix]:
    """The operands of one step's batch."""
    batch = rounded({name: values[number] for name, values in batches.items()}, job.case.dtype)
    return list(formulation.prepare(ops, {**inputs, **batch}, job.case.params))[: job.batch]

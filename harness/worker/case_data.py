"""Inputs and float64 references of a workload's points: made once in a process of their own, mapped by every case."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from backends.ops import HostArray
from harness.measuring.correctness import rounded, upcast
from harness.worker.messages import CaseJob, DataJob, Measured
from workloads.authoring.functions import WorkloadError
from workloads.base import Definition, Inputs, Mode, Params
from workloads.conformance import not_seeded, reversed_values
from workloads.facts import inputs_of, reference_of

OTHER = "other"  # the folder of the reference of other inputs (`harness.worker.recheck`)
TWICE_S = 0.03  # of the processor: inputs that take no longer are made twice
OTHER_S = 0.2  # of the processor: a reference that takes no longer is computed of other inputs, too


def make_data(workload: Definition, job: DataJob, phase: Callable[[str], None]) -> Measured:
    """Save the inputs, rounded to the dtype, and the reference of each point in its folder.

    WorkloadError where the author's `inputs` or `reference` raises, or gives what nothing can be held against, and
    where the seed does not decide the inputs.
    """
    import threadpoolctl

    with threadpoolctl.threadpool_limits(limits=job.threads):
        for (params, mode), folder in zip(job.points, job.folders, strict=True):
            phase(f"making inputs of {job.workload}")
            inputs = rounded(_seeded(workload, params, mode, job.seed), job.dtype)
            _save(Path(folder) / "inputs", {k: _storable(v) for k, v in inputs.items()})
            phase(f"computing the float64 reference of {job.workload}")
            began = time.process_time()  # a machine that is busy beside must not be why a cheat goes unseen
            reference = reference_of(workload, upcast(inputs), params, mode)
            if time.process_time() - began < OTHER_S:
                with contextlib.suppress(WorkloadError):  # of values in another order nothing is promised
                    other = reference_of(workload, upcast(reversed_values(inputs)), params, mode)
                    _save(Path(folder) / OTHER, other)
            _save(Path(folder) / "reference", reference)
    return Measured(status="ok")


def _seeded(workload: Definition, params: Params, mode: Mode, seed: int) -> Inputs:
    """The inputs; WorkloadError where they are others when they are made again."""
    began = time.process_time()
    inputs = inputs_of(workload, params, mode, seed)
    if time.process_time() - began < TWICE_S:
        fault = not_seeded(workload, mode, inputs, inputs_of(workload, params, mode, seed))
        if fault is not None:
            raise WorkloadError(fault)
    return inputs


def _storable(x: HostArray) -> HostArray:
    # .npy has no bfloat16; float32 holds it exactly and `rounded` gives it back.
    return x.astype(np.float32) if x.dtype.kind not in "iubf" else x


def _save(folder: Path, arrays: Mapping[str, HostArray]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)


def load_arrays(folder: Path) -> dict[str, HostArray]:
    """The arrays of a folder, mapped and not read, so that they do not stand in the process's own memory."""
    return {path.stem: np.load(path, mmap_mode="r") for path in sorted(folder.glob("*.npy"))}


def load_inputs(job: CaseJob) -> dict[str, HostArray]:
    """The inputs of a case in its dtype."""
    return rounded(load_arrays(Path(job.data) / "inputs"), job.case.dtype)

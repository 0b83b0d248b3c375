"""Inputs and float64 references of a workload's points: made once in a process of their own, mapped by every case."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from backends.ops import HostArray
from harness.measuring.correctness import rounded, upcast
from harness.worker.messages import CaseJob, DataJob, Measured
from workloads.base import Definition
from workloads.facts import inputs_of, reference_of


def make_data(workload: Definition, job: DataJob, phase: Callable[[str], None]) -> Measured:
    """Save the inputs, rounded to the dtype, and the reference of each point in its folder.

    WorkloadError where the author's `inputs` or `reference` raises, or gives what nothing can be held against.
    """
    import threadpoolctl

    with threadpoolctl.threadpool_limits(limits=job.threads):
        for (params, mode), folder in zip(job.points, job.folders, strict=True):
            phase(f"making inputs of {job.workload}")
            inputs = rounded(inputs_of(workload, params, mode, job.seed), job.dtype)
            _save(Path(folder) / "inputs", {k: _storable(v) for k, v in inputs.items()})
            phase(f"computing the float64 reference of {job.workload}")
            _save(Path(folder) / "reference", reference_of(workload, upcast(inputs), params, mode))
    return Measured(status="ok")


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

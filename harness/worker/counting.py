"""Counts the executed work of formulations on shapes, in a process of its own: an author's code may do anything."""

from __future__ import annotations

import contextlib
import importlib.abc
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from backends.counting.arrays import NotCounted
from backends.discovery import backends
from backends.ops import EXECUTIONS, Unsupported
from harness.measuring.correctness import rounded
from harness.records.record import Case, Executed
from harness.worker.case_data import load_arrays
from harness.worker.messages import Counted, CountJob, Measured
from workloads.counting import traced
from workloads.discovery import workloads


def count(job: CountJob, phase: Callable[[str], None]) -> Measured:
    """What each case executes in one call, or why that cannot be told; no framework is imported for it."""
    found = []
    for case, data in zip(job.cases, job.data, strict=True):
        phase(f"counting {case.workload}/{case.formulation} {case.mode}")
        found.append(_counted(case, Path(data)))
    return Measured(status="ok", counted=found)


def _counted(case: Case, data: Path) -> Counted:
    try:
        formulation = workloads()[0][case.workload].formulations[case.mode][case.formulation]
        with _without_frameworks():
            call = traced(formulation, rounded(load_arrays(data / "inputs"), case.dtype), case.params)
        return Counted(work={execution: Executed(**asdict(call.work(execution))) for execution in EXECUTIONS})
    except (NotCounted, Unsupported) as reason:
        return Counted(reason=str(reason))
    except (Exception, SystemExit) as error:  # the author's own, or one that speaks of what a counted array is not
        return Counted(reason=f"{type(error).__name__}: {error}")


class _Refusing(importlib.abc.MetaPathFinder):
    """Refuses to import the modules of frameworks that are not loaded."""

    def __init__(self, modules: frozenset[str]) -> None:
        self._modules = modules

    def find_spec(self, name: str, *_: object) -> None:
        """None: whoever else finds it. NotCounted for a framework."""
        if name.partition(".")[0] in self._modules:
            raise NotCounted(f"the formulation imports {name}: it is written in a framework's own words, not in Ops")


@contextlib.contextmanager
def _without_frameworks() -> Iterator[None]:
    finder = _Refusing(frozenset(backend.module for backend in backends()[0].values()) - {"numpy"})
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)

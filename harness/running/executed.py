"""The executed work of a run's cases: each formulation is counted once at each point, between measurements."""

from __future__ import annotations

import contextlib
import importlib.abc
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from backends.counting.arrays import NotCounted
from backends.discovery import backends
from backends.ops import EXECUTIONS, Unsupported
from harness.measuring.correctness import rounded
from harness.records.record import Case, Executed
from harness.records.text import one_line
from harness.worker.case_data import load_arrays
from workloads.counting import traced
from workloads.discovery import workloads


class Counter:
    """Counts in this process, on shapes: no framework is imported, and nothing is computed.

    `notes` has a sentence for each formulation that could not be counted, whose records have no executed work.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], dict[str, Executed]] = {}
        self.notes: list[str] = []

    def of(self, case: Case, inputs: Path | None) -> Executed | None:
        """What one call of a case does; `inputs` is the folder of its inputs, None where there are none."""
        if inputs is None:
            return None
        key = (case.workload, case.formulation, case.point, case.mode, case.dtype, case.seed)
        if key not in self._known:
            self._known[key] = self._counted(case, inputs)
        return self._known[key].get(case.execution)

    def _counted(self, case: Case, inputs: Path) -> dict[str, Executed]:
        try:
            formulation = workloads()[0][case.workload].formulations[case.mode][case.formulation]
            with _without_frameworks():
                found = traced(formulation, rounded(load_arrays(inputs / "inputs"), case.dtype), case.params)
            return {execution: Executed(**asdict(found.work(execution))) for execution in EXECUTIONS}
        except (NotCounted, Unsupported) as reason:
            why = str(reason)
        except Exception as error:  # the author's own, or one that speaks of what a counted array is not
            why = f"{type(error).__name__}: {error}"
        what = f"{case.workload}/{case.formulation} {case.mode}"
        note = f"the executed work of {what} is not known: {one_line(why)}"
        if not any(said.startswith(f"the executed work of {what} ") for said in self.notes):
            self.notes.append(note)
        return {}


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

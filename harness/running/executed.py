"""The executed work of a run's cases: each formulation is counted once at each point, between measurements.

An author's code runs for it, so it runs in processes of NumPy's server: what it ends is one of them, and no run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeAlias

from backends.ops import Execution
from harness.records.record import Case, Executed
from harness.records.text import one_line, private
from harness.worker.client import Server
from harness.worker.messages import Counted, CountJob

LIMIT_S = 20.0  # that one process may take: a formulation that hangs costs twice that

Asked: TypeAlias = tuple[Case, Path]  # and the folder of its inputs


class ExecutedCounts:
    """What was counted. A process may take `timeout_s`, as one of a case may, and no more than LIMIT_S.

    `notes` has a sentence for each formulation that could not be counted, whose records have no executed work.
    """

    def __init__(self, timeout_s: float) -> None:
        self._limit_s = min(timeout_s, LIMIT_S)
        self._known: dict[tuple[object, ...], dict[Execution, Executed]] = {}
        self._refused: dict[str, str] = {}  # by formulation
        self._ended: set[str] = set()  # those that end their process: they are not tried at other points
        self._over: str | None = None

    @property
    def notes(self) -> list[str]:
        """What a reader of the records must know."""
        notes = [f"the executed work of {name} is not known: {why}" for name, why in self._refused.items()]
        return [*notes, self._over] if self._over else notes

    def of(self, case: Case) -> Executed | None:
        """What one call of a case does; None where that was not counted."""
        return self._known.get(_point(case), {}).get(case.execution)

    def count(self, server: Server, cases: Iterable[Asked], abreast: int) -> None:
        """Count what is not known yet: a process a workload, `abreast` at once. ServerError where the server dies."""
        if self._over:
            return
        todo: dict[str, dict[tuple[object, ...], Asked]] = defaultdict(dict)
        for case, inputs in cases:
            if _point(case) not in self._known and _name(case) not in self._ended:
                todo[case.workload].setdefault(_point(case), (case, inputs))
        if todo:
            self._count(server, [list(asked.values()) for asked in todo.values()], abreast)

    def give_up(self, reason: str) -> None:
        """Count nothing more."""
        self._over = f"the executed work of cases was not counted any more: {reason}"

    def _count(self, server: Server, parts: Sequence[Sequence[Asked]], abreast: int) -> None:
        jobs = [CountJob(cases=[case for case, _ in part], data=[str(data) for _, data in part]) for part in parts]
        again: list[list[Asked]] = []
        for part, answer in zip(parts, server.each(jobs, self._limit_s, abreast), strict=True):
            measured, formulations = answer.measured, _by_formulation(part)
            if measured.status == "ok":
                for (case, _), counted in zip(part, measured.counted, strict=True):
                    self._take(case, counted)
            elif len(formulations) > 1:  # one that ends its process must not take the others with it
                again += formulations.values()
            else:
                hung = measured.status == "timeout"
                self._refuse(part[0][0], f"not done after {self._limit_s:g} s" if hung else measured.reason)
                self._ended |= formulations.keys()
        if again:
            self._count(server, again, abreast)

    def _take(self, case: Case, counted: Counted) -> None:
        self._known[_point(case)] = counted.work
        if counted.reason is not None:
            self._refuse(case, counted.reason)

    def _refuse(self, case: Case, reason: str | None) -> None:
        self._refused.setdefault(_name(case), private(one_line(reason)))


def _by_formulation(part: Iterable[Asked]) -> dict[str, list[Asked]]:
    found: dict[str, list[Asked]] = defaultdict(list)
    for case, data in part:
        found[_name(case)].append((case, data))
    return found


def _name(case: Case) -> str:
    return f"{case.workload}/{case.formulation} {case.mode}"


def _point(case: Case) -> tuple[object, ...]:
    """All that decides what is counted but the execution: every backend has the same."""
    return (_name(case), case.point, case.dtype, case.seed)

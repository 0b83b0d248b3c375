"""What the harness has, and what its workloads say of a case: looked up once for all the records of many folders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from backends.device import kind_of
from backends.discovery import backends
from backends.dtypes import itemsize
from backends.ops import Backend
from harness.figures.ceilings import product_dtype
from harness.records.record import Case, Record, TwinRef
from harness.records.text import plain
from workloads.base import Definition, Work
from workloads.discovery import workloads

MOST_KNOWN = 20_000  # cases of which the formulas' values are kept

TwinFacts: TypeAlias = tuple[str, str, str, str | None, tuple[tuple[str, Any], ...]]
Facts: TypeAlias = tuple[Work, frozenset[TwinFacts]]  # the formulas' values, and the twins


class Expected(NamedTuple):
    """What its workload says of a case: the formulas' values, the error and the gate allowed, the dtype of products."""

    case: Case
    twins: list[TwinRef]
    work: Work
    rtol: float
    gate_limit: float | None
    product_dtype: str


@dataclass(frozen=True, slots=True)
class Known:
    """What the harness has, looked up once for all records, and what the formulas said so far.

    `sound` has cases and twins that were found right, with what is expected of them. It is by the identity of the case,
    so that it helps where equal cases of several records are one object.
    """

    workloads: Mapping[str, Definition] = field(default_factory=lambda: workloads()[0])
    backends: Mapping[str, Backend] = field(default_factory=lambda: backends()[0])
    facts: dict[tuple[Any, ...], Facts | str] = field(default_factory=dict)
    sound: dict[int, Expected] = field(default_factory=dict)

    def facts_of(self, case: Case) -> Facts | str:
        """The workload's own formulas and twins at this point, or why there are none. No file is opened."""
        key = (case.workload, case.mode, case.dtype, axes(case.params))
        facts = self.facts.get(key)
        if facts is None:
            facts = _facts(self.workloads.get(case.workload), case)
            _keep(self.facts, key, facts)
        return facts

    def expectation(self, record: Record, work: Work) -> Expected:
        """What is expected of a record of a workload that is known, at axes, dtype and mode that it has."""
        case = record.case
        workload = self.workloads[case.workload]
        return Expected(
            case,
            record.twins,
            work,
            workload.tolerance(case.params, case.dtype, case.mode, kind_of(case.device)),
            workload.gate_limit(case.params),
            product_dtype(case.workload, case.params, case.dtype),
        )

    def found_right(self, expected: Expected) -> None:
        """Keep what is expected of a case, which is right, and whose twins are."""
        _keep(self.sound, id(expected.case), expected)

    def product_dtype(self, case: Case) -> str:
        """`ceilings.product_dtype` of a case."""
        found = self.sound.get(id(case))
        if found is not None and found.case is case:
            return found.product_dtype
        return product_dtype(case.workload, case.params, case.dtype)


def _keep(kept: dict[Any, Any], key: object, value: object) -> None:
    if len(kept) >= MOST_KNOWN:
        kept.clear()
    kept[key] = value


def _facts(workload: Definition | None, case: Case) -> Facts | str:
    if workload is None:
        return f"there is no workload {plain(case.workload)!r}"
    try:
        params = workload.check(case.params)
        if dict(params) != case.params or case.mode not in workload.formulations:
            return f"{workload.name} has no mode {case.mode} at these axes"
        if (case.dtype, case.mode) not in workload.tolerances_at(params):
            return f"{workload.name} has no tolerance for {plain(case.dtype)} {case.mode}"
        twins = frozenset(
            (t.kind, t.workload, t.mode, t.dtype, axes(t.params)) for t in workload.twins(params, case.mode)
        )
        return workload.work(params, case.mode, itemsize(case.dtype)), twins
    except (ValueError, TypeError, ArithmeticError, LookupError, AttributeError) as error:
        return plain(str(error)) or f"{workload.name} does not take these axes"


def axes(params: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Axes as what can be a key, the same in any order."""
    return tuple(sorted(params.items()))

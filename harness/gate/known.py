"""What the harness has, and what its workloads say of a case: looked up once for all the records of many folders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from backends.device import is_ahead_of_time, is_modelled, kind_of
from backends.discovery import backends
from backends.dtypes import itemsize
from backends.ops import EXECUTIONS, Backend
from harness.figures.ceilings import product_dtype
from harness.records.record import Case, Record, TwinRef, WorkFacts
from harness.records.text import plain
from workloads.base import Definition, Work
from workloads.discovery import workloads

MOST_KNOWN = 20_000  # cases of which the formulas' values are kept

TwinFacts: TypeAlias = tuple[str, str, str, str | None, tuple[tuple[str, Any], ...]]
Facts: TypeAlias = tuple[Work, frozenset[TwinFacts]]  # the formulas' values, and the twins


@dataclass(frozen=True, slots=True)
class Expected:
    """What its workload says of a case: the formulas' values, the error and the gate allowed, the dtype of products.

    `facts` are the formulas' values as `facts_in` gives those of a record. `may_run`: its formulation has its
    execution. `here`: its device is one that runs, `on_host` the processor. `exact`: its products are float32's own.
    """

    case: Case
    twins: list[TwinRef]
    work: Work
    facts: tuple[int, int, int]
    rtol: float
    gate_limit: float | None
    product_dtype: str
    may_run: bool
    here: bool
    on_host: bool
    exact: bool


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
        formulation = workload.formulations[case.mode].get(case.formulation)
        return Expected(
            case=case,
            twins=record.twins,
            work=work,
            facts=facts_in(work),
            rtol=workload.tolerance(case.params, case.dtype, case.mode, kind_of(case.device)),
            gate_limit=workload.gate_limit(case.params),
            product_dtype=product_dtype(case.workload, case.params, case.dtype),
            may_run=formulation is not None and case.execution in (formulation.executions or EXECUTIONS),
            here=not is_modelled(case.device) and not is_ahead_of_time(case.device),
            on_host=case.device == "cpu",
            exact=case.dtype == "float32",
        )

    def expected_of(self, record: Record) -> Expected | None:
        """What is expected of a record whose case and twins were found right; None where they were not yet."""
        found = self.sound.get(id(record.case))
        if found is None or found.case is not record.case or found.twins is not record.twins:
            return None
        return found if found.may_run or record.status == "unsupported" else None

    def found_right(self, expected: Expected) -> None:
        """Keep what is expected of a case, which is right, and whose twins are."""
        _keep(self.sound, id(expected.case), expected)

    def product_dtype(self, case: Case) -> str:
        """`ceilings.product_dtype` of a case."""
        found = self.sound.get(id(case))
        if found is not None and found.case is case:
            return found.product_dtype
        return product_dtype(case.workload, case.params, case.dtype)


def facts_in(work: Work | WorkFacts) -> tuple[int, int, int]:
    """Useful FLOP, least bytes and live bytes."""
    return work.useful_flop, work.least_bytes, work.live_bytes


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

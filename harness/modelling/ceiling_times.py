"""The times of a run's ceilings, and the values of a device that they give, each with its interval and its source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median, quantiles
from typing import NamedTuple

from harness.figures.ceilings import (
    CEILING_MATMUL,
    CEILING_STREAM,
    POLYNOMIAL,
    ROW_GATHER,
    ROW_SCATTER,
    SMALL_STEPS,
    STORED_PRODUCT,
)
from harness.records.record import Case, Record
from harness.stats.process_times import counted

ROW_SORT, SQUARE_PRODUCTS, THIN_PRODUCTS = "row_sort", "square_products", "thin_products"
PRIMITIVES = (
    *(ROW_GATHER, ROW_SCATTER, SMALL_STEPS, POLYNOMIAL, STORED_PRODUCT),
    *(ROW_SORT, SQUARE_PRODUCTS, THIN_PRODUCTS),
)
CEILINGS = (CEILING_MATMUL, CEILING_STREAM, *PRIMITIVES)


class TimedCeiling(NamedTuple):
    """A ceiling's case with its typical time, the quartiles of its samples, and its record."""

    case: Case
    time_s: float
    low_s: float
    high_s: float
    record: Record

    def begun(self, start_s: float) -> TimedCeiling | None:
        """The time without what it took to begin; None where that is more than half of it."""
        if start_s > self.time_s / 2:
            return None
        low, high = (max(bound - start_s, self.time_s / 100) for bound in (self.low_s, self.high_s))
        return self._replace(time_s=self.time_s - start_s, low_s=low, high_s=high)

    @property
    def said(self) -> str:
        """The case, as a source in the file."""
        case = self.case
        axes = ",".join(f"{name}={value}" for name, value in case.params.items() if name != "grads")
        return f"measured: {case.workload}/{case.formulation} {case.backend} {case.execution} {axes} {case.dtype}"


class CalibratedValue(NamedTuple):
    """A value for the device file, its bounds, and where it is from."""

    value: float
    low: float
    high: float
    source: str


class CalibratedPoint(NamedTuple):
    """A point of a curve of the device file: at `at` (bytes, or a side) the value is that."""

    at: float
    found: CalibratedValue


class Starts(NamedTuple):
    """Seconds before a framework computes anything, of an operation by itself and of a program."""

    op_s: float
    program_s: float

    def of(self, case: Case) -> float:
        """What the case waits for before anything is computed."""
        return self.op_s if case.execution == "eager" else self.program_s


def is_ceiling(record: Record) -> bool:
    """Whether a record is of a ceiling that a device file is made from, and so no case that it may be judged by."""
    case = record.case
    if case.workload == CEILING_MATMUL:
        sides = {case.params.get(side) for side in "mkn"}
        return case.mode == "forward" and len(sides) == 1
    return case.workload in (CEILING_STREAM, *PRIMITIVES)


def timed(record: Record) -> TimedCeiling | None:
    """The times of a record; None where it has none."""
    if record.status != "ok" or record.time is None or record.control:
        return None
    processes = [samples for _, samples in counted(record.time)]
    samples = sorted(sample for several in processes for sample in several)
    if not samples or not samples[0] > 0:
        return None
    low, _, high = quantiles(samples, n=4) if len(samples) > 1 else (samples[0],) * 3
    return TimedCeiling(record.case, median(map(median, processes)), low, high, record)


def useful(t: TimedCeiling) -> float:
    """Useful FLOP of a case."""
    return t.record.work.useful_flop


def best(several: Sequence[TimedCeiling], amount: Callable[[TimedCeiling], float]) -> CalibratedValue | None:
    """The largest typical rate of an amount of work."""
    if not several:
        return None
    fastest = max(several, key=lambda t: amount(t) / t.time_s)
    work = amount(fastest)
    return CalibratedValue(work / fastest.time_s, work / fastest.high_s, work / fastest.low_s, fastest.said)

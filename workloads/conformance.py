"""Whether a formulation computes, on one framework, what its workload says: the test that every workload is held to.

It runs what a measurement would run (prepare, step, restore) and looks at what a clock cannot see. The comparison of
numbers is the caller's, since the reference's verdict belongs to the harness.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from backends.ops import Array, Compiled, Execution, HostArray, Matrix, Ops, Unsupported
from workloads.authoring.functions import WorkloadError, raised_at, where
from workloads.base import Definition, Formulation, Inputs, Mode, Params, Point
from workloads.facts import inputs_of, reference_of

SEED, OTHER_SEED = 0, 1


class Agreement(Protocol):
    """What a comparison says: whether it passes, and if not, why."""

    @property
    def passes(self) -> bool:
        """Whether every output is within its tolerance, and inside its gate."""

    @property
    def reason(self) -> str | None:
        """The worst output, in words."""


@dataclass(frozen=True, slots=True)
class Oracle:
    """How numbers are rounded to a case's dtype, read back as float64, and compared with the reference."""

    rounded: Callable[[Inputs, str], Mapping[str, HostArray]]
    upcast: Callable[[Inputs], Mapping[str, HostArray]]
    judge: Callable[[Mapping[str, HostArray], Mapping[str, HostArray], Inputs, float, float, float | None], Agreement]
    epsilon: Callable[[str], float]  # of a dtype: the last argument of `judge`


@dataclass(frozen=True, slots=True)
class Attempt:
    """One formulation at one point, on one framework in one execution."""

    definition: Definition
    point: Point
    name: str
    ops: Ops
    execution: Execution
    oracle: Oracle
    dtype: str = "float32"

    @property
    def formulation(self) -> Formulation:
        """The formulation tried."""
        return self.definition.formulations[self.point.mode][self.name]

    @property
    def params(self) -> Params:
        """The axes, checked."""
        return self.definition.check(self.point.params)

    @property
    def what(self) -> str:
        """Its name and place, the beginning of each sentence."""
        at = ", ".join(f"{name}={value}" for name, value in self.params.items())
        return f"{where(self.formulation.step)}: {self.name} of {self.definition.name} ({self.execution}, {at})"


def conformity(attempt: Attempt) -> list[str]:
    """What is wrong, a sentence each: nothing where the formulation may be measured. Unsupported passes through.

    The outputs agree with the float64 reference, in the first call and the next, and with other inputs; they have the
    case's dtype; the call leaves its operands as they were, and a second one with like operands is not traced again.
    """
    drawn = _drawn(attempt)
    if isinstance(drawn, str):
        return [drawn]
    formulation, ops, params = attempt.formulation, attempt.ops, attempt.params
    try:
        operands = list(formulation.prepare(ops, drawn, params))
        before = _host(ops, operands)
        compiled = ops.compile(formulation.step(ops, params), attempt.execution, operands)
        first = _called(ops, compiled, operands)
        if any(not _same(x, y) for x, y in zip(before, _host(ops, operands), strict=True)):
            return [f"{attempt.what} changes its operands; compute a new array instead of writing into one"]
        traces = compiled.traces()
        again = _called(ops, compiled, operands)
        found = _of_outputs(attempt, drawn, first, "") or _of_outputs(attempt, drawn, again, "in a second call ")
        if compiled.traces() != traces:
            found.append(
                f"{attempt.what} is traced again by a second call with the same operands; let shapes and Python values "
                "depend on the parameters alone"
            )
        return found or _with_other_inputs(attempt, drawn, compiled, first)
    except Unsupported as refusal:
        if not str(refusal).strip():
            return [f"{attempt.what} raises Unsupported without a word; say what the framework has not"]
        raise
    except Exception as error:
        place = raised_at(error, formulation.step)
        name = f"{attempt.name} of {attempt.definition.name} ({attempt.execution})"
        return [f"{place}: {name} raises {type(error).__name__}: {' '.join(str(error).split())[:300]}"]


def wrong_dtypes(outputs: Sequence[HostArray], names: Sequence[str], dtype: str) -> str | None:
    """Which output has not the case's dtype, in words; integers and truth values may be what they are."""
    for i, array in enumerate(outputs):
        found = array.dtype.name
        if array.dtype.kind not in "iub" and found != dtype:
            name = names[i] if len(names) == len(outputs) else str(i)
            return (
                f"output {name} is {found} in a case of {dtype}; a NumPy scalar or array in the step widens what it "
                "touches: use plain Python numbers, or ops.astype"
            )
    return None


def _drawn(attempt: Attempt) -> Mapping[str, HostArray] | str:
    """The inputs of the case; or a sentence, where the seed does not decide them."""
    definition, params, mode = attempt.definition, attempt.params, attempt.point.mode
    drawn, again = (inputs_of(definition, params, mode, SEED) for _ in range(2))
    return not_seeded(definition, mode, drawn, again) or attempt.oracle.rounded(drawn, attempt.dtype)


def not_seeded(definition: Definition, mode: Mode, drawn: Inputs, again: Inputs) -> str | None:
    """A sentence with its place, where inputs that were made twice from one seed are not alike, or are no arrays."""
    place = where(definition.author("inputs", mode))
    for name, array in drawn.items():
        array_or_not: object = array
        if not isinstance(array_or_not, np.ndarray):
            return f"{place}: input {name} of {definition.name} must be a NumPy array, found {type(array).__name__}"
        if name not in again or not _same(array, again[name]):
            return (
                f"{place}: input {name} of {definition.name} differs between two calls with one seed; draw it from "
                "`rng`, or from a generator made of `seed`"
            )
    return None


def _called(ops: Ops, compiled: Compiled, operands: Sequence[Array | Matrix]) -> list[HostArray]:
    outputs = compiled.call(*operands)
    ops.wait(outputs)
    return [np.array(ops.to_numpy(output)) for output in outputs]  # a copy: a backend may share the memory


def _of_outputs(attempt: Attempt, inputs: Inputs, outputs: list[HostArray], when: str) -> list[str]:
    definition, mode = attempt.definition, attempt.point.mode
    restored = attempt.formulation.restore(outputs, inputs, attempt.params)
    widened = wrong_dtypes(outputs, list(restored), attempt.dtype)
    if widened is not None:
        return [f"{attempt.what}: {widened}"]
    exact = attempt.oracle.upcast(inputs)
    try:
        reference = reference_of(definition, exact, attempt.params, mode)
    except WorkloadError as error:
        return [str(error)]  # a sentence with its place
    tolerance, rounding = (
        definition.tolerances_at(attempt.params)[attempt.dtype, mode],
        attempt.oracle.epsilon(attempt.dtype),
    )
    limit = definition.gate_limit(attempt.params)
    verdict = attempt.oracle.judge(restored, reference, exact, tolerance, rounding, limit)
    return [] if verdict.passes else [f"{attempt.what} disagrees {when}with the reference: {verdict.reason}"]


def _with_other_inputs(attempt: Attempt, inputs: Inputs, compiled: Compiled, first: Sequence[HostArray]) -> list[str]:
    """A result that was kept from the first call, or that never read its operands, is not a result."""
    other = _other(attempt, inputs)
    references = [
        attempt.definition.reference(attempt.oracle.upcast(x), attempt.params, attempt.point.mode)
        for x in (inputs, other)
    ]
    if all(_same(array, references[1][name]) for name, array in references[0].items()):
        return []  # the mathematics gives the same
    operands = list(attempt.formulation.prepare(attempt.ops, other, attempt.params))
    outputs = _called(attempt.ops, compiled, operands)
    if all(_same(x, y) for x, y in zip(first, outputs, strict=True)):
        return [
            f"{attempt.what} gives the first result again for other inputs; let the step compute it from its operands"
        ]
    return _of_outputs(attempt, other, outputs, "for other inputs ")


def _other(attempt: Attempt, inputs: Inputs) -> Mapping[str, HostArray]:
    """The same integers, such as where non-zeros stand, with the values of another seed, or with these reversed."""
    second = attempt.oracle.rounded(
        inputs_of(attempt.definition, attempt.params, attempt.point.mode, OTHER_SEED), attempt.dtype
    )

    def drawn(name: str, array: HostArray) -> bool:
        like = second.get(name)
        return array.dtype.kind not in "iub" and like is not None and like.shape == array.shape

    turned = reversed_values(inputs)
    return {
        name: second[name] if drawn(name, array) and not _same(second[name], array) else turned[name]
        for name, array in inputs.items()
    }


def reversed_values(inputs: Inputs, shift: int = 0) -> dict[str, HostArray]:
    """The same integers, such as where non-zeros stand, and each array of other numbers from its end to its beginning.

    So all keep their shapes, and what holds of the values as a whole. `shift` moves them on by as many places more.
    """

    def turned(array: HostArray) -> HostArray:
        flat = np.roll(array.ravel()[::-1], shift) if shift else array.ravel()[::-1]
        return np.ascontiguousarray(flat.reshape(array.shape))

    return {name: x if x.dtype.kind in "iub" else turned(x) for name, x in inputs.items()}


def _host(ops: Ops, operands: Sequence[Array | Matrix]) -> list[HostArray | None]:
    """Host copies of the operands; None of a framework's own matrix, which `Ops` cannot read whole."""

    def copied(operand: Any) -> HostArray | None:
        if not hasattr(operand, "__array__"):
            return None  # NumPy would read such a matrix value by value: JAX's COO took a minute for 3 000
        try:
            host = np.array(ops.to_numpy(operand))
        except Exception:
            return None
        return None if host.dtype.kind == "O" else host

    return [copied(operand) for operand in operands]


def _same(x: HostArray | None, y: HostArray | None) -> bool:
    if x is None or y is None:
        return x is y
    return x.shape == y.shape and x.dtype == y.dtype and bool(np.array_equal(x, y, equal_nan=x.dtype.kind == "f"))

"""Whether what a workload says of itself can be true, before anything is measured with it.

Formulas, twins, presets and tolerances are the author's word. A wrong one would otherwise show when all is measured and
the records are read, or never. Each fault is one sentence with file and line and what to do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from backends.dtypes import itemsize
from backends.ops import EXECUTIONS, HostArray
from workloads.authoring.axes import TAKEN
from workloads.authoring.functions import WorkloadError, raised_at, where
from workloads.base import (
    MODES,
    ROLES,
    Axis,
    Definition,
    Formulation,
    Inputs,
    Mode,
    Params,
    Point,
    Tolerances,
    Twin,
    Work,
)

DTYPES = ("float64", "float32", "bfloat16", "float16")  # that a case can have
FORMULAS = ("useful_flop", "least_bytes", "live_bytes")


# -- what an author's function gives, or one sentence ------------------------------------------------------------------
def work_of(definition: Definition, params: Params, mode: Mode, itemsize: int) -> Work:
    """The formulas at a point; WorkloadError where the author's function raises or gives no whole positive numbers."""
    try:
        work: object = definition.work(params, mode, itemsize)
    except Exception as error:
        raise _raised(error, definition, "work", params, mode) from error
    if not isinstance(work, Work):
        place = where(definition.author("work", mode))
        raise WorkloadError(f"{place}: work of {definition.name} must return a Work, found {type(work).__name__}")
    for name in FORMULAS:
        value = getattr(work, name)
        if type(value) is not int or value <= 0:
            place = where(definition.author(name, mode))
            raise WorkloadError(
                f"{place}: {name} of {definition.name} is {value!r} ({type(value).__name__}) at {_at(params)}; it must "
                "be a whole number above 0, of type int: use // instead of /, or round() and int()"
            )
    return work


def twins_of(definition: Definition, params: Params, mode: Mode) -> Sequence[Twin]:
    """The twins at a point, the principal one first; WorkloadError where the author's function raises."""
    try:
        twins: tuple[object, ...] = tuple(definition.twins(params, mode))
    except Exception as error:
        raise _raised(error, definition, "twins", params, mode) from error
    out = [twin for twin in twins if isinstance(twin, Twin)]
    if len(out) < len(twins):
        place = where(definition.author("twins", mode))
        raise WorkloadError(f"{place}: twins of {definition.name} must be Twins, found {twins!r}")
    return out


def inputs_of(definition: Definition, params: Params, mode: Mode, seed: int) -> Inputs:
    """The inputs at a point; WorkloadError where the author's function raises or gives none."""
    try:
        inputs = definition.inputs(params, seed)
    except Exception as error:
        raise _raised(error, definition, "inputs", params, mode) from error
    if not isinstance(inputs, Mapping) or not inputs:
        place = where(definition.author("inputs", mode))
        raise WorkloadError(f"{place}: inputs of {definition.name} must return arrays by name, found {inputs!r}")
    return inputs


def reference_of(definition: Definition, inputs: Inputs, params: Params, mode: Mode) -> Mapping[str, HostArray]:
    """The outputs by name in float64; WorkloadError where the author's function raises, or nothing can be held to it.

    `inputs` are rounded and upcast. Where they are not finite themselves, they are what the sentence names.
    """
    try:
        outputs = definition.reference(inputs, params, mode)
    except Exception as error:
        raise _raised(error, definition, "reference", params, mode) from error
    if not isinstance(outputs, Mapping) or not outputs:
        place = where(definition.author("reference", mode))
        raise WorkloadError(
            f"{place}: the reference of {definition.name} must return arrays by name, found {outputs!r}"
        )
    for fact, arrays in (("inputs", inputs), ("reference", outputs)):
        for name, array in arrays.items():
            values = np.asarray(array)
            bad = values.size - int(np.isfinite(values).sum())
            if bad:
                what = f"{fact} of {definition.name}: {bad} of {values.size} values of {name} are not finite"
                place = where(definition.author(fact, mode))
                raise WorkloadError(f"{place}: {what} at {_at(params)}, mode {mode}")
    return outputs


def _raised(error: Exception, definition: Definition, fact: str, params: Params, mode: Mode) -> WorkloadError:
    if isinstance(error, WorkloadError):
        return error  # says where already
    place = raised_at(error, definition.author(fact, mode))
    # Of axes that are good each and do not go together the author's own sentence tells.
    if isinstance(error, ValueError) and fact != "reference":
        return WorkloadError(f"{error} ({place})")
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return WorkloadError(f"{place}: {fact} of {definition.name} raises {what} at {_at(params)}, mode {mode}")


def _at(params: Params) -> str:
    return ", ".join(f"{name}={value}" for name, value in params.items())


# -- all that can be held against a definition -------------------------------------------------------------------------
def faults(
    definition: Definition,
    known: Mapping[str, Definition] | None = None,
    points: Sequence[Point] | None = None,
    twinless: bool = False,
) -> list[str]:
    """What is wrong with a workload's facts, at `points` (by default at those of every preset), a sentence each.

    `known` are the workloads that its twins may name; without them only the twins' own form is looked at. `twinless`
    lets an idea have no twin: it can be measured so, and compared with nothing.
    """
    chosen = [point for of in definition.presets.values() for point in of] if points is None else points
    found = [*_of_the_whole(definition), *_of_axes(definition), *_of_formulations(definition)]
    alike: dict[str, list[str]] = {}  # what differs in the value and the point alone is one fault
    for point in chosen:
        for sentence in dict.fromkeys(_of_point(definition, point, known, twinless)):
            alike.setdefault(sentence.partition(" is ")[0], []).append(sentence)
    for first, *others in alike.values():
        more = f" (and at {len(others)} more points)" if len(set(others) - {first}) else ""
        found.append(first + more)
    return list(dict.fromkeys(found))


def _of_the_whole(definition: Definition) -> Iterator[str]:
    name, place = definition.name, where(definition.author("inputs", MODES[0]))
    if definition.role not in ROLES:
        yield f"{place}: the role of {name} is {definition.role!r}; choose one of {', '.join(ROLES)}"
    if not name.strip():
        yield f"{place}: the name of this workload is empty; give it one"
    for preset, points in definition.presets.items():
        if not points:
            yield f"{place}: preset {preset} of {name} has no point; give it one or leave it out"
    if not callable(definition.tolerances):
        yield from _of_tolerances(definition, definition.tolerances)


def _of_tolerances(definition: Definition, tolerances: Tolerances) -> Iterator[str]:
    name, place = definition.name, where(definition.author("inputs", MODES[0]))
    modes = [mode for mode in MODES if definition.formulations.get(mode)]
    for (dtype, mode), tolerance in tolerances.items():
        if dtype not in DTYPES or mode not in MODES:
            yield (
                f"{place}: {name} has a tolerance for {dtype!r} in mode {mode!r}; dtypes are {', '.join(DTYPES)}, "
                f"modes are {', '.join(MODES)}"
            )
        elif not isinstance(tolerance, int | float) or not 0 < tolerance < math.inf:
            yield f"{place}: the tolerance of {name} for {dtype}, {mode} is {tolerance!r}; it must be above 0"
    for dtype in dict.fromkeys(dtype for dtype, _ in tolerances):
        for mode in modes:
            if (dtype, mode) not in tolerances:
                yield f"{place}: {name} has tolerances for {dtype} and none for its mode {mode}; add it"
    if not tolerances:
        yield f"{place}: {name} has no tolerances, so that nothing can be checked; leave them out for the usual ones"


def _of_axes(definition: Definition) -> Iterator[str]:
    place = where(definition.author("inputs", MODES[0]))
    for name, axis in definition.axes.items():
        for fault in _of_axis(name, axis):
            yield f"{place}: axis {name} of {definition.name} {fault}"


def _of_axis(name: str, axis: Axis) -> Iterator[str]:
    if not name.isidentifier() or name in TAKEN:
        yield f"needs another name: {', '.join(sorted(TAKEN))} are names of other things"
    if axis.kind not in (int, float, str):
        yield f"has the kind {axis.kind!r}; choose int, float or str"
    if axis.break_even and axis.kind is str:
        yield "is words and cannot be one to break even on; that takes an int or a float"
    if axis.low is not None and axis.high is not None and axis.low > axis.high:
        yield f"has bounds {axis.low:g}…{axis.high:g}, which nothing fits; exchange them"
    if axis.choices is not None and axis.kind is not str:
        yield "has choices, which are for words; give bounds by low= and high="


def _of_formulations(definition: Definition) -> Iterator[str]:
    place = where(definition.author("inputs", MODES[0]))
    if not any(definition.formulations.values()):
        yield f"{place}: {definition.name} has no formulation; write one"
    for mode, by_name in definition.formulations.items():
        if mode not in MODES:
            yield f"{place}: {definition.name} has formulations of mode {mode!r}; modes are {', '.join(MODES)}"
        for name, formulation in by_name.items():
            yield from _of_formulation(f"formulation {name} of {definition.name}", formulation)


def _of_formulation(what: str, formulation: Formulation) -> Iterator[str]:
    place = where(formulation.step)
    wrong = [e for e in formulation.executions or () if e not in EXECUTIONS]
    if wrong or formulation.executions == ():
        yield f"{place}: {what} has executions {formulation.executions}; choose among {', '.join(EXECUTIONS)}"


def _of_point(
    definition: Definition, point: Point, known: Mapping[str, Definition] | None, twinless: bool
) -> Iterator[str]:
    name, mode = definition.name, point.mode
    if mode not in definition.formulations:
        place = where(definition.author("inputs", MODES[0]))
        yield f"{place}: {name} has a point of mode {mode!r} and formulations of {', '.join(definition.formulations)}"
        return
    try:
        params = definition.check(point.params)
        work_of(definition, params, mode, itemsize("float32"))
        twins = twins_of(definition, params, mode)
        if callable(definition.tolerances):
            yield from _of_tolerances(definition, definition.tolerances_at(params))
        limit = definition.gate_limit(params)
    except ValueError as error:
        yield str(error)
        return
    if limit is not None and not 0 < limit < math.inf:
        place = where(definition.author("inputs", MODES[0]))
        yield f"{place}: the gate of {name} is {limit!r} at {_at(params)}; it must be above 0, or None for no gate"
    if definition.role == "idea" and not twins and not twinless:
        place = where(definition.author("twins", mode))
        yield f"{place}: {name} is an idea without a twin at {_at(params)}; name the dense path that it stands against"
    yield from _applying(definition, params, mode)
    for twin in twins:
        for fault in _of_twin(twin, known):
            yield f"{where(definition.author('twins', mode))}: twin {twin.workload} of {name} {fault}"


def _applying(definition: Definition, params: Params, mode: Mode) -> Iterator[str]:
    applying = 0
    for name, formulation in definition.formulations[mode].items():
        place, what = where(formulation.applies), f"applies of formulation {name} of {definition.name}"
        try:
            answer: Any = formulation.applies(params)
        except Exception as error:
            yield f"{raised_at(error, formulation.applies)}: {what} raises {type(error).__name__}: {error}"
            return
        if not isinstance(answer, bool):
            yield f"{place}: {what} must return True or False, found {answer!r}"
        applying += bool(answer)
    if not applying:
        place = where(definition.author("inputs", mode))
        yield f"{place}: no formulation of {definition.name} applies at {_at(params)}, mode {mode}; let one"


def _of_twin(twin: Twin, known: Mapping[str, Definition] | None) -> Iterator[str]:
    if twin.mode not in MODES:
        yield f"has the mode {twin.mode!r}; choose one of {', '.join(MODES)}"
    elif known is not None:
        dense = known.get(twin.workload)
        if dense is None:
            yield "is defined by no file; write it, or name another"
        elif not dense.formulations.get(twin.mode):
            yield f"has no formulation of mode {twin.mode}; it has {', '.join(dense.formulations)}"
        elif twin.dtype is not None and (twin.dtype, twin.mode) not in dense.tolerances_at(
            dense.completed(twin.params)
        ):
            yield f"has no dtype {twin.dtype} of its own in mode {twin.mode}"
        else:
            try:
                work_of(dense, dense.check(dense.completed(twin.params)), twin.mode, itemsize("float32"))
            except ValueError as error:
                yield f"cannot be at {_at(twin.params)}: {error}"

"""A formulation in the short form: one function of named inputs that returns named outputs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

from backends.ops import Array, Execution, HostArray, Matrix, Ops
from workloads.authoring.functions import ByName, WorkloadError, returned_names, where
from workloads.base import Formulation, Inputs, Parameters

Outputs: TypeAlias = Sequence[str] | Callable[[Parameters], Sequence[str]]
Step: TypeAlias = Callable[..., tuple[Array, ...]]


def _operands(function: Callable[..., Any], what: str, prepared: bool) -> tuple[bool, tuple[str, ...]]:
    """Whether it takes `p`, and the names behind: a formulation is f(ops, [p,] operands…)."""
    parameters = list(inspect.signature(function).parameters.values())
    names = [p.name for p in parameters]
    if not names or names[0] != "ops":
        raise WorkloadError(f"{where(function)}: {what} must take `ops` first, found ({', '.join(names)})")
    takes_p = names[1:2] == ["p"]
    operands = parameters[1 + takes_p :]
    for operand in operands:
        if operand.kind in (operand.KEYWORD_ONLY, operand.VAR_KEYWORD):
            raise WorkloadError(
                f"{where(function)}: {what} is called with operands by position; make {operand} positional"
            )
        if operand.kind is operand.VAR_POSITIONAL and not prepared:
            raise WorkloadError(
                f"{where(function)}: {what} takes {operand}, so it needs prepare= to say which they are"
            )
    return takes_p, tuple(operand.name for operand in operands)


def short_formulation(
    function: Callable[..., Any],
    *,
    what: str,
    note: str,
    mode: str,
    executions: tuple[Execution, ...] | None,
    applies: Callable[[Parameters], bool] | None,
    multiplies_zeros: bool,
    prepare: Callable[..., Sequence[Array | Matrix]] | None,
    restore: Callable[..., Mapping[str, HostArray]] | None,
    outputs: Outputs | None,
) -> Formulation:
    """The long form of `function`; WorkloadError with file and line where it cannot be one."""
    takes_p, operands = _operands(function, what, prepare is not None)
    names = outputs if outputs is not None else returned_names(function)
    if names is None:
        raise WorkloadError(
            f'{where(function)}: {what} must end each path with `return {{"name": …}}`, or return a tuple and name its '
            "arrays by outputs=(…)"
        )

    def step(ops: Ops, p: Parameters) -> Step:
        bound: Step = partial(function, ops, p) if takes_p else partial(function, ops)
        return bound if outputs is not None else lambda *arrays: tuple(bound(*arrays).values())  # type: ignore[attr-defined]

    step.__wrapped__ = function  # type: ignore[attr-defined] # where messages say that it stands
    return Formulation(
        note=note,
        prepare=_prepared(prepare, operands, function, what, mode),
        step=step,
        restore=_restored(restore, names, function, what, mode),
        executions=executions,
        applies=applies or (lambda p: True),
        multiplies_zeros=multiplies_zeros,
    )


def _prepared(
    prepare: Callable[..., Any] | None, operands: Sequence[str], function: Callable[..., Any], what: str, mode: str
) -> Callable[[Ops, Inputs, Parameters], Sequence[Array | Matrix]]:
    if prepare is not None:
        named = ByName.of(prepare, f"prepare of {what}")
        return lambda ops, inputs, p: named(inputs, {"ops": ops, "p": p, "mode": mode})

    def as_they_are(ops: Ops, inputs: Inputs, p: Parameters) -> Sequence[Array]:
        for name in operands:
            if name not in inputs:
                raise WorkloadError(
                    f"{where(function)}: {what} asks for {name!r}, and the inputs are {', '.join(inputs)}; give "
                    "prepare= for an operand that is none of them"
                )
        return [ops.asarray(inputs[name]) for name in operands]

    return as_they_are


def _restored(
    restore: Callable[..., Any] | None, outputs: Outputs, function: Callable[..., Any], what: str, mode: str
) -> Callable[[Sequence[HostArray], Inputs, Parameters], Mapping[str, HostArray]]:
    named = None if restore is None else ByName.of(restore, f"restore of {what}")

    def restored(arrays: Sequence[HostArray], inputs: Inputs, p: Parameters) -> Mapping[str, HostArray]:
        names = outputs(p) if callable(outputs) else outputs
        if len(arrays) != len(names):
            raise WorkloadError(f"{where(function)}: {what} returns {len(arrays)} arrays for {', '.join(names)}")
        by_name = dict(zip(names, arrays, strict=True))
        # an updated parameter has the name of its input, and hides it
        return by_name if named is None else named({**inputs, **by_name}, {"p": p, "mode": mode})

    return restored

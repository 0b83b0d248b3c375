"""What a workload is: one computation with named axes, written once against `Ops`.

A dataclass of functions rather than a class to inherit from: it reads as a table of facts and type-checks as one.
Each file beside this one ends with `WORKLOAD = Workload(…)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from backends.ops import Array, Execution, HostArray, Matrix, Ops

Mode = Literal["forward", "train_step"]
Role = Literal["idea", "twin", "ceiling"]
Value: TypeAlias = int | float | str
Params: TypeAlias = Mapping[str, Value]
Inputs: TypeAlias = Mapping[str, HostArray]

MODES: tuple[Mode, ...] = ("forward", "train_step")
LEARNING_RATE = 0.1  # of every train step: plain SGD, so that the change of a parameter is lr times its gradient


@dataclass(frozen=True, slots=True)
class Work:
    """What the mathematics needs, by the formulas of the workload (never measured).

    `useful_flop`: multiplications and additions of the non-zeros, no padding, no recomputation. `least_bytes`: each
    operand of each layer read once, each result written once. `live_bytes`: least memory alive at once.
    """

    useful_flop: int
    least_bytes: int
    live_bytes: int


@dataclass(frozen=True, slots=True)
class Twin:
    """A dense-path computation that an idea is held against: a workload of its own, and why it is the right one."""

    kind: str  # "same_shape", "equal_work", …
    workload: str
    params: Params
    mode: Mode


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A named axis: what it means, its unit and the values that it may take."""

    help: str
    kind: type[int] | type[float] | type[str] = int
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Point:
    """One setting of the axes in a preset.

    At a `survey` point every formulation and execution runs; at the others only those that came close to the best of
    the survey point with the same `group`. A `headline` point has its row in the main table.
    """

    params: Params
    mode: Mode = "forward"
    survey: bool = True
    headline: bool = True
    group: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Formulation:
    """One way to write the workload's mathematics, for one mode.

    prepare(ops, inputs, params) puts the operands on the device in this formulation's layout; timed apart, as
    `convert_s`. step(ops, params) is the timed function of those operands, pure, returning a flat tuple of arrays.
    restore(outputs, inputs, params) gives the host copies of that tuple the reference's names and layout; it only
    rearranges. `note` says what it is and, where measured, which framework it loses in and by how much.
    """

    note: str
    prepare: Callable[[Ops, Inputs, Params], Sequence[Array | Matrix]]
    step: Callable[[Ops, Params], Callable[..., tuple[Array, ...]]]
    restore: Callable[[Sequence[HostArray], Inputs, Params], Mapping[str, HostArray]]
    executions: tuple[Execution, ...] | None = None
    applies: Callable[[Params], bool] = lambda params: True  # False where it would be another formulation over again
    over_zeros: bool = False  # multiplies with the zeros too: how it stands to the others changes with the density


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One computation, its facts and its formulations.

    inputs(params, seed) returns host arrays: float64 for what the case's dtype rounds, int32 for indices.
    reference(inputs, params, mode) is NumPy float64 of the rounded inputs, never through `Ops`, and returns named
    outputs; an output that has the name of an input is a parameter after its update, and the check then looks at the
    change too. tolerances(dtype) maps a dtype to the largest error allowed, relative to the output's largest value.
    work(params, mode, itemsize) gives the formulas; twins(params, mode) the dense path, the principal one first.
    """

    name: str
    title: str
    source: str
    role: Role = "idea"
    axes: Mapping[str, Axis]
    presets: Mapping[str, Sequence[Point]]
    inputs: Callable[[Params, int], Inputs]
    reference: Callable[[Inputs, Params, Mode], Mapping[str, HostArray]]
    formulations: Mapping[Mode, Mapping[str, Formulation]]
    work: Callable[[Params, Mode, int], Work]
    twins: Callable[[Params, Mode], Sequence[Twin]]
    tolerances: Mapping[tuple[str, Mode], float] = field(
        default_factory=lambda: {
            ("float64", "forward"): 1e-10,
            ("float64", "train_step"): 1e-8,
            ("float32", "forward"): 1e-5,
            ("float32", "train_step"): 1e-4,
            ("bfloat16", "forward"): 2e-2,
            ("bfloat16", "train_step"): 5e-2,
            ("float16", "forward"): 2e-3,
            ("float16", "train_step"): 1e-2,
        }
    )

    def check(self, params: Mapping[str, Any]) -> Params:
        """Complete and check axes given by a user; ValueError names the axis, what was found and what is expected."""
        unknown = sorted(set(params) - set(self.axes))
        if unknown:
            raise ValueError(f"{self.name} has no axis {unknown[0]!r}; its axes are {', '.join(self.axes)}")
        missing = sorted(set(self.axes) - set(params))
        if missing:
            raise ValueError(f"{self.name} needs a value for axis {missing[0]!r}")
        return {name: _checked(self.name, name, axis, params[name]) for name, axis in self.axes.items()}


def _checked(workload: str, name: str, axis: Axis, value: Any) -> Value:
    try:
        typed = axis.kind(value)
    except (TypeError, ValueError):
        typed = None
    if typed is None or (axis.kind is int and float(value) != typed):
        raise ValueError(f"axis {name} of {workload} must be {axis.kind.__name__}, found {value!r}")
    if axis.choices is not None and typed not in axis.choices:
        raise ValueError(f"axis {name} of {workload} must be one of {', '.join(axis.choices)}, found {value!r}")
    if not isinstance(typed, str):
        low, high = axis.low, axis.high
        if typed != typed or (low is not None and typed < low) or (high is not None and typed > high):
            expected = f"at least {low:g}" if high is None else f"in {low if low is not None else '…'}…{high:g}"
            raise ValueError(f"axis {name} of {workload} must be {expected}, found {value!r}")
    return typed

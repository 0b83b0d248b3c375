"""What a workload is: one computation with named axes, written once against `Ops`.

A dataclass of functions rather than a class to inherit from: it reads as a table of facts and type-checks as one.
This is the long form, `WORKLOAD = Definition(…)`, and what the harness consumes. The short form, `Workload` of
workloads/authoring/builder.py, makes one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

from backends.ops import Array, Execution, HostArray, Matrix, Ops
from workloads.authoring.parameters import Parameters, Params, Value, typed

__all__ = [
    "GATE",
    "LEARNING_RATE",
    "MODES",
    "NEAR_TIES",
    "ROLES",
    "Axis",
    "Definition",
    "Formulation",
    "Further",
    "Inputs",
    "Mode",
    "Parameters",
    "Params",
    "Point",
    "Role",
    "Tolerances",
    "Twin",
    "Value",
    "Work",
]

Mode = Literal["forward", "train_step"]
Role = Literal["idea", "twin", "ceiling"]
Inputs: TypeAlias = Mapping[str, HostArray]

Tolerances: TypeAlias = Mapping[tuple[str, Mode], float]

MODES: tuple[Mode, ...] = get_args(Mode)
ROLES: tuple[Role, ...] = get_args(Role)
# What a reference says beside its outputs, by the beginning of the name: `gate.y` is what y would be without what the
# idea gives up, such as its low bits, and `near_ties.y` is true where rounding may decide y the other way.
GATE, NEAR_TIES = "gate.", "near_ties."
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
    dtype: str | None = None  # of its own, where that is the fair one: bfloat16 beside int8; None is the case's

    def __post_init__(self) -> None:
        object.__setattr__(self, "params", dict(self.params))  # plain, whatever an author hands on


class Further(NamedTuple):
    """Values of an axis that no list has: a regular expression that matches each as a whole, and what they are."""

    matches: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A named axis: what it means, its unit and the values that it may take: `choices`, and `further` ones beside them.

    `kind` is that of `default` where there is one, else int. `break_even` marks a numeric axis along which the report
    looks for the value where the idea takes as long as its principal twin (sparsity's is `density`).
    """

    help: str = ""
    kind: type[int] | type[float] | type[str] = int
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] | None = None
    further: Further | None = None
    default: Value | None = None
    break_even: bool = False

    def __post_init__(self) -> None:
        if self.default is not None:
            object.__setattr__(self, "kind", type(self.default))


@dataclass(frozen=True, slots=True)
class Point:
    """One setting of the axes in a preset.

    At a `survey` point every formulation and execution runs. At the others of the same `group` only those run that
    came close to the best of the survey point; formulations that multiply the zeros too (`multiplies_zeros`) and those
    that skip them are held each against their own kind there, since density changes how the two kinds stand. Points
    whose group has no survey point run whole. A `headline` point has its row in the main table.
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
    rearranges. `note` says what it is. Each of these functions and `applies` gets `Parameters`.

    `multiplies_zeros`: it multiplies with the zeros too, so that how it stands to the others changes with the density.
    A sweep holds formulations so marked against each other only, and the rest against the rest (see `Point`).
    """

    note: str
    prepare: Callable[[Ops, Inputs, Any], Sequence[Array | Matrix]]
    step: Callable[[Ops, Any], Callable[..., tuple[Array, ...]]]
    restore: Callable[[Sequence[HostArray], Inputs, Any], Mapping[str, HostArray]]
    executions: tuple[Execution, ...] | None = None
    applies: Callable[[Any], bool] = lambda params: True  # False where it would be another formulation over again
    multiplies_zeros: bool = False

    def __post_init__(self) -> None:
        for name, position in (("prepare", 2), ("step", 1), ("restore", 2), ("applies", 0)):
            object.__setattr__(self, name, typed(getattr(self, name), position))


def usual_tolerances() -> dict[tuple[str, Mode], float]:
    """The largest error allowed of most workloads, relative to the output's largest value, by dtype and mode."""
    return {
        ("float64", "forward"): 1e-10,
        ("float64", "train_step"): 1e-8,
        ("float32", "forward"): 1e-5,
        ("float32", "train_step"): 1e-4,
        ("bfloat16", "forward"): 2e-2,
        ("bfloat16", "train_step"): 5e-2,
        ("float16", "forward"): 2e-3,
        ("float16", "train_step"): 1e-2,
    }


# On CUDA cuDNN and XLA choose the algorithm of a convolution by trial. Winograd's and the FFT's are float32 throughout
# and lose a digit more (Lavin and Gray 2016, Fast Algorithms for Convolutional Neural Networks, arXiv:1509.09308); a
# product in TF32 by mistake is still off by more.
CONVOLVED_ON_CUDA = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """One computation, its facts and its formulations: what the harness runs.

    inputs(params, seed) returns host arrays: float64 for what the case's dtype rounds, int32 for indices.
    reference(inputs, params, mode) is NumPy float64 of the rounded inputs, never through `Ops`, and returns named
    outputs; an output that has the name of an input is a parameter after its update, and the check then looks at the
    change too. An output of integers must be equal. What it says of `GATE` and `NEAR_TIES` is no output.
    tolerances maps dtype and mode to the largest error allowed, relative to the output's largest value; or it is a
    function of the axes that returns such a mapping. gate_limit(params) is how far an output may be, by the Frobenius
    norm, from what its gate says; None where there is no gate. Past it a case is `wrong`, though its arithmetic agrees.
    work(params, mode, itemsize) gives the formulas; twins(params, mode) the dense path, the principal one first.
    product_dtype(params) is that of the products where they are not in the case's dtype, which then is no ceiling of
    theirs; None where they are.
    `convolves`: some formulation is a convolution of the framework's, of which CUDA has faster and less exact ones.
    `lone`: each formulation is a single operation of the framework's, of which compiling makes no other, so that it is
    measured in the execution that a backend names first.

    Callers may give `params` as any mapping; each of these functions gets `Parameters`.
    """

    name: str
    title: str
    source: str
    role: Role = "idea"
    leaves_out: str = ""  # what of the dense path an idea leaves out, in a word or two; ideas alike have the same
    axes: Mapping[str, Axis]
    presets: Mapping[str, Sequence[Point]]
    inputs: Callable[[Any, int], Inputs]
    reference: Callable[[Inputs, Any, Mode], Mapping[str, HostArray]]
    formulations: Mapping[Mode, Mapping[str, Formulation]]
    work: Callable[[Any, Mode, int], Work]
    twins: Callable[[Any, Mode], Sequence[Twin]]
    tolerances: Tolerances | Callable[[Any], Tolerances] = field(default_factory=usual_tolerances)
    gate_limit: Callable[[Any], float | None] = lambda params: None
    product_dtype: Callable[[Any], str | None] = lambda params: None
    convolves: bool = False
    lone: bool = False
    written: Mapping[str, Callable[..., Any]] = field(default_factory=dict, repr=False)  # see `author`

    def __post_init__(self) -> None:
        for name, position in (
            ("inputs", 0),
            ("reference", 1),
            ("work", 0),
            ("twins", 0),
            ("gate_limit", 0),
            ("product_dtype", 0),
        ):
            object.__setattr__(self, name, typed(getattr(self, name), position))
        if callable(self.tolerances):
            object.__setattr__(self, "tolerances", typed(self.tolerances, 0))

    def tolerances_at(self, params: Params) -> Tolerances:
        """The tolerance of each dtype and mode that there is at these axes."""
        return self.tolerances(params) if callable(self.tolerances) else self.tolerances

    def tolerance(self, params: Params, dtype: str, mode: Mode, kind: str = "cpu", *, tf32: bool = False) -> float:
        """The largest error allowed at these axes on a `kind` of device, as a share of the output's largest value.

        `tf32`: float32 products were asked in TF32, whose mantissa is float16's. KeyError for a dtype that it has not.
        """
        tolerances = self.tolerances_at(params)
        own = tolerances[dtype, mode]
        if dtype != "float32":
            return own
        if tf32:
            return max(own, tolerances.get(("float16", mode), own))
        return max(own, CONVOLVED_ON_CUDA) if self.convolves and kind == "cuda" else own

    def author(self, fact: str, mode: Mode) -> Callable[..., Any]:
        """The function that its author wrote for `inputs`, `reference`, `work`, `useful_flop`, `twins`, …

        In the long form it is the field itself.
        """
        for name in (f"{fact} {mode}", fact, f"work {mode}", "work"):
            if name in self.written:
                return self.written[name]
        function: Callable[..., Any] = getattr(self, fact, self.work)
        return function

    def completed(self, params: Params) -> Params:
        """`params`, and the defaults of the axes that it does not name; itself where there are none."""
        left = {n: a.default for n, a in self.axes.items() if n not in params and a.default is not None}
        return {**params, **left} if left else params

    def check(self, params: Mapping[str, Any]) -> Params:
        """Check axes given by a user, each of them; ValueError names the axis, what was found and what is expected."""
        unknown = sorted(set(params) - set(self.axes))
        if unknown:
            raise ValueError(f"{self.name} has no axis {unknown[0]!r}; its axes are {', '.join(self.axes)}")
        missing = sorted(set(self.axes) - set(params))
        if missing:
            raise ValueError(f"{self.name} needs a value for axis {missing[0]!r}")
        return {name: _checked(self.name, name, axis, params[name]) for name, axis in self.axes.items()}


def _further(axis: Axis, value: Value) -> bool:
    return axis.further is not None and re.fullmatch(axis.further.matches, str(value), re.DOTALL) is not None


def _checked(workload: str, name: str, axis: Axis, value: Any) -> Value:
    try:
        found = axis.kind(value)
    except (TypeError, ValueError, OverflowError):
        found = None
    if found is None or (axis.kind is int and float(value) != found):
        raise ValueError(f"axis {name} of {workload} must be {axis.kind.__name__}, found {value!r}")
    if axis.choices is not None and found not in axis.choices and not _further(axis, found):
        known = (*axis.choices, *([axis.further.what] if axis.further else []))
        raise ValueError(f"axis {name} of {workload} must be one of {', '.join(known)}, found {value!r}")
    if not isinstance(found, str):
        low, high = axis.low, axis.high
        if not isfinite(found) or (low is not None and found < low) or (high is not None and found > high):
            bounds = f"in {'…' if low is None else f'{low:g}'}…{'' if high is None else f'{high:g}'}"
            expected = "finite" if low is high is None else f"at least {low:g}" if high is None else bounds
            raise ValueError(f"axis {name} of {workload} must be {expected}, found {value!r}")
    return found

"""The short form of a workload: only the mathematics is the author's, the rest has a default.

    w = Workload("vector_norm", title="row norms", source="…", axes={"rows": 1024, "columns": 1024})

    @w.inputs
    def inputs(p, rng): return {"x": rng.standard_normal((p.rows, p.columns))}

    @w.reference
    def reference(x): return {"norm": np.sqrt((x**2).sum(axis=1))}

    @w.formulation(note="square, then sum")
    def by_sum(ops, x): return {"norm": ops.sqrt(ops.sum(x * x, axis=1))}

    w.work(flop=lambda p: 2 * p.rows * p.columns, bytes=lambda p, e: e * (p.rows * p.columns + p.rows))
    w.twin("dense_matmul", m="rows", k="columns", n=1)

Functions are called by the names of their parameters: `p` is the point's `Parameters`, `mode` its mode, any other name
an input. `definition()` makes the long form of workloads/base.py of it, and discovery calls it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar, overload

import numpy as np

from backends.ops import Array, Execution, HostArray, Matrix
from workloads.authoring.axes import axis_of
from workloads.authoring.formulation import Outputs, short_formulation
from workloads.authoring.functions import ByName, WorkloadError, placed, where
from workloads.authoring.points import LARGE, Place, presets, swept
from workloads.base import (
    MODES,
    Axis,
    Definition,
    Formulation,
    Inputs,
    Mode,
    Parameters,
    Params,
    Point,
    Role,
    Tolerances,
    Twin,
    Value,
    Work,
)

Function = TypeVar("Function", bound=Callable[..., Any])
Formulas: TypeAlias = Callable[[Parameters, Mode, int], Work]
TwinOf: TypeAlias = Callable[[Parameters, Mode], Sequence[Twin]]


class Workload:
    """A workload as it is written; every method that takes a function gives it back, and so can decorate it.

    `axes` are numbers or words, their defaults, or `Axis(default=…, help=…, low=…, high=…, choices=…, break_even=…)`.
    A plain whole number has 1 as its lower bound, 0 where it is 0 itself. `smoke` gives axes of the smoke size, where
    the one that is derived (workloads/authoring/points.py) does not fit. `leaves_out`, `tolerances`, `gate_limit`,
    `product_dtype`, `convolves` and `lone` are as in `Definition`.
    """

    def __init__(
        self,
        name: str,
        *,
        title: str,
        source: str,
        axes: Mapping[str, Value | Axis],
        role: Role = "idea",
        leaves_out: str = "",
        smoke: Params | None = None,
        tolerances: Tolerances | Callable[[Parameters], Tolerances] | None = None,
        gate_limit: Callable[[Parameters], float | None] | None = None,
        product_dtype: Callable[[Parameters], str | None] | None = None,
        convolves: bool = False,
        lone: bool = False,
    ) -> None:
        self.name = name
        self._facts: dict[str, Any] = {
            "name": name,
            "title": title,
            "source": source,
            "role": role,
            "leaves_out": leaves_out,
            "convolves": convolves,
            "lone": lone,
        }
        given_functions = {"tolerances": tolerances, "gate_limit": gate_limit, "product_dtype": product_dtype}
        self._facts |= {name: function for name, function in given_functions.items() if function is not None}
        self._axes = {axis: axis_of(name, axis, given) for axis, given in axes.items()}
        self._smoke = dict(smoke or {})
        self._places: dict[str, list[Place]] = {}
        self._inputs: ByName | None = None
        self._references: dict[Mode | None, ByName] = {}
        self._formulations: dict[Mode, dict[str, Formulation]] = {}
        self._work: dict[Mode | None, Formulas] = {}
        self._twins: list[TwinOf] = []
        self._formulas: dict[str, Callable[..., Any]] = {}  # of `work`, by the fact that each gives

    # -- the mathematics ----------------------------------------------------------------------------------------------
    def inputs(self, function: Function) -> Function:
        """Host arrays by name, from `p` and `rng` or `seed`: float64 where the case's dtype rounds, int32 indices."""
        self._inputs = ByName.of(function, f"inputs of {self.name}")
        return function

    @overload
    def reference(self, function: Function) -> Function: ...
    @overload
    def reference(self, *, mode: Mode) -> Callable[[Function], Function]: ...
    def reference(self, function: Any = None, *, mode: Mode | None = None) -> Any:
        """The outputs by name in NumPy float64, never through `Ops`: of every mode, or of one by `mode=`."""
        if function is None:
            return lambda given: self._keep_reference(given, mode)
        return self._keep_reference(function, mode)

    def _keep_reference(self, function: Function, mode: Mode | None) -> Function:
        self._references[mode] = ByName.of(function, f"reference of {self.name}")
        return function

    def formulation(
        self,
        *,
        note: str,
        mode: Mode = "forward",
        executions: tuple[Execution, ...] | None = None,
        applies: Callable[[Parameters], bool] | None = None,
        multiplies_zeros: bool = False,
        prepare: Callable[..., Sequence[Array | Matrix]] | None = None,
        restore: Callable[..., Mapping[str, HostArray]] | None = None,
        outputs: Outputs | None = None,
    ) -> Callable[[Function], Function]:
        """One way to write it: f(ops, [p,] operands…), named as the function is; it returns {"output": array, …}.

        Operands are inputs, put on the device as they are, unless prepare(ops, p, inputs…) gives others. Outputs have
        the reference's names and shapes, unless restore(outputs…, inputs…) rearranges them on the host. With `outputs`
        (names, or a function of `p`) f returns a tuple and no dict, which costs an eager call 0.3 µs.
        `executions`, `applies(p)` and `multiplies_zeros` are as in `Formulation`; the last decides who goes on a sweep.
        """

        def keep(function: Function) -> Function:
            name = function.__name__
            what = f"formulation {name} of {self.name}"
            if not name.isidentifier():
                raise WorkloadError(
                    f"{where(function)}: a formulation is named as its function is; write it with `def`"
                )
            made = short_formulation(
                function,
                what=what,
                note=note,
                mode=mode,
                executions=executions,
                applies=applies,
                multiplies_zeros=multiplies_zeros,
                prepare=prepare,
                restore=restore,
                outputs=outputs,
            )
            self._keep_formulation(mode, name, made, where(function))
            return function

        return keep

    def add(self, mode: Mode, **formulations: Formulation) -> None:
        """Formulations in the long form, beside those in the short one."""
        for name, formulation in formulations.items():
            self._keep_formulation(mode, name, formulation, where(formulation.step))

    def _keep_formulation(self, mode: Mode, name: str, formulation: Formulation, place: str) -> None:
        known = self._formulations.setdefault(mode, {})
        if name in known:
            raise WorkloadError(
                f"{place}: {self.name} has a formulation {name} of {mode} already; give it another name"
            )
        known[name] = formulation

    # -- the facts ----------------------------------------------------------------------------------------------------
    def work(
        self,
        function: Formulas | None = None,
        *,
        flop: Callable[[Parameters], int] | None = None,
        bytes: Callable[[Parameters, int], int] | None = None,
        live_bytes: Callable[[Parameters, int], int] | None = None,
        mode: Mode | None = None,
    ) -> Any:
        """The formulas, of every mode or of one: flop(p), bytes(p, e) and live_bytes(p, e), e bytes a value.

        They are useful FLOP, least bytes and the least bytes alive at once (by default the least bytes), whole numbers.
        Or one function(p, mode, e) that returns a `Work`.
        """
        own = "" if mode is None else f" {mode}"
        if function is not None:
            self._work[mode] = self._formulas[f"work{own}"] = function
            return function
        if flop is None or bytes is None:
            raise WorkloadError(f"the work of {self.name} needs flop= and bytes=, or one function that returns a Work")
        least, live = bytes, live_bytes or bytes
        self._work[mode] = lambda p, mode, e: Work(flop(p), least(p, e), live(p, e))
        self._formulas |= {f"useful_flop{own}": flop, f"least_bytes{own}": least, f"live_bytes{own}": live}
        return None

    def twin(
        self,
        workload: str,
        /,
        *,
        kind: str = "dense",
        mode: Mode | None = None,
        dtype: str | None = None,
        **axes: Value | Callable[[Parameters], Value],
    ) -> None:
        """The dense path that it is held against, the first one the principal: the workload's name and its axes.

        An axis of the twin is the name of an axis here, a value, or a function of `p`. `kind` says why it is the right
        twin; `mode` and `dtype` are the case's own unless given.
        """
        own = self._axes

        def value(given: Value | Callable[[Parameters], Value], p: Parameters) -> Value:
            if callable(given):
                return given(p)
            return p[given] if isinstance(given, str) and given in own else given

        def twin(p: Parameters, case: Mode) -> Sequence[Twin]:
            return [Twin(kind, workload, {name: value(v, p) for name, v in axes.items()}, mode or case, dtype)]

        self._twins.append(placed(twin, sys._getframe(1)))

    def twins(self, function: TwinOf) -> TwinOf:
        """The twins by one function of (p, mode), where `twin` cannot say them."""
        self._twins.append(function)
        return function

    # -- where it is measured -----------------------------------------------------------------------------------------
    def preset(
        self,
        name: str,
        /,
        *points: Point,
        mode: Mode | None = None,
        survey: bool = True,
        headline: bool = True,
        group: str = "",
        **axes: Value,
    ) -> None:
        """Add to a preset: the `points` given, or one with these axes and the defaults of the others, in every mode.

        `survey`, `headline` and `group` are as in `Point`.
        """
        places = [
            Place(axes=p.params, mode=p.mode, survey=p.survey, headline=p.headline, group=p.group) for p in points
        ]
        one_more = Place(axes=axes, mode=mode, survey=survey, headline=headline, group=group)
        self._places.setdefault(name, []).extend(places or [one_more])

    def sweep(
        self,
        axis: str,
        values: Sequence[Value],
        /,
        *,
        survey_at: Value,
        presets: Sequence[str] = LARGE,
        mode: Mode | None = None,
        **axes: Value,
    ) -> None:
        """Measure at every value of one axis, surveyed at `survey_at`: there all formulations run.

        What came close there goes on to the other values: at most two formulations within 1.6 times the best. Those
        marked `multiplies_zeros` are held against each other only, and the rest against the rest. A sweep is a `group`
        of its own, so that several do not decide for each other. The row of the main table is that of `survey_at`.
        """
        if axis not in self._axes:
            raise WorkloadError(f"{self.name} has no axis {axis!r} to sweep; its axes are {', '.join(self._axes)}")
        for name in presets:
            self._places.setdefault(name, []).extend(swept(axis, values, survey_at, mode, axes))

    # -- the long form ------------------------------------------------------------------------------------------------
    def definition(self) -> Definition:
        """The long form; WorkloadError in one sentence where a part is missing or two parts do not fit."""
        modes = [mode for mode in MODES if self._formulations.get(mode)]
        if self._inputs is None:
            raise WorkloadError(f"{self.name} has no inputs; decorate the function that makes them with @w.inputs")
        if not modes:
            raise WorkloadError(f"{self.name} has no formulation; decorate one with @w.formulation(note=…)")
        for kind, known in (("reference", self._references), ("work", self._work)):
            for mode in modes:
                if mode not in known and None not in known:
                    raise WorkloadError(f"{self.name} has no {kind} of {mode}; give one by w.{kind}")
        made = Definition(
            **self._facts,
            axes=self._axes,
            presets=presets(self._places, self._axes, self._smoke, modes, self._facts["role"]),
            inputs=self._made_inputs,
            reference=self._by_reference,
            formulations={mode: self._formulations[mode] for mode in modes},
            work=lambda p, mode, e: _of(self._work, mode)(p, mode, e),
            twins=lambda p, mode: [twin for of in self._twins for twin in of(p, mode)],
            written=self._written(),
        )
        for points in made.presets.values():
            for point in points:
                made.check(point.params)
        return made

    def _written(self) -> dict[str, Callable[..., Any]]:
        """The author's own functions, for messages to say where they stand; those of one mode under `fact mode`."""
        found: dict[str, Callable[..., Any]] = {**self._formulas}
        for mode, reference in self._references.items():
            found["reference" if mode is None else f"reference {mode}"] = reference.function
        if self._inputs is not None:
            found["inputs"] = self._inputs.function
        if self._twins:
            found["twins"] = self._twins[0]
        return found

    def _made_inputs(self, p: Parameters, seed: int) -> Inputs:
        assert self._inputs is not None  # `definition` has asked
        made: Inputs = self._inputs({}, {"p": p, "seed": seed, "rng": np.random.default_rng(seed)})
        return made

    def _by_reference(self, inputs: Inputs, p: Parameters, mode: Mode) -> Mapping[str, HostArray]:
        found = _of(self._references, mode)
        outputs = found(inputs, {"p": p, "mode": mode})
        if not isinstance(outputs, Mapping):
            raise WorkloadError(
                f"{where(found.function)}: {found.what} must return outputs by name, found {type(outputs).__name__}"
            )
        return {name: np.asarray(value) for name, value in outputs.items()}


Kept = TypeVar("Kept")


def _of(known: Mapping[Mode | None, Kept], mode: Mode) -> Kept:
    return known[mode] if mode in known else known[None]

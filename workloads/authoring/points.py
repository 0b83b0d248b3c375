"""The points of the presets in the short form: the axes' defaults, a smoke size derived from them, and sweeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from workloads.authoring.functions import WorkloadError
from workloads.base import Axis, Mode, Params, Point, Role, Value

LARGE = ("quick", "standard", "full")
SMALL = 8  # the first integer axis of the smoke size is at most this, the next twice this, …


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A point as an author gives it: some axes, and a mode or None for every mode."""

    axes: Params
    mode: Mode | None = None
    survey: bool = True
    headline: bool = True
    group: str = ""


def swept(axis: str, values: Sequence[Value], survey_at: Value, mode: Mode | None, axes: Params) -> list[Place]:
    """The point surveyed, which has its row in the main table, then the other values in their order."""
    if survey_at not in values:
        raise WorkloadError(f"survey_at={survey_at!r} is none of the values of {axis}: {', '.join(map(str, values))}")
    group = ", ".join([axis, *(f"{name}={value}" for name, value in axes.items())])
    first = Place(axes={**axes, axis: survey_at}, mode=mode, group=group)
    rest = [value for value in values if value != survey_at]
    return [first, *(replace(first, axes={**axes, axis: v}, survey=False, headline=False) for v in rest)]


def smoke(axes: Mapping[str, Axis], given: Params) -> Params:
    """A small point: what is `given`, and the defaults with integers made small.

    The first integer axis is at most 8, the second at most 16, and so on: small, unlike each other so that a transposed
    shape is noticed, and multiples of 8 so that what divides them still does. No axis goes below its `low`.
    """
    out: dict[str, Value] = {}
    limit = SMALL
    for name, axis in axes.items():
        if name in given or axis.default is None:
            continue
        value = axis.default
        if isinstance(value, int):
            value = min(value, max(limit, int(axis.low or 0)))
            limit += SMALL
        out[name] = value
    return {**out, **given}


def presets(
    places: Mapping[str, Sequence[Place]], axes: Mapping[str, Axis], smallest: Params, modes: Sequence[Mode], role: Role
) -> dict[str, tuple[Point, ...]]:
    """The author's points; without any, an idea has its defaults in quick, standard and full; smoke is always there."""
    defaults = {name: axis.default for name, axis in axes.items() if axis.default is not None}
    given = dict(places)
    if role == "idea" and not any(name != "smoke" for name in given):
        given |= {name: [Place(axes={})] for name in LARGE}
    given.setdefault("smoke", [Place(axes=smoke(axes, smallest))])
    order = ["smoke", *LARGE, *given]
    return {
        name: tuple(
            Point(_complete(defaults | dict(place.axes), axes), mode, place.survey, place.headline, place.group)
            for place in given[name]
            for mode in ([place.mode] if place.mode else modes)
        )
        for name in dict.fromkeys(order)
        if name in given
    }


def _complete(params: Params, axes: Mapping[str, Axis]) -> Params:
    """In the order of the axes; what is unknown or missing is for `Definition.check` to name."""
    return {name: params[name] for name in [*axes, *params] if name in params}

"""Which cases a few words mean, and which path of each where the words leave that open; purely."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from backends.device import Device, canonical
from backends.dtypes import ITEM_BYTES
from backends.ops import EXECUTIONS, Backend
from harness.errors import UserError, nearest
from harness.planning.plan import PRESETS, Ask, Planned, cases
from harness.planning.retold import number
from harness.records.record import Case
from workloads.base import MODES, Definition, Value

T = TypeVar("T")
_TRIED = ("quick", "ideas", "standard", "full", "smoke")  # the first preset that has points of a workload is meant


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseNames:
    """What is named of a case; nothing said of a field means any."""

    workloads: tuple[str, ...] = ()
    formulations: tuple[str, ...] = ()
    backends: tuple[str, ...] = ()
    executions: tuple[str, ...] = ()
    modes: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    axes: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)

    def means(self, case: Case) -> bool:
        """Whether all that is named is so of a case."""
        of = (
            (self.workloads, case.workload),
            (self.formulations, case.formulation),
            (self.backends, case.backend),
            (self.executions, case.execution),
            (self.modes, case.mode),
            (self.dtypes, case.dtype),
            (self.devices, case.device),
        )
        return all(not names or own in names for names, own in of) and all(
            case.params.get(axis) in values for axis, values in self.axes.items()
        )

    def with_more(self, more: CaseNames) -> CaseNames:
        """Both, by field."""
        both = {f.name: (*getattr(self, f.name), *getattr(more, f.name)) for f in fields(self) if f.name != "axes"}
        return CaseNames(**both, axes={**self.axes, **more.axes})

    def __str__(self) -> str:
        named = [name for f in fields(self) if f.name != "axes" for name in getattr(self, f.name)]
        return " ".join([*named, *(f"{axis}={','.join(map(str, values))}" for axis, values in self.axes.items())])


@dataclass(frozen=True, slots=True)
class Meant:
    """A case that is meant: the path `named`, or else chosen where `known` tells how it stands among the others."""

    planned: Planned
    named: bool
    known: bool


def named_cases(words: Sequence[str], workloads: Mapping[str, Definition], backends: Iterable[str]) -> list[CaseNames]:
    """The cases of words such as `block_sparse/bsr torch compiled`; each begins with the name of a workload.

    UserError for a word that names nothing.
    """
    found: list[CaseNames] = []
    formulations = {name for w in workloads.values() for by in w.formulations.values() for name in by}
    known: dict[str, set[str]] = {
        "workloads": set(workloads),
        "backends": set(backends),
        "executions": set(EXECUTIONS),
        "modes": set(MODES),
        "dtypes": set(ITEM_BYTES),
        "formulations": formulations,
    }
    for word in (word for text in words for part in text.split() for word in part.split("/") if word):
        kind = _kind(word, known)
        if kind == "workloads" or not found:
            found.append(CaseNames())
        if kind is None:
            raise nearest("word of a case", word, sorted(set().union(*known.values())))
        axis, _, values = word.partition("=")
        more = CaseNames(axes={axis: tuple(map(number, values.split(",")))}) if kind == "axes" else _one(kind, word)
        found[-1] = found[-1].with_more(more)
    return found


def _kind(word: str, known: Mapping[str, set[str]]) -> str | None:
    if "=" in word:
        return "axes"
    for kind, names in known.items():
        if word in names:
            return kind
    try:
        return "devices" if Device.parse(word).well_known else None
    except ValueError:
        return None


def _one(kind: str, word: str) -> CaseNames:
    named: dict[str, Any] = {kind: (canonical(word) if kind == "devices" else word,)}
    return CaseNames(**named)


def planned_for(
    names: CaseNames,
    preset: str | None,
    workloads: Mapping[str, Definition],
    backends: Mapping[str, Backend],
) -> list[Planned]:
    """The planned cases of names, which say workloads and backends: in a preset, or the first that has some.

    UserError where a name does not exist, or nothing is planned of them.
    """
    for name in names.workloads:
        if name not in workloads:
            raise nearest("workload", name, workloads)
    axes = sorted({axis for name in names.workloads for axis in workloads[name].axes})
    for axis in names.axes:
        if axis not in axes:
            raise nearest("axis", axis, axes)
    for tried in _TRIED if preset is None else (preset,):
        found = [planned for planned in _planned(names, tried, workloads, backends) if names.means(planned.case)]
        if found:
            return found
    where = f"preset {preset}" if preset else "any preset"
    raise UserError(
        f"no case of {where} is named by {names}; `list workloads {names.workloads[0]}` shows what there is"
    )


def _planned(
    names: CaseNames, preset: str, workloads: Mapping[str, Definition], backends: Mapping[str, Backend]
) -> list[Planned]:
    """Of a workload with points of its own those, else all of the preset, where it may be a twin."""
    ideas = all(workloads[name].presets.get(preset) for name in names.workloads)
    twins = any(workloads[name].role == "twin" for name in names.workloads)
    if not ideas and not twins and preset in PRESETS:
        return []
    small = preset == "smoke"  # which tries each formulation once, at one of its points
    ask = Ask(
        preset=_TRIED[0] if small else preset,
        points={name: tuple(workloads[name].presets[preset]) for name in names.workloads} if small and ideas else {},
        workloads=names.workloads if ideas and not (twins and not small) else (),
        backends=names.backends,
        devices=names.devices or ("cpu",),
        dtypes=names.dtypes or ("float32",),
        axes=names.axes,
    )
    return cases(ask, workloads, backends)


def chosen(candidates: Iterable[Planned], stand: Callable[[Planned], float | None], names: CaseNames) -> list[Meant]:
    """One case for each workload, backend and device: at its headline point, else the first, the path that stands best.

    `stand` is less where a path is better, and None where nothing is known of it.
    """
    points = _grouped(candidates, lambda planned: planned.point)
    places = _grouped(points.values(), lambda at: (at[0].case.workload, at[0].case.backend, at[0].case.device))
    out = []
    for several in places.values():
        at_point = next((at for at in several if any(planned.headline for planned in at)), several[0])
        stands = [(figure, planned) for planned in at_point if (figure := stand(planned)) is not None]
        best = min(stands, key=lambda pair: pair[0])[1] if stands else at_point[0]
        out.append(Meant(best, named=bool(names.formulations and names.executions), known=bool(stands)))
    return out


def _grouped(items: Iterable[T], by: Callable[[T], tuple[object, ...]]) -> dict[tuple[object, ...], list[T]]:
    out: dict[tuple[object, ...], list[T]] = {}
    for item in items:
        out.setdefault(by(item), []).append(item)
    return out

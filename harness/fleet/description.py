"""FILE.toml of a fleet: machines, what is wanted of which, the engine. Read strictly; a fault is one sentence."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from harness.errors import PlanError
from harness.fleet import labels
from harness.fleet.labels import Selector
from harness.fleet.toml_values import Keys, count, flag, names, one_of, strings, table, text, words

EngineName = Literal["local", "ray", "slurm"]
Share = Literal["replicate", "split"]
CONTROL = ("dense_cnn",)  # the calibration row: what each share of a split measures beside its own
TRIES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineKind:
    """A machine, or `count` equal ones, by labels; how hwlottery is started there, and what an engine must know of it.

    `python` is the interpreter and `folder` the checkout, None where an installed hwlottery, or the driver's own, does.
    """

    name: str
    labels: Mapping[str, str]
    count: int = 1
    python: str | None = None
    folder: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    image: str | None = None
    slurm: Mapping[str, Any] = field(default_factory=dict)
    sky: Mapping[str, Any] = field(default_factory=dict)

    @property
    def machines(self) -> list[str]:
        """The names of its machines."""
        return [self.name] if self.count == 1 else [f"{self.name}-{number + 1}" for number in range(self.count)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """What is wanted on the machines that `on` selects: options of `run`, by their names there.

    `replicate` runs all of it on each kind of machine, `runs` times. `split` shares the workloads out over the equal
    machines of a kind, and each share measures the workloads of `control`, too.
    """

    name: str
    on: Selector
    options: Mapping[str, tuple[str, ...]]
    share: Share = "replicate"
    runs: int = 1
    control: tuple[str, ...] = CONTROL

    @property
    def workloads(self) -> tuple[str, ...]:
        """Those that are named."""
        return self.options.get("workload", ())


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """A whole file. `tries` is how often a run is begun anew before it is given up."""

    path: Path
    engine: EngineName
    tries: int
    engine_options: Mapping[str, Any]
    kinds: Mapping[str, MachineKind]
    wants: tuple[Want, ...]


_ENGINES: Mapping[str, Keys] = {
    "local": {},
    "ray": {"address": text, "resource": text, "poll": text, "keep": text},
    "slurm": {
        **dict.fromkeys(("partition", "account", "qos", "constraint", "reservation", "cluster"), text),
        "minutes": count,
        "setup": words,
    },
}
_OF_RUN: Keys = {  # keys of a want that are options of `run`, and how their values are read
    **dict.fromkeys(("workloads", "backends", "devices", "dtypes", "executions", "formulations"), names),
    **dict.fromkeys(("preset", "budget", "timeout"), text),
    **dict.fromkeys(("seed", "rounds", "threads"), count),
    "exhaustive": flag,
}
_PLURAL = ("workloads", "backends", "devices", "dtypes", "executions", "formulations")


def read(path: Path) -> Fleet:
    """The fleet that a file describes; PlanError with one sentence for its first fault."""
    try:
        content = path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise PlanError(f"{path} cannot be read ({why}); name a TOML file that describes a fleet") from None
    try:
        found = tomllib.loads(content)
    except (ValueError, RecursionError) as error:  # ValueError: of TOML, and of a number of thousands of digits
        raise PlanError(f"{path} is not TOML: {error}") from None
    return _fleet(path, found)


def _fleet(path: Path, found: Mapping[str, Any]) -> Fleet:
    top = table(
        f"{path}",
        found,
        {
            "engine": one_of("local", "ray", "slurm"),
            "tries": count,
            **dict.fromkeys(_ENGINES, _any_table),
            "machine": _any_table,
            "want": _any_list,
        },
    )
    engine: EngineName = top.get("engine", "local")
    for other in _ENGINES.keys() - {engine}:
        table(f"{path}: [{other}]", top.get(other, {}), _ENGINES[other])  # another engine's options must be right, too
    if not top.get("machine"):
        raise PlanError(f"{path} names no machine; add [machine.NAME] with labels = {{ KEY = VALUE }}")
    if not top.get("want"):
        raise PlanError(f'{path} wants nothing; add [[want]] with preset = "quick", and on = {{ KEY = VALUE }}')
    kinds = {name: _kind(path, name, of) for name, of in top["machine"].items()}
    _apart(path, kinds)
    wants = tuple(_want(path, number, of) for number, of in enumerate(top["want"], 1))
    twice = next((w.name for w in wants if sum(w.name == other.name for other in wants) > 1), None)
    if twice is not None:
        raise PlanError(f"{path}: two wants are called {twice!r}; give each a name of its own")
    for want in wants:
        chosen = [kind for kind in kinds.values() if labels.meets(kind.labels, want.on)]
        if not chosen:
            near = labels.nearest(want.on, {name: kind.labels for name, kind in kinds.items()})
            raise PlanError(f"{path}: want {want.name!r} is on {labels.said(want.on)}: {near}")
        if want.share == "split" and (alone := next((kind.name for kind in chosen if kind.count < 2), None)):
            raise PlanError(
                f"{path}: want {want.name!r} is split over equal machines, but {alone} is one; "
                f'write count = 2 or more in [machine.{alone}], or share = "replicate"'
            )
    options = table(f"{path}: [{engine}]", top.get(engine, {}), _ENGINES[engine])
    return Fleet(
        path=path,
        engine=engine,
        tries=_at_least_one(path, "tries", top.get("tries", TRIES)),
        engine_options=options,
        kinds=kinds,
        wants=wants,
    )


def _kind(path: Path, name: str, found: Any) -> MachineKind:
    where = f"{path}: [machine.{name}]"
    _is_name(where, name)
    keys: Keys = {
        "labels": strings,
        "count": count,
        **dict.fromkeys(("python", "folder", "image"), text),
        "env": strings,
        "slurm": _any_table,
        "sky": _any_table,
    }
    got = table(where, found, keys)
    for key, value in got.get("labels", {}).items():
        if not labels.is_key(key) or not labels.is_value(value):
            raise PlanError(
                f"{where}: label {key} = {value!r} is none: letters, digits and -_. between them, 63 at most"
            )
    got["count"] = _at_least_one(path, f"[machine.{name}] count", got.get("count", 1))
    got["slurm"] = table(f"{where} slurm", got.get("slurm", {}), _ENGINES["slurm"])
    return MachineKind(name=name, labels=got.pop("labels", {}), **got)


def _apart(path: Path, kinds: Mapping[str, MachineKind]) -> None:
    """Refuse two kinds whose machines have one name, and so one folder."""
    seen: dict[str, str] = {}
    for kind in kinds.values():
        for machine in kind.machines:
            if machine in seen:
                raise PlanError(
                    f"{path}: [machine.{kind.name}] and [machine.{seen[machine]}] both have a machine called "
                    f"{machine}; name one of them otherwise"
                )
            seen[machine] = kind.name


def _want(path: Path, number: int, found: Any) -> Want:
    where = f"{path}: [[want]] number {number}"
    keys: Keys = {
        "name": text,
        "on": _selector,
        "share": one_of("replicate", "split"),
        "runs": count,
        "control": names,
        **_OF_RUN,
        "set": _axes,
    }
    got = table(where, found, keys)
    name = got.get("name", f"want{number}")
    _is_name(where, name)
    share: Share = got.get("share", "replicate")
    for only, key in (("split", "control"), ("replicate", "runs")):
        if key in got and share != only:
            raise PlanError(f'{where}: {key} is for share = "{only}"; leave it out')
    if share == "split" and not set(got.get("control", CONTROL)):
        raise PlanError(f"{where}: control is empty; name a workload that every share measures")
    return Want(
        name=name,
        on=got.get("on", {}),
        options={**{_option(key): _values(got[key]) for key in _OF_RUN if key in got}, "set": got.get("set", ())},
        share=share,
        runs=_at_least_one(path, f"want {name!r} runs", got.get("runs", 1)),
        control=got.get("control", CONTROL),
    )


def _option(key: str) -> str:
    return key.removesuffix("s") if key in _PLURAL else key


def _values(value: Any) -> tuple[str, ...]:
    """What an option of `run` is given: nothing for one that is not set, a flag's own absence among them."""
    if isinstance(value, tuple):
        return value
    if isinstance(value, bool):
        return ("",) if value else ()
    return (str(value),)


def _is_name(where: str, name: str) -> None:
    if not labels.is_value(name) or not name:
        raise PlanError(f"{where}: {name!r} is no name: letters, digits and -_. between them, 63 at most")


def _at_least_one(path: Path, what: str, value: int) -> int:
    if not 1 <= value <= 100_000:
        raise PlanError(f"{path}: {what} = {value} is not between 1 and 100000")
    return value


def _any_table(where: str, value: Any) -> Any:
    if not isinstance(value, dict):
        raise PlanError(f"{where} is a table of its own; write [{where.rpartition(' ')[2]}] above its keys")
    return value


def _any_list(where: str, value: Any) -> Any:
    if not isinstance(value, list):
        raise PlanError(f"{where} is a list of tables; write [[want]] above each")
    return value


def _selector(where: str, value: Any) -> Selector:
    """`{ kind = "cpu", zone = ["a", "b"] }`."""
    if not isinstance(value, dict):
        raise PlanError(f'{where} is not of the form {{ KEY = "VALUE" }}')
    return {key: (of,) if isinstance(of, str) else words(f"{where}.{key}", of) for key, of in value.items()}


def _axes(where: str, value: Any) -> tuple[str, ...]:
    """`{ density = [0.3, 0.1] }` as `run --set` has it."""
    if not isinstance(value, dict):
        raise PlanError(f"{where} is not of the form {{ AXIS = VALUE }}")
    given = {key: of if isinstance(of, list) else [of] for key, of in value.items()}
    if not all(isinstance(v, int | float | str) and not isinstance(v, bool) for of in given.values() for v in of):
        raise PlanError(f"{where} sets an axis to what is neither a number nor a word")
    return tuple(f"{key}={','.join(map(str, of))}" for key, of in given.items())

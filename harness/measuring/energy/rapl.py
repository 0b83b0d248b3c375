"""RAPL: the processor's own energy counters, through Linux's powercap files.

Layout: Linux Documentation/power/powercap/powercap.rst; domains: Intel SDM vol. 3B, "RAPL interfaces". A package holds
its cores and its graphics (`core`, `uncore`), `psys` holds the packages: none of these is ever added to a package.
`dram` is a counter beside its package and is added. The counters move about every millisecond (Hähnel, Döbel, Völp,
Härtig 2012, "Measuring energy consumption for short code paths using RAPL", SIGMETRICS PER 40:3) and wrap at
`max_energy_range_uj`. They count the whole socket, whoever uses it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.measuring.energy.meter import Baseline, CounterMeter, Unavailable

POWERCAP = Path("/sys/class/powercap")
UPDATE_S = 1e-3
MICRO = 1e-6
MIRROR_LOOKS, MIRROR_WAIT_S = 3, 5e-3
_ZONE = re.compile(r"intel-rapl(-mmio)?:(\d+)(?::(\d+))?")  # AMD's counters come under the same name


@dataclass(frozen=True, slots=True)
class Domain:
    """One counter: its file, and the microjoules at which it starts again from 0."""

    name: str
    energy_uj: Path
    range_uj: int | None


class Rapl:
    """The package domains of every socket, each with its dram where it has one; readings are microjoules."""

    def __init__(self, domains: Mapping[str, Domain]) -> None:
        self.domains = domains

    def read(self) -> dict[str, int]:
        """Microjoules of every domain."""
        return {name: _number(domain.energy_uj) for name, domain in self.domains.items()}

    def joules(self, domain: str, before: int, after: int) -> float:
        """The difference, over the wrap-around where there was one: a window is far shorter than a counter's range."""
        if after >= before:
            return (after - before) * MICRO
        limit = self.domains[domain].range_uj
        if limit is None or before > limit:
            raise Unavailable(f"the RAPL counter of {domain} went back from {before} to {after} µJ")
        return (after + limit - before) * MICRO


def meter(root: Path = POWERCAP, baseline: Baseline | None = None) -> CounterMeter:
    """A meter on RAPL; Unavailable says why there is none."""
    rapl = Rapl(without_mirrors(domains(root)))
    rapl.read()  # permission is refused here, not when the window starts
    dram = [name for name in rapl.domains if name.endswith("dram")]
    return CounterMeter(rapl, update_s=UPDATE_S, baseline=baseline, optional=dram)


def without_mirrors(
    found: Mapping[str, Domain], wait: Callable[[], object] = lambda: time.sleep(MIRROR_WAIT_S)
) -> dict[str, Domain]:
    """The domains without those that show the counter of an earlier one, which would be added up twice.

    Some systems tell one register under several names (a zone for each die of a package that has a single counter). A
    mirror lies between two readings of the other, taken right before and after it: of a microjoule counter that is no
    coincidence when it happens MIRROR_LOOKS times and the counters move in between.
    """
    kept: dict[str, Domain] = {}
    suspects: dict[str, str] = {}
    for name, domain in found.items():
        twin = next((other for other in kept if _mirrors(kept[other], domain)), None)
        kept[name] = domain
        if twin is not None:
            suspects[name] = twin
    for _ in range(MIRROR_LOOKS - 1 if suspects else 0):
        before = {name: _number(kept[name].energy_uj) for name in suspects}
        wait()
        suspects = {
            name: twin
            for name, twin in suspects.items()
            if _number(kept[name].energy_uj) != before[name] and _mirrors(kept[twin], kept[name])
        }
    return {name: domain for name, domain in kept.items() if name not in suspects}


def _mirrors(one: Domain, other: Domain) -> bool:
    first = _number(one.energy_uj)
    between = _number(other.energy_uj)
    return one.range_uj == other.range_uj and first <= between <= _number(one.energy_uj)


def domains(root: Path = POWERCAP) -> dict[str, Domain]:
    """The counters to add up, by name: `package-0`, `package-0 dram`, `package-1`, …; Unavailable without a package."""
    zones = {}
    for path in sorted(root.glob("intel-rapl*")):
        found = _ZONE.fullmatch(path.name)
        if found is not None:
            zones[found.groups(default="")] = path
    chosen: dict[str, Domain] = {}
    # The same package is often told twice, by its registers ("") and by memory-mapped ones ("-mmio"): "" sorts first.
    for (kind, number, sub), path in sorted(zones.items()):
        name = _text(path / "name")
        if sub or not name.startswith("package") or name in chosen:
            continue
        chosen[name] = _domain(name, path)
        for (kind_, number_, sub_), below in sorted(zones.items()):
            if (kind_, number_) == (kind, number) and sub_ and _text(below / "name") == "dram":
                chosen[f"{name} dram"] = _domain(f"{name} dram", below)
    if not chosen:
        raise Unavailable(f"no RAPL package counter under {root}")
    return chosen


def _domain(name: str, path: Path) -> Domain:
    try:
        limit = _number(path / "max_energy_range_uj")
    except Unavailable:
        limit = 0
    return Domain(name, path / "energy_uj", limit or None)


def _number(path: Path) -> int:
    text = _text(path)
    if not text.isdecimal():
        raise Unavailable(f"{path} holds {text[:40]!r} and not a number")
    return int(text)


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except PermissionError:
        raise Unavailable(f"{path} may not be read by this user; make it readable or run as root") from None
    except OSError as error:
        raise Unavailable(f"{path} cannot be read: {error.strerror}") from None

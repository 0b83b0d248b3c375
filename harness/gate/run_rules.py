"""What the records of a run must be together: of one run, under equal settings, with a control, below its ceilings."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cache, lru_cache
from importlib.resources import files
from statistics import median

import msgspec
import numpy as np

from backends.ops import Device
from harness.figures.basis import Basis
from harness.gate import modelled_rules
from harness.gate.known import Known
from harness.gate.refusal import Mark, Refusal, refusal
from harness.gate.strict_read import Line
from harness.machine import digest
from harness.records.record import Record
from harness.records.store import INFO, RECORDS, REPRODUCES, RunInfo, disturbances
from harness.records.text import plain
from harness.stats.intervals import SINGLE, across_runs, median_interval
from harness.stats.noise import floor_of
from harness.stats.process_times import counted, process_centres

MACHINE = ("cpu", "architecture", "cores_logical", "cores_usable", "memory_bytes", "os", "python")
SETTINGS = ("threads", "preset")
MOST_ALIKE = 4  # samples from which equality is no coincidence
# Switches of precision in each framework's words, as one fact: whether float32 products are float32.
_EXACT = {"tf32": False, "float32_matmul_precision": "highest", "matmul_precision": "highest"}


def check(
    info: RunInfo,
    lines: Sequence[Line[Record]],
    merged: Sequence[Record],
    known: Known,
    basis: Basis,
    *,
    controlled: bool,
) -> Iterator[Refusal]:
    """Every reason why the run as a whole may not be published; `merged` has one record a case.

    `basis` is theirs. `controlled`: whether a control was measured, be it of a record that is refused by itself.
    """
    yield from _facts(info, merged, known)
    yield from _of_this_run(info, lines)
    yield from _same_samples(lines)
    yield from modelled_rules.check_devices(info, merged)
    measured = [r for r in merged if r.status == "ok" and r.time is not None and r.case.workload]
    yield from _settings(info, measured)
    if measured and not controlled:
        said = "no case was measured against itself, so nobody knows its noise"
        yield refusal("no-control", RECORDS, said, "run with --rounds 2 or more, which measures A/A controls")
    yield from shares(measured, known, basis)


def marks(info: RunInfo, records: Sequence[Record]) -> Iterator[Mark]:
    """What readers should know: from which sources it was measured, and what is not part of this harness."""
    own, strange = _apart(info.sources)
    origin = _origin(own)
    if origin is None:
        yield Mark(code="modified", what="modified: measured with sources that are no known release")
    elif not strange:
        yield Mark(code="sources", what=f"sources: {origin}")
    here = digest.plug_ins() if strange else {}
    for name, found in strange.items():
        as_here = "" if here.get(name) == found else ", and not as it lies here" if name in here else ", nor here"
        said = f"modified: {plain(name)} ({plain(found[:8])}) is no part of this harness{as_here}"
        yield Mark(code="modified", what=said)
    for name in sorted({r.case.backend for r in records}):
        if not _ours("backends", f"{name}_backend"):
            yield Mark(code="backend", what=f"backend {plain(name)} is not part of this harness")
    for name in sorted({r.case.workload for r in records}):
        if not _ours("workloads", name):
            yield Mark(code="workload", what=f"workload {plain(name)} is not part of this harness")
    for said in disturbances(info):
        yield Mark(code="disturbed", what=plain(f"disturbed: {said}"))
    of = info.settings.get(REPRODUCES)
    if of is not None:
        yield Mark(code="reproduction", what=plain(f"reproduction of the run {of}: its paths only, ranked nowhere"))
    if any(r.status == "estimated" for r in records):
        yield Mark(code="estimated", what="estimated: compiled for a chip and not run")
    for name in sorted({r.modelled.device for r in records if r.modelled is not None}):
        yield Mark(code="modelled", what=plain(f"modelled: {name} is described in a file, and nothing was run on it"))


def _apart(sources: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """The digests of this package's own sources, and those of plug-ins."""
    strange = {name: found for name, found in sources.items() if name.startswith(digest.PLUG_IN)}
    return {name: found for name, found in sources.items() if name not in strange}, strange


@lru_cache(maxsize=1000)
def _ours(package: str, module: str) -> bool:
    """Whether a backend or workload has its file in this package."""
    return module.isidentifier() and (digest.ROOT / package / f"{module}.py").is_file()


def _origin(sources: dict[str, str]) -> str | None:
    """The release, or "development" for the sources that validate; None for any others."""
    if sources == _own_sources():
        return "development, the same as those that validate"
    return next((name for name, digests in _releases().items() if digests == sources), None)


def known_sources(sources: dict[str, str]) -> tuple[bool, bool]:
    """Whether they are the very sources that validate, and whether they are those of a release."""
    return sources == _own_sources(), sources in _releases().values()


@cache
def _own_sources() -> dict[str, str]:
    return digest.sources()


@cache
def _releases() -> dict[str, dict[str, str]]:
    """Release → digest of each package, as `digest.sources` makes them."""
    content = (files("harness.gate") / "releases.json").read_bytes()
    return msgspec.json.decode(content, type=dict[str, dict[str, str]])


# -- what it says of itself --------------------------------------------------------------------------------------------


def _facts(info: RunInfo, records: Sequence[Record], known: Known) -> Iterator[Refusal]:
    missing = [name for name in MACHINE if info.machine.get(name) in (None, "")]
    missing += [f"settings.{name}" for name in SETTINGS if info.settings.get(name) is None]
    ran = {r.case.backend for r in records if r.status in ("ok", "estimated")}
    aot = {r.case.backend for r in records if r.status == "estimated"}
    for name in sorted(ran & set(known.backends)):
        wanted = known.backends[name].distributions[:1] if name not in aot else ()
        missing += [f"versions.{d}" for d in wanted if d not in info.versions]
    if missing:
        said = f"it does not say {', '.join(missing)}"
        yield refusal("environment", INFO, said, "measure where these can be read, or fill them in")
    wall = info.wall_s
    if (wall is not None and wall < 0) or any(v < 0 for v in info.phases_s.values()):
        yield refusal("negative", INFO, "a time is negative", "publish run.json as it was written")


def _of_this_run(info: RunInfo, lines: Sequence[Line[Record]]) -> Iterator[Refusal]:
    for line in lines:
        if line.value.run != info.run:
            said = f"it is of the run {line.value.run!r}, {INFO} is of {info.run!r}"
            yield refusal("run", line.where, said, "submit each run in a folder of its own")
            return


def duplicates(lines: Sequence[Line[Record]]) -> Iterator[Refusal]:
    """A case may have a line a process while a run goes on; the same process twice is a copy."""
    keys = [line.value.case.key for line in lines]
    lines_of = Counter(keys)
    seen: dict[tuple[object, ...], str] = {}
    for line, key in zip(lines, keys, strict=True):
        record = line.value
        trials = record.time.trials if record.time is not None else []
        if len(trials) < 2 and lines_of[key] == 1:
            continue  # which most are: a process by itself
        control = record.control
        whens: Collection[tuple[object, ...]] = {(key, control, t.round, t.heat, t.started_at): None for t in trials}
        for when in whens or [(key, control, None, None, record.started_at)]:
            if when in seen:
                said = f"{record.case.workload}/{record.case.formulation} is there twice, first in {seen[when]}"
                yield refusal("duplicate", line.where, said, "leave the second out")
                break
            seen[when] = line.where
        if len(whens) < len(trials):
            said = "two of its trials are one and the same process"
            yield refusal("duplicate", line.where, said, "leave the second out")


def _same_samples(lines: Sequence[Line[Record]]) -> Iterator[Refusal]:
    """Two processes never take the same times to a tenth of a nanosecond."""
    seen: dict[tuple[float, ...], tuple[str, list[float]]] = {}
    for line in lines:
        time = line.value.time
        for samples in time.samples_s if time is not None else ():
            if len(samples) < MOST_ALIKE or samples[0] == samples[-1] == samples[1]:
                continue
            key = (len(samples), samples[0], samples[1], samples[-1])
            if key in seen and seen[key][1] == samples:
                said = f"its samples are those of {seen[key][0]}"
                yield refusal("same-samples", line.where, said, "measure every process of every case")
                break
            seen[key] = (line.where, samples)


# -- settings ----------------------------------------------------------------------------------------------------------


def _settings(info: RunInfo, measured: Sequence[Record]) -> Iterator[Refusal]:
    """Equal for all frameworks of a device, or declared: `NAME_note` in a record's settings says why one differs."""
    asked = info.settings.get("threads")
    values: dict[tuple[str, str], dict[object, set[str]]] = defaultdict(lambda: defaultdict(set))
    seen: set[tuple[object, ...]] = set()
    for record in measured:
        said, case = record.settings, record.case
        alike = (id(said), case.device, case.backend, case.dtype)
        if alike in seen:  # records that were read share equal settings
            continue
        seen.add(alike)
        for name in ("threads_asked", "threads"):
            if said.get(name) is None:
                values["", f"{name} unknown"][None].add(case.backend)
        host = Device.parse(case.device).kind == "cpu"
        if said.get("threads") is not None and host and "threads_note" not in said:
            values[case.device, "threads"][said["threads"]].add(case.backend)
        if said.get("threads_asked") is not None:
            values["", "threads_asked"][said["threads_asked"]].add(case.backend)
        for name, value in said.items():
            if name.startswith("malloc_") and not name.endswith("_note") and f"{name}_note" not in said:
                values[case.device, name][value].add(case.backend)
        if case.dtype == "float32":
            exact = {said[name] == wanted for name, wanted in _EXACT.items() if name in said}
            if exact and "precision_note" not in said:
                values[case.device, "precision of float32 products"][all(exact)].add(case.backend)
    for (device, name), by_value in values.items():
        if name.endswith(" unknown"):
            who = ", ".join(sorted(by_value[None]))
            yield refusal(
                "settings", RECORDS, f"{name}: {who}", "read the setting back from the framework and record it"
            )
        elif len(by_value) > 1:
            pairs = "; ".join(f"{value}: {', '.join(sorted(who))}" for value, who in by_value.items())
            said_of = f"{name} differs between frameworks{f' on {device}' if device else ''} ({pairs})"
            remedy = "set it the same for all, or record NAME_note in the settings of the one that cannot"
            yield refusal("settings", RECORDS, said_of, remedy)
    for found in values["", "threads_asked"]:
        if found != asked:
            said_of = f"its records asked for {found} threads, {INFO} says {asked}"
            yield refusal("settings", RECORDS, said_of, "publish run.json and records of one run")


def has_control(records: Iterable[Record]) -> bool:
    """Whether a case was measured against itself: an A/A control beside a record of the same case."""
    measured = [r for r in records if r.status == "ok" and r.time is not None]
    controls = {r.case.key for r in measured if r.control}
    return bool(controls) and any(not r.control and r.case.key in controls for r in measured)


# -- ceilings ----------------------------------------------------------------------------------------------------------


def shares(measured: Sequence[Record], known: Known, basis: Basis) -> Iterator[Refusal]:
    """Roofline shares that cannot be: above 1 even at the slow end.

    The slow end of a time is the upper end of its 95 % interval over processes, with what other minutes than those of
    the ceiling differ by (`across_runs`), lengthened by the A/A noise of the run; of a single process, which has no
    interval, the time lengthened by 30 %, which one process may differ by. A share
    is above 1 beyond doubt when the ceiling, the run's own fastest sample, is slower than that.
    """
    limits = basis.limits
    slowest = limits.slowest()
    noise = floor_of(basis.controls) or 0.0
    most: dict[tuple[str, str, str, int, int], float | None] = {}  # FLOP/s: one for all that do the same work
    for record in measured:
        if record.control or record.time is None:
            continue
        case, flop = record.case, record.work.useful_flop
        fastest = min([min(samples) for samples in record.time.samples_s])
        if flop < fastest * slowest[0] and record.work.least_bytes < fastest * slowest[1]:
            continue  # slower than any of the ceilings, as most are
        of = (record.run, case.device, known.product_dtype(case), flop, record.work.least_bytes)
        if of not in most:
            most[of] = limits.most(*of)
        ceiling = most[of]
        if ceiling is None or flop / fastest / ceiling <= 1:
            continue
        share = flop / _slow_end(record, noise) / ceiling
        if share > 1:
            said = f"{record.case} reaches {share:.2f} of the ceiling measured in this run, even at its slow end"
            yield refusal(
                "share", RECORDS, said, "measure the ceilings again when the machine is quiet, or find the bug"
            )


def _slow_end(record: Record, noise: float) -> float:
    assert record.time is not None
    centres = process_centres([samples for _, samples in counted(record.time)])
    if len(centres) < 2:
        return median(centres) * (1 + max(noise, SINGLE))
    low, high = median_interval(np.array([centres]))
    return across_runs(median(centres), float(low[0]), float(high[0]))[1] * (1 + noise)

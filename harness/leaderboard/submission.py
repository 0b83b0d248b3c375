"""What one submission brings to the leaderboard: its machine, its rows as entries, its own findings. Pure.

A submission is a stranger's. Every text of it passes through `plain` here, so that no page, list or feed meets a
control character, a half surrogate or a name of a million letters.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import ceil, floor, log2
from typing import Any, Literal

import msgspec

from backends.ops import Scalar
from harness.figures.estimates import EstimateRow, is_estimated
from harness.figures.modelled import is_modelled
from harness.figures.summary import Against, Row, Summary
from harness.records.record import Record
from harness.records.store import REPRODUCES, RunInfo, disturbances
from harness.records.text import SENTENCE, plain
from harness.records.timestamps import normalised
from harness.report import estimates_text
from harness.report.notes import READING, footer
from harness.report.pull_request import command_line, lock
from harness.report.wording import Where, outcome_cell

MOST_ENTRIES = 400  # of one submission, ideas' headline rows; `standard` on three frameworks and two devices has 200
MOST_FINDINGS = 60
MOST_DISTRIBUTIONS = 1000
ESTIMATE_NAMES = estimates_text.NAMES[3:]

# What decides whether two machines are the same hardware. Software and the load of the day do not. A fact not named
# here that begins with one of the prefixes counts too: two machines apart are better than two that were made one.
# `cpu_id` tells apart unlike processors to which a hypervisor gives one name.
HARDWARE = (
    *("cpu", "cpu_id", "architecture", "cores_physical", "cores_logical", "cores_usable"),
    *("memory_bytes", "virtual_machine"),
)
HARDWARE_PREFIXES = ("accelerator", "gpu", "cuda", "tpu", "npu", "rocm", "device")
_GIB = 2**30
_OVER = 1 / 64  # by which a kernel may count more than was sold, which happens to virtual machines
MOST_PRINTS = 64  # of the records of a submission, by which another of the same run is known
_LEAST_ALIKE = 4  # samples from which equality is no coincidence


TrustLevel = Literal["self-reported", "signed", "reproduced", "reproduced by another"]


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Hardware. `slug` is a digest of `facts`, so that different hardware has different pages."""

    slug: str
    title: str
    facts: dict[str, str]


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """An idea's best path on one backend and device; the units are those of `Row`. `against` is its principal twin."""

    workload: str
    point: str
    label: str
    mode: str
    dtype: str
    backend: str
    device: str
    path: str | None
    processes: int
    time_s: float | None
    time_low_s: float | None
    time_high_s: float | None
    energy_source: str
    outcome: str
    against: Against
    disturbed: bool = False  # by what the machine did beside, as its own run says

    @property
    def board(self) -> tuple[str, str, str, str, str]:
        """What it is compared with: entries of the same idea, point, mode, dtype and kind of twin."""
        return (self.workload, self.point, self.mode, self.dtype, self.against.kind)

    @property
    def place(self) -> tuple[str, str]:
        """Backend and device."""
        return (self.backend, self.device)


class Estimated(msgspec.Struct, frozen=True, kw_only=True):
    """An idea that was compiled for a chip and not run; `cells` are its figures as text, named by ESTIMATE_NAMES.

    `row` has them as numbers.
    """

    workload: str
    point: str
    mode: str
    dtype: str
    backend: str
    device: str
    tax: float | None
    cells: list[str]
    row: EstimateRow


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """One accepted submission. `digest` is of its bytes and names its page; `started_at` is UTC, None if unreadable.

    `noise` is its A/A noise as a share. `unseen` counts the rows beyond MOST_ENTRIES.
    `prints` are digests of samples: who has one of another's has its records. `command` and `lock`, a line for each
    distribution that was installed, are what it takes to measure it again. `reproduces` is the run of which this one
    measured published paths again, `signer` whoever signed it, by the site's own list; None of none. `level` is how
    far it may be believed (`leaderboard.reproductions`).
    """

    digest: str
    run: str
    machine: Machine
    started_at: str | None
    preset: str
    versions: dict[str, str]
    software: dict[str, str]
    sources: dict[str, str]
    marks: list[str]
    records: int
    outcomes: dict[str, int]
    noise: float | None
    entries: list[Entry]
    estimates: list[Estimated]
    unseen: int
    portability: list[str]
    findings: list[str]
    prints: list[int] = []
    answer: list[str] = []
    command: str = ""
    lock: list[str] = []
    reproduces: str | None = None
    signer: str | None = None
    level: TrustLevel = "self-reported"

    @property
    def short(self) -> str:
        """How the submission is called beside others."""
        return self.digest[:8]


class Refused(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """A submission that is not on the boards, and every reason why: what, where and what to do."""

    name: str
    reasons: list[str]


def accelerators(records: Iterable[Record]) -> dict[str, Scalar]:
    """What else than the processor the cases ran on, by the name that the driver or framework gives it.

    A submission whose GPU or TPU is known by no name is of another machine than any whose is.
    """
    names: dict[str, set[str]] = defaultdict(set)
    for record in records:
        device = record.case.device
        if device != "cpu" and not is_estimated(record) and not is_modelled(record):
            said = record.settings.get("gpu") or record.settings.get("device_kind")
            names[device] |= {str(said)} if said else set()
    found = Counter(min(said, default=f"{device.partition(':')[0]} without a name") for device, said in names.items())
    text = ", ".join(f"{count} × {name}" if count > 1 else name for name, count in sorted(found.items()))
    return {"accelerators_used": text} if text else {}


def machine_of(facts: Mapping[str, Scalar]) -> Machine:
    """The hardware that the facts of run.json, and those of `accelerators`, tell of."""
    known = {n: facts.get(n) for n in HARDWARE} | {n: v for n, v in facts.items() if n.startswith(HARDWARE_PREFIXES)}
    known["memory_bytes"] = memory = installed(facts.get("memory_bytes"))
    canonical = msgspec.json.encode(known, order="deterministic")
    shown = {plain(name.replace("_", " "), 40): _fact(name, value) for name, value in sorted(known.items())[:40]}
    parts = [plain(facts.get("cpu") or "unknown processor", 80)]
    parts += [f"{plain(facts['cores_logical'], 8)} cores"] if facts.get("cores_logical") is not None else []
    parts += [f"{memory / _GIB:.3g} GiB"] if memory is not None else []
    parts += [plain(v, 60) for n, v in sorted(known.items()) if n.startswith(HARDWARE_PREFIXES) and isinstance(v, str)]
    return Machine(
        slug=f"machine-{hashlib.sha256(canonical).hexdigest()[:24]}", title=plain(" · ".join(parts)), facts=shown
    )


def installed(memory: Scalar) -> int | None:
    """Bytes of memory that a machine was sold with, from what its kernel leaves: the next of eight sizes an octave.

    What a kernel keeps for itself, some percent, differs from boot to boot and makes no other machine.
    """
    if not isinstance(memory, int | float) or isinstance(memory, bool) or not 1 <= memory < 2**63:
        return None
    least = memory * (1 - _OVER)
    step = 2.0 ** (floor(log2(least)) - 3)
    return int(ceil(least / step) * step)


def _fact(name: str, value: Scalar) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name.endswith("_bytes") and isinstance(value, int | float):
        return f"{value / _GIB:.1f} GiB"
    return plain(value)


def submission(
    info: RunInfo,
    records: Sequence[Record],
    summary: Summary,
    digest: str,
    marks: Iterable[str],
    signer: str | None = None,
) -> Submission:
    """The facts of an accepted submission, from its run.json, its records and their figures."""
    rows = [row for row in summary.rows if row.principal is not None]
    compiled = [row for row in summary.estimates if row.twin_workload not in (None, row.workload)]  # no calibration
    of = info.settings.get(REPRODUCES)
    disturbed = bool(disturbances(info))
    hardware = {*HARDWARE, *(n for n in info.machine if n.startswith(HARDWARE_PREFIXES))}
    return Submission(
        digest=digest,
        run=plain(info.run, 80),
        machine=machine_of(info.machine | accelerators(records)),
        started_at=normalised(info.started_at),
        preset=plain(info.settings.get("preset") or "", 40),
        versions=_texts(info.versions),
        software=_texts({n: v for n, v in info.machine.items() if n not in hardware}),
        sources=_texts(info.sources, 64),
        marks=[plain(mark, 400) for mark in marks][:MOST_FINDINGS],
        records=summary.records,
        outcomes=dict(summary.outcomes),
        noise=summary.noise,
        entries=[_entry(row, disturbed) for row in rows[:MOST_ENTRIES]],
        estimates=[_estimated(row) for row in compiled[:MOST_ENTRIES]],
        unseen=max(0, len(rows) - MOST_ENTRIES) + max(0, len(compiled) - MOST_ENTRIES),
        portability=[f"{plain(p.backend, 40)} {plain(p.device, 40)}: {p.ok} of {p.total}" for p in summary.portability],
        findings=[plain(line, 400) for line in _own(footer(summary))][:MOST_FINDINGS],
        prints=_prints(records),
        answer=[plain(said, 400) for said in summary.answer],
        command=command_line(info),
        lock=lock(info)[:MOST_DISTRIBUTIONS],
        reproduces=None if of is None else plain(of, 80),
        signer=None if signer is None else plain(signer, 80),
        level="self-reported" if signer is None else "signed",
    )


def _prints(records: Iterable[Record]) -> list[int]:
    """Digests of the samples of records, the smallest MOST_PRINTS: a part of a run has many of the whole run's.

    Two processes never take the same times to a tenth of a nanosecond. Hashes of numbers are the same everywhere.
    """
    times = (samples for record in records if record.time is not None for samples in record.time.samples_s[:1])
    found = {hash(tuple(samples)) for samples in times if len(samples) >= _LEAST_ALIKE and len(set(samples)) > 2}
    return sorted(found)[:MOST_PRINTS]


def _own(lines: Sequence[str]) -> list[str]:
    """The lines that say something of this submission; how to read a table stands on the page once."""
    return [line for line in lines if not line.startswith(READING)]


def _texts(values: Mapping[str, Any], most: int = SENTENCE) -> dict[str, str]:
    known = [(plain(name, 60), plain(value, most)) for name, value in values.items() if value is not None]
    return dict(sorted(known)[:60])


def _entry(row: Row, disturbed: bool) -> Entry:
    against = row.against[0]
    names = {f: plain(getattr(against, f)) for f in ("kind", "twin_workload", "twin_point", "twin_mode")}
    path = None if against.twin_path is None else plain(against.twin_path)
    return Entry(
        workload=plain(row.workload, 60),
        point=plain(row.point),
        label=plain(row.label),
        mode=plain(row.mode, 40),
        dtype=plain(row.dtype, 40),
        backend=plain(row.backend, 40),
        device=plain(row.device, 40),
        path=None if row.path is None else plain(row.path, 80),
        processes=row.processes,
        time_s=row.time_s,
        time_low_s=row.time_low_s,
        time_high_s=row.time_high_s,
        energy_source=row.energy_source,
        outcome=plain(outcome_cell(row)),
        against=msgspec.structs.replace(against, **names, twin_path=path),
        disturbed=disturbed,
    )


def _estimated(row: EstimateRow) -> Estimated:
    names = {
        "workload": plain(row.workload, 60),
        "point": plain(row.point),
        "mode": plain(row.mode, 40),
        "dtype": plain(row.dtype, 40),
        "backend": plain(row.backend, 40),
    }
    path = None if row.path is None else plain(row.path, 80)
    return Estimated(
        **names,
        device=row.device,
        tax=row.tax,
        row=msgspec.structs.replace(row, **names, path=path),
        cells=[plain(text) for text in estimates_text.cells(row, Where([]))[3:]],
    )

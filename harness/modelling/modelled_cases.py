"""Records of what is reckoned on devices that files describe: one a case of the plan, and nothing is run for them."""

from __future__ import annotations

import hashlib
import tomllib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite

import msgspec

from harness.modelling.class_errors import ClassError
from harness.modelling.device_file import checked
from harness.modelling.device_schema import ModelDevice
from harness.modelling.kernel_table import Asked, KernelTable
from harness.modelling.kernels import CountedForm, Counts
from harness.modelling.reckon import TERMS, Terms, missing
from harness.modelling.toml_text import as_toml
from harness.modelling.whatif import asked_of
from harness.planning.plan import Planned
from harness.records import timestamps
from harness.records.record import SCHEMA, Executed, Modelled, Record
from workloads.base import Definition


@dataclass(frozen=True, slots=True)
class DescribedDevice:
    """A device as a run keeps it: `text` is the whole of its file, with what it is based on worked in."""

    device: ModelDevice
    text: str

    @property
    def digest(self) -> str:
        """Of the text, 16 hexadecimal digits."""
        return digest_of(self.text)


def described(device: ModelDevice) -> DescribedDevice:
    """The device with the text that says all of it, to the digits that the text has."""
    text = as_toml(msgspec.to_builtins(device))
    return DescribedDevice(checked(tomllib.loads(text), device.name), text)


def digest_of(text: str) -> str:
    """The digest of a device's text, by which a record names it."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def modelled_records(
    plan: Iterable[Planned],
    devices: Mapping[str, DescribedDevice],
    definitions: Mapping[str, Definition],
    errors: Callable[[ModelDevice], Mapping[str, ClassError]],
    run: str,
) -> Iterator[Record]:
    """A record of every case of `plan`, whose devices are all among `devices`, by the text of the case's device.

    `errors` gives those of a device by "class framework", such as "dense torch". Where there is no figure the outcome
    is `unsupported`, and the reason says what the device does not give, or that no measured case was held to the model.
    """
    counts = Counts()  # and not the process's: a run that goes on to measure must not hold them
    groups: dict[tuple[str, str], list[tuple[Planned, CountedForm]]] = defaultdict(list)
    for planned in plan:
        case, definition = planned.case, definitions[planned.case.workload]
        formulation = definition.formulations[case.mode][case.formulation]
        counted = counts.of(definition, case)
        if formulation.executions is not None and case.execution not in formulation.executions:
            counted = f"{case.formulation} has no execution {case.execution}"
        if isinstance(counted, str):
            yield _record(planned, run, counted)
        else:
            groups[case.device, case.backend].append((planned, counted))
    for (name, backend), several in groups.items():
        yield from _reckoned(several, devices[name], backend, errors(devices[name].device), run)


def _reckoned(
    several: Sequence[tuple[Planned, CountedForm]],
    described_device: DescribedDevice,
    backend: str,
    errors: Mapping[str, ClassError],
    run: str,
) -> Iterator[Record]:
    """All cases of one device and framework at once."""
    device = described_device.device
    asked = [asked_of(planned, counted) for planned, counted in several]
    found = Terms(KernelTable(asked), device, backend).reckoned()
    for (planned, counted), one, time, parts, energy in zip(
        several, asked, found.time_s.tolist(), found.terms_s.tolist(), found.energy_j.tolist(), strict=True
    ):
        executed = Executed(**asdict(counted.counted.work(planned.case.execution)))
        error = errors.get(f"{one.call.kind} {backend}")
        why = _why_not(device, backend, one, error, time)
        if why is not None or error is None:
            yield _record(planned, run, why, executed=executed)
            continue
        said = {name: part for name, part in zip(TERMS, parts, strict=True) if part > 0}
        figures = Modelled(
            device=device.name,
            digest=described_device.digest,
            kind=one.call.kind,
            time_s=time,
            energy_j=energy if isfinite(energy) else None,
            bound_by=max(said, key=said.__getitem__, default="launch"),
            parts_s=said,
            cases=error.cases,
            median_error=error.median_error,
            p95_error=error.p95_error,
        )
        yield _record(planned, run, None, executed=executed, figures=figures)


def _why_not(device: ModelDevice, backend: str, asked: Asked, error: ClassError | None, time: float) -> str | None:
    """Why a case has no figure, in a sentence; None where it has one."""
    needs = missing(device, backend, asked.call, asked.execution, asked.dtype)
    if needs is not None or not isfinite(time):
        return f"no figure: {device.name} does not give {needs or 'all that it needs'}"
    if error is None:
        return f"no figure: the class {asked.call.kind} has not been held to measured times of {backend}"
    return None


def _record(
    planned: Planned,
    run: str,
    reason: str | None,
    *,
    executed: Executed | None = None,
    figures: Modelled | None = None,
) -> Record:
    return Record(
        schema=SCHEMA,
        run=run,
        case=planned.case,
        status="unsupported" if figures is None else "modelled",
        reason=reason,
        failure_class="not_implemented" if figures is None else None,
        fallback=None,
        verdict=None,
        time=None,
        memory=None,
        energy=None,
        work=planned.work,
        twins=list(planned.twins),
        headline=planned.headline,
        settings={},
        environment={},
        started_at=timestamps.now("milliseconds"),
        executed=executed,
        modelled=figures,
    )

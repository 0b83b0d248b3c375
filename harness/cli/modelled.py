"""What `whatif` and `recommend` do once their arguments are parsed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import msgspec

from backends.discovery import backends as find_backends
from harness.cli.parameters import Value
from harness.errors import UserError, nearest
from harness.modelling import device_file
from harness.modelling.class_errors import REGRET, ClassError
from harness.modelling.device_schema import ModelDevice
from harness.modelling.rows import WhatIfRow, tickets
from harness.modelling.validated import known_errors
from harness.modelling.validation import Validation, validate_device
from harness.modelling.whatif import WhatIf
from harness.planning import plan
from harness.planning.plan import Ask, Planned
from harness.records.record import Record
from harness.records.store import INFO, load
from workloads.base import Definition
from workloads.discovery import workloads as find_workloads

FIELDS = ("workload", "point", "mode", "dtype", "backend", "device", "best", "time_s", "speed_up", "tax", "bound_by")


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIfRequest:
    """The options of `whatif`. Empty tuples and None mean that nothing was said."""

    files: tuple[str, ...]
    preset: str = "quick"
    workloads: tuple[str, ...] = ()
    backends: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()
    axes: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    against: Path | None = None
    everything: bool = False
    picture: Path | None = None
    as_json: bool = False


def whatif(asked: WhatIfRequest) -> int:
    """Reckon and print; UserError for a file, name or folder that cannot be used."""
    definitions = find_workloads()[0]
    devices = [device(name) for name in dict.fromkeys(asked.files)]
    records = [] if asked.against is None else _records(asked.against)
    found = [validate_device(d, records, definitions) for d in devices] if records else []
    reckoned = WhatIf(_planned(asked, definitions), definitions)
    errors = [validation.errors() for validation in found] or [known_errors(d) for d in devices]
    rows = [row for d, own in zip(devices, errors, strict=True) for row in reckoned.rows(d, own, asked.backends)]
    if asked.picture is not None:
        _draw(reckoned, devices[0], errors[0], asked.picture)
    if asked.as_json:
        said = [c for v in found for c in v.classes()] or dict.fromkeys(e for own in errors for e in own.values())
        click.echo(_json(rows, said, found))
        return 0
    from harness.report import modelled_text

    lines = modelled_text.whatif_text(rows, tickets(rows), asked.everything)
    for d, validation in zip(devices, found, strict=False):
        lines += ["", *modelled_text.validation_text(d.name, validation)]
    click.echo("\n".join(lines))
    return 0


def device(name: str) -> ModelDevice:
    """The device of a file, of a name known here, or of the ceilings in a results folder."""
    folder = Path(name)
    if not (folder / INFO).is_file():
        return device_file.read_device(name)
    from harness.modelling import calibration  # scipy, which a device file does without

    document = calibration.device_of(_records(folder), name=name, source=f"the ceilings of the run in {name}")
    if "matmul" not in document or "memory" not in document:
        raise UserError(f"{name}: the run has no dense_matmul and stream that are ok, which a device is made from")
    return device_file.checked(document, name)


def _records(folder: Path) -> list[Record]:
    found = load(folder)
    for warning in found.warnings:
        click.echo(f"warning: {warning}", err=True)
    if not found.records:
        raise UserError(f"{folder} has no records to hold the model to")
    return found.records


def _planned(asked: WhatIfRequest, definitions: Mapping[str, Definition]) -> list[Planned]:
    known = sorted({axis for w in definitions.values() if w.role == "idea" for axis in w.axes})
    for axis in asked.axes:
        if axis not in known:
            raise nearest("axis", axis, known)
    ask = Ask(
        preset=asked.preset,
        workloads=asked.workloads,
        backends=asked.backends,
        dtypes=asked.dtypes or ("float32",),
        axes=asked.axes,
    )
    return plan.cases(ask, definitions, find_backends()[0])


def _draw(reckoned: WhatIf, d: ModelDevice, errors: Mapping[str, ClassError], path: Path) -> None:
    from harness.web.modelled_chart import factors
    from harness.web.pictures import DRAWN, static

    if path.suffix not in DRAWN:
        raise UserError(f"--picture {path} must end in {' or '.join(DRAWN)}")
    chart = factors(d.name, reckoned.curves(d, errors))
    if chart is None:
        raise UserError(f"--picture {path}: no idea has a figure on {d.name} that a parameter changes")
    try:
        path.write_bytes(DRAWN[path.suffix](static(chart)))
    except OSError as error:
        raise UserError(f"--picture {path} cannot be written ({error.strerror}); name another file") from None
    click.echo(f"written: {path}", err=True)


def recommend(
    idea: str,
    folders: Sequence[Path],
    axes: Mapping[str, tuple[Value, ...]],
    devices: Sequence[str],
    as_json: bool,
) -> int:
    """Print the three lists and the answer; UserError for an idea, folder or device that is not there."""
    from harness.modelling.recommend import recommendation

    definitions = find_workloads()[0]
    ideas = [name for name, w in definitions.items() if w.role == "idea"]
    if idea not in ideas:
        raise nearest("idea", idea, ideas)
    for axis in axes:
        if axis not in definitions[idea].axes:
            raise nearest(f"axis of {idea}", axis, definitions[idea].axes)
    runs = [load(folder) for folder in dict.fromkeys(folders)]
    for run in runs:
        for warning in run.warnings:
            click.echo(f"warning: {warning}", err=True)
    asked = WhatIfRequest(files=(), workloads=(idea,), axes=axes)
    reckoned = WhatIf(_planned(asked, definitions), definitions)
    names = devices or [*device_file.shipped(), *device_file.datasheets()]
    rows = [row for d in map(device, names) for row in reckoned.rows(d, known_errors(d))]
    found = recommendation(idea, runs, rows, axes)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
        return 0
    from harness.report import modelled_text

    click.echo("\n".join(modelled_text.recommendation_text(found)))
    return 0


# -- JSON --------------------------------------------------------------------------------------------------------------
def _json(rows: Sequence[WhatIfRow], errors: Iterable[ClassError], found: Sequence[Validation]) -> str:
    regrets = [regret for validation in found for regret in validation.regrets()]
    document = {
        "rows": [_row(row) for row in rows],
        "validation": [_class(error) for error in errors],
        "regret": {"points": len(regrets), "within": sum(regret <= REGRET for regret in regrets)},
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()


def _row(row: WhatIfRow) -> dict[str, Any]:
    needed = row.break_even
    even = None if needed is None else {"parameter": needed.parameter, "factor": needed.factor}
    return {name: getattr(row, name) for name in FIELDS} | {"break_even": even}


def _class(error: ClassError) -> dict[str, Any]:
    return {
        "class": error.name,
        "cases": error.cases,
        "median_error": error.median_error,
        "p95_error": error.p95_error,
    }

"""What a run must hold of devices that files describe, to be published: figures of the model, and the device itself."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from math import inf

from backends.device import is_modelled
from harness.errors import UserError
from harness.gate.refusal import Refusal, refusal
from harness.modelling import device_file
from harness.modelling.kernels import CLASSES
from harness.modelling.modelled_cases import digest_of
from harness.modelling.reckon import TERMS
from harness.records.record import Modelled, Record
from harness.records.store import INFO, RunInfo
from harness.records.text import plain

MOST_MODELS = 100  # devices of a run
SLACK = 1e-6  # of a sum of floats


def check(record: Record, where: str) -> Iterator[Refusal]:
    """A modelled device has figures of the model or none at all, and nothing else has such."""
    figures, remedy = record.modelled, "publish it as `hwlottery run --device model:FILE` wrote it"
    measured = (record.time, record.energy, record.memory, record.verdict, record.estimate)
    if not is_modelled(record.case.device):
        said = f"it is modelled, but for {plain(record.case.device, 40)}, which no file describes"
        yield refusal("modelled", where, said, remedy)
    elif record.status not in ("modelled", "unsupported") or any(part is not None for part in measured):
        said = "a modelled device stands beside something measured or estimated"
        yield refusal("modelled", where, said, remedy)
    elif (record.status == "modelled") != (figures is not None):
        yield refusal("modelled", where, f"it is {record.status}, and its figures say otherwise", remedy)
    elif figures is None:
        if not record.reason:
            yield refusal("reason", where, f"it is {record.status} without a reason", "keep the model's words")
    elif not _may_be(figures):
        said = "its modelled time, parts, energy or errors are negative, or the parts are not those of the time"
        yield refusal("modelled", where, said, remedy)


def _may_be(figures: Modelled) -> bool:
    parts = figures.parts_s
    numbers = (figures.time_s, figures.energy_j or 0.0, figures.median_error, figures.p95_error, *parts.values())
    return (
        all(0 <= number < inf for number in numbers)
        and figures.cases > 0
        and figures.kind in CLASSES
        and set(parts) <= set(TERMS)
        and (not parts or parts.get(figures.bound_by) == max(parts.values()))
        and max(parts.values(), default=0.0) <= figures.time_s * (1 + SLACK)
    )


def check_devices(info: RunInfo, records: Sequence[Record]) -> Iterator[Refusal]:
    """Every modelled device is described in run.json, and by the text that its records are of."""
    remedy = f"publish {INFO} as it was written"
    if len(info.models) > MOST_MODELS:
        said = f"it describes {len(info.models)} devices, at most {MOST_MODELS} are read"
        yield refusal("too-large", INFO, said, "publish fewer devices in a run")
        return
    for name, text in info.models.items():
        try:
            device_file.checked(tomllib.loads(text), name)
        except (UserError, tomllib.TOMLDecodeError, RecursionError) as error:
            yield refusal("model", INFO, f"what describes {plain(name, 60)} is no device: {plain(error, 200)}", remedy)
    digests = {name: digest_of(text) for name, text in info.models.items()}
    for device in sorted({r.case.device for r in records if r.modelled is not None}):
        found = {r.modelled.digest for r in records if r.modelled is not None and r.case.device == device}
        if found != {digests.get(device)}:
            said = f"the device {plain(device, 60)} is not described in it as its records have it"
            yield refusal("model", INFO, said, remedy)

"""`run --device model:FILE`: the files that describe devices, and what is reckoned on them before anything is run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from backends.device import is_modelled
from backends.ops import Device
from harness.errors import UserError
from harness.modelling.device_file import read_device
from harness.modelling.modelled_cases import DescribedDevice, described, modelled_records
from harness.modelling.validated import known_errors
from harness.planning.plan import Planned
from harness.records.store import RunInfo, Store
from workloads.base import Definition

MODEL_SETTING = "model_digest_of_"  # before a device's name in the settings of a run: it goes on with the same


def of_request(texts: Sequence[str]) -> dict[str, DescribedDevice]:
    """The devices of `model:FILE` texts, by their names in records; UserError for a file that cannot be used."""
    out: dict[str, DescribedDevice] = {}
    files: dict[str, str] = {}
    for text in texts:
        name, file = str(Device.parse(text)), text.partition(":")[2]
        if name in files and files[name] != file:
            raise UserError(
                f"--device {text}: records name a device by its file without the folder, and {files[name]} is called "
                "the same; rename one of the two"
            )
        files[name] = file
        out[name] = described(read_device(file))
    return out


def told(info: RunInfo, devices: Mapping[str, DescribedDevice]) -> RunInfo:
    """What run.json says, with the devices; their digests are settings, which a run that goes on must find alike."""
    digests = {f"{MODEL_SETTING}{name.partition(':')[2]}": device.digest for name, device in devices.items()}
    models = {name: device.text for name, device in devices.items()}
    return msgspec.structs.replace(info, settings=info.settings | digests, models=models)


def reckon(
    plan: Iterable[Planned],
    devices: Mapping[str, DescribedDevice],
    definitions: Mapping[str, Definition],
    store: Store,
) -> None:
    """Store a record of every modelled case of the plan that has none yet."""
    there = {record.case.key for record in store.before}
    wanted = [p for p in plan if is_modelled(p.case.device) and p.case.key not in there]
    found = modelled_records(wanted, devices, definitions, known_errors, store.info.run)
    store.append(*found)


def without(plan: Iterable[Planned]) -> list[Planned]:
    """The cases of the plan that are for a device that is there, or is compiled for."""
    return [planned for planned in plan if not is_modelled(planned.case.device)]

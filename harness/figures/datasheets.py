"""What the makers of a run's devices publish, by the names in its records; shown beside figures, never a limit."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from backends.ops import Device, Scalar
from harness.machine import hardware
from harness.records.record import Record


class Datasheet(msgspec.Struct, frozen=True, kw_only=True):
    """One device of a run as its maker describes it; dense rates of the whole device, `devices` of which share it."""

    run: str
    device: str
    name: str
    peak_flop_per_s: dict[str, float]
    bandwidth_bytes_per_s: float | None
    memory_bytes: int | None
    tdp_w: float | None
    devices: int
    source: str
    note: str | None


def datasheets(records: Iterable[Record]) -> list[Datasheet]:
    """One for each device of each run that the table of hardware knows, in the records' order."""
    out: dict[tuple[str, str], Datasheet] = {}
    named: dict[tuple[str, str, Scalar], Record] = {}
    for record in records:
        named.setdefault((record.run, record.case.device, _name(record)), record)
    for record in named.values():
        place = (record.run, record.case.device)
        if place not in out:
            known = _known(record)
            if known is not None:
                out[place] = Datasheet(
                    run=record.run,
                    device=record.case.device,
                    name=known.name,
                    peak_flop_per_s={str(dtype): rate for dtype, rate in known.peak_flop_per_s.items()},
                    bandwidth_bytes_per_s=known.bandwidth_bytes_per_s,
                    memory_bytes=known.memory_bytes,
                    tdp_w=known.tdp_w,
                    devices=known.devices,
                    source=known.source,
                    note=known.note,
                )
    return list(out.values())


def _known(record: Record) -> hardware.Hardware | None:
    try:
        device = Device.parse(record.case.device)
    except ValueError:  # a stranger's record may name anything
        return None
    if device.chip is not None:
        return hardware.of_chip(device.chip)
    said = _name(record)
    return hardware.find(said) if isinstance(said, str) else None


def _name(record: Record) -> Scalar:
    return record.settings.get("gpu") or record.settings.get("device_kind")

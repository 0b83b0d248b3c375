"""The hardware table: what makers publish of their devices, read from one data file, `hardware.json`.

Datasheet peaks stand beside what a run measured and are never the limit of anything. Rates are dense, without
structured sparsity, FLOP/s of the whole device; a figure that its maker does not publish is null.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Literal

import msgspec

from backends.gpu_cards import GPU_CARDS
from backends.ops import TPU_CHIPS

TABLE = Path(__file__).with_name("hardware.json")


class Hardware(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One device as its maker describes it.

    `match` is a regular expression for the name that a driver or framework gives it. `devices` is how many devices a
    framework sees in one of it (two cores of some TPU chips); all figures are of the whole. `float32` is the rate of
    true float32; products rounded to TF32 have a name of their own. `note` says how a figure was come by.
    """

    name: str
    kind: Literal["cpu", "gpu", "tpu"]
    match: str
    peak_flop_per_s: dict[Literal["float64", "float32", "tf32", "bfloat16", "float16"], float]
    bandwidth_bytes_per_s: float | None
    memory_bytes: int | None
    tdp_w: float | None
    source: str
    devices: int = 1
    chip: str | None = None
    cores: int | None = None
    note: str | None = None


@cache
def table() -> tuple[Hardware, ...]:
    """Every known device; msgspec.ValidationError names the field of an entry that is not as `Hardware` says."""
    return msgspec.json.decode(TABLE.read_bytes(), type=tuple[Hardware, ...])


def find(name: str | None) -> Hardware | None:
    """The first device whose pattern is found in `name`; None for a name that nobody has described yet."""
    if not name:
        return None
    return next((hardware for hardware in table() if re.search(hardware.match, name, re.IGNORECASE)), None)


def of_chip(chip: str) -> Hardware | None:
    """A TPU or GPU by the name it has in `tpu-aot:<chip>` and `gpu-aot:<card>`."""
    return next((hardware for hardware in table() if hardware.chip == chip), None)


def chip_memory_bytes(chip: str) -> int | None:
    """The memory of the one device that is compiled for; half of the chip's where a chip has two."""
    known = of_chip(chip)
    return None if known is None or known.memory_bytes is None else known.memory_bytes // known.devices


def undescribed() -> list[str]:
    """Chips that can be compiled for and are not in the table."""
    return [chip for chip in (*TPU_CHIPS, *GPU_CARDS) if of_chip(chip) is None]

"""Reads a device file: bad keys and values are one sentence with the key; what it is based on is worked in."""

from __future__ import annotations

import copy
import math
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from harness.errors import UserError, nearest
from harness.modelling.device_faults import faults, numbers, sentence
from harness.modelling.device_schema import FrameworkPart, ModelDevice
from harness.modelling.library import datasheet_documents
from harness.records.text import plain

FOLDER = Path(__file__).with_name("devices")
MOST_BASES = 8
KEPT = ("bytes", "side", "share")  # of curves, by a factor on the table that they are in
LARGEST_FILE = 1 << 20
_PARTS = tuple(FrameworkPart.__struct_fields__)


def shipped() -> dict[str, Path]:
    """The device files that come with the harness, by name."""
    return {file.stem: file for file in sorted(FOLDER.glob("*.toml"))}


def datasheets() -> list[str]:
    """The names of devices of the hardware table."""
    return list(datasheet_documents())


def read_device(name: str | Path) -> ModelDevice:
    """The device of a file, or of one that comes with the harness by its name; UserError in one sentence."""
    return checked(_named(str(name), None, (), str(name)), str(name))


def checked(document: Mapping[str, Any], where: str) -> ModelDevice:
    """A document as a device; UserError names the key, what was found and what is expected."""
    try:
        device = msgspec.convert(document, ModelDevice)
    except msgspec.ValidationError as error:
        raise UserError(f"{where}: {plain(sentence(document, str(error)))}") from None
    for key, value in numbers(document, ()):
        if not math.isfinite(value):
            raise UserError(
                f"{where}: {plain(key)} is {value}, which is no finite number; leave it out if it is not known"
            )
    for fault in faults(device, document):
        raise UserError(f"{where}: {plain(fault)}")
    return device


# -- what is read ------------------------------------------------------------------------------------------------------
def _named(name: str, beside: Path | None, seen: tuple[Path, ...], where: str) -> dict[str, Any]:
    """The whole document of a file, relative to the folder `beside` where there is one, or of a name known here."""
    path = Path(name)
    if beside is not None:
        path = beside / path
        if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(beside)):
            raise UserError(f"{where} is outside the folder of the file that names it; copy it there")
    known, sheets = shipped(), datasheet_documents()
    if not os.path.isfile(path) and name in known:  # Path.is_file raises for a name that is too long
        path = known[name]
    if os.path.isfile(path):
        return _whole(path, seen, where)
    if name in sheets:
        return sheets[name]
    if path.suffix == ".toml" or "/" in name:
        raise UserError(f"{where}: there is no such device file; give a .toml file, or one of {', '.join(known)}")
    raise UserError(f"{where}: {nearest('device', name, [*known, *sheets])}")


def _document(path: Path, where: str) -> dict[str, Any]:
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise UserError(f"{where}: is larger than {LARGEST_FILE} bytes, which no device file is")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise UserError(f"{where}: is no TOML: it is not text in UTF-8") from None
    except (ValueError, RecursionError) as error:  # ValueError: of TOML, and of a number of thousands of digits
        raise UserError(f"{where}: is no TOML: {error}") from None
    except OSError as error:
        raise UserError(f"{where}: cannot be read ({error.strerror})") from None


def _whole(path: Path, seen: tuple[Path, ...], where: str) -> dict[str, Any]:
    """The document with its base and factors worked in."""
    if path.resolve() in seen or len(seen) >= MOST_BASES:
        raise UserError(f"{where}: base leads back to itself; name a file that stands on its own")
    document = _document(path, where)
    checked_alone = {k: v for k, v in document.items() if k != "base"}
    base = document.get("base")
    if base is not None:
        if not isinstance(base, str) or not base:
            raise UserError(f"{where}: base must be the name of a device file, found {base!r}")
        under = _named(base, path.parent, (*seen, path.resolve()), f"{where}: base {plain(base)}")
        _hold_alone(checked_alone, where)
        document = _over(under, checked_alone)
    factors = document.pop("factor", {})
    if not isinstance(factors, dict):
        raise UserError(f"{where}: factor must be a table of keys and numbers, found {factors!r}")
    for key, factor in factors.items():
        if isinstance(factor, bool) or not isinstance(factor, int | float) or not 1e-6 <= factor <= 1e9:
            raise UserError(f"{where}: factor.{plain(key)} must be a number from 1e-06 to 1e+09, found {factor!r}")
        if not scaled(document, key, float(factor)):
            raise UserError(f"{where}: factor names {plain(key)}, which the file and its base give no number for")
    return document


def _hold_alone(document: Mapping[str, Any], where: str) -> None:
    """Faults of the file itself, before it is laid over its base."""
    try:
        msgspec.convert({"name": "x", "kind": "cpu", "source": "x"} | dict(document), ModelDevice)
    except msgspec.ValidationError as error:
        raise UserError(f"{where}: {plain(sentence(document, str(error)))}") from None


def _over(under: dict[str, Any], document: Mapping[str, Any]) -> dict[str, Any]:
    """`document` laid over its base: what it says for all holds for every framework of the base, too."""
    under = {key: value for key, value in under.items() if key not in ("sources", "intervals", "note")}  # of the base
    out = _merged(under, document)
    for part in out.get("backend", {}).values():
        for section in _PARTS:
            for key in document.get(section, {}):
                part.get(section, {}).pop(key, None)
    if "backend" in document:
        out["backend"] = _merged(out.get("backend", {}), document["backend"])
    return out


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    out = copy.deepcopy(dict(under))
    for key, value in over.items():
        known = out.get(key)
        out[key] = (
            _merged(known, value) if isinstance(known, dict) and isinstance(value, Mapping) else copy.deepcopy(value)
        )
    return out


def scaled(document: dict[str, Any], key: str, factor: float) -> int:
    """Multiply the numbers of a dotted key, of every framework's too; how many there were.

    A key may stop at a table or a list: `matmul.rate` is every dtype, `memory.levels.read` that of every level. What
    says where a curve's points are, and shares of a rate, stay as they are then. Times of `launch` are divided, so that
    a factor is always how many times as good.
    """
    names = key.split(".")
    found = 0
    backends = document.get("backend")
    for place in (document, *(backends.values() if isinstance(backends, dict) else ())):  # it is not checked yet
        found += _scaled(place, names, 1 / factor if names[0] == "launch" else factor)
    return found


def _scaled(place: Any, names: list[str], factor: float) -> int:
    if isinstance(place, list):
        return sum(_scaled(part, names, factor) for part in place)
    if not isinstance(place, dict):
        return 0
    wanted = names[:1] or [name for name in place if name not in KEPT]
    found = 0
    for name in wanted:
        value = place.get(name)
        if isinstance(value, bool):
            continue
        if isinstance(value, int | float) and not names[1:]:
            place[name] = _float(value) * factor
            found += 1
        elif value is not None:
            found += _scaled(value, names[1:], factor)
    return found


def _float(value: float) -> float:
    """A whole number may be beyond every float: infinity then, which is refused where the document is checked."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf

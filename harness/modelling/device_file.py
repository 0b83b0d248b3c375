"""Reads a device file: bad keys and values are one sentence with the key; what it is based on is worked in."""

from __future__ import annotations

import copy
import functools
import math
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from harness.errors import UserError, nearest
from harness.modelling.device_schema import FrameworkPart, ModelDevice
from harness.modelling.library import datasheet_documents
from harness.records.text import plain

FOLDER = Path(__file__).with_name("devices")
MOST_BASES = 8
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
        raise UserError(f"{where}: {_sentence(document, str(error))}") from None
    for key, value in _numbers(document, ()):
        if not math.isfinite(value):
            raise UserError(f"{where}: {key} is {value}, which is no finite number; leave it out if it is not known")
    for fault in _faults(device, document):
        raise UserError(f"{where}: {fault}")
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
            raise UserError(f"{where}: factor.{key} must be a number from 1e-06 to 1e+09, found {factor!r}")
        if not scaled(document, key, float(factor)):
            raise UserError(f"{where}: factor names {key}, which the file and its base give no number for")
    return document


def _hold_alone(document: Mapping[str, Any], where: str) -> None:
    """Faults of the file itself, before it is laid over its base."""
    try:
        msgspec.convert({"name": "x", "kind": "cpu", "source": "x"} | dict(document), ModelDevice)
    except msgspec.ValidationError as error:
        raise UserError(f"{where}: {_sentence(document, str(error))}") from None


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

    A key may stop at a table or a list: `matmul.rate` is every dtype, `memory.levels.read` that of every level. Times
    of `launch` are divided, so that a factor is always how many times as good.
    """
    names = key.split(".")
    found = 0
    for place in (document, *document.get("backend", {}).values()):
        found += _scaled(place, names, 1 / factor if names[0] == "launch" else factor)
    return found


def _scaled(place: Any, names: list[str], factor: float) -> int:
    if isinstance(place, list):
        return sum(_scaled(part, names, factor) for part in place)
    if not isinstance(place, dict):
        return 0
    wanted = names[:1] or list(place)
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


# -- sentences ---------------------------------------------------------------------------------------------------------
_AT = re.compile(r" - at (`?key`? in )?`([^`]*)`$")
_UNKNOWN = re.compile(r"Object contains unknown field `([^`]*)`")
_MISSING = re.compile(r"Object missing required field `([^`]*)`")


def _sentence(document: Mapping[str, Any], words: str) -> str:
    """msgspec's words with the key, and what is there; of a key that is not known the nearest that are."""
    at = _AT.search(words)
    path = at.group(2) if at else "$"
    said = words[: at.start()] if at else words
    of_key = bool(at and at.group(1))
    key, value = _found(document, path, said, of_key)
    unknown, missing = _UNKNOWN.search(said), _MISSING.search(said)
    if unknown:
        return f"{_joined(key, unknown.group(1))} is no key of a device file{_near(key, unknown.group(1))}"
    if missing:
        return f"{_joined(key, missing.group(1))} is missing"
    if of_key:
        return f"{key} is no name that may stand there ({said[:1].lower()}{said[1:]})"
    return f"{key or 'the file'} is {_short(value)}: {said[:1].lower()}{said[1:].replace('`', '')}"


def _joined(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _near(key: str, name: str) -> str:
    try:
        part: Any = ModelDevice
        for step in filter(None, re.sub(r"\[\d+\]", "", key).split(".")):
            if step == "backend":
                part = FrameworkPart
                continue
            part = _type_of(part, step)
        names = part.__struct_fields__ if part is not None else ()
    except (AttributeError, KeyError):
        names = ()
    return f"; {str(nearest('key', name, names)).partition('; ')[2]}" if names else ""


@functools.cache
def _types(part: Any) -> dict[str, Any]:
    return {field.name: field.type for field in msgspec.structs.fields(part)}


def _type_of(part: Any, step: str) -> Any:
    found = _types(part).get(step)
    inner = [found, *getattr(found, "__args__", ())]
    return next((t for t in inner if isinstance(t, type) and issubclass(t, msgspec.Struct)), part)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _found(document: Any, path: str, said: str, of_key: bool) -> tuple[str, Any]:
    """The dotted key of msgspec's path and its value; `[...]` is whichever entry alone gives the same words."""
    steps = re.findall(r"\.([A-Za-z_]\w*)|\[(\d+|\.\.\.)\]", path.removeprefix("$"))
    key, value = "", document
    for name, index in steps:
        if name:
            key, value = _joined(key, name), value.get(name) if isinstance(value, Mapping) else None
        elif index != "...":
            key, value = f"{key}[{index}]", value[int(index)]
        elif isinstance(value, Mapping):
            culprit = _culprit(key, value, said)
            key, value = _joined(key, str(culprit)), value.get(culprit)
    if of_key and isinstance(value, Mapping):
        return _joined(key, _culprit(key, value, said)), None
    return key, value


def _culprit(key: str, table: Mapping[str, Any], said: str) -> str:
    """The entry of a table that alone gives the same words."""
    for name, value in table.items():
        alone: Any = {"name": "x", "kind": "cpu", "source": "x"}
        nested: Any = {name: value}
        for step in filter(None, reversed(key.split("."))):
            nested = {step: nested}
        try:
            msgspec.convert(alone | nested, ModelDevice)
        except msgspec.ValidationError as error:
            if said in str(error):
                return str(name)
    return next(iter(table), "")


def _numbers(value: Any, keys: tuple[str, ...]) -> Iterator[tuple[str, float]]:
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from _numbers(part, (*keys, str(name)))
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from _numbers(part, (*keys[:-1], f"{keys[-1]}[{number}]"))
    elif isinstance(value, float):
        yield ".".join(keys), value


def _faults(device: ModelDevice, document: Mapping[str, Any]) -> Iterator[str]:
    """What each value may be and all together cannot."""
    if not device.matmul.rate:
        yield "matmul.rate is missing: give FLOP/s of at least one dtype, such as matmul.rate.float32 = 5e11"
    if not device.memory.levels:
        yield "memory.levels is missing: give at least one [[memory.levels]] with bytes and read"
    for name, part in (
        ("memory", device.memory),
        *((f"backend.{k}.memory", p.memory) for k, p in device.backend.items()),
    ):
        sizes = [level.bytes for level in part.levels]
        if sizes != sorted(set(sizes)):
            yield f"{name}.levels must go from the smallest working set up, found bytes {_short(sizes)}"
    for name, unit in (
        ("matmul", device.matmul),
        *((f"backend.{k}.matmul", p.matmul) for k, p in device.backend.items()),
    ):
        sides = [small.side for small in unit.small]
        if sides != sorted(set(sides)):
            yield f"{name}.small must go from the shortest side up, found side {_short(sides)}"
    for pattern in device.matmul.sparse:
        keep, _, of = pattern.partition(":")
        if of and int(keep) >= int(of):
            yield f"matmul.sparse.{pattern} keeps as many as there are; it must keep fewer, such as 2:4"
    given = {key for key, _ in _numbers(_floats(document), ())}
    for table in ("sources", "intervals"):
        for key in getattr(device, table):
            if not any(known == key or known.startswith((f"{key}.", f"{key}[")) for known in given):
                yield f"{table}.{key} is about a key that the file does not give"
    for key, (low, high) in device.intervals.items():
        if not low <= high:
            yield f"intervals.{key} must be [low, high], found [{low:g}, {high:g}]"


def _floats(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _floats(v) for k, v in value.items() if k not in ("sources", "intervals", "factor")}
    if isinstance(value, list):
        return [_floats(part) for part in value]
    return float(value) if isinstance(value, int | float) else value

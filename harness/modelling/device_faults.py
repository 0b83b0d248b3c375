"""What is wrong with the document of a device file, in sentences that name the key."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from harness.errors import nearest
from harness.modelling.device_schema import DTYPES, FrameworkPart, ModelDevice

# Lists that go from the smallest up: by what, and how a sentence says so.
CURVES = {
    "memory.levels": ("bytes", "smallest working set"),
    "matmul.small": ("side", "shortest side"),
    "matmul.thin": ("side", "shortest side"),
    "matmul.vector": ("bytes", "smallest working set"),
    **{f"sparse.{form}far": ("bytes", "smallest table") for form in ("", "bag.", "vector.")},
}

_AT = re.compile(r" - at (`?key`? in )?`([^`]*)`$")
_UNKNOWN = re.compile(r"Object contains unknown field `([^`]*)`")
_MISSING = re.compile(r"Object missing required field `([^`]*)`")


def sentence(document: Mapping[str, Any], words: str) -> str:
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
        known = f"; known are {', '.join(DTYPES)}" if "enum" in said else ""
        return f"{key} is no name that may stand there ({said[:1].lower()}{said[1:]}){known}"
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


def numbers(value: Any, keys: tuple[str, ...]) -> Iterator[tuple[str, float]]:
    """Every number with a fraction of a document, by its dotted key."""
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from numbers(part, (*keys, str(name)))
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from numbers(part, (*keys[:-1], f"{keys[-1]}[{number}]"))
    elif isinstance(value, float):
        yield ".".join(keys), value


def faults(device: ModelDevice, document: Mapping[str, Any]) -> Iterator[str]:
    """What each value may be and all together cannot."""
    if not device.matmul.rate:
        yield "matmul.rate is missing: give FLOP/s of at least one dtype, such as matmul.rate.float32 = 5e11"
    if not device.memory.levels:
        yield "memory.levels is missing: give at least one [[memory.levels]] with bytes and read"
    parts: list[tuple[str, FrameworkPart]] = [("", device)]
    parts += [(f"backend.{name}.", part) for name, part in device.backend.items()]
    for place, part in parts:
        for key, (at, order) in CURVES.items():
            points: Any = part
            for step in key.split("."):
                points = getattr(points, step)
            found = [getattr(point, at) for point in points]
            if found != sorted(set(found)):
                yield f"{place}{key} must go from the {order} up, found {at} {_short(found)}"
    for pattern in device.matmul.sparse:
        keep, _, of = pattern.partition(":")
        if of and int(keep) >= int(of):
            yield f"matmul.sparse.{pattern} keeps as many as there are; it must keep fewer, such as 2:4"
    given = {key for key, _ in numbers(_floats(document), ())}
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

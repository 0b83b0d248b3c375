"""Device files for the fuzzers, made of the schema: one with every key, and of each key one with each bad value.

A key that is added to the schema is fuzzed from then on, and nobody has to write it down here.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from typing import Any

from harness.modelling.device_schema import json_schema
from harness.modelling.toml_text import as_toml

Step = str | int
NAMES = {  # of tables whose keys are free, by the pattern that they are held to
    "^(any": ("any", "2:4"),
    "^[a-z]": ("jax",),
    "^[A-Za-z]": ("gather.rows_per_s",),
    "": ("float32",),
}
EACH = 7  # of the broken devices every one is a seed: each key comes, with some of the bad values
BAD: tuple[Any, ...] = (
    *(-1.0, 0.0, 10.0, 1e300, math.inf, math.nan, -0.0, 10**400, True, "", "2:2", "ten", [], [-1, 0], [[]], [{}]),
    *({}, {"": 0}, {"float23": 1.0}, {"a.b": {"c": []}}),
)


def whole() -> dict[str, Any]:
    """A device in which every key of the schema is given, but for `base`, which names another file."""
    parts = json_schema()["$defs"]
    found: dict[str, Any] = _value({"$ref": "#/$defs/ModelDevice"}, parts)
    del found["base"]
    return found


def _value(schema: Mapping[str, Any], parts: Mapping[str, Any]) -> Any:
    """A value that the schema allows."""
    if "allOf" in schema or "anyOf" in schema:
        return _value((schema.get("allOf") or schema["anyOf"])[0], parts)
    if "$ref" in schema:
        return _value(parts[schema["$ref"].rpartition("/")[2]], parts)
    if "enum" in schema:
        return schema["enum"][0]
    match schema["type"]:
        case "object" if "properties" in schema:
            return {name: _value(part, parts) for name, part in schema["properties"].items()}
        case "object":
            pattern = schema.get("propertyNames", {}).get("pattern", "")
            names = next(several for start, several in NAMES.items() if pattern.startswith(start))
            return {name: _value(schema["additionalProperties"], parts) for name in names}
        case "array" if "prefixItems" in schema:
            return [_value(part, parts) for part in schema["prefixItems"]]
        case "array":
            return [_value(schema["items"], parts)]
        case "boolean":
            return True
        case "string":
            return "x"
        case kind:  # a number
            most = min(1.0, schema.get("maximum", 1.0))
            number = max(schema.get("minimum", 0.0), most)
            return int(number) if kind == "integer" else float(number)


def places(value: Any, at: tuple[Step, ...] = ()) -> Iterator[tuple[Step, ...]]:
    """Where a document has a key or an entry, outermost first."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in inner:
        yield (*at, name)
        yield from places(part, (*at, name))


def seeds() -> list[bytes]:
    """The whole device, and some of the broken ones."""
    return [as_toml(whole()).encode(), *broken()][::EACH]


def broken() -> Iterator[bytes]:
    """With every key in turn each bad value, or none, or a key beside it that nobody knows."""
    device = whole()
    for at in places(device):
        yield from (_with(device, at, bad) for bad in (*BAD, None))
        if isinstance(at[-1], str):
            yield _with(device, (*at[:-1], f"{at[-1]}_"), 1.0)


def _with(device: Mapping[str, Any], at: tuple[Step, ...], bad: Any) -> bytes:
    """The section of a key alone with what every device must have, and there a bad value, or nothing for None."""
    made = {name: device[name] for name in ("name", "kind", "source", "matmul", "memory", at[0]) if name in device}
    made = copy.deepcopy(made)
    place: Any = made
    for step in at[:-1]:
        place = place[step]
    if bad is None:
        del place[at[-1]]
    else:
        place[at[-1]] = bad
    return as_toml(made).encode("utf-8", "surrogateescape")

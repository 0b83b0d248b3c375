"""A document as TOML that `tomllib` reads back alike: the standard library reads it and does not write it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any


def as_toml(document: Mapping[str, Any]) -> str:
    """A document of tables, texts, numbers and lists as TOML that `tomllib` reads back alike."""
    return "\n".join(_table(document, ())).strip() + "\n"


def _table(table: Mapping[str, Any], keys: tuple[str, ...]) -> Iterator[str]:
    below = {k: v for k, v in table.items() if isinstance(v, Mapping) and v}
    lists = {k: v for k, v in table.items() if isinstance(v, list) and v and all(isinstance(x, Mapping) for x in v)}
    plain = {k: v for k, v in table.items() if k not in below and k not in lists and not isinstance(v, Mapping)}
    if keys and plain:
        yield f"\n[{'.'.join(map(_key, keys))}]"
    for name, value in plain.items():
        if value is not None:
            yield f"{_key(name)} = {_value(value)}"
    for name, several in lists.items():
        for part in several:
            yield f"\n[[{'.'.join(map(_key, (*keys, name)))}]]"
            yield from (f"{_key(k)} = {_value(v)}" for k, v in part.items() if v is not None)
    for name, part in below.items():
        yield from _table(part, (*keys, name))


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _value(name)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) and not value.is_integer() else _whole_number(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    escaped = str(value).translate(
        {ord("\\"): "\\\\", ord('"'): '\\"', **{c: f"\\u{c:04x}" for c in (*range(32), 127)}}
    )
    return f'"{escaped}"'


def _whole_number(value: float) -> str:
    return f"{value:.6g}" if "e" in f"{value:.6g}" or "." in f"{value:.6g}" else f"{value:.6g}.0"

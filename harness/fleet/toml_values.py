"""Values of a TOML table, each read by what it must be: PlanError says where, what it is and what it should be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from harness.errors import PlanError, nearest

Check: TypeAlias = Callable[[str, Any], Any]  # of where it stands and what it is
Keys: TypeAlias = Mapping[str, Check]


def table(where: str, found: Any, keys: Keys) -> dict[str, Any]:
    """The values of a table that may have these keys and no others."""
    if not isinstance(found, dict):
        raise PlanError(f"{where} is not a table")
    for key in found:
        if key not in keys:
            raise PlanError(f"{where}: {nearest('key', key, keys)}")
    return {key: keys[key](f"{where}: {key}", value) for key, value in found.items()}


def text(where: str, value: Any) -> str:
    """A text that says something."""
    if not isinstance(value, str) or not value.strip():
        raise PlanError(f'{where} = {_said(value)} is not a text such as "…"')
    return value


def count(where: str, value: Any) -> int:
    """A whole number, 0 or more."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise PlanError(f"{where} = {_said(value)} is not a whole number")
    return value


def flag(where: str, value: Any) -> bool:
    """Yes or no."""
    if not isinstance(value, bool):
        raise PlanError(f"{where} = {_said(value)} is neither true nor false")
    return value


def words(where: str, value: Any) -> tuple[str, ...]:
    """A list of texts."""
    if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
        raise PlanError(f'{where} = {_said(value)} is not a list of texts such as ["…"]')
    return tuple(value)


def names(where: str, value: Any) -> tuple[str, ...]:
    """A list of names, or one."""
    found = words(where, [value] if isinstance(value, str) else value)
    bad = next((name for name in found if "," in name or name.startswith("-")), None)
    if bad is not None:
        raise PlanError(f"{where}: {bad!r} is no name; write several as a list")
    return found


def strings(where: str, value: Any) -> dict[str, str]:
    """A table of texts."""
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
        raise PlanError(f'{where} = {_said(value)} is not of the form {{ KEY = "VALUE" }}')
    return value


def one_of(*choices: str) -> Check:
    """One of these words."""

    def check(where: str, value: Any) -> str:
        if value not in choices:
            raise PlanError(f"{where}: {nearest('choice', str(value), choices)}")
        return str(value)

    return check


def _said(value: Any) -> str:
    """A value as TOML would have it, near enough to be found again."""
    return repr(value) if len(repr(value)) <= 60 else f"{repr(value)[:59]}…"

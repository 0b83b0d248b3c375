"""Axes of one point as an author reads them: `p.rows`, frozen, and a mapping for everyone else."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn, TypeAlias, TypeVar

Value: TypeAlias = int | float | str
Params: TypeAlias = Mapping[str, Value]  # what callers hold: records, presets, twins

Result = TypeVar("Result")
RESERVED = frozenset({"get", "items", "keys", "values"})  # methods of a mapping: no axis can have such a name


class Parameters(Mapping[str, Value]):
    """The value of each axis, as an attribute and as an item: `p.rows` is `p["rows"]`.

    Frozen, hashable, equal to the plain mapping of the same values. AttributeError names the axes that there are.
    """

    def __init__(self, values: Params) -> None:
        self.__dict__.update(values)

    @classmethod
    def of(cls, values: Params) -> Parameters:
        """`values` itself where it is one already."""
        return values if isinstance(values, cls) else cls(values)

    def __getitem__(self, name: str) -> Value:
        value: Value = self.__dict__[name]
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self.__dict__)

    def __len__(self) -> int:
        return len(self.__dict__)

    def __getattr__(self, name: str) -> Any:  # only for what is missing; Any, since an axis may have any of three types
        raise AttributeError(f"there is no axis {name!r}; the axes are {', '.join(self.__dict__)}")

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"axis {name} cannot be changed to {value!r}: the parameters of a case are frozen")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"axis {name} cannot be removed: the parameters of a case are frozen")

    def __hash__(self) -> int:
        return hash(frozenset(self.__dict__.items()))

    def __repr__(self) -> str:
        return f"Parameters({self.__dict__!r})"


def typed(function: Callable[..., Result], position: int) -> Callable[..., Result]:
    """`function` with the argument at `position`, whatever mapping it is called with, as Parameters."""
    if getattr(function, "takes_parameters", False):
        return function

    @functools.wraps(function)
    def call(*args: Any) -> Result:
        return function(*args[:position], Parameters.of(args[position]), *args[position + 1 :])

    call.takes_parameters = True  # type: ignore[attr-defined]
    return call

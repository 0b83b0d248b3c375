"""Data of a page without what it would say again and again: the names of fields, and texts.

Every record of a page has the same fields and most have the same words, which were more than half of its bytes. JSON
stays JSON: nothing is compressed, so that a page needs no decoder but the few lines of `report.js`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

LIST, TEXT, FIRST_SHAPE = 0, 1, 2  # the first value of an array: what the others are
_SHORTEST = 6  # characters of a text that is kept apart: naming its place takes about as many
_DIGITS = 6  # of a number, as many as a page shows


def packed(data: Any) -> dict[str, Any]:
    """`texts` that occur twice or more, `shapes` (the names of objects' fields), and `data` in terms of both.

    An object is [FIRST_SHAPE + its shape, value, …], a list [LIST, item, …], a text that is kept apart [TEXT, place];
    everything else is itself, with numbers that are not whole rounded to six digits.
    """
    plain = msgspec.to_builtins(data)
    uses: Counter[str] = Counter()
    _count(plain, uses)
    texts = {text: place for place, text in enumerate(text for text, n in uses.items() if n > 1)}
    shapes: dict[tuple[str, ...], int] = {}
    return {"data": _node(plain, texts, shapes), "texts": list(texts), "shapes": [list(names) for names in shapes]}


def _count(value: Any, uses: Counter[str]) -> None:
    if isinstance(value, str):
        if len(value) >= _SHORTEST:
            uses[value] += 1
    elif isinstance(value, Mapping):
        for one in value.values():
            _count(one, uses)
    elif isinstance(value, Sequence):
        for one in value:
            _count(one, uses)


def _node(value: Any, texts: Mapping[str, int], shapes: dict[tuple[str, ...], int]) -> Any:
    if isinstance(value, str):
        place = texts.get(value)
        return value if place is None else [TEXT, place]
    if isinstance(value, float):
        return value if value.is_integer() else float(f"{value:.{_DIGITS}g}")
    if isinstance(value, Mapping):
        shape = shapes.setdefault(tuple(value), len(shapes))
        return [FIRST_SHAPE + shape, *(_node(one, texts, shapes) for one in value.values())]
    if isinstance(value, Sequence):
        return [LIST, *(_node(one, texts, shapes) for one in value)]
    return value

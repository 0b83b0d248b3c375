"""Labels of machines and what a want asks of them; who asks for what nobody has is told what comes nearest."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

Labels: TypeAlias = Mapping[str, str]
Selector: TypeAlias = Mapping[str, Sequence[str]]  # each key with the values of which one will do

# Ray and Kubernetes take the same: a name, before it a domain and a slash; and for values the form of a name, or none.
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_KEY = re.compile(rf"(?:[a-z0-9](?:[a-z0-9.-]{{0,251}}[a-z0-9])?/)?{_NAME}")
_VALUE = re.compile(rf"(?:{_NAME})?")


def is_key(text: str) -> bool:
    """Whether a label may be called so."""
    return _KEY.fullmatch(text) is not None


def is_value(text: str) -> bool:
    """Whether a label may have this value."""
    return _VALUE.fullmatch(text) is not None


def meets(labels: Labels, selector: Selector) -> bool:
    """Whether a machine of these labels is one that is asked for; an empty selector asks for any."""
    return all(labels.get(key) in values for key, values in selector.items())


def said(selector: Selector) -> str:
    """A selector in words: `kind=cpu, zone=a or b`."""
    return ", ".join(f"{key}={' or '.join(values)}" for key, values in selector.items()) or "any machine"


def nearest(selector: Selector, machines: Mapping[str, Labels]) -> str:
    """What comes nearest to a selector that no machine meets: the part that fails, and the label most like it."""
    asked = {f"{key}={value}" for key, values in selector.items() for value in values}
    there = {f"{key}={value}": name for name, labels in machines.items() for key, value in labels.items()}
    unmet = sorted(asked - there.keys())
    if not unmet:  # each label is somewhere, all of them nowhere
        best = max(machines, key=lambda name: _met(machines[name], selector))
        lacks = next(key for key, values in selector.items() if machines[best].get(key) not in values)
        has = f"has {lacks}={machines[best][lacks]}" if lacks in machines[best] else f"has no label {lacks}"
        return f"no machine has all of them at once: {best} comes nearest and {has}"
    if not there:
        return f"no machine has a label {unmet[0]}, nor any other: add labels to [machine.{next(iter(machines))}]"
    close = difflib.get_close_matches(unmet[0], there, n=1, cutoff=0.5)
    if close:
        return f"no machine has the label {unmet[0]}; the nearest is {close[0]} (machine {there[close[0]]})"
    return f"no machine has the label {unmet[0]}; there are {', '.join(_few(sorted(there)))}"


def _met(labels: Labels, selector: Selector) -> int:
    return sum(labels.get(key) in values for key, values in selector.items())


def _few(names: Iterable[str], most: int = 6) -> list[str]:
    names = list(names)
    return names if len(names) <= most else [*names[:most], "…"]

"""The errors that a user is meant to read: one sentence with what, where and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Bad input or a place that cannot be used; exit code 2 and no traceback."""


class PlanError(UserError):
    """A request that cannot be planned; the message is one sentence with what, where and what to do."""


def nearest(kind: str, name: str, known: Iterable[str]) -> PlanError:
    """The sentence for a name that does not exist, with the nearest that do."""
    names = list(known)
    close = next(filter(None, (difflib.get_close_matches(name, names, n=3, cutoff=c) for c in (0.75, 0.6, 0.4))), [])
    hint = f"did you mean {' or '.join(close)}?" if close else f"known are {', '.join(names)}"
    return PlanError(f"there is no {kind} {name!r}; {hint}")

"""How cases ended, counted: which outcome is worse than which, and the counts as one line."""

from __future__ import annotations

from collections.abc import Mapping

# The worst first.
SEVERITY = ("wrong", "crash", "oom", "timeout", "error", "unsupported", "modelled", "estimated", "ok")


def outcome(counts: Mapping[str, int]) -> str:
    """`ok` when everything is, else `ok 5 · timeout 1 · unsupported 3`: ok first, then the worst first."""
    if set(counts) == {"ok"}:
        return "ok"
    order = ("ok", *SEVERITY[:-1])
    return " · ".join(f"{status} {counts[status]}" for status in order if counts.get(status))

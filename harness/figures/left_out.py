"""What runs left out because earlier runs say that it need not be tried: counted by reason, and said in a sentence.

What was left out has no record, and so stands in no figure: not in those of portability either, which count what was
tried.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence


def counts(several: Iterable[Mapping[str, Sequence[str]]]) -> dict[str, int]:
    """How many cases were left out by each reason, the most first; an entry of `several` is a run's own account."""
    found: Counter[str] = Counter()
    for left_out in several:
        found.update({reason: len(cases) for reason, cases in left_out.items()})
    return {reason: count for reason, count in found.most_common() if count}


def sentence(found: Mapping[str, int]) -> str | None:
    """`counts` in words; None where nothing was left out."""
    if not found:
        return None
    total = sum(found.values())
    begin = "1 case was left out and is" if total == 1 else f"{total} cases were left out and are"
    reasons = "; ".join(f"{count} {reason}" for reason, count in found.items())
    return f"{begin} in no count: {reasons} (--exhaustive tries all)"

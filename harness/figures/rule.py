"""Why one kind of case fails, as data: the message that is known, with what to do."""

from __future__ import annotations

import re
from dataclasses import dataclass

from harness.records.record import FailureClass


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A message that is known. Groups of `pattern` may stand in braces in `what`, `why`, `do` and `link`.

    `script` shows the failure in the framework's own terms; None where the refusal is in the harness's words, or where
    it takes a device, a time or a size to see.
    """

    name: str
    pattern: re.Pattern[str]
    what: str
    failure_class: FailureClass
    why: str
    do: str
    link: str | None = None
    script: str | None = None


def rule(name: str, pattern: str, failure_class: FailureClass, **told: str) -> Rule:
    """A rule, its pattern compiled."""
    return Rule(name=name, pattern=re.compile(pattern), failure_class=failure_class, **told)

"""Every message of a case that failed or was refused, in one line: what, where, why, what to do, and a link."""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache

import msgspec

from harness.errors import UserError
from harness.figures.explanation_rules import RULES
from harness.figures.rule import Rule
from harness.records.record import ANSWERED, Case, Record
from harness.records.text import first_line, one_line

UNKNOWN = "no rule knows this message"
MOST_PLACES = 3  # named in a line
KEPT_MESSAGES = 1000


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """One message, numbers aside the same in all of its `cases`.

    `where` names formulations, backends and executions. `why` begins with the class of failure of Mince et al. 2023.
    Where no rule knows the message `rule` is None, and `do` is the command that runs the smallest case of it again.
    """

    message: str
    what: str
    where: str
    why: str
    do: str
    link: str | None
    rule: str | None
    cases: int = 0

    @property
    def line(self) -> str:
        """All of it in one line."""
        count = f" (×{self.cases})" if self.cases > 1 else ""
        place = f" in {self.where}{count}" if self.where else ""
        behind = f" [{self.link}]" if self.link else ""
        return f"{self.what}{place}: {self.why}; to do: {self.do}{behind}"


@lru_cache(maxsize=KEPT_MESSAGES)
def rule_of(message: str) -> Rule | None:
    """The rule that knows a message, None where none does. Kept: thousands of cases fail with the same few."""
    return next((rule for rule in RULES if rule.pattern.search(message)), None)


def explained(message: str, cases: Sequence[Case] = (), failure_class: str | None = None) -> Explanation:
    """One message; `cases` are those that failed with it, none where only its words are known."""
    rule = rule_of(message)
    shown = one_line(message)
    if rule is None:
        return Explanation(
            message=shown,
            what=UNKNOWN,
            where=_where(cases),
            why=f"{failure_class or 'other'}: {shown}",
            do=f"run the smallest of it: {reproduction(cases[0])}"
            if cases
            else "give the results folder, and the smallest case of it is named",
            link=None,
            rule=None,
            cases=len(cases),
        )
    match = rule.pattern.search(message)
    found = match.groupdict() if match else {}
    return Explanation(
        message=shown,
        what=rule.what.format_map(found),
        where=_where(cases),
        why=f"{failure_class or rule.failure_class}: {rule.why.format_map(found)}",
        do=rule.do.format_map(found),
        link=None if rule.link is None else rule.link.format_map(found),
        rule=rule.name,
        cases=len(cases),
    )


def explanations(records: Iterable[Record]) -> list[Explanation]:
    """One for each message of the cases that are not `ok` or `estimated`, the most frequent first."""
    groups: dict[tuple[str, str | None], list[Record]] = defaultdict(list)
    for record in records:
        if record.status not in ANSWERED and not record.control:
            groups[alike(record.reason), record.failure_class].append(record)
    out = [
        explained(_told(group[0]), [record.case for record in group], failure_class)
        for (_, failure_class), group in groups.items()
    ]
    return sorted(out, key=lambda e: (-e.cases, e.message))


def script_for(records: Sequence[Record], words: str) -> str:
    """The script that shows the failure of the case with these `words`, in the framework's own terms.

    UserError where no case, or cases with several messages, have all of the words, and where nothing fails upstream.
    """
    asked = words.replace("/", " ").replace(",", " ").split()
    failed = [r for r in records if r.status not in ANSWERED and not r.control]
    found = [r for r in failed if all(word in _names(r.case) for word in asked)]
    if not found:
        near = "; ".join(dict.fromkeys(_place(r.case) for r in failed[:MOST_PLACES])) or "none failed"
        raise UserError(f"no failed case here has the words {words!r}; name one such as: {near}")
    messages = {alike(r.reason): r for r in found}
    if len(messages) > 1:
        several = "; ".join(_place(r.case) for r in list(messages.values())[:MOST_PLACES])
        raise UserError(f"{words!r} are {len(messages)} different failures; add words of one: {several}")
    (record,) = messages.values()
    rule = rule_of(_told(record))
    if rule is None:
        raise UserError(f"{UNKNOWN}: {one_line(record.reason)}; run it again: {reproduction(record.case)}")
    if rule.script is None:
        raise UserError(f"nothing fails upstream that a script could show: {explained(_told(record)).line}")
    return f"# {_place(record.case)}\n# {one_line(record.reason)}\n{rule.script}"


def reproduction(case: Case) -> str:
    """The command that runs one case like this at the smallest shape that its workload has."""
    options = {
        "workload": case.workload,
        "formulation": case.formulation,
        "backend": case.backend,
        "execution": case.execution,
        "device": case.device,
        "dtype": case.dtype,
    }
    return "hwlottery run --preset smoke " + shlex.join(f"--{name}={value}" for name, value in options.items())


def _told(record: Record) -> str:
    return first_line(record.reason) or f"{record.status}, and no reason was recorded"


@lru_cache(maxsize=KEPT_MESSAGES)
def alike(message: str | None) -> str:
    """The first line of a message without its numbers, kept likewise: the same refusal at two shapes is one."""
    return re.sub(r"\d+(\.\d+)?", "#", first_line(message) or "")


def _place(case: Case) -> str:
    return f"{case.workload}/{case.formulation} {case.mode} {case.backend} {case.execution} {case.device}"


def _names(case: Case) -> set[str]:
    return {*_place(case).replace("/", " ").split(), case.dtype, case.key}


def _where(cases: Sequence[Case]) -> str:
    """The formulations, each with its backends and executions."""
    places: dict[str, dict[str, None]] = defaultdict(dict)
    for case in cases:
        places[f"{case.workload}/{case.formulation}"][f"{case.backend} {case.execution}"] = None
    named = [f"{name} ({', '.join(runs)})" for name, runs in places.items()]
    more = [f"{len(named) - MOST_PLACES} more"] if len(named) > MOST_PLACES else []
    return "; ".join([*named[:MOST_PLACES], *more])

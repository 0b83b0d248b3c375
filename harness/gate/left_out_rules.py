"""What a run says that it left out: for reasons that a run has, each case once, and none that it measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from harness.figures import left_out
from harness.gate.refusal import Mark, Refusal, refusal
from harness.planning.reasons import LATE, fault, ran_out
from harness.records.record import Record
from harness.records.store import INFO, RunInfo
from harness.records.text import plain

_REMEDY = "publish run.json as it was written"


def check(info: RunInfo, records: Iterable[Record]) -> Iterator[Refusal]:
    """Every reason why the account of what was left out cannot be; a run that left cases out may be published."""
    measured = {str(record.case) for record in records} if info.left_out else set()
    seen: set[str] = set()
    for reason, cases in info.left_out.items():
        for case in cases:
            why = fault(reason, case)
            if reason == LATE and not ran_out(info.settings, info.notes):
                why = "the run had no limit and was not interrupted"
            if why is not None:
                said = f"{plain(case)} was left out because it was {plain(reason)!r}: {why}"
                yield refusal("left-out", INFO, said, _REMEDY)
            if case in measured:
                yield refusal("left-out", INFO, f"{plain(case)} was left out, and has a record", _REMEDY)
            if case in seen:
                yield refusal("left-out", INFO, f"{plain(case)} was left out twice", _REMEDY)
            seen.add(case)


def marks(info: RunInfo) -> Iterator[Mark]:
    """How many cases were left out, and why."""
    said = left_out.sentence(left_out.counts([info.left_out]))
    if said is not None:
        yield Mark(code="left-out", what=said)

"""What a comparison could not compare: cases that were ok on one side and were not measured on the other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.errors import UserError
from harness.gate.known import Known
from harness.gate.plan_rules import expected
from harness.records.record import ANSWERED, Case, Record
from harness.records.store import Run

_Key = tuple[object, ...]


def lost(a: Sequence[Run], b: Sequence[Run], free: Iterable[str | None] = ()) -> list[str]:
    """The cases that were ok in `a` and of which `b` has no record, in words; `free` fields differ on purpose.

    What `b` says that it left out is not lost, nor is a case of a sweep at a point that `b` has: the survey decides
    which of these a run takes.
    """
    ignored = {field for field in free if field is not None}
    records_b = _measured(b)
    there = {_key(r.case, ignored) for r in records_b}
    points = {_point(r.case, ignored) for r in records_b}
    left_out = {case for run in b for cases in run.info.left_out.values() for case in cases}
    swept: set[_Key] | None = None
    out: dict[_Key, str] = {}
    for record in _measured(a):
        key = _key(record.case, ignored)
        if record.status not in ANSWERED or key in there or key in out or str(record.case) in left_out:
            continue
        if _point(record.case, ignored) in points:
            if "formulation" in ignored or "execution" in ignored or "backend" in ignored:
                continue  # another path of the same point is what was asked for
            swept = _swept(a, ignored) if swept is None else swept
            if key in swept:
                continue
        out[key] = str(record.case)
    return list(out.values())


def _measured(runs: Sequence[Run]) -> list[Record]:
    return [record for run in runs for record in run.records if not record.control]


def _swept(runs: Sequence[Run], ignored: set[str]) -> set[_Key]:
    """The cases that the plans of `runs` have at points of sweeps.

    Where a plan cannot be made anew, as of a workload that is not here (`--workload-file`), all but the headline cases
    may be.
    """
    known = Known()
    found: set[_Key] = set()
    for run in runs:
        try:
            cases = expected(run.info, known) or []
        except (UserError, ValueError, TypeError, ArithmeticError, LookupError):
            found |= {_key(record.case, ignored) for record in run.records if not record.headline}
            continue
        found |= {_key(planned.case, ignored) for planned in cases if not planned.survey}
    return found


def _point(case: Case, ignored: set[str]) -> _Key:
    fields = ("workload", "point", "mode", "dtype", "backend", "device", "seed")
    return tuple(getattr(case, name) for name in fields if name not in ignored)


def _key(case: Case, ignored: set[str]) -> _Key:
    path = tuple(getattr(case, name) for name in ("formulation", "execution") if name not in ignored)
    return (*_point(case, ignored), *path)
